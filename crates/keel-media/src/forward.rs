//! One track on its way to one subscriber: whatever is switched at the source, what arrives is one
//! unbroken stream.
//!
//! Each packet's number and time are moved by an offset that is fixed while the source stays the same,
//! so that loss, reordering and retransmission look to the subscriber as they were. A new source (another
//! layer, another track, a publisher that came back) begins with a keyframe, right behind what was sent
//! last. Numbers begin below 65,536, so that SRTP's roll-over counter begins at 0 (RFC 3711 §3.3.1).

use std::time::Instant;

use str0m::rtp::{Vp8Descriptor, Vp8Patch};

use crate::{
    layers::Layer,
    packet::{Codec, Kind, Packet},
};

/// A packet's place in the subscriber's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) seq: u64,
    pub(crate) time: u32,
    pub(crate) patch: Option<Vp8Patch>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Send(Placed),
    /// It is of another layer than this subscriber is sent.
    OtherLayer,
    /// A decoder could not begin with it: a keyframe is waited for.
    AwaitsKeyframe,
    /// It is older than the stream's switch to its source.
    Stale,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Forward {
    kind: Kind,
    /// Where packets come from at present.
    source: Option<Source>,
    /// What is to be switched to at its next keyframe.
    wanted: Option<Layer>,
    /// The highest that was sent.
    last: Option<Tail>,
}

/// A source, and how far its packets are moved. Offsets wrap: only their sums mean something.
#[derive(Debug, Clone, Copy)]
struct Source {
    layer: Layer,
    /// Who numbers its packets.
    ssrc: u32,
    /// The first that was sent of it.
    first_seq: u64,
    seq: u64,
    time: u32,
    picture: u16,
    tl0: u8,
}

impl Source {
    fn is_of(&self, packet: &Packet) -> bool {
        (self.layer, self.ssrc) == (packet.layer, packet.source)
    }
}

/// The last packet that was sent on a line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tail {
    seq: u64,
    time: u32,
    picture: u16,
    tl0: u8,
    at: Instant,
}

impl Forward {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            source: None,
            wanted: None,
            last: None,
        }
    }

    /// It goes on a line that carried another track before: behind what was sent of that.
    pub(crate) const fn go_on_behind(&mut self, tail: Option<Tail>) {
        self.last = tail;
    }

    /// What was sent last: what comes next on this line goes on behind it.
    pub(crate) const fn tail(&self) -> Option<Tail> {
        self.last
    }

    /// Which layer is to be sent. True if a keyframe of it is needed for that.
    pub(crate) fn aim(&mut self, layer: Layer) -> bool {
        let is_there = self.source.is_some_and(|source| source.layer == layer);
        self.wanted = (!is_there).then_some(layer);
        self.kind == Kind::Video && !is_there
    }

    /// Nothing can be sent for a while: what is sent then begins like a new source, with a keyframe and
    /// right behind the last, instead of with pieces that cannot be shown and a gap that nobody fills.
    pub(crate) fn interrupt(&mut self) {
        if let Some(source) = self.source.take() {
            self.wanted.get_or_insert(source.layer);
        }
    }

    /// The layer that is sent, or is to be.
    pub(crate) fn layer(&self) -> Option<Layer> {
        self.wanted
            .or_else(|| self.source.map(|source| source.layer))
    }

    /// Finds a packet's place.
    pub(crate) fn place(&mut self, packet: &Packet) -> Verdict {
        let can_begin =
            packet.starts_keyframe || self.kind == Kind::Audio || packet.codec == Codec::Other;
        let switches = self.wanted == Some(packet.layer) && can_begin;
        let source = match self.source {
            Some(source) if source.is_of(packet) => source,
            // Its publisher numbers it anew: what comes has nothing to do with what came.
            Some(source) if source.layer == packet.layer && can_begin => {
                let source = self.begin(packet);
                self.source = Some(source);
                source
            }
            Some(source) if source.layer == packet.layer => return Verdict::AwaitsKeyframe,
            _ if switches => {
                let source = self.begin(packet);
                (self.source, self.wanted) = (Some(source), None);
                source
            }
            Some(_) if self.wanted == Some(packet.layer) => return Verdict::AwaitsKeyframe,
            Some(_) => return Verdict::OtherLayer,
            None if self.wanted.is_some_and(|wanted| wanted != packet.layer) => {
                return Verdict::OtherLayer;
            }
            None => return Verdict::AwaitsKeyframe,
        };
        if packet.seq < source.first_seq {
            return Verdict::Stale;
        }
        Verdict::Send(self.moved(source, packet))
    }

    /// A new source's first packet comes right behind the last that was sent, later by as much as the
    /// clock on the wall says.
    fn begin(&self, packet: &Packet) -> Source {
        let (picture, tl0) = picture_of(packet).unwrap_or_default();
        let Some(last) = self.last else {
            return Source {
                layer: packet.layer,
                ssrc: packet.source,
                first_seq: packet.seq,
                seq: FIRST_SEQ.wrapping_sub(packet.seq),
                time: 0,
                picture: 0,
                tl0: 0,
            };
        };
        let passed = packet.at.saturating_duration_since(last.at).as_micros();
        let ticks = passed * u128::from(packet.clock) / 1_000_000;
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
        Source {
            layer: packet.layer,
            ssrc: packet.source,
            first_seq: packet.seq,
            seq: (last.seq + 1).wrapping_sub(packet.seq),
            time: last.time.wrapping_add(ticks).wrapping_sub(packet.time),
            picture: (last.picture + 1).wrapping_sub(picture),
            tl0: last.tl0.wrapping_add(1).wrapping_sub(tl0),
        }
    }

    fn moved(&mut self, source: Source, packet: &Packet) -> Placed {
        let seq = packet.seq.wrapping_add(source.seq);
        let time = packet.time.wrapping_add(source.time);
        let numbered = picture_of(packet);
        let (picture, tl0) = numbered.unwrap_or_default();
        let picture = picture.wrapping_add(source.picture) & PICTURE_MASK;
        let tl0 = tl0.wrapping_add(source.tl0);
        let moves_pictures = source.picture != 0 || source.tl0 != 0;
        let patch = numbered
            .filter(|_| moves_pictures)
            .and_then(|_| patch_of(packet, picture, tl0));
        if self.last.is_none_or(|last| seq > last.seq) {
            self.last = Some(Tail {
                seq,
                time,
                picture,
                tl0,
                at: packet.at,
            });
        }
        Placed { seq, time, patch }
    }
}

