//! Where a server's stream stands between WebSocket frames (RFC 6455 §5.2), so that a close frame can be
//! put between two.

/// What was seen of the stream so far.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The end of the HTTP answer was seen.
    pub(super) upgraded: bool,
    /// Bytes of the answer's end, or of a frame's header, that were seen.
    head: Vec<u8>,
    /// Payload of the current frame that is still to come.
    left: u64,
}

impl Frames {
    pub(super) const fn at_border(&self) -> bool {
        self.upgraded && self.left == 0 && self.head.is_empty()
    }

    pub(super) fn passed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !self.upgraded {
                self.head.push(*byte);
                if self.head.ends_with(b"\r\n\r\n") {
                    self.upgraded = true;
                    self.head.clear();
                }
            } else if self.left > 0 {
                self.left -= 1;
            } else {
                self.head.push(*byte);
                if let Some(length) = payload_length(&self.head) {
                    self.left = length;
                    self.head.clear();
                }
            }
        }
    }
}

/// The payload's length, once the header of an unmasked frame is complete.
fn payload_length(head: &[u8]) -> Option<u64> {
    let short = u64::from(*head.get(1)? & 0x7f);
    let big = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    match short {
        126 => head.get(2..4).map(big),
        127 => head.get(2..10).map(big),
        _ => Some(short),
    }
}

/// A close frame as a server sends it.
pub(super) const fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_goes_only_between_frames() {
        let mut frames = Frames::default();
        frames.passed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        assert!(frames.at_border());
        frames.passed(&[0x81, 3, b'a']);
        assert!(!frames.at_border());
        frames.passed(b"bc");
        assert!(frames.at_border());
        frames.passed(&[0x81, 126, 1]);
        frames.passed(&[0]);
        frames.passed(&[7; 255]);
        assert!(!frames.at_border());
        frames.passed(&[7]);
        assert!(frames.at_border());
    }
}
