//! One client: the shipped machine, the application that uses it, and what both have seen.

use std::collections::{BTreeMap, BTreeSet};

use keel_core::client::{self, Client};
use keel_wire::{Code, Role, SessionId, Snapshot, TurnId};

/// What was asked for, and what became of it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) actor: usize,
    pub(crate) what: What,
    pub(crate) at: u64,
    pub(crate) outcome: Option<Outcome>,
    /// That it still waits was told.
    pub(crate) waits_told: bool,
    /// Its sender is gone and hears no answer.
    pub(crate) abandoned: bool,
}

/// What a command is, as far as its outcome can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Say,
    Send,
    Set,
    Other,
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Not,
    Unknown,
}

/// What a wait is for, in the application's eyes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Connecting,
    Queued,
    Recovering,
}

/// What the application has been told.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) session: Option<SessionId>,
    /// The reference's fold, moved along with what was told.
    pub(crate) fold: Snapshot,
    pub(crate) at: u64,
    /// The log may begin anew with what is told next.
    pub(crate) fresh: bool,
    /// A snapshot in place of history was asked for.
    pub(crate) wants_snapshot: bool,
    /// When a loss was told that is not resolved.
    pub(crate) lost_at: Option<u64>,
    pub(crate) over: Option<Over>,
    /// A recovery was told, and what was told before it is to be looked at.
    pub(crate) recovered: bool,
    pub(crate) wait: Option<(Wait, u64)>,
    /// When a long wait was last told.
    pub(crate) wait_told_at: u64,
    pub(crate) live_since: Option<u64>,
    /// When each connection was last told lost.
    pub(crate) lost: BTreeMap<u64, u64>,
    /// Turns whose end was told.
    pub(crate) ended: BTreeSet<TurnId>,
}

/// How it ended for the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Ended,
    Failed { for_good: bool },
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) machine: Client,
    pub(crate) life: u32,
    pub(crate) group: usize,
    pub(crate) role: Role,
    pub(crate) config: client::Config,
    pub(crate) started: bool,
    pub(crate) links: BTreeMap<u64, usize>,
    /// The link that carries the session.
    pub(crate) carrier: Option<usize>,
    pub(crate) asleep_until: Option<u64>,
    pub(crate) pile: Vec<client::Input>,
    /// How much less its clocks show than the world's.
    pub(crate) lag: u64,
    pub(crate) wall_off: u64,
    pub(crate) offline_until: u64,
    pub(crate) armed: Option<u64>,
    pub(crate) spins: u32,
    pub(crate) view: View,
    /// Nothing bad has happened to it since.
    pub(crate) well_since: u64,
    pub(crate) disturbed: bool,
    /// Codes that it was told by what struck it.
    pub(crate) excuses: BTreeSet<Code>,
    pub(crate) leaving: bool,
    pub(crate) gone: bool,
    pub(crate) open_commands: BTreeSet<u64>,
    pub(crate) tries: u32,
    /// When the attempt under way began, for the mutant that turns budgets back.
    pub(crate) last_try_at: u64,
}
