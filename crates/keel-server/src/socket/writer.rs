//! Frames on their way out, written together and without being copied.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use super::Transport;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// Longest reason of a close frame, in bytes.
const REASON_BYTES_MAX: usize = 123;
/// Pieces of one write.
const SLICES_MAX: usize = 32;
/// What is no larger than this in all is copied together: that costs less than a vectored write.
const COPIED_BYTES_MAX: usize = 1024;

/// An unmasked frame's header: at most two bytes and a length of eight.
type Header = ([u8; 10], u8);

#[derive(Debug)]
struct Chunk {
    header: Header,
    payload: Arc<[u8]>,
    written: usize,
    /// Payload that the Node wants to hear of.
    counts: bool,
}

impl Chunk {
    fn len(&self) -> usize {
        usize::from(self.header.1) + self.payload.len()
    }

    fn rest(&self) -> [&[u8]; 2] {
        let header = &self.header.0[..usize::from(self.header.1)];
        let in_payload = self.written.saturating_sub(header.len());
        [
            &header[self.written.min(header.len())..],
            &self.payload[in_payload..],
        ]
    }
}

#[derive(Debug, Default)]
pub(super) struct Writer {
    queue: VecDeque<Chunk>,
    raw_bytes: usize,
}

impl Writer {
    pub(super) fn push_text(&mut self, payload: Arc<[u8]>) {
        self.push(header(TEXT, payload.len()), payload, true);
    }

    pub(super) fn push_close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        let end = reason.floor_char_boundary(REASON_BYTES_MAX);
        payload.extend_from_slice(&reason.as_bytes()[..end]);
        self.push(header(CLOSE, payload.len()), payload.into(), false);
    }

    /// What is a frame already.
    pub(super) fn push_raw(&mut self, bytes: Vec<u8>) {
        self.raw_bytes += bytes.len();
        self.push(([0; 10], 0), bytes.into(), false);
    }

    fn push(&mut self, header: Header, payload: Arc<[u8]>, counts: bool) {
        self.queue.push_back(Chunk {
            header,
            payload,
            written: 0,
            counts,
        });
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Bytes pushed as [`Writer::push_raw`] that are not written yet.
    pub(super) fn raw_bytes(&self) -> usize {
        self.raw_bytes
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes what the transport takes now; the payload of messages that are wholly written.
    pub(super) fn write(&mut self, transport: &mut Transport) -> io::Result<usize> {
        let mut taken = 0;
        transport.flush_for_now()?;
        while !self.queue.is_empty() {
            match self.write_once(transport) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => taken += self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > 8 {
            self.queue = VecDeque::new();
        }
        Ok(taken)
    }

    fn write_once(&self, transport: &mut Transport) -> io::Result<usize> {
        let pieces = || {
            let pieces = self.queue.iter().flat_map(Chunk::rest);
            pieces.filter(|piece| !piece.is_empty())
        };
        let mut copy = [0; COPIED_BYTES_MAX];
        let mut filled = 0;
        for piece in pieces() {
            let Some(room) = copy.get_mut(filled..filled + piece.len()) else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces()) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                return transport.try_write_vectored(&slices[..count]);
            };
            room.copy_from_slice(piece);
            filled += piece.len();
        }
        transport.try_write_vectored(&[IoSlice::new(&copy[..filled])])
    }

    fn advance(&mut self, mut written: usize) -> usize {
        let mut taken = 0;
        while let Some(chunk) = self.queue.front_mut() {
            let rest = chunk.len() - chunk.written;
            if written < rest {
                chunk.written += written;
                break;
            }
            written -= rest;
            if chunk.counts {
                taken += chunk.payload.len();
            } else if chunk.header.1 == 0 {
                self.raw_bytes -= chunk.payload.len();
            }
            self.queue.pop_front();
        }
        taken
    }
}

fn header(first: u8, len: usize) -> Header {
    let mut header = [0; 10];
    header[0] = first;
    if let Ok(len) = u16::try_from(len) {
        if len < 126 {
            header[1..2].copy_from_slice(&len.to_be_bytes()[1..]);
            return (header, 2);
        }
        header[1] = 126;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        return (header, 4);
    }
    header[1] = 127;
    header[2..10].copy_from_slice(&(len as u64).to_be_bytes());
    (header, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_shortest_length_that_fits() {
        assert_eq!(header(TEXT, 125), ([0x81, 125, 0, 0, 0, 0, 0, 0, 0, 0], 2));
        assert_eq!(
            header(TEXT, 126),
            ([0x81, 126, 0, 126, 0, 0, 0, 0, 0, 0], 4)
        );
        assert_eq!(header(TEXT, 65_535).1, 4);
        assert_eq!(
            header(TEXT, 65_536),
            ([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], 10)
        );
    }
}
