//! Stdout: read as fast as somebody consumes, never kept beyond one chunk or one line.
//!
//! Small pieces of a chunk are told together, so a million tiny lines are not a million outputs.

use std::io;

use tokio::{net::unix::pipe, sync::Notify};

use super::{
    config::{Config, Stdout},
    json_line::{self, Line},
    redact::Redactor,
    status::Terminal,
};
use crate::{Failure, Output, Sink, Stopped};

const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of text that are gathered before they are told.
const GATHER_BYTES: usize = 32 * 1024;

/// Why reading came to an end before the output did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// The program is to blame.
    Failure(Failure),
    /// The sink takes no more; the runner knows why.
    Stopped,
}

impl From<Stopped> for Stuck {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Failure> for Stuck {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// What was heard so far.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    config: &'a Config,
    sink: Sink,
    /// Told when the program has said its last word.
    over: &'a Notify,
    redactor: &'a Redactor,
    /// Bytes without an end yet: of a line, or of a character.
    rest: Vec<u8>,
    text: String,
    noise: u32,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) said_text: bool,
    pub(crate) noise_lines: u64,
    pub(crate) late_lines: u64,
    pub(crate) repaired: bool,
    pub(crate) half_line: u64,
}

impl<'a> Listener<'a> {
    pub(crate) const fn new(
        config: &'a Config,
        sink: Sink,
        over: &'a Notify,
        redactor: &'a Redactor,
    ) -> Self {
        Self {
            config,
            sink,
            over,
            redactor,
            rest: Vec::new(),
            text: String::new(),
            noise: 0,
            terminal: None,
            said_text: false,
            noise_lines: 0,
            late_lines: 0,
            repaired: false,
            half_line: 0,
        }
    }

