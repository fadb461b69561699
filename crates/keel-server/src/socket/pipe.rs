//! What tungstenite reads from and writes to: a socket that never blocks, and a buffer.
//!
//! tungstenite itself writes only answers (pongs, the echo of a close); they are taken out of the
//! buffer and go through the one writer, so that nothing is written out of turn.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};

use super::Transport;

/// Bytes read at one go; then others have their turn.
const AT_ONCE_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Pipe {
    transport: Transport,
    head: Bytes,
    allowed: usize,
    incomplete: usize,
    replies: Vec<u8>,
}

impl Pipe {
    /// `head` was read along with the upgrade request. It is copied: it holds on to the whole
    /// buffer that the request was read into.
    pub(super) fn new(transport: Transport, head: &[u8]) -> Self {
        let head = Bytes::copy_from_slice(head);
        Self {
            transport,
            head,
            allowed: AT_ONCE_BYTES,
            incomplete: 0,
            replies: Vec::new(),
        }
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(super) fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    pub(super) fn allow_more(&mut self) {
        self.allowed = AT_ONCE_BYTES;
    }

    /// A message is complete.
    pub(super) fn complete(&mut self) {
        self.incomplete = 0;
    }

    /// Bytes read since the last complete message; part of them may be whole messages still to come.
    pub(super) fn incomplete_bytes(&self) -> usize {
        self.incomplete
    }

    pub(super) fn take_replies(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.replies)
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = if self.head.has_remaining() {
            let count = buf.len().min(self.head.remaining());
            self.head.copy_to_slice(&mut buf[..count]);
            if !self.head.has_remaining() {
                self.head = Bytes::new();
            }
            count
        } else {
            let count = buf.len().min(self.allowed);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.transport.try_read(&mut buf[..count])?
        };
        self.allowed = self.allowed.saturating_sub(read);
        self.incomplete += read;
        Ok(read)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
