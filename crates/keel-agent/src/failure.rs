//! Why an attempt came to nothing.
//!
//! A failure names the first cause; it becomes a [`Fault`] at the crate's edge, with the cause and
//! its facts in `detail` for programs.

use keel_wire::{Code, Fault, FaultId, Origin, UnixMillis};
use serde_json::Value;

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BudgetKind {
    /// Lines that the provider wrote.
    Lines,
    /// Bytes that it said.
    Bytes,
    /// Calls of its model.
    Calls,
}

impl BudgetKind {
    /// The name in a fault's detail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Bytes => "bytes",
            Self::Calls => "calls",
        }
    }
}

/// Why an attempt came to nothing. All but `Spawn` may follow output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The program could not be started.
    #[error("cannot start {path}: {error}")]
    Spawn {
        /// The program.
        path: String,
        /// The operating system's words.
        error: String,
        /// The operating system's number.
        errno: Option<i32>,
    },
    /// The program ended with an exit code that is not 0, and without a result.
    #[error("the program exited with code {code}")]
    Exited {
        /// The code.
        code: i32,
    },
    /// The program was killed by a signal that was not ours.
    #[error("the program was killed by signal {signal}")]
    Signal {
        /// The signal.
        signal: i32,
    },
    /// The program took more memory than it may.
    #[error("the program ran out of the memory that it may take")]
    OutOfMemory,
    /// The program exited with 0 and never said that it was done.
    #[error("the program ended without a result")]
    NoResult,
    /// The program says that it is done, and has said nothing.
    #[error("the program is done and said nothing")]
    NoOutput,
    /// The program itself says that it failed.
    #[error("the program reports: {message}")]
    Reported {
        /// Its words, redacted and cut.
        message: String,
    },
    /// The output ends in the middle of a line.
    #[error("the output ends in the middle of a line, after {bytes} bytes of it")]
    TruncatedLine {
        /// Bytes of that line.
        bytes: u64,
    },
    /// A line is longer than it may be.
    #[error("a line is longer than {bytes_max} bytes")]
    LineTooLong {
        /// The bound.
        bytes_max: u64,
    },
    /// Too many lines that are not of the protocol.
    #[error("{lines} lines are not of the protocol")]
    Garbage {
        /// How many.
        lines: u64,
    },
    /// The program does not read its prompt.
    #[error("the program has not read its input for {ms} ms")]
    StdinStalled {
        /// For how long.
        ms: u64,
    },
    /// The program has closed its output and lives on.
    #[error("the program closed its output and was still there {ms} ms later")]
    StdoutClosed {
        /// For how long.
        ms: u64,
    },
    /// A pipe to or from the program broke.
    #[error("cannot read from the program: {error}")]
    Pipe {
        /// The operating system's words.
        error: String,
    },
    /// A budget is used up.
    #[error("the budget of {limit} {} is used up", .of.name())]
    Budget {
        /// Of what.
        of: BudgetKind,
        /// How much there was.
        limit: u64,
    },
    /// The provider's own code panicked.
    #[error("the provider panicked: {message}")]
    Panicked {
        /// The panic's words.
        message: String,
    },
    /// Somebody has to log in before the agent does anything.
    #[error("the agent wants a login: {message}")]
    Auth {
        /// Its words, redacted, and what to do.
        message: String,
        /// The ways to log in that it offers.
        methods: Vec<String>,
    },
    /// The agent speaks another version of its protocol.
    #[error("the agent is incompatible: {message}")]
    Incompatible {
        /// What does not fit.
        message: String,
    },
    /// The agent cannot take its session up again.
    #[error("the agent has lost its session: {message}")]
    Resume {
        /// Its words, redacted.
        message: String,
    },
    /// The agent answers with an error of its protocol.
    #[error("the agent reports: {message}")]
    Rpc {
        /// The protocol's number of it.
        code: i64,
        /// Its words, redacted and cut.
        message: String,
        /// What else it tells of it, as JSON, redacted and cut.
        data: Option<String>,
    },
    /// The attempt was given up before it had an outcome.
    #[error("the attempt was dropped")]
    Dropped,
}

