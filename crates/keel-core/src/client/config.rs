//! What a client is told once: where to, as whom, and how patient to be.

use std::time::Duration;

use keel_wire::{
    Admission, BusyPolicy, Cursor, History, ParticipantId, Role, Seq, SessionId, Snapshot, StreamId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Backoff;
use crate::limits;

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// This one; once it has expired, a fresh one comes as [`super::Input::Token`] or not at all.
    Fixed(String),
    /// The shell is asked, at each connect and whenever the server wants a fresh one.
    Fetched,
}

/// How a client behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to connect; never empty. The second and later are for when the first is gone.
    pub addresses: Vec<String>,
    /// Where tokens come from.
    pub token: TokenSource,
    /// The session to join; `None` opens a new one.
    pub session: Option<SessionId>,
    /// What a new session is served by.
    pub backend: Option<String>,
    /// The project of a new session.
    pub project: Option<String>,
    /// What happens to a `say` while a turn runs, in a new session.
    pub busy: Option<BusyPolicy>,
    /// What a person calls a new session.
    pub title: Option<String>,
    /// Where a new session's programs work.
    pub cwd: Option<String>,
    /// Words to find a new session by.
    pub tags: Vec<String>,
    /// The role wanted.
    pub role: Role,
    /// What to do when there is no slot.
    pub admission: Admission,
    /// What is wanted of the past.
    pub history: History,
    /// The params of a new session.
    pub params: Option<Value>,
    /// Name and version of the SDK.
    pub sdk: String,
    /// What an earlier client left, to go on where it was.
    pub resume: Option<Box<ResumeState>>,
    /// Between tries.
    pub backoff: Backoff,
    /// When a recovery is given up; `None` means the server's resume window, zero never.
    pub give_up_after: Option<Duration>,
    /// Whether an unreachable server is tried again on a first connect, for `connect_within`.
    pub retry_first_connect: bool,
    /// The longest that a first connect may take, a queue excepted.
    pub connect_within: Duration,
}

impl Config {
    /// The defaults, as an owner.
    #[must_use]
    pub fn new(address: impl Into<String>, token: TokenSource) -> Self {
        Self {
            addresses: vec![address.into()],
            token,
            session: None,
            backend: None,
            project: None,
            busy: None,
            title: None,
            cwd: None,
            tags: Vec::new(),
            role: Role::Owner,
            admission: Admission::Fail,
            history: History::All,
            params: None,
            sdk: concat!("keel-core/", env!("CARGO_PKG_VERSION")).to_owned(),
            resume: None,
            backoff: Backoff::default(),
            give_up_after: None,
            retry_first_connect: false,
            connect_within: limits::CONNECT_WITHIN,
        }
    }
}

/// What a client leaves to the next one, so that it goes on where this one was. It holds the resume
/// key: keep it as one keeps a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResumeState {
    /// The session.
    pub session: SessionId,
    /// Who this client is in it.
    pub participant: ParticipantId,
    /// Proof of that.
    pub key: String,
    /// How far the log was applied.
    pub cursor: Cursor,
    /// The fold up to there.
    pub snapshot: Snapshot,
    /// The stream of its commands.
    pub stream: StreamId,
    /// The number that its next command will have.
    pub next: Seq,
}