    /// Reads to the end.
    pub(crate) async fn listen(&mut self, pipe: pipe::Receiver) -> Result<(), Stuck> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let broken = |error: io::Error| Failure::Pipe {
                error: error.to_string(),
            };
            pipe.readable().await.map_err(broken)?;
            let read = match pipe.try_read(&mut chunk) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(broken(error).into()),
            };
            match (self.config.stdout, read) {
                (Stdout::Lines, 0) => return self.end_of_text().await,
                (Stdout::JsonLines, 0) => return self.end_of_lines().await,
                (Stdout::Lines, _) => self.hear_text(&chunk[..read]).await?,
                (Stdout::JsonLines, _) => self.hear_lines(&chunk[..read]).await?,
            }
        }
    }

    async fn hear_text(&mut self, chunk: &[u8]) -> Result<(), Stuck> {
        let ends = chunk.iter().filter(|byte| **byte == b'\n').count();
        self.half_line = match chunk.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => (chunk.len() - end - 1) as u64,
            None => self.half_line + chunk.len() as u64,
        };
        self.rest.extend_from_slice(chunk);
        let whole = self.rest.len() - half_character(&self.rest);
        let half = self.rest.split_off(whole);
        let bytes = std::mem::replace(&mut self.rest, half);
        self.sink.count_lines(ends as u64)?;
        self.say(&bytes).await
    }

    async fn end_of_text(&mut self) -> Result<(), Stuck> {
        let rest = std::mem::take(&mut self.rest);
        self.sink.count_lines(u64::from(self.half_line > 0))?;
        self.say(&rest).await
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<(), Stuck> {
        let text = String::from_utf8_lossy(bytes);
        let broken = matches!(text, std::borrow::Cow::Owned(_)) || text.contains('\0');
        self.repaired |= broken;
        self.said_text |= !text.is_empty();
        Ok(self
            .sink
            .send(Output::Text(text.replace('\0', "\u{fffd}")))
            .await?)
    }

    async fn hear_lines(&mut self, chunk: &[u8]) -> Result<(), Stuck> {
        let mut parts = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            // What comes after the last word is not kept, however long its lines are.
            if self.terminal.is_none() {
                if self.rest.len() + part.len() > self.config.line_bytes_max {
                    let bytes_max = self.config.line_bytes_max as u64;
                    self.tell().await?;
                    return Err(Failure::LineTooLong { bytes_max }.into());
                }
                self.rest.extend_from_slice(part);
            } else {
                self.half_line += part.len() as u64;
            }
            if parts.peek().is_some() {
                self.hear_line().await?;
            }
        }
        self.tell().await
    }

    async fn hear_line(&mut self) -> Result<(), Stuck> {
        self.sink.count_lines(1)?;
        if self.terminal.is_some() {
            self.late_lines += u64::from(self.half_line > 0);
            self.half_line = 0;
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut self.rest);
        let parsed = json_line::parse(&bytes);
        if parsed.line == Line::Noise && tracing::enabled!(tracing::Level::DEBUG) {
            self.log_noise(&bytes);
        }
        bytes.clear();
        self.rest = bytes;
        self.repaired |= parsed.repaired;
        match parsed.line {
            Line::Text(text) => {
                self.said_text |= !text.is_empty();
                self.text.push_str(&text);
                if self.text.len() >= GATHER_BYTES {
                    self.tell().await?;
                }
            }
            Line::Item(item) => self.tell_then(Output::Item(item)).await?,
            Line::NeedsAction(action) => self.tell_then(Output::NeedsAction(action)).await?,
            Line::ModelCall => self.tell_then(Output::ModelCall).await?,
            Line::NewAttempt { fault } => {
                let message = self.redactor.report(&fault);
                let failure = Box::new(Failure::Reported { message });
                self.tell_then(Output::NewAttempt { failure }).await?;
            }
            Line::Terminal(terminal) => {
                self.tell().await?;
                self.terminal = Some(self.reported(terminal));
                self.over.notify_one();
            }
            Line::Noise => {
                self.noise += 1;
                self.noise_lines += 1;
                if self.noise_lines > self.config.noise_lines_max {
                    self.tell().await?;
                    return Err(Failure::Garbage {
                        lines: self.noise_lines,
                    }
                    .into());
                }
            }
            Line::Blank => {}
        }
        Ok(())
    }

    fn log_noise(&self, line: &[u8]) {
        let (bytes, start) = (line.len(), self.redactor.start_of(line));
        tracing::debug!(bytes, ?start, "a line that is not of the protocol");
    }

    /// A last word without secrets, at a length that can be told.
    fn reported(&self, terminal: Terminal) -> Terminal {
        let report = |text: String| self.redactor.report(&text);
        match terminal {
            Terminal::Done { stop_reason } => Terminal::Done {
                stop_reason: stop_reason.map(report),
            },
            Terminal::Error { message } => Terminal::Error {
                message: report(message),
            },
        }
    }

    async fn end_of_lines(&mut self) -> Result<(), Stuck> {
        let rest = std::mem::take(&mut self.rest);
        if self.terminal.is_some() {
            self.late_lines += u64::from(self.half_line > 0);
            self.half_line = 0;
            return Ok(());
        }
        if rest.trim_ascii().is_empty() {
            return Ok(());
        }
        // A last line that is whole but for its end still counts; half a line does not.
        let whole = json_line::parse(&rest).line != Line::Noise;
        if whole {
            self.rest = rest;
            self.hear_line().await?;
        } else {
            self.half_line = rest.len() as u64;
        }
        self.tell().await
    }

    /// Tells what was gathered.
    async fn tell(&mut self) -> Result<(), Stuck> {
        if self.noise > 0 {
            let lines = std::mem::take(&mut self.noise);
            self.sink.send(Output::Noise { lines }).await?;
        }
        let text = std::mem::take(&mut self.text);
        Ok(self.sink.send(Output::Text(text)).await?)
    }

    async fn tell_then(&mut self, output: Output) -> Result<(), Stuck> {
        self.tell().await?;
        Ok(self.sink.send(output).await?)
    }
}

/// How many bytes at the end may be the beginning of a character.
fn half_character(bytes: &[u8]) -> usize {
    let near_end = (1..=3.min(bytes.len())).find(|back| {
        let byte = bytes[bytes.len() - back];
        byte & 0b1100_0000 != 0b1000_0000
    });
    let Some(back) = near_end else {
        return 0;
    };
    let wants = match bytes[bytes.len() - back] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if wants > back { back } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_by_a_read_is_kept_for_the_next() {
        let text = "a\u{e9}\u{20ac}\u{1f600}";
        for cut in 0..=text.len() {
            let (whole, _) = text.as_bytes().split_at(cut);
            let half = half_character(whole);
            assert!(
                std::str::from_utf8(&whole[..cut - half]).is_ok(),
                "cut at {cut}"
            );
        }
        assert_eq!(half_character(b"\xff"), 0);
        assert_eq!(half_character(b"\x80\x80\x80\x80"), 0);
    }
}
