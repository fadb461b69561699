//! How an attempt ended: exactly one value an attempt.

use keel_wire::{Fault, FaultId, UnixMillis};

use crate::{Failure, limits::FAULT_STDERR_BYTES_MAX};

/// How the attempt's answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The answer is complete.
    Done {
        /// Why the provider stopped, in its own word.
        stop_reason: Option<String>,
    },
    /// It is not, for this reason.
    Failed(Failure),
    /// Somebody cancelled it.
    Cancelled {
        /// It did not stop when asked, and was killed.
        forced: bool,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// How an attempt ended, and what is to be known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How the answer ended.
    pub ending: Ending,
    /// How the process ended, where there was one.
    pub exit: Option<Exit>,
    /// The end of what it wrote to stderr, redacted.
    pub stderr_tail: String,
    /// Bytes of stderr that were read and not kept.
    pub stderr_dropped: u64,
    /// Bytes of text and items that were told.
    pub bytes: u64,
    /// Lines that the provider wrote.
    pub lines: u64,
    /// Lines that were not of its protocol.
    pub noise_lines: u64,
    /// Lines that came after the one that ended the answer; they were dropped.
    pub late_lines: u64,
    /// Bytes that were not UTF-8, or NUL, were replaced by U+FFFD.
    pub repaired: bool,
    /// Processes that the program left behind and that were killed.
    pub orphans_killed: u32,
}

impl Outcome {
    /// An outcome with nothing else to tell.
    #[must_use]
    pub const fn new(ending: Ending) -> Self {
        Self {
            ending,
            exit: None,
            stderr_tail: String::new(),
            stderr_dropped: 0,
            bytes: 0,
            lines: 0,
            noise_lines: 0,
            late_lines: 0,
            repaired: false,
            orphans_killed: 0,
        }
    }

    /// A complete answer.
    #[must_use]
    pub const fn done(stop_reason: Option<String>) -> Self {
        Self::new(Ending::Done { stop_reason })
    }

    /// A failure.
    #[must_use]
    pub const fn failed(failure: Failure) -> Self {
        Self::new(Ending::Failed(failure))
    }

    /// A cancellation.
    #[must_use]
    pub const fn cancelled(forced: bool) -> Self {
        Self::new(Ending::Cancelled { forced })
    }

    /// The fault of a failed attempt, with every fact that the outcome has; `None` if it did not
    /// fail.
    #[must_use]
    pub fn fault(&self, id: FaultId, at: UnixMillis) -> Option<Fault> {
        let Ending::Failed(failure) = &self.ending else {
            return None;
        };
        let mut fault = failure.fault(id, at);
        match self.exit {
            Some(Exit::Code(code)) => fault = fault.detail("exit_code", code),
            Some(Exit::Signal(signal)) => fault = fault.detail("signal", signal),
            None => {}
        }
        if !self.stderr_tail.is_empty() {
            let from = self
                .stderr_tail
                .len()
                .saturating_sub(FAULT_STDERR_BYTES_MAX);
            let from = self.stderr_tail.ceil_char_boundary(from);
            fault = fault.detail("stderr_tail", &self.stderr_tail[from..]);
        }
        let counts = [
            ("stderr_dropped", self.stderr_dropped),
            ("noise_lines", self.noise_lines),
            ("orphans_killed", u64::from(self.orphans_killed)),
        ];
        let told = counts.into_iter().filter(|(_, count)| *count > 0);
        Some(told.fold(fault, |fault, (key, count)| fault.detail(key, count)))
    }
}
