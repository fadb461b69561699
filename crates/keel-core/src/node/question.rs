//! What the shell asks of a Node, and what it is answered.

use keel_wire::{
    Command, Grant, Injected, Injection, ParticipantId, ReceiptBody, Role, SessionId, Status,
};

use super::Progress;

/// A question of the shell's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// How a session is. Answered from memory; `None` when it is not there.
    Status {
        /// Which.
        session: SessionId,
    },
    /// A command over HTTP, once for each idempotency key.
    Command {
        /// Which session.
        session: SessionId,
        /// Who asks.
        grant: Grant,
        /// The caller's key, unique among its own.
        key: String,
        /// What.
        command: Command,
    },
    /// Ends a session, whoever has it open.
    End {
        /// Which.
        session: SessionId,
        /// Who asks.
        grant: Grant,
    },
    /// How many of what there are, for `/v1/node`.
    Census,
    /// Breaks something on purpose.
    Inject(Strike),
}

/// What to break on purpose, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    /// Which session.
    pub session: SessionId,
    /// Whose connections; absent means all.
    pub participant: Option<ParticipantId>,
    /// What to break.
    pub injection: Injection,
    /// How long, where it lasts.
    pub for_ms: Option<u64>,
    /// What chance decides in it; absent means by chance.
    pub seed: Option<u64>,
}

/// A participant's presence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Presence {
    /// Who.
    pub participant: ParticipantId,
    /// As what.
    pub role: Role,
    /// Whether a connection is there.
    pub connected: bool,
}

/// How many of what there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Census {
    /// Sessions in memory.
    pub sessions: usize,
    /// Connections, those that have not said hello included.
    pub connections: usize,
    /// Connections that are attached.
    pub attached: usize,
    /// Turns that run.
    pub runs: usize,
    /// Sessions that hold a slot, over all backends.
    pub slots_held: usize,
    /// Sessions in line for one.
    pub slots_waiting: usize,
    /// Transports for media.
    pub peers: usize,
    /// No new work is taken.
    pub draining: bool,
    /// How long inputs wait until they are handled.
    pub input_wait_ms: u64,
    /// That is too long, and has been for a while: new sessions are refused.
    pub overloaded: bool,
    /// Memory is short: new sessions are refused.
    pub memory_short: bool,
    /// How far the handing-over of all sessions is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<Progress>,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// How the session is; `None` when it is not in memory.
    Status(Option<(Status, Vec<Presence>)>),
    /// What became of the command.
    Receipt(ReceiptBody),
    /// How many of what there are.
    Census(Census),
    /// What was broken on purpose.
    Struck {
        /// How many connections, runs or servers were struck.
        count: usize,
        /// What it is called; absent when nothing was struck.
        injected: Option<Box<Injected>>,
    },
}
