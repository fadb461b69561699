//! Stderr: always read, so that no program blocks on it; only its end is kept.

use std::{collections::VecDeque, io};

use tokio::net::unix::pipe;

/// Bytes that are kept.
const KEEP_BYTES: usize = 64 * 1024;

/// The end of what was read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    kept: VecDeque<u8>,
    dropped: u64,
}

impl Tail {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let over = self.kept.len().saturating_sub(KEEP_BYTES);
        self.kept.drain(..over);
        self.dropped += over as u64;
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// As text. A beginning that was cut starts at a line or, without one, at a word: half a secret
    /// would not be known for one.
    pub(crate) fn into_text(mut self) -> String {
        let text = String::from_utf8_lossy(self.kept.make_contiguous()).replace('\0', "\u{fffd}");
        if self.dropped == 0 {
            return text;
        }
        let from = text.find('\n').or_else(|| text.find(char::is_whitespace));
        from.map_or_else(String::new, |from| text[from..].trim_start().to_owned())
    }
}

/// Reads to the end.
pub(crate) async fn drain(pipe: pipe::Receiver, tail: &mut Tail) {
    let mut chunk = vec![0; 16 * 1024];
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => tail.push(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_and_the_rest_is_counted_c16() {
        let mut tail = Tail::default();
        for n in 0..100_000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let dropped = tail.dropped();
        let text = tail.into_text();
        assert!(dropped > 900_000 && text.len() <= KEEP_BYTES);
        assert!(text.starts_with("line ") && text.ends_with("line 99999\n"));
    }
}