impl Failure {
    /// The name of the cause in a fault's detail.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::Spawn { .. } => "spawn",
            Self::Exited { .. } => "exited",
            Self::Signal { .. } => "signal",
            Self::OutOfMemory => "out_of_memory",
            Self::NoResult => "no_result",
            Self::NoOutput => "no_output",
            Self::Reported { .. } => "reported",
            Self::TruncatedLine { .. } => "truncated_line",
            Self::LineTooLong { .. } => "line_too_long",
            Self::Garbage { .. } => "garbage",
            Self::StdinStalled { .. } => "stdin_stalled",
            Self::StdoutClosed { .. } => "stdout_closed",
            Self::Pipe { .. } => "pipe",
            Self::Budget { .. } => "budget",
            Self::Panicked { .. } => "panicked",
            Self::Auth { .. } => "auth",
            Self::Incompatible { .. } => "incompatible",
            Self::Resume { .. } => "resume",
            Self::Rpc { .. } => "rpc",
            Self::Dropped => "dropped",
        }
    }

    /// The code that it is told by.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Spawn { .. } => Code::ProviderSpawn,
            Self::Exited { .. }
            | Self::Signal { .. }
            | Self::OutOfMemory
            | Self::NoResult
            | Self::NoOutput
            | Self::Reported { .. }
            | Self::Auth { .. }
            | Self::Incompatible { .. }
            | Self::Resume { .. }
            | Self::Rpc { .. }
            | Self::Panicked { .. }
            | Self::Dropped => Code::ProviderCrashed,
            Self::TruncatedLine { .. }
            | Self::LineTooLong { .. }
            | Self::Garbage { .. }
            | Self::StdoutClosed { .. }
            | Self::Pipe { .. } => Code::ProviderProtocol,
            Self::StdinStalled { .. } => Code::ProviderTimeout,
            Self::Budget { .. } => Code::ProviderBudget,
        }
    }

    /// Who is to blame: the provider, but for what our own code did.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Panicked { .. } | Self::Dropped => Origin::Server,
            Self::Spawn { .. }
            | Self::Exited { .. }
            | Self::Signal { .. }
            | Self::OutOfMemory
            | Self::NoResult
            | Self::NoOutput
            | Self::Reported { .. }
            | Self::TruncatedLine { .. }
            | Self::LineTooLong { .. }
            | Self::Garbage { .. }
            | Self::StdinStalled { .. }
            | Self::StdoutClosed { .. }
            | Self::Pipe { .. }
            | Self::Auth { .. }
            | Self::Incompatible { .. }
            | Self::Resume { .. }
            | Self::Rpc { .. }
            | Self::Budget { .. } => Origin::Provider,
        }
    }

    /// The failure as it leaves the process.
    #[must_use]
    pub fn fault(&self, id: FaultId, at: UnixMillis) -> Fault {
        let fault = Fault::new(id, self.code(), self.origin(), at)
            .message(format!("{} ({self})", self.code().says()))
            .detail("cause", self.cause());
        self.facts()
            .into_iter()
            .fold(fault, |fault, (key, value)| fault.detail(key, value))
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Spawn { path, error, errno } => vec![
                ("path", path.as_str().into()),
                ("error", error.as_str().into()),
                ("errno", (*errno).into()),
            ],
            Self::Exited { code } => vec![("exit_code", (*code).into())],
            Self::Signal { signal } => vec![("signal", (*signal).into())],
            Self::Reported { message } | Self::Panicked { message } => {
                vec![("reported", message.as_str().into())]
            }
            Self::TruncatedLine { bytes } => vec![("bytes", (*bytes).into())],
            Self::LineTooLong { bytes_max } => vec![("bytes_max", (*bytes_max).into())],
            Self::Garbage { lines } => vec![("lines", (*lines).into())],
            Self::StdinStalled { ms } | Self::StdoutClosed { ms } => vec![("ms", (*ms).into())],
            Self::Pipe { error } => vec![("error", error.as_str().into())],
            Self::Budget { of, limit } => {
                vec![("budget", of.name().into()), ("limit", (*limit).into())]
            }
            Self::Auth { message, methods } => vec![
                ("reported", message.as_str().into()),
                ("methods", methods.clone().into()),
            ],
            Self::Incompatible { message } | Self::Resume { message } => {
                vec![("reported", message.as_str().into())]
            }
            Self::Rpc {
                code,
                message,
                data,
            } => vec![
                ("rpc_code", (*code).into()),
                ("reported", message.as_str().into()),
                ("data", data.clone().into()),
            ],
            Self::OutOfMemory | Self::NoResult | Self::NoOutput | Self::Dropped => Vec::new(),
        }
    }
}
