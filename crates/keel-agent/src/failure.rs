//! Why an attempt came to nothing.
//!
//! A failure names the first cause; it becomes a [`Fault`] at the crate's edge, with the cause and
//! its facts in `detail` for programs.

use keel_wire::{Code, Fault, FaultId, Origin, Retry, UnixMillis};
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

/// What of the way to a model's server failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkStage {
    /// Its name.
    Dns,
    /// The connection.
    Connect,
    /// TLS.
    Tls,
    /// Sending the request.
    Send,
}

impl NetworkStage {
    /// The name in a fault's detail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
        }
    }
}

/// What of an answer did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SilentStage {
    /// Anything at all.
    FirstByte,
    /// More.
    Idle,
}

impl SilentStage {
    /// The name in a fault's detail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstByte => "first_byte",
            Self::Idle => "idle",
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
    /// The model's server refuses or fails.
    #[error("the model's server answers {status}: {message}")]
    Http {
        /// The status.
        status: u16,
        /// Its words, redacted and cut.
        message: String,
        /// When it says to come back, in milliseconds, clamped.
        retry_after_ms: Option<u64>,
    },
    /// The model's server could not be reached.
    #[error("cannot reach the model's server ({}): {error}", .stage.name())]
    Network {
        /// What failed.
        stage: NetworkStage,
        /// The operating system's words.
        error: String,
    },
    /// The model's server says nothing.
    #[error("the model's server has said nothing for {ms} ms ({})", .stage.name())]
    Silent {
        /// What did not come.
        stage: SilentStage,
        /// For how long.
        ms: u64,
    },
    /// The answer was cut off.
    #[error("the answer was cut off after {bytes} bytes of text: {error}")]
    Cut {
        /// Bytes of text before that.
        bytes: u64,
        /// The operating system's words.
        error: String,
    },
    /// The answer ended without saying that it is complete.
    #[error("the answer ended without saying that it is complete")]
    NoFinish,
    /// The stream of events makes no sense.
    #[error("the stream of events makes no sense: {error}")]
    Sse {
        /// What is wrong with it.
        error: String,
    },
    /// What came is no stream of events.
    #[error("the model's server answers with {content_type:?} instead of a stream of events")]
    NotSse {
        /// What it is, as far as it says.
        content_type: String,
    },
    /// The model's server sends elsewhere, where nobody follows.
    #[error("the model's server sends to {to:?}, which is not followed")]
    Redirect {
        /// Where, without query.
        to: String,
    },
    /// An error that was told inside a stream.
    #[error("the model's server reports {kind}: {message}")]
    Upstream {
        /// Its own word for it.
        kind: String,
        /// Its words, redacted and cut.
        message: String,
    },
    /// The agent wants a login.
    #[error("the agent wants a login: {message}")]
    Auth {
        /// What to do.
        message: String,
        /// The ways that it offers.
        methods: Vec<String>,
    },
    /// The agent speaks another version of the protocol.
    #[error("the agent speaks another version of the protocol: {message}")]
    Incompatible {
        /// Which.
        message: String,
    },
    /// The agent does not know the conversation any more.
    #[error("the agent cannot take the conversation up again: {message}")]
    Resume {
        /// Its words, redacted and cut.
        message: String,
    },
    /// The session chose what it may not choose, or what the agent does not offer.
    #[error("a session cannot have the {what} {value:?} here")]
    Choice {
        /// The param.
        what: &'static str,
        /// What it says, cut.
        value: String,
        /// What it may say.
        offered: Vec<String>,
    },
    /// The agent answers with an error of its protocol; its process goes on.
    #[error("the agent reports: {message}")]
    Rpc {
        /// The protocol's number of it.
        code: i64,
        /// Its words, redacted and cut.
        message: String,
        /// What else it tells of it, as JSON, redacted and cut.
        data: Option<String>,
        /// What its model's server answered, where it tells.
        status: Option<u16>,
    },
    /// Every provider of a chain failed.
    #[error("all {} providers of the chain failed", .causes.len())]
    Fallback {
        /// By name, in order, why.
        causes: Vec<(String, Self)>,
    },
    /// The provider's own code panicked.
    #[error("the provider panicked: {message}")]
    Panicked {
        /// The panic's words.
        message: String,
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
            Self::Http { .. } => "http",
            Self::Network { .. } => "network",
            Self::Silent { stage, .. } => stage.name(),
            Self::Cut { .. } => "cut",
            Self::NoFinish => "no_finish",
            Self::Sse { .. } => "sse",
            Self::NotSse { .. } => "not_sse",
            Self::Redirect { .. } => "redirect",
            Self::Upstream { .. } => "upstream",
            Self::Auth { .. } => "auth",
            Self::Incompatible { .. } => "incompatible",
            Self::Resume { .. } => "resume",
            Self::Choice { .. } => "choice",
            Self::Rpc { .. } => "rpc",
            Self::Fallback { .. } => "fallback",
            Self::Panicked { .. } => "panicked",
            Self::Dropped => "dropped",
        }
    }

    /// The code that it is told by.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Http { status, .. }
            | Self::Rpc {
                status: Some(status),
                ..
            } => match status {
                401 | 403 => Code::ProviderAuth,
                408 | 425 | 500.. => Code::ProviderUnavailable,
                429 => Code::ProviderRateLimited,
                _ => Code::ProviderRefused,
            },
            Self::Network { .. } | Self::Cut { .. } | Self::Upstream { .. } | Self::Rpc { .. } => {
                Code::ProviderUnavailable
            }
            Self::Choice { .. } => Code::ProviderRefused,
            Self::Auth { .. } => Code::ProviderAuth,
            Self::Silent { .. } => Code::ProviderTimeout,
            // The last one's: it is what stands in the way now.
            Self::Fallback { causes } => {
                let last = causes.last();
                last.map_or(Code::ProviderUnavailable, |(_, failure)| failure.code())
            }
            Self::NoFinish
            | Self::Sse { .. }
            | Self::NotSse { .. }
            | Self::Redirect { .. }
            | Self::Incompatible { .. }
            | Self::Resume { .. } => Code::ProviderProtocol,
            Self::Spawn { .. } => Code::ProviderSpawn,
            Self::Exited { .. }
            | Self::Signal { .. }
            | Self::OutOfMemory
            | Self::NoResult
            | Self::NoOutput
            | Self::Reported { .. }
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
            | Self::Budget { .. }
            | Self::Http { .. }
            | Self::Silent { .. }
            | Self::Cut { .. }
            | Self::NoFinish
            | Self::Sse { .. }
            | Self::NotSse { .. }
            | Self::Redirect { .. }
            | Self::Upstream { .. }
            | Self::Auth { .. }
            | Self::Incompatible { .. }
            | Self::Resume { .. }
            | Self::Choice { .. }
            | Self::Rpc { .. }
            | Self::Fallback { .. } => Origin::Provider,
            Self::Network { .. } => Origin::Network,
        }
    }

    /// The failure as it leaves the process.
    #[must_use]
    pub fn fault(&self, id: FaultId, at: UnixMillis) -> Fault {
        let fault = Fault::new(id, self.code(), self.origin(), at)
            .message(format!("{} ({self})", self.code().says()))
            .detail("cause", self.cause());
        let fault = match self.retry_after_ms() {
            Some(ms) => fault.retry(Retry::After { ms }),
            None => fault,
        };
        let fault = self.causes().iter().fold(fault, |fault, (name, cause)| {
            let cause = cause.fault(fault.id.clone(), at);
            fault.caused_by(cause.detail("provider", name.as_str()))
        });
        self.facts()
            .into_iter()
            .fold(fault, |fault, (key, value)| fault.detail(key, value))
    }

    /// When the provider says to come back, in milliseconds.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        if let Self::Http { retry_after_ms, .. } = self {
            return *retry_after_ms;
        }
        self.causes().last()?.1.retry_after_ms()
    }

    fn causes(&self) -> &[(String, Self)] {
        if let Self::Fallback { causes } = self {
            return causes;
        }
        &[]
    }

    /// Bytes of what it says.
    pub(crate) fn bytes(&self) -> u64 {
        self.to_string().len() as u64
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
            Self::Http {
                status, message, ..
            } => vec![
                ("status", (*status).into()),
                ("reported", message.as_str().into()),
            ],
            Self::Network { stage, error } => vec![
                ("stage", stage.name().into()),
                ("error", error.as_str().into()),
            ],
            Self::Silent { ms, .. } => vec![("ms", (*ms).into())],
            Self::Cut { bytes, error } => {
                vec![("bytes", (*bytes).into()), ("error", error.as_str().into())]
            }
            Self::Sse { error } => vec![("error", error.as_str().into())],
            Self::NotSse { content_type } => vec![("content_type", content_type.as_str().into())],
            Self::Redirect { to } => vec![("to", to.as_str().into())],
            Self::Upstream { kind, message } => vec![
                ("kind", kind.as_str().into()),
                ("reported", message.as_str().into()),
            ],
            Self::Auth { message, methods } => vec![
                ("reported", message.as_str().into()),
                ("methods", methods.clone().into()),
            ],
            Self::Choice {
                what,
                value,
                offered,
            } => vec![
                ("param", (*what).into()),
                ("value", value.as_str().into()),
                ("offered", offered.clone().into()),
            ],
            Self::Incompatible { message } | Self::Resume { message } => {
                vec![("reported", message.as_str().into())]
            }
            Self::Rpc {
                code,
                message,
                data,
                status,
            } => vec![
                ("rpc_code", (*code).into()),
                ("reported", message.as_str().into()),
                ("data", data.clone().into()),
                ("status", (*status).into()),
            ],
            Self::OutOfMemory
            | Self::NoResult
            | Self::NoOutput
            | Self::NoFinish
            | Self::Fallback { .. }
            | Self::Dropped => Vec::new(),
        }
    }
}
