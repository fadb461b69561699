//! An outside failure as a value.
//!
//! Nobody classifies a fault by its text: the code says what happened, the retry whether and when to
//! come back, the scope what it ended, the causes what came before.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Code, FaultCode, FaultId, SessionId, TurnId, UnixMillis,
    fit::json_len,
    limits::{FAULT_CAUSES_MAX, FAULT_DETAIL_BYTES_MAX, FAULT_MESSAGE_BYTES_MAX},
};

pub(crate) const NOW: Retry = Retry::Now;
pub(crate) const NEVER: Retry = Retry::Never;
pub(crate) const AFTER_A_WHILE: Retry = Retry::After { ms: 1_000 };
pub(crate) const TRY_AGAIN: Retry = Retry::AfterAction {
    what: Todo::TryAgain,
};
pub(crate) const REFRESH: Retry = Retry::AfterAction {
    what: Todo::RefreshToken,
};
pub(crate) const CONFIGURE: Retry = Retry::AfterAction {
    what: Todo::ConfigureProvider,
};
pub(crate) const REJOIN: Retry = Retry::AfterAction { what: Todo::Rejoin };

/// Whether to come back, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "when", rename_all = "snake_case")]
pub enum Retry {
    /// At once; an SDK does it by itself.
    Now,
    /// Not before so many milliseconds.
    After {
        /// Milliseconds from when the fault was read.
        ms: u64,
    },
    /// When somebody has done something first.
    AfterAction {
        /// What.
        what: Todo,
    },
    /// The same inputs will never work.
    Never,
}

/// What has to be done before coming back makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Todo {
    /// Fetch a fresh token.
    RefreshToken,
    /// Join the session anew; an SDK does it by itself.
    Rejoin,
    /// Decide to try again; nothing does it behind the caller's back.
    TryAgain,
    /// Log the provider in, or give it its key; the message says how.
    ConfigureProvider,
}

/// What a fault ended or strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One transport.
    Connection,
    /// A participant's live presence.
    Attachment,
    /// One command.
    Command,
    /// One turn.
    Turn,
    /// The whole session.
    Session,
    /// Every session of a backend.
    Backend,
}

/// Who saw it first, and so where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The client's side.
    Client,
    /// What lies between.
    Network,
    /// The server.
    Server,
    /// The program or vendor behind the session.
    Provider,
    /// Where the log is kept.
    Store,
}

/// One thing that a session stands on, with a health of its own.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// The WebSocket and what it carries.
    Signaling,
    /// WebRTC.
    Media,
    /// What serves the session.
    Backend,
    /// What the backend itself calls.
    Upstream,
    /// Where the log is kept.
    Store,
}

/// An outside failure. See the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// Names this occurrence; the same fault told twice has the same id.
    pub id: FaultId,
    /// What happened.
    pub code: FaultCode,
    /// What it ended or strikes.
    pub scope: Scope,
    /// Who saw it first.
    pub origin: Origin,
    /// Whether and when to come back.
    pub retry: Retry,
    /// A sentence for a person. Never parsed.
    pub message: String,
    /// Facts for a program, by code; see `docs/faults.md`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
    /// What led to it, nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cause: Vec<Self>,
    /// What was seen after it and means nothing new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<Self>,
    /// When, by the wall clock of who saw it.
    pub at: UnixMillis,
    /// The session it struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The turn it struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnId>,
    /// The leg it struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<Leg>,
}

impl Fault {
    /// A fault of `code`, with the table's scope, retry and sentence.
    #[must_use]
    pub fn new(id: FaultId, code: Code, origin: Origin, at: UnixMillis) -> Self {
        Self {
            id,
            code: code.known(),
            scope: code.scope(),
            origin,
            retry: code.retry(),
            message: code.says().to_owned(),
            detail: Map::new(),
            cause: Vec::new(),
            suppressed: Vec::new(),
            at,
            session: None,
            turn: None,
            leg: None,
        }
    }

    /// With a sentence of its own, cut at a character's border if it is too long.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        let end = self.message.floor_char_boundary(FAULT_MESSAGE_BYTES_MAX);
        self.message.truncate(end);
        self
    }

    /// With a fact for a program.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(key.to_owned(), value.into());
        self
    }

    /// With facts that somebody else collected. What is too much is left out, but for its `cause`.
    #[must_use]
    pub fn details(mut self, detail: Map<String, Value>) -> Self {
        let bytes = json_len(&detail);
        if bytes <= FAULT_DETAIL_BYTES_MAX {
            self.detail = detail;
            return self;
        }
        self.detail = detail
            .into_iter()
            .filter(|(key, value)| key == "cause" && json_len(value) <= 64)
            .collect();
        self.detail("omitted_bytes", bytes)
    }

    /// With a retry of its own.
    #[must_use]
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// With what it strikes, where that is not the table's.
    #[must_use]
    pub const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// With the session it struck.
    #[must_use]
    pub fn session(mut self, session: &SessionId) -> Self {
        self.session = Some(session.clone());
        self
    }

    /// With the turn it struck.
    #[must_use]
    pub fn turn(mut self, turn: &TurnId) -> Self {
        self.turn = Some(turn.clone());
        self
    }

    /// With the leg it struck.
    #[must_use]
    pub const fn leg(mut self, leg: Leg) -> Self {
        self.leg = Some(leg);
        self
    }

    /// With what led to it. Causes of causes are flattened, and the list is bounded.
    #[must_use]
    pub fn caused_by(mut self, mut cause: Self) -> Self {
        let deeper = std::mem::take(&mut cause.cause);
        self.cause.push(cause);
        self.cause.extend(deeper);
        self.cause.truncate(FAULT_CAUSES_MAX);
        self
    }

    /// Keeps `later` as seen after this one; beyond the bound it is dropped, which is what
    /// suppressed means.
    pub fn suppress(&mut self, later: Self) {
        if self.suppressed.len() < FAULT_CAUSES_MAX {
            self.suppressed.push(later);
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}
