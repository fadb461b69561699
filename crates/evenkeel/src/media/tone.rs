//! A tone that needs no codec: a second of Opus, coded beforehand, over and over.

use std::{sync::Arc, time::Duration};

use super::Frame;

/// 440 Hz, mono, 12 kbit/s: the length of each frame in a byte, then the frame.
const FRAMES: &[u8] = include_bytes!("tone.frames");

/// Makes the frames of the tone, one after the other.
#[derive(Debug, Default)]
pub struct Tone {
    next: u32,
    at: usize,
}

impl Tone {
    /// From one frame to the next.
    pub const PERIOD: Duration = Duration::from_millis(20);

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        if self.at >= FRAMES.len() {
            self.at = 0;
        }
        let rest = FRAMES.get(self.at..).unwrap_or_default();
        let (length, rest) = rest.split_first().unwrap_or((&0, &[]));
        let length = usize::from(*length);
        self.at += 1 + length;
        let timestamp = Self::PERIOD * self.next;
        self.next = self.next.wrapping_add(1);
        Frame {
            data: Arc::from(rest.get(..length).unwrap_or_default()),
            timestamp,
            key: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_frames_comes_over_and_over() {
        let mut tone = Tone::default();
        let first: Vec<Frame> = (0..50).map(|_| tone.frame()).collect();
        let again: Vec<Frame> = (0..50).map(|_| tone.frame()).collect();
        assert!(first.iter().all(|frame| frame.data.len() == 30));
        for (one, other) in first.iter().zip(&again) {
            assert_eq!(one.data, other.data);
            assert_eq!(other.timestamp - one.timestamp, Duration::from_secs(1));
        }
    }
}
