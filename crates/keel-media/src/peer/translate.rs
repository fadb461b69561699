//! Between str0m's words and ours.

use str0m::{
    Candidate,
    error::IceError,
    format::{
        Codec as RtcCodec, PayloadParams, detect_av1_keyframe, detect_h264_keyframe,
        detect_h264_nalu, detect_vp8_keyframe, detect_vp9_keyframe,
    },
    media::{ExtensionValues, MediaKind},
    net::{Protocol as RtcProtocol, TcpType, Transmit},
    rtp::{RtpPacket, VideoOrientation},
};

use super::Happening;
use crate::{
    Layer,
    config::Address,
    packet::{Codec, Kind, Packet},
    path::{Path, Protocol},
};

/// A codec with its parameters, as a publisher sends it: what a subscriber's payload type is found by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format(pub(super) PayloadParams);

impl Format {
    /// Of a test's packets, which meet no peer.
    #[cfg(test)]
    pub(crate) fn any() -> Self {
        let spec = str0m::format::CodecSpec {
            codec: RtcCodec::H264,
            clock_rate: str0m::media::Frequency::NINETY_KHZ,
            channels: None,
            format: str0m::format::FormatParams::default(),
        };
        Self(PayloadParams::new(96.into(), None, spec))
    }

    pub(super) const fn params(self) -> PayloadParams {
        self.0
    }
}

/// What of a packet's header a subscriber has to be told, too.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extensions {
    /// How loud it is, in -dBov (RFC 6464); 0 is the loudest.
    level: Option<i8>,
    voice: Option<bool>,
    orientation: Option<VideoOrientation>,
}

impl Extensions {
    /// How loud it is, in -dBov, and whether its maker takes it for a voice.
    pub(crate) fn level(&self) -> Option<(i8, Option<bool>)> {
        Some((self.level?, self.voice))
    }

    fn read(values: &ExtensionValues) -> Self {
        Self {
            level: values.audio_level,
            voice: values.voice_activity,
            orientation: values.video_orientation,
        }
    }

    pub(super) fn write(self) -> ExtensionValues {
        ExtensionValues {
            audio_level: self.level,
            voice_activity: self.voice,
            video_orientation: self.orientation,
            ..ExtensionValues::default()
        }
    }
}

pub(super) fn protocol(protocol: Protocol) -> RtcProtocol {
    match protocol {
        Protocol::Udp => RtcProtocol::Udp,
        Protocol::Tcp => RtcProtocol::Tcp,
    }
}

pub(crate) fn kind(kind: MediaKind) -> Kind {
    if kind.is_audio() {
        Kind::Audio
    } else {
        Kind::Video
    }
}

pub(crate) const fn media_kind(kind: Kind) -> MediaKind {
    match kind {
        Kind::Audio => MediaKind::Audio,
        Kind::Video => MediaKind::Video,
    }
}

pub(super) fn candidate(address: &Address) -> Result<Candidate, IceError> {
    match address.protocol {
        Protocol::Udp => Candidate::builder().udp().host(address.advertised).build(),
        Protocol::Tcp => {
            let host = Candidate::builder().tcp().host(address.advertised);
            host.tcptype(TcpType::Passive).build()
        }
    }
}

/// Where the other side was proven to be.
pub(super) fn proven(path: Path) -> Result<Candidate, IceError> {
    Candidate::host(path.remote, protocol(path.protocol))
}

