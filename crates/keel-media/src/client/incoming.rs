//! What comes on a line: counted, and watched for what a decoder cannot use.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use str0m::media::MediaData;

use crate::{
    limits,
    packet::{Codec, Kind},
    peer::translate,
};

/// A frame that has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// On which line.
    pub mid: String,
    /// Of what.
    pub kind: Kind,
    /// How it is coded.
    pub codec: Codec,
    /// Its place in time, from an origin of the sender's.
    pub time: Duration,
    /// A decoder can start here.
    pub key: bool,
    /// Nothing is missing since the frame before.
    pub contiguous: bool,
    /// H.264 as Annex B, VP8 and Opus as they are.
    pub data: Arc<[u8]>,
    /// When its first packet came.
    pub at: Instant,
}

/// What has come on a line so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Which line (RFC 8843's `mid`).
    pub mid: String,
    /// RTP packets whose integrity was good, each counted once; not those sent again.
    pub packets: u64,
    /// Numbers that were passed over, and did not come by themselves.
    pub lost: u64,
    /// Whole frames.
    pub frames: u64,
    /// Pictures that a decoder can show; absent where there is no picture.
    pub shown: Option<u64>,
    /// Keyframes among the frames.
    pub keyframes: u64,
    /// Keyframes that were asked for.
    pub asked: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// By synchronization source.
    streams: BTreeMap<u32, Numbers>,
    frames: u64,
    shown: u64,
    keyframes: u64,
    asked: u64,
    is_video: bool,
    /// What comes can be decoded: a keyframe came, and nothing was missing since.
    decodes: bool,
    asked_at: Option<Instant>,
}

impl Incoming {
    pub(super) fn packet(&mut self, ssrc: u32, seq: u16) {
        // A server keeps one source a line; more would be somebody's mischief.
        if self.streams.len() < 16 || self.streams.contains_key(&ssrc) {
            self.streams.entry(ssrc).or_default().take(seq);
        }
    }

    /// The frame, and whether a keyframe is to be asked for.
    pub(super) fn frame(&mut self, now: Instant, data: MediaData) -> (Frame, bool) {
        let codec = translate::codec(data.params.spec().codec);
        let kind = translate::kind(data.params.spec().codec.kind());
        let key = kind == Kind::Audio || data.is_keyframe();
        self.frames += 1;
        let mut asks = false;
        if kind == Kind::Video {
            self.is_video = true;
            self.decodes = key || (self.decodes && data.contiguous);
            self.keyframes += u64::from(key);
            self.shown += u64::from(self.decodes);
            let rested = |at: Instant| now.saturating_duration_since(at) >= limits::KEYFRAME_GAP;
            if !self.decodes && self.asked_at.is_none_or(rested) {
                self.asked_at = Some(now);
                self.asked += 1;
                asks = true;
            }
        }
        let frame = Frame {
            mid: data.mid.to_string(),
            kind,
            codec,
            time: data.time.into(),
            key,
            contiguous: data.contiguous,
            data: data.data,
            at: data.network_time,
        };
        (frame, asks)
    }

    pub(super) fn sample(&self, mid: String) -> Sample {
        let streams = self.streams.values();
        let (packets, lost) = streams.fold((0, 0), |(packets, lost), numbers| {
            (packets + numbers.received, lost + numbers.lost())
        });
        Sample {
            mid,
            packets,
            lost,
            frames: self.frames,
            shown: self.is_video.then_some(self.shown),
            keyframes: self.keyframes,
            asked: self.asked,
        }
    }
}

/// The numbers of one stream (RFC 3550 §A.3), each counted once within a window.
#[derive(Debug, Default)]
struct Numbers {
    first: Option<u64>,
    highest: u64,
    received: u64,
    /// Which of the numbers below the highest have come: bit 0 is the highest.
    window: u128,
}

impl Numbers {
    fn take(&mut self, seq: u16) {
        let Some(first) = self.first else {
            let extended = u64::from(seq) + (1 << 16);
            (self.first, self.highest) = (Some(extended), extended);
            (self.received, self.window) = (1, 1);
            return;
        };
        let (low, _) = (self.highest as u16, ());
        let ahead = seq.wrapping_sub(low);
        if ahead == 0 {
            return;
        }
        if ahead < 1 << 15 {
            self.highest += u64::from(ahead);
            self.window = self.window.checked_shl(ahead.into()).unwrap_or(0) | 1;
            self.received += 1;
            return;
        }
        let behind = low.wrapping_sub(seq);
        let extended = self.highest.saturating_sub(behind.into());
        let bit = 1_u128.checked_shl(behind.into()).unwrap_or(0);
        if bit == 0 || self.window & bit != 0 {
            return;
        }
        self.window |= bit;
        self.received += 1;
        self.first = Some(first.min(extended));
    }

    const fn lost(&self) -> u64 {
        match self.first {
            Some(first) => (self.highest - first + 1).saturating_sub(self.received),
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(numbers: impl IntoIterator<Item = u16>) -> (u64, u64) {
        let mut counted = Numbers::default();
        for seq in numbers {
            counted.take(seq);
        }
        (counted.received, counted.lost())
    }

    #[test]
    fn numbers_are_counted_once_over_the_wrap_and_in_any_order() {
        assert_eq!(after([]), (0, 0));
        assert_eq!(after(65_530..=65_535), (6, 0));
        assert_eq!(after((65_530..=65_535).chain(0..10)), (16, 0));
        assert_eq!(after([1, 2, 4, 5]), (4, 1), "one is missing");
        assert_eq!(after([1, 2, 4, 3, 5]), (5, 0), "it came late");
        assert_eq!(after([1, 2, 2, 3, 2, 3]), (3, 0), "twice is once");
        assert_eq!(after([5, 4, 6]), (3, 0), "before the first");
        assert_eq!(after([65_535, 1]), (2, 1));
    }
}
