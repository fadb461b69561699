//! A moving test picture that needs no codec: H.264 of macroblocks that are not compressed.
//!
//! Every frame carries its number twice: as digits for people, and as forty squares along the top that
//! [`number`] reads without a decoder, and that anybody reads from the decoded picture. So whoever
//! receives it can say which frames were lost, and which came twice.

mod bits;
mod draw;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bits::{Reader, Writer};
use draw::{Block, COLUMNS, ROWS};

use super::Frame;

/// Its width in samples.
pub const WIDTH: usize = COLUMNS * 16;
/// Its height in samples.
pub const HEIGHT: usize = ROWS * 16;
/// Frames a second, unless told otherwise.
pub const FRAMES_PER_SECOND: u32 = 30;

/// Frames between two keyframes that nobody asked for.
const KEYFRAME_EVERY: u32 = 300;
/// `mb_type` of a macroblock that is not compressed, in a slice of I macroblocks; P slices add 5.
const I_PCM: u32 = 25;
const NAL_SLICE: u8 = 0x41;
const NAL_IDR: u8 = 0x65;

/// Makes the frames of the test picture, one after the other.
#[derive(Debug)]
pub struct Pattern {
    next: u32,
    /// Pictures since the last keyframe.
    since_key: u32,
    keyframes: u32,
    frame: Duration,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new(FRAMES_PER_SECOND)
    }
}

impl Pattern {
    /// A picture of so many frames a second, from number 0.
    #[must_use]
    pub fn new(frames_per_second: u32) -> Self {
        Self {
            next: 0,
            since_key: KEYFRAME_EVERY,
            keyframes: 0,
            frame: Duration::from_secs(1) / frames_per_second.max(1),
        }
    }

    /// From one frame to the next.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.frame
    }

    /// The number of the frame that comes next.
    #[must_use]
    pub const fn next_number(&self) -> u32 {
        self.next
    }

    /// The next frame; a keyframe if one is wanted, and now and then anyway.
    pub fn frame(&mut self, wants_key: bool) -> Frame {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let key = wants_key || self.since_key >= KEYFRAME_EVERY;
        let data = if key {
            self.since_key = 1;
            self.keyframes = self.keyframes.wrapping_add(1);
            keyframe(number, self.keyframes)
        } else {
            let data = difference(number, self.since_key);
            self.since_key += 1;
            data
        };
        Frame {
            data: Arc::from(data),
            timestamp: self.frame * number,
            key,
        }
    }
}

/// What became of the frames of one test picture, by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that came for the first time.
    pub received: u64,
    /// Numbers between the first and the last that did not come.
    pub lost: u64,
    /// Frames that had come before.
    pub doubled: u64,
    /// Frames that came after a later one.
    pub late: u64,
    /// The longest span between two frames that came.
    pub longest_gap: Duration,
    first: Option<u32>,
    last: u32,
    last_at: Option<Instant>,
    /// Which of the numbers up to the last have come: bit 0 is the last.
    window: u128,
}

impl Tally {
    /// A frame came.
    pub fn take(&mut self, number: u32, at: Instant) {
        if let Some(before) = self.last_at {
            let gap = at.saturating_duration_since(before);
            self.longest_gap = self.longest_gap.max(gap);
        }
        self.last_at = Some(at);
        if self.first.is_none() {
            (self.first, self.last, self.window) = (Some(number), number, 1);
            self.received = 1;
            return;
        }
        if let Some(ahead) = number.checked_sub(self.last).filter(|ahead| *ahead > 0) {
            self.lost += u64::from(ahead - 1);
            self.window = self.window.checked_shl(ahead).unwrap_or(0) | 1;
            self.last = number;
            self.received += 1;
            return;
        }
        let bit = 1_u128.checked_shl(self.last - number).unwrap_or(0);
        if bit == 0 || self.window & bit != 0 {
            self.doubled += 1;
            return;
        }
        self.window |= bit;
        self.received += 1;
        self.late += 1;
        if self.first.is_some_and(|first| number > first) {
            self.lost = self.lost.saturating_sub(1);
        }
    }

    /// The number that came last, of those in order.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.first.map(|_| self.last)
    }
}

/// The number that a frame of the picture carries; `None` if it is no frame of it.
#[must_use]
pub fn number(frame: &[u8]) -> Option<u32> {
    let nals = bits::nals(frame);
    let slice = nals.into_iter().find(|nal| {
        let header = nal.first();
        header == Some(&NAL_SLICE) || header == Some(&NAL_IDR)
    })?;
    let is_key = slice.first() == Some(&NAL_IDR);
    let payload = bits::without_emulation(slice.get(1..)?);
    let mut read = Reader::new(&payload);
    // first_mb_in_slice, slice_type, pic_parameter_set_id, frame_num.
    for _ in 0..3 {
        read.ue()?;
    }
    read.bits(4)?;
    if is_key {
        // idr_pic_id, and what becomes of the references.
        read.ue()?;
    }
    read.bits(if is_key { 2 } else { 3 })?;
    // slice_qp_delta, disable_deblocking_filter_idc.
    read.ue()?;
    read.ue()?;
    let mut squares = 0_u64;
    for _ in 0..COLUMNS {
        if !is_key && read.ue()? != 0 {
            return None;
        }
        let wanted = if is_key { I_PCM } else { I_PCM + 5 };
        if read.ue()? != wanted {
            return None;
        }
        let block = read.bytes(draw::BLOCK_BYTES)?;
        squares = (squares << 4) | draw::read_squares(block)?;
    }
    draw::number(squares)
}

