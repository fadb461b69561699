//! The other end of a transport: what publishes and is sent pictures and sound, as a browser would be.
//!
//! A [`Client`] is a machine like [`crate::Plane`], for one transport: it is told what happens, and what
//! it wants done is taken out by [`Client::drain`]. Frames go in whole and come out whole; RTP is its own
//! matter. It yields when both ends offer at once (perfect negotiation's polite end).

mod incoming;
mod negotiation;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use str0m::{
    Candidate, Event, IceConnectionState, Input, Output as RtcOutput, Rtc, RtcError,
    format::{Codec as RtcCodec, PayloadParams},
    media::{KeyframeRequestKind, MediaKind, MediaTime, Mid, Pt, Rid},
    net::{Protocol as RtcProtocol, Receive},
    rtp::RawPacket,
};

pub use incoming::{Frame, Sample};

use crate::{
    config,
    consent::{self, Consent},
    limits,
    packet::{Codec, Kind},
    path::{Path, Protocol},
    peer::translate,
};

use incoming::Incoming;
use negotiation::Pending;

/// Something that is published, as the caller numbers it. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Sound or a picture.
    pub kind: Kind,
    /// How its frames are coded.
    pub codec: Codec,
    /// The names of its simulcast layers (RFC 8853), smallest first; none without simulcast.
    pub layers: Vec<String>,
}

/// What leaves a client's transport.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// Where.
        path: Path,
        /// What.
        bytes: Vec<u8>,
    },
    /// Say an offer to the server.
    Offer {
        /// RFC 8866.
        sdp: String,
        /// What is published on which line.
        lines: Vec<(String, SourceId)>,
    },
    /// Say an answer to the server.
    Answer {
        /// RFC 8866.
        sdp: String,
    },
    /// The server may be there: an own address is wanted that reaches it ([`Client::reach_from`]).
    Reach {
        /// Where.
        remote: SocketAddr,
    },
    /// ICE and DTLS are done.
    Connected,
    /// Checks are answered, or no longer.
    Reachable(bool),
    /// The server needs a keyframe.
    KeyframeWanted {
        /// Of which source.
        source: SourceId,
        /// Of which of its layers; the first without simulcast.
        layer: usize,
    },
    /// A frame has come.
    Frame(Frame),
    /// The transport is no more. Told once, and last.
    Over,
}

/// Why a frame was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The transport is not connected.
    #[error("the transport is not connected")]
    NotConnected,
    /// The line of its source is not agreed on yet.
    #[error("what carries it is not agreed on yet")]
    NoLine,
    /// The server does not take its codec.
    #[error("the server does not take its codec")]
    NoCodec,
    /// The transport refused it.
    #[error("the transport refused it")]
    Refused,
}

/// What has been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// RTP packets, those sent again included.
    pub packets: u64,
    /// Frames.
    pub frames: u64,
}

/// One transport of a client. See the module's text.
#[derive(Debug)]
pub struct Client {
    rtc: Rtc,
    sources: BTreeMap<SourceId, Source>,
    /// Lines that this end sends on, and what is on each.
    lines: BTreeMap<Mid, Option<SourceId>>,
    /// Those of them with simulcast layers, which are agreed on once a line.
    layered: BTreeSet<Mid>,
    pending: Option<Pending>,
    /// Something is to be offered.
    is_dirty: bool,
    restart: bool,
    is_described: bool,
    /// Lines to be sent on that the first offer asks for: of sound, of pictures.
    receives: (usize, usize),
    early: Vec<Candidate>,
    remotes: Vec<SocketAddr>,
    incoming: BTreeMap<Mid, Incoming>,
    sent: Sent,
    connected: bool,
    was_connected: bool,
    consent: Consent,
    is_over: bool,
    deadline: Instant,
    out: Vec<Output>,
}

impl Client {
    /// A transport that publishes nothing yet, and asks for so many lines to receive on. The server
    /// offers more where it has more to send.
    #[must_use]
    pub fn new(now: Instant, receives_audio: usize, receives_video: usize) -> Self {
        let lines = limits::LINES_MAX / 2;
        Self {
            rtc: config::client_rtc(now),
            sources: BTreeMap::new(),
            lines: BTreeMap::new(),
            layered: BTreeSet::new(),
            pending: None,
            is_dirty: true,
            restart: false,
            is_described: false,
            receives: (receives_audio.min(lines), receives_video.min(lines)),
            early: Vec::new(),
            remotes: Vec::new(),
            incoming: BTreeMap::new(),
            sent: Sent::default(),
            connected: false,
            was_connected: false,
            consent: Consent::new(now),
            is_over: false,
            deadline: now,
            out: Vec::new(),
        }
    }

    /// Publishes something from here on.
    pub fn publish(&mut self, source: SourceId, what: Source) {
        if self.sources.len() < limits::LINES_MAX / 2 {
            self.sources.insert(source, what);
            self.is_dirty = true;
        }
    }

