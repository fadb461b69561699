//! H.264 as Annex B: NAL units behind start codes, put together to pictures.

use std::{io::Read, sync::Arc, time::Duration};

use super::{FRAME_BYTES_MAX, FileError, Frame};

const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Reader<R> {
    from: R,
    /// From a start code on.
    read: Vec<u8>,
    /// Where to look for the next start code.
    looked: usize,
    ended: bool,
    picture: Vec<u8>,
    has_slice: bool,
    has_key: bool,
    period: Duration,
    pictures: u32,
}

impl<R: Read> Reader<R> {
    pub(super) const fn new(from: R, period: Duration) -> Self {
        Self {
            from,
            read: Vec::new(),
            looked: 0,
            ended: false,
            picture: Vec::new(),
            has_slice: false,
            has_key: false,
            period,
            pictures: 0,
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Frame>, FileError> {
        while let Some(nal) = self.nal()? {
            let begins = self.has_slice && begins_picture(&nal);
            let done = begins.then(|| self.take());
            self.has_slice |= matches!(kind(&nal), 1 | 5);
            self.has_key |= kind(&nal) == 5;
            self.picture.extend_from_slice(&[0, 0, 0, 1]);
            self.picture.extend_from_slice(&nal);
            if self.picture.len() > FRAME_BYTES_MAX {
                return Err(FileError::Malformed("a picture is too large"));
            }
            if done.is_some() {
                return Ok(done);
            }
        }
        Ok(self.has_slice.then(|| self.take()))
    }

    fn take(&mut self) -> Frame {
        self.has_slice = false;
        let timestamp = self.period * self.pictures;
        self.pictures = self.pictures.saturating_add(1);
        Frame {
            data: Arc::from(std::mem::take(&mut self.picture)),
            timestamp,
            key: std::mem::take(&mut self.has_key),
        }
    }

    /// The next NAL unit, without its start code.
    fn nal(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        loop {
            let begin = start_code(&self.read, 0);
            let from = begin.map_or(0, |at| at + 3).max(self.looked);
            if let Some(begin) = begin
                && let Some(end) = start_code(&self.read, from)
            {
                let nal = trimmed(self.read.get(begin + 3..end).unwrap_or_default()).to_vec();
                self.read.drain(..end);
                self.looked = 0;
                if nal.is_empty() {
                    continue;
                }
                return Ok(Some(nal));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.read);
                let Some(begin) = begin else {
                    let nothing = rest.iter().all(|byte| *byte == 0);
                    let odd = FileError::Malformed("it has no start code");
                    return if nothing { Ok(None) } else { Err(odd) };
                };
                let nal = trimmed(rest.get(begin + 3..).unwrap_or_default()).to_vec();
                return Ok((!nal.is_empty()).then_some(nal));
            }
            self.looked = self
                .read
                .len()
                .saturating_sub(2)
                .max(from.min(self.read.len()));
            if self.read.len() > FRAME_BYTES_MAX {
                return Err(FileError::Malformed("a picture is too large"));
            }
            let had = self.read.len();
            self.read.resize(had + CHUNK, 0);
            let more = self
                .from
                .read(self.read.get_mut(had..).unwrap_or_default())?;
            self.read.truncate(had + more);
            self.ended = more == 0;
        }
    }
}

fn start_code(bytes: &[u8], from: usize) -> Option<usize> {
    let mut windows = bytes.get(from..)?.windows(3);
    windows.position(|of| of == [0, 0, 1]).map(|at| from + at)
}

/// Without the zeros that belong to the start code behind it.
fn trimmed(nal: &[u8]) -> &[u8] {
    let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
    nal.get(..nal.len() - zeros).unwrap_or_default()
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// Whether a NAL unit behind a slice is of the next picture (ITU-T H.264 §7.4.1.2.3, as far as streams of
/// one layer need it): parameters and the like, or a slice that begins with the first macroblock.
fn begins_picture(nal: &[u8]) -> bool {
    match kind(nal) {
        1 | 5 => nal.get(1).is_some_and(|byte| byte & 0x80 != 0),
        6..=9 | 14..=18 => true,
        _ => false,
    }
}

/// Whether a decoder can start at a picture.
pub(super) fn is_key(picture: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = start_code(picture, at) {
        at = found + 3;
        if picture.get(at).is_some_and(|header| header & 0x1f == 5) {
            return true;
        }
    }
    false
}