/// Where every stream begins.
const FIRST_SEQ: u64 = 1_000;
/// Of a picture id of 15 bits (RFC 7741 §4.2).
const PICTURE_MASK: u16 = 0x7fff;

/// A VP8 packet's picture id and TL0PICIDX: decoders take a jump in them for loss.
fn picture_of(packet: &Packet) -> Option<(u16, u8)> {
    if packet.codec != Codec::Vp8 {
        return None;
    }
    let descriptor = Vp8Descriptor::parse(&packet.payload).ok()?;
    let picture = descriptor.picture_id();
    let tl0 = descriptor.tl0_pic_idx();
    (picture.is_some() || tl0.is_some()).then(|| (picture.unwrap_or(0), tl0.unwrap_or(0)))
}

fn patch_of(packet: &Packet, picture: u16, tl0: u8) -> Option<Vp8Patch> {
    let descriptor = Vp8Descriptor::parse(&packet.payload).ok()?;
    let mut patch = descriptor.patch();
    if descriptor.picture_id().is_some() {
        patch = patch.picture_id(picture);
    }
    if descriptor.tl0_pic_idx().is_some() {
        patch = patch.tl0_pic_idx(tl0);
    }
    patch.build().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::peer::{Extensions, Format};

    const SMALL: Layer = Layer(0);
    const LARGE: Layer = Layer(2);

    fn video(layer: Layer, seq: u64, time: u32, at: Instant, starts_keyframe: bool) -> Packet {
        Packet {
            kind: Kind::Video,
            layer,
            codec: Codec::H264,
            format: Format::any(),
            source: 7,
            seq,
            time,
            clock: 90_000,
            marker: true,
            extensions: Extensions::default(),
            payload: vec![0; 8].into(),
            at,
            starts_keyframe,
        }
    }

    fn sent(verdict: Verdict) -> Placed {
        let Verdict::Send(placed) = verdict else {
            panic!("{verdict:?}");
        };
        placed
    }

    #[test]
    fn nothing_is_sent_before_a_keyframe() {
        let now = Instant::now();
        let mut forward = Forward::new(Kind::Video);
        assert!(forward.aim(SMALL));
        let first = video(SMALL, 70_000, 5, now, false);
        assert_eq!(forward.place(&first), Verdict::AwaitsKeyframe);
        let key = video(SMALL, 70_001, 9, now, true);
        let placed = sent(forward.place(&key));
        assert!(placed.seq < 65_536, "a roll-over counter begins at 0");
    }

    #[test]
    fn loss_and_reordering_stay_as_they_were() {
        let now = Instant::now();
        let mut forward = Forward::new(Kind::Video);
        forward.aim(SMALL);
        let base = sent(forward.place(&video(SMALL, 10, 0, now, true))).seq;
        let seqs: Vec<u64> = [12, 11, 15, 13]
            .map(|seq| sent(forward.place(&video(SMALL, seq, 0, now, false))).seq - base)
            .into();
        assert_eq!(seqs, [2, 1, 5, 3]);
        let before = video(SMALL, 9, 0, now, false);
        assert_eq!(forward.place(&before), Verdict::Stale);
    }

    #[test]
    fn another_layer_follows_without_a_seam_v16() {
        let start = Instant::now();
        let mut forward = Forward::new(Kind::Video);
        forward.aim(SMALL);
        let last = sent(forward.place(&video(SMALL, 500, 9_000, start, true)));
        assert!(forward.aim(LARGE));
        let later = start + Duration::from_millis(100);
        let delta = video(LARGE, 40, 777, later, false);
        assert_eq!(forward.place(&delta), Verdict::AwaitsKeyframe);
        // The old layer goes on until the new one can begin.
        let old = sent(forward.place(&video(SMALL, 501, 12_000, later, false)));
        assert_eq!(old.seq, last.seq + 1);
        let later = later + Duration::from_millis(33);
        let key = sent(forward.place(&video(LARGE, 41, 3_777, later, true)));
        assert_eq!(key.seq, old.seq + 1);
        assert_eq!(key.time.wrapping_sub(old.time), 90 * 33);
        assert_eq!(
            forward.place(&video(SMALL, 502, 15_000, later, false)),
            Verdict::OtherLayer
        );
        assert_eq!(
            forward.place(&video(LARGE, 40, 777, later, false)),
            Verdict::Stale
        );
    }

    #[test]
    fn pictures_of_vp8_are_numbered_on() {
        let start = Instant::now();
        let vp8 = |layer, seq, picture: u16, key: bool| {
            let [high, low] = (picture | 0x8000).to_be_bytes();
            // X, I and L, a picture id of 15 bits, TL0PICIDX 7, TID; then the payload's header.
            let payload = [0x90, 0xe0, high, low, 7, 0x20, u8::from(!key), 0, 0, 0];
            Packet {
                codec: Codec::Vp8,
                payload: payload.to_vec().into(),
                ..video(layer, seq, 0, start, key)
            }
        };
        let mut forward = Forward::new(Kind::Video);
        forward.aim(SMALL);
        let first = sent(forward.place(&vp8(SMALL, 1, 100, true)));
        assert_eq!(first.patch, None, "as it came");
        forward.aim(LARGE);
        let second = sent(forward.place(&vp8(LARGE, 900, 5, true)));
        assert!(second.patch.is_some(), "numbered on");
        assert_eq!(forward.last.map(|last| last.picture), Some(101));
        sent(forward.place(&vp8(LARGE, 901, 6, false)));
        assert_eq!(forward.last.map(|last| last.picture), Some(102));
    }

    #[test]
    fn a_line_that_is_used_again_goes_on_where_it_was() {
        let start = Instant::now();
        let mut first = Forward::new(Kind::Video);
        first.aim(SMALL);
        let before = sent(first.place(&video(SMALL, 4, 90, start, true)));
        let mut second = Forward::new(Kind::Video);
        second.go_on_behind(first.tail());
        second.aim(SMALL);
        let later = start + Duration::from_secs(1);
        let after = sent(second.place(&video(SMALL, 77_777, 5, later, true)));
        assert_eq!(after.seq, before.seq + 1);
        assert_eq!(after.time.wrapping_sub(before.time), 90_000);
    }

    #[test]
    fn a_publisher_that_numbers_anew_is_followed_from_its_next_keyframe_m16() {
        let start = Instant::now();
        let mut forward = Forward::new(Kind::Video);
        forward.aim(SMALL);
        let before = sent(forward.place(&video(SMALL, 70_000, 9_000, start, true)));
        let later = start + Duration::from_millis(100);
        let anew = |seq, key| Packet {
            source: 8,
            ..video(SMALL, seq, 5, later, key)
        };
        assert_eq!(forward.place(&anew(3, false)), Verdict::AwaitsKeyframe);
        let key = sent(forward.place(&anew(4, true)));
        assert_eq!(key.seq, before.seq + 1);
        assert_eq!(key.time.wrapping_sub(before.time), 9_000);
        assert_eq!(sent(forward.place(&anew(5, false))).seq, key.seq + 1);
        // What is still under way of the one before is of no use to a decoder any more.
        let late = video(SMALL, 70_001, 9_100, later, false);
        assert_eq!(forward.place(&late), Verdict::AwaitsKeyframe);
    }

    #[test]
    fn sound_needs_no_keyframe() {
        let now = Instant::now();
        let mut forward = Forward::new(Kind::Audio);
        assert!(!forward.aim(SMALL));
        sent(forward.place(&video(SMALL, 1, 0, now, false)));
    }
}