    /// Publishes it no longer. Its line is kept for the next.
    pub fn unpublish(&mut self, source: SourceId) {
        self.sources.remove(&source);
        for on in self.lines.values_mut().filter(|on| **on == Some(source)) {
            *on = None;
            self.is_dirty = true;
        }
    }

    /// ICE is to be restarted (RFC 8445 §2.4).
    pub fn restart(&mut self) {
        self.restart = true;
        self.is_dirty = true;
    }

    /// An own address from which a server's is reached.
    pub fn reach_from(&mut self, now: Instant, local: SocketAddr) {
        match Candidate::host(local, "udp") {
            Ok(candidate) => {
                self.rtc.add_local_candidate(candidate);
            }
            Err(error) => tracing::debug!(%error, "an own address is no candidate"),
        }
        self.deadline = now;
    }

    /// Whether ICE and DTLS are done, and it is not over.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected && !self.is_over
    }

    /// Whether they were done at some time, even if it is over.
    #[must_use]
    pub const fn was_connected(&self) -> bool {
        self.was_connected
    }

    /// Whether a source is on a line that is agreed on.
    #[must_use]
    pub fn carries(&self, source: SourceId) -> bool {
        self.lines.values().any(|on| *on == Some(source))
    }

    /// Takes a datagram, if it is this transport's.
    pub fn datagram(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        let Ok(contents) = bytes.try_into() else {
            return;
        };
        let received = Receive {
            proto: RtcProtocol::Udp,
            source: path.remote,
            destination: path.local,
            contents,
        };
        let input = Input::Receive(now, received);
        if !self.is_over && self.rtc.accepts(&input) {
            self.deadline = now;
            if consent::is_check(bytes) {
                self.consent.give(now);
            }
            if let Err(error) = self.rtc.handle_input(input) {
                self.broke(&error);
            }
        }
    }

    /// When [`Client::drain`] is to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let pending = self.pending.as_ref().filter(|_| !self.is_over);
        pending.map_or(self.deadline, |pending| {
            self.deadline.min(pending.again_at())
        })
    }

    /// Sends a frame of a source. `layer` is 0 without simulcast; `time` counts in the codec's clock.
    ///
    /// # Errors
    /// When it was not sent: it is lost.
    pub fn write(
        &mut self,
        now: Instant,
        source: SourceId,
        layer: usize,
        time: u64,
        data: Arc<[u8]>,
    ) -> Result<(), NotSent> {
        if !self.connected {
            return Err(NotSent::NotConnected);
        }
        let of = self.sources.get(&source).ok_or(NotSent::NoLine)?;
        let mut lines = self.lines.iter();
        let line = lines.find(|(_, on)| **on == Some(source));
        let mid = *line.ok_or(NotSent::NoLine)?.0;
        let writer = self.rtc.writer(mid).ok_or(NotSent::NoLine)?;
        let params = writer.payload_params().copied().collect::<Vec<_>>();
        let pt = payload_type(&params, of.codec).ok_or(NotSent::NoCodec)?;
        let params = params.iter().find(|params| params.pt() == pt);
        let clock = params.ok_or(NotSent::NoCodec)?.spec().clock_rate;
        let writer = match of.layers.get(layer) {
            Some(rid) => writer.rid(Rid::from(rid.as_str())),
            None => writer,
        };
        self.deadline = now;
        let written = writer.write(pt, now, MediaTime::new(time, clock), data);
        written.map_err(|error| {
            tracing::debug!(%error, "a frame was refused");
            NotSent::Refused
        })?;
        self.sent.frames += 1;
        // Several writes are not buffered: each is made packets of at once.
        self.poll(now);
        Ok(())
    }

    /// Asks for a keyframe on a line.
    pub fn request_keyframe(&mut self, now: Instant, mid: &str) {
        self.ask_keyframe(now, Mid::from(mid));
    }

    fn ask_keyframe(&mut self, now: Instant, mid: Mid) {
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid(mid, None) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.deadline = now;
        }
    }

    /// What has come on each line so far.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let samples = self.incoming.iter();
        samples
            .map(|(mid, on)| on.sample(mid.to_string()))
            .collect()
    }

    /// What was sent so far.
    #[must_use]
    pub const fn sent(&self) -> Sent {
        self.sent
    }

    /// Ends the transport in the open.
    pub fn close(&mut self, now: Instant) {
        self.deadline = now;
        if let Err(error) = self.rtc.close() {
            tracing::debug!(%error, "a transport could not be closed in the open");
            self.rtc.disconnect();
        }
    }

    /// Drives what is due and takes everything out.
    pub fn drain(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.say_again(now);
        self.negotiate(now);
        if self.deadline <= now
            && let Err(error) = self.rtc.handle_input(Input::Timeout(now))
        {
            self.broke(&error);
        }
        self.poll(now);
        out.append(&mut self.out);
    }

    fn poll(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(RtcOutput::Timeout(at)) => {
                    self.deadline = at;
                    if !self.rtc.is_alive() {
                        self.over();
                    }
                    return;
                }
                Ok(RtcOutput::Transmit(transmit)) => {
                    let bytes: Vec<u8> = transmit.contents.into();
                    if self.consent.allows(now, &bytes) {
                        let path = Path {
                            protocol: Protocol::Udp,
                            local: transmit.source,
                            remote: transmit.destination,
                        };
                        self.out.push(Output::Transmit { path, bytes });
                    }
                }
                Ok(RtcOutput::Event(event)) => self.event(now, event),
                Err(error) => {
                    self.broke(&error);
                    return self.over();
                }
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what str0m tells besides is of no use here"
    )]
    fn event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                (self.connected, self.was_connected) = (true, true);
                self.out.push(Output::Connected);
            }
            Event::IceConnectionStateChange(state) => {
                let reachable = match state {
                    IceConnectionState::Connected | IceConnectionState::Completed => true,
                    IceConnectionState::Disconnected => false,
                    IceConnectionState::New | IceConnectionState::Checking => return,
                };
                self.out.push(Output::Reachable(reachable));
            }
            Event::MediaAdded(added) if added.direction.is_sending() => {
                // A line that an offer of ours brought, although its answer was lost.
                self.lines.entry(added.mid).or_insert(None);
                self.resends(added.mid);
            }
            Event::KeyframeRequest(request) => self.keyframe_wanted(request.mid, request.rid),
            Event::RawPacket(packet) => self.counted(&packet),
            Event::MediaData(data) => {
                let incoming = self.incoming.entry(data.mid).or_default();
                let mid = data.mid;
                let (frame, asks) = incoming.frame(now, data);
                self.out.push(Output::Frame(frame));
                if asks {
                    self.ask_keyframe(now, mid);
                }
            }
            Event::Closed => self.over(),
            _ => {}
        }
    }

    /// What is sent on a line is sent again to whoever misses it.
    fn resends(&mut self, mid: Mid) {
        let source = self.lines.get(&mid).copied().flatten();
        let layers = source.and_then(|source| self.sources.get(&source));
        let layers = layers.map_or(&[][..], |of| of.layers.as_slice());
        let rids = layers.iter().map(|name| Some(Rid::from(name.as_str())));
        let mut api = self.rtc.direct_api();
        for rid in rids.chain([None]) {
            if let Some(stream) = api.stream_tx_by_mid(mid, rid) {
                config::resend(stream);
            }
        }
    }

    fn keyframe_wanted(&mut self, mid: Mid, rid: Option<Rid>) {
        let Some(source) = self.lines.get(&mid).copied().flatten() else {
            return;
        };
        let layers = self.sources.get(&source).map(|of| of.layers.as_slice());
        let layer = rid.and_then(|rid| {
            let mut layers = layers?.iter();
            layers.position(|name| Rid::from(name.as_str()) == rid)
        });
        let layer = layer.unwrap_or(0);
        self.out.push(Output::KeyframeWanted { source, layer });
    }

    /// A packet whose integrity is good.
    fn counted(&mut self, packet: &RawPacket) {
        match packet {
            RawPacket::RtpTx(..) => self.sent.packets += 1,
            RawPacket::RtpRx(header, payload) => {
                let mut api = self.rtc.direct_api();
                if let Some(stream) = api.stream_rx(&header.ssrc)
                    && stream.ssrc() == header.ssrc
                    && !payload.is_empty()
                {
                    let mid = stream.mid();
                    let incoming = self.incoming.entry(mid).or_default();
                    incoming.packet(*header.ssrc, header.sequence_number);
                }
            }
            RawPacket::RtcpTx(_) | RawPacket::RtcpRx(_) => {}
        }
    }

    fn over(&mut self) {
        self.connected = false;
        if !std::mem::replace(&mut self.is_over, true) {
            self.out.push(Output::Over);
        }
    }

    fn broke(&mut self, error: &RtcError) {
        tracing::debug!(%error, "a transport broke");
        self.rtc.disconnect();
    }
}

/// The payload type for a codec: of H.264, constrained baseline in several packets a frame.
fn payload_type(params: &[PayloadParams], codec: Codec) -> Option<Pt> {
    let wanted = match codec {
        Codec::Opus => RtcCodec::Opus,
        Codec::Vp8 => RtcCodec::Vp8,
        Codec::Vp9 => RtcCodec::Vp9,
        Codec::H264 => RtcCodec::H264,
        Codec::Av1 => RtcCodec::Av1,
        Codec::Other => return None,
    };
    let of_codec = params.iter().filter(|params| params.spec().codec == wanted);
    let rank = |params: &&PayloadParams| {
        let format = params.spec().format;
        let single = codec == Codec::H264 && format.packetization_mode != Some(1);
        let profile = format.profile_level_id.map(|id| id >> 8);
        (single, codec == Codec::H264 && profile != Some(0x42_e0))
    };
    of_codec.min_by_key(rank).map(PayloadParams::pt)
}

/// The kind that a line carries.
fn media_kind(kind: Kind) -> MediaKind {
    translate::media_kind(kind)
}
