//! Server-sent events, read a piece at a time, whatever the pieces are.
//!
//! As the HTML standard has it (lines end with CR, LF or both, a BOM may come first, comments and
//! unknown fields are skipped), but bounded: a line, an event, and what comes without any event.

use crate::limits::{SSE_EVENT_BYTES_MAX, SSE_SILENT_BYTES_MAX};

/// An event with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its `event` field; empty if it has none.
    pub(crate) name: String,
    /// Its `data` lines, joined by LF.
    pub(crate) data: String,
}

/// What is wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("an event is longer than {SSE_EVENT_BYTES_MAX} bytes")]
    TooLong,
    #[error("{SSE_SILENT_BYTES_MAX} bytes came without an event")]
    Flood,
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// Reads a stream. After an error it reads no more.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    /// The first line is over, so that no BOM can come any more.
    begun: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// Bytes since the last event, but for those of the event that is being read.
    silent: usize,
}

impl Parser {
    /// Reads more of the stream into `events`.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), Malformed> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + self.data.len() + piece.len() > SSE_EVENT_BYTES_MAX {
                return Err(Malformed::TooLong);
            }
            self.line.extend_from_slice(piece);
            bytes = rest;
            if let Some((ending, rest)) = rest.split_first() {
                self.after_cr = *ending == b'\r';
                bytes = rest;
                self.end_of_line(events)?;
            }
        }
        Ok(())
    }

    /// The stream is over: what it left unfinished counts, as servers forget the last line's end.
    pub(crate) fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), Malformed> {
        if !self.line.is_empty() {
            self.end_of_line(events)?;
        }
        self.dispatch(events)
    }

    fn end_of_line(&mut self, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let mut line = std::mem::take(&mut self.line);
        let mut read = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            read = read.strip_prefix(b"\xef\xbb\xbf").unwrap_or(read);
        }
        if read.is_empty() {
            self.silent += 1;
            self.dispatch(events)?;
        } else {
            self.field(read);
        }
        if self.silent > SSE_SILENT_BYTES_MAX {
            return Err(Malformed::Flood);
        }
        line.clear();
        keep_small(&mut line);
        self.line = line;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
                // Lines without a byte are no way around the bounds.
                self.silent += 1;
            }
            b"event" => {
                self.name = value.to_vec();
                self.silent += line.len();
            }
            // Not of the standard: llama.cpp tells errors so.
            b"error" => {
                self.name = b"error".to_vec();
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            // A comment has no name; `id` and `retry` are for those who reconnect.
            _ => self.silent += line.len() + 1,
        }
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) -> Result<(), Malformed> {
        let name = std::mem::take(&mut self.name);
        if !std::mem::take(&mut self.has_data) {
            return Ok(());
        }
        let data = std::str::from_utf8(&self.data).map_err(|_| Malformed::NotUtf8)?;
        let name = String::from_utf8(name).map_err(|_| Malformed::NotUtf8)?;
        let data = data.to_owned();
        events.push(Event { name, data });
        self.data.clear();
        keep_small(&mut self.data);
        self.silent = 0;
        Ok(())
    }
}

/// One large event must not cost its memory for as long as the stream lasts.
fn keep_small(buffer: &mut Vec<u8>) {
    const KEPT_BYTES: usize = 64 * 1024;
    if buffer.capacity() > KEPT_BYTES {
        buffer.shrink_to(KEPT_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<(String, String)>, Malformed> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut events)?;
        }
        parser.finish(&mut events)?;
        let pair = |event: Event| (event.name, event.data);
        Ok(events.into_iter().map(pair).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, Malformed> {
        let owned = |(name, data): &(&str, &str)| ((*name).to_owned(), (*data).to_owned());
        Ok(pairs.iter().map(owned).collect())
    }

    #[test]
    fn any_line_end_any_cut_and_a_bom_read_the_same_h09() {
        let text = "\u{feff}: hi\nevent: a\ndata: one \u{1f600}\ndata:two\nid: 7\nnocolon\n\n\
                    data\n\nevent: lost\n\ndata: [DONE]\n\n";
        let wanted = pairs(&[("a", "one \u{1f600}\ntwo"), ("", ""), ("", "[DONE]")]);
        for ending in ["\n", "\r", "\r\n"] {
            let bytes = text.replace('\n', ending).into_bytes();
            assert_eq!(read(&[&bytes]), wanted, "{ending:?}");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(read(&single), wanted, "{ending:?} byte by byte");
            for cut in 0..bytes.len() {
                let (first, second) = bytes.split_at(cut);
                assert_eq!(read(&[first, second]), wanted, "{ending:?} at {cut}");
            }
        }
    }

    #[test]
    fn the_last_event_counts_without_its_blank_line() {
        assert_eq!(read(&[b"data: x"]), pairs(&[("", "x")]));
        assert_eq!(read(&[b"data: x\ndata: y\n"]), pairs(&[("", "x\ny")]));
        assert_eq!(read(&[b"error: {}\n\n"]), pairs(&[("error", "{}")]));
    }

    #[test]
    fn what_does_not_end_is_cut_off_at_a_bound_h09() {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        let mut feed_until_it_fails = |line: &[u8], most: usize| {
            parser = Parser::default();
            let mut fed = 0;
            loop {
                if let Err(error) = parser.feed(line, &mut events) {
                    return error;
                }
                fed += line.len();
                assert!(fed <= most + line.len(), "{fed} bytes were taken");
            }
        };
        let line = feed_until_it_fails(&[b'x'; 65_536], SSE_EVENT_BYTES_MAX);
        assert_eq!(line, Malformed::TooLong);
        let long = feed_until_it_fails(b"data: 0123456789\n", 2 * SSE_EVENT_BYTES_MAX);
        assert!(matches!(long, Malformed::TooLong | Malformed::Flood));
        let comments = feed_until_it_fails(b": still here\n\n", 2 * SSE_SILENT_BYTES_MAX);
        assert_eq!(comments, Malformed::Flood);
        let blank = feed_until_it_fails(b"\n", 2 * SSE_SILENT_BYTES_MAX);
        assert_eq!(blank, Malformed::Flood);
        let empty = feed_until_it_fails(b"data\n", 6 * SSE_SILENT_BYTES_MAX);
        assert_eq!(empty, Malformed::Flood);
        assert!(events.is_empty());
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_h09() {
        assert_eq!(read(&[b"data: \xff\n\n"]), Err(Malformed::NotUtf8));
        assert_eq!(
            read(&[b"event: \xff\ndata: x\n\n"]),
            Err(Malformed::NotUtf8)
        );
        // A NUL is for the JSON in it to refuse.
        assert_eq!(read(&[b"data: \0\n\n"]), pairs(&[("", "\0")]));
    }
}