pub(super) fn transmit(transmit: Transmit) -> Happening {
    let protocol = match transmit.proto {
        RtcProtocol::Udp => Protocol::Udp,
        RtcProtocol::Tcp | RtcProtocol::SslTcp | RtcProtocol::Tls => Protocol::Tcp,
    };
    Happening::Transmit {
        path: Path {
            protocol,
            local: transmit.source,
            remote: transmit.destination,
        },
        bytes: transmit.contents.into(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "str0m's list grows: what we do not know is passed on untouched"
)]
pub(crate) fn codec(codec: RtcCodec) -> Codec {
    match codec {
        RtcCodec::Opus => Codec::Opus,
        RtcCodec::Vp8 => Codec::Vp8,
        RtcCodec::Vp9 => Codec::Vp9,
        RtcCodec::H264 => Codec::H264,
        RtcCodec::Av1 => Codec::Av1,
        _ => Codec::Other,
    }
}

pub(super) fn packet(rtp: RtpPacket, layer: Layer, format: Format) -> Packet {
    let spec = format.0.spec();
    let codec = codec(spec.codec);
    let starts_keyframe = match codec {
        Codec::Vp8 => detect_vp8_keyframe(&rtp.payload),
        Codec::Vp9 => detect_vp9_keyframe(&rtp.payload),
        Codec::H264 => starts_h264_keyframe(&rtp.payload),
        Codec::Av1 => detect_av1_keyframe(&rtp.payload),
        Codec::Opus | Codec::Other => false,
    };
    Packet {
        kind: kind(spec.codec.kind()),
        layer,
        codec,
        format,
        source: *rtp.header.ssrc,
        seq: *rtp.seq_no,
        time: rtp.header.timestamp,
        clock: spec.clock_rate.get(),
        marker: rtp.header.marker,
        extensions: Extensions::read(&rtp.header.ext_vals),
        payload: rtp.payload,
        at: rtp.timestamp,
        starts_keyframe,
    }
}

/// The parameters that a keyframe is read by come in a packet before it (RFC 6184 §5.7.1): who is sent
/// the keyframe without them can show nothing.
fn starts_h264_keyframe(payload: &[u8]) -> bool {
    const SEQUENCE_PARAMETERS: u8 = 7;
    detect_h264_nalu(payload, SEQUENCE_PARAMETERS) || detect_h264_keyframe(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is ever read of a payload is whether a decoder can start with it.
    #[test]
    fn payloads_are_looked_at_and_never_decoded_a55() {
        // A sequence parameter set of 16,384 by 16,384 pixels, aggregates and fragments that never end,
        // a sequence header whose size overflows (RFC 6184, RFC 7741, RFC 9628, AV1).
        let bombs: [&[u8]; 8] = [
            &[
                0x67, 0x64, 0x00, 0x3e, 0xac, 0x00, 0x10, 0x00, 0x40, 0x00, 0xff, 0xff,
            ],
            &[0x78, 0xff, 0xff, 0x67],
            &[0x7c, 0x85],
            &[
                0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x0a,
            ],
            &[0x90, 0x80, 0xff, 0xff],
            &[0x8f, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xff],
            &[],
        ];
        let mut payloads: Vec<Vec<u8>> = bombs.iter().map(|bomb| bomb.to_vec()).collect();
        let mut chance = fastrand::Rng::with_seed(55);
        for _ in 0..20_000 {
            let mut bytes = vec![0; chance.usize(0..64)];
            chance.fill(&mut bytes);
            // Lengths that go beyond the end.
            if chance.bool() {
                bytes.iter_mut().skip(1).for_each(|byte| *byte |= 0xc0);
            }
            payloads.push(bytes);
        }
        for payload in &payloads {
            let starts = [
                detect_vp8_keyframe(payload),
                detect_vp9_keyframe(payload),
                starts_h264_keyframe(payload),
                detect_av1_keyframe(payload),
            ];
            assert!(
                !payload.is_empty() || starts == [false; 4],
                "nothing starts nothing"
            );
        }
    }

    #[test]
    fn a_keyframe_of_h264_begins_with_its_parameters() {
        let parameters = [0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce];
        assert!(starts_h264_keyframe(&parameters), "in one packet");
        assert!(starts_h264_keyframe(&[0x67, 0x42]), "by themselves");
        assert!(starts_h264_keyframe(&[0x65, 0x88]), "without any");
        assert!(!starts_h264_keyframe(&[0x41, 0x9a]));
        assert!(!starts_h264_keyframe(&[0x68, 0xce]), "of pictures only");
        assert!(!starts_h264_keyframe(&[]));
    }
}
