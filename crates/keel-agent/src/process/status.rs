//! How an answer ended, as a total function of what was seen.
//!
//! The program's own last word counts most, as programs exit with 0 after a failure and with 1
//! after a success; without one, the way it ended; silence is never taken for success.

use crate::{Ending, Exit, Failure};

/// The program's own last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Terminal {
    Done { stop_reason: Option<String> },
    Error { message: String },
}

/// What is seen of a program that ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its last word, where its protocol has one.
    pub(crate) terminal: Option<Terminal>,
    /// Its protocol wants a last word.
    pub(crate) terminal_required: bool,
    /// It has said text.
    pub(crate) text: bool,
    /// It must.
    pub(crate) text_required: bool,
    /// Bytes of a line without an end.
    pub(crate) half_line: u64,
    /// How it ended; absent if nobody could tell.
    pub(crate) exit: Option<Exit>,
}

pub(crate) fn ending(seen: Seen) -> Ending {
    let mute = seen.text_required && !seen.text;
    let failed = match (seen.terminal, seen.exit) {
        (Some(Terminal::Error { message }), _) => Failure::Reported { message },
        (Some(Terminal::Done { .. }), _) if mute => Failure::NoOutput,
        (Some(Terminal::Done { stop_reason }), _) => return Ending::Done { stop_reason },
        (None, Some(Exit::Signal(signal))) => Failure::Signal { signal },
        (None, Some(Exit::Code(code))) if code != 0 => Failure::Exited { code },
        (None, _) if seen.terminal_required && seen.half_line > 0 => Failure::TruncatedLine {
            bytes: seen.half_line,
        },
        (None, _) if seen.terminal_required => Failure::NoResult,
        (None, None) => Failure::NoResult,
        (None, Some(Exit::Code(_))) if mute => Failure::NoOutput,
        (None, Some(Exit::Code(_))) => return Ending::Done { stop_reason: None },
    };
    Ending::Failed(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination, with what it must be, by rules written independently of the order above.
    #[test]
    fn the_ending_is_total_over_all_that_can_be_seen_c02_c03_c04_c05_c12() {
        let done = Terminal::Done {
            stop_reason: Some("end_turn".to_owned()),
        };
        let error = Terminal::Error {
            message: "no".to_owned(),
        };
        let exits = [
            None,
            Some(Exit::Code(0)),
            Some(Exit::Code(7)),
            Some(Exit::Signal(11)),
        ];
        let mut rows = 0;
        for terminal in [None, Some(done), Some(error)] {
            for exit in exits {
                for bits in 0..16_u8 {
                    let seen = Seen {
                        terminal: terminal.clone(),
                        terminal_required: bits & 1 != 0,
                        text: bits & 2 != 0,
                        text_required: bits & 4 != 0,
                        half_line: u64::from(bits & 8),
                        exit,
                    };
                    check(&seen, &ending(seen.clone()));
                    rows += 1;
                }
            }
        }
        assert_eq!(rows, 192);
    }

    fn check(seen: &Seen, ending: &Ending) {
        let said_done = matches!(seen.terminal, Some(Terminal::Done { .. }));
        let clean = seen.exit == Some(Exit::Code(0));
        let may_be_done =
            said_done || (seen.terminal.is_none() && !seen.terminal_required && clean);
        let done = may_be_done && (seen.text || !seen.text_required);
        assert_eq!(matches!(ending, Ending::Done { .. }), done, "{seen:?}");
        if done {
            return;
        }
        let Ending::Failed(failure) = ending else {
            panic!("{seen:?} is {ending:?}");
        };
        let cause = match (&seen.terminal, seen.exit) {
            (Some(Terminal::Error { .. }), _) => "reported",
            (Some(Terminal::Done { .. }), _) => "no_output",
            (None, Some(Exit::Signal(11))) => "signal",
            (None, Some(Exit::Code(7))) => "exited",
            (None, _) if seen.terminal_required && seen.half_line > 0 => "truncated_line",
            (None, _) if seen.terminal_required || seen.exit.is_none() => "no_result",
            (None, _) => "no_output",
        };
        assert_eq!(failure.cause(), cause, "{seen:?}");
    }
}
