//! Frames of a log's end, encoded once for all who read them.
//!
//! The ring holds committed frames only, bounded by bytes; what is older is in the store. A reader is
//! a position, never a queue, so that a slow one costs nothing here.

use std::{collections::VecDeque, sync::Arc};

use keel_wire::{RawData, Seq, codec::encode_event, record::StoredEvent};

/// An encoded event frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// The first position that it covers.
    pub(crate) from: Seq,
    /// The last.
    pub(crate) to: Seq,
    /// The WebSocket message.
    pub(crate) bytes: Arc<[u8]>,
}

impl Frame {
    pub(crate) fn new(from: Seq, to: Seq, kind: &str, data: &RawData) -> Self {
        Self {
            from,
            to,
            bytes: encode_event(from, to, kind, data).into(),
        }
    }
}

impl From<&StoredEvent> for Frame {
    fn from(event: &StoredEvent) -> Self {
        Self::new(event.from, event.to, &event.kind, &event.data)
    }
}

/// The last frames of a log.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// Bytes of all frames that were ever pushed: differences of it are lags.
    total: u64,
}

impl Ring {
    /// Appends a frame and forgets the oldest beyond `bytes_max`.
    pub(crate) fn push(&mut self, frame: Frame, bytes_max: usize) {
        assert!(
            self.frames
                .back()
                .is_none_or(|last| last.to.next() == frame.from),
            "a log has no holes"
        );
        self.bytes += frame.bytes.len();
        self.total += frame.bytes.len() as u64;
        self.frames.push_back(frame);
        self.shrink(bytes_max);
    }

    /// Forgets the oldest frames beyond `bytes_max`.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(frame) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= frame.bytes.len();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// Bytes of all frames that were ever pushed.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    /// The frame that a reader wants who has everything up to `sent`; `None` if it is not here.
    pub(crate) fn after(&self, sent: Seq) -> Option<&Frame> {
        let first = self.frames.front()?;
        if first.from > sent.next() {
            return None;
        }
        let index = self.frames.partition_point(|frame| frame.to <= sent);
        self.frames.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).unwrap()
    }

    fn frame(from: u64, to: u64) -> Frame {
        Frame {
            from: seq(from),
            to: seq(to),
            bytes: vec![b'x'; 10].into(),
        }
    }

    #[test]
    fn a_reader_finds_its_next_frame_or_learns_that_it_is_not_here() {
        let mut ring = Ring::default();
        for n in 1..=5 {
            ring.push(frame(n, n), 30);
        }
        assert_eq!(ring.after(seq(0)), None, "1 and 2 are forgotten");
        assert_eq!(ring.after(seq(1)), None);
        assert_eq!(ring.after(seq(2)).map(|frame| frame.from), Some(seq(3)));
        assert_eq!(ring.after(seq(4)).map(|frame| frame.from), Some(seq(5)));
        assert_eq!(ring.after(seq(5)), None, "caught up");
        assert_eq!(ring.total(), 50);
    }
}