/// A picture that needs none before it.
fn keyframe(number: u32, nth: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(COLUMNS * ROWS * 400);
    bits::nal(&mut out, &sequence_parameters());
    bits::nal(&mut out, &picture_parameters());
    let mut slice = Writer::new(NAL_IDR);
    slice.ue(0);
    // slice_type: all of them are I.
    slice.ue(7);
    slice.ue(0);
    slice.bits(0, 4);
    // idr_pic_id differs from that of the keyframe before.
    slice.ue(nth % 2);
    slice.bits(0, 2);
    slice.se_zero();
    slice.ue(1);
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            slice.ue(I_PCM);
            slice.aligned(&draw::block(number, column, row));
        }
    }
    slice.trailing();
    bits::nal(&mut out, slice.bytes());
    out
}

/// A picture of which most is as before.
fn difference(number: u32, since_key: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(COLUMNS * 2 * 400);
    let mut slice = Writer::new(NAL_SLICE);
    slice.ue(0);
    // slice_type: all of them are P.
    slice.ue(5);
    slice.ue(0);
    slice.bits(since_key % 16, 4);
    // As many references as said before, in their order, and none is marked.
    slice.bits(0, 3);
    slice.se_zero();
    slice.ue(1);
    let mut skipped = 0;
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let block: Block = draw::block(number, column, row);
            // The squares are in every frame, so that every frame can be read by itself.
            let before = number.wrapping_sub(1);
            if row > 0 && block == draw::block(before, column, row) {
                skipped += 1;
                continue;
            }
            slice.ue(skipped);
            skipped = 0;
            slice.ue(I_PCM + 5);
            slice.aligned(&block);
        }
    }
    if skipped > 0 {
        slice.ue(skipped);
    }
    slice.trailing();
    bits::nal(&mut out, slice.bytes());
    out
}

/// Constrained baseline, level 3.1, as browsers take it (`42e01f`).
fn sequence_parameters() -> Vec<u8> {
    let mut out = Writer::new(0x67);
    for byte in [0x42, 0xe0, 0x1f] {
        out.bits(byte, 8);
    }
    out.ue(0);
    // log2_max_frame_num_minus4.
    out.ue(0);
    // pic_order_cnt_type: pictures are shown in the order in which they come.
    out.ue(2);
    // max_num_ref_frames.
    out.ue(1);
    out.bits(0, 1);
    out.ue(units(COLUMNS) - 1);
    out.ue(units(ROWS) - 1);
    // frame_mbs_only, direct_8x8_inference; neither cropping nor VUI.
    out.bits(0b1100, 4);
    out.trailing();
    out.bytes().to_vec()
}

fn picture_parameters() -> Vec<u8> {
    let mut out = Writer::new(0x68);
    out.ue(0);
    out.ue(0);
    // CAVLC, no fields.
    out.bits(0, 2);
    // One slice group, one reference.
    out.ue(0);
    out.ue(0);
    out.ue(0);
    // No weighted prediction.
    out.bits(0, 3);
    for _ in 0..3 {
        out.se_zero();
    }
    // deblocking_filter_control_present, the others not.
    out.bits(0b100, 3);
    out.trailing();
    out.bytes().to_vec()
}

fn units(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_tells_its_number() {
        let mut pattern = Pattern::default();
        for expected in 0..700_u32 {
            let frame = pattern.frame(expected == 77);
            assert_eq!(number(&frame.data), Some(expected));
            let key = expected == 77 || expected == 0 || expected == 377 || expected == 677;
            assert_eq!(frame.key, key, "frame {expected}");
            if !key {
                assert!(frame.data.len() < 8_000, "{}", frame.data.len());
            }
        }
    }

    #[test]
    fn numbers_tell_what_was_lost_doubled_and_late() {
        let mut tally = Tally::default();
        let start = Instant::now();
        for (nth, number) in (0_u32..).zip([5, 6, 9, 8, 8, 10, 5]) {
            tally.take(number, start + Duration::from_millis(33) * nth);
        }
        assert_eq!((tally.received, tally.lost), (5, 1), "{tally:?}");
        assert_eq!((tally.doubled, tally.late), (2, 1), "{tally:?}");
        assert_eq!(tally.longest_gap, Duration::from_millis(33));
        assert_eq!(tally.last(), Some(10));
    }

    #[test]
    fn what_is_no_frame_of_it_has_no_number() {
        let frame = Pattern::default().frame(true).data;
        assert_eq!(number(&[]), None);
        assert_eq!(number(&[0, 0, 1, 0x65]), None);
        let mut broken = frame.to_vec();
        // A square of the first row.
        let at = broken.len() - COLUMNS * ROWS * 386 + 8;
        for byte in &mut broken[at..at + 256] {
            *byte = 255 - *byte;
        }
        assert_eq!(number(&broken), None, "its check does not hold");
        for cut in (0..frame.len()).step_by(97) {
            let _ = number(&frame[..cut]);
        }
    }
}
