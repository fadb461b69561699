//! The session machine: one durable conversation, one ordered log, one owner of every outcome.
//!
//! Only this machine ends turns, attachments and the session. It decides on what it has staged, and
//! tells only what the store has committed: an event, a receipt or a run's start leaves through
//! [`commit`], or not at all.
//!
//! - [`members`]: who belongs to it, and on which connection each is
//! - [`commands`] and [`streams`]: what is asked, once each, and what became of it
//! - [`accept`], [`again`] and [`queue`]: what becomes a turn, and when it is next
//! - [`turns`] and [`runs`]: what is answered, and by which attempt; [`quarantine`]: what is not
//! - [`actions`] and [`words`]: what is said to a turn that runs; [`memory`]: what is kept of others
//! - [`commit`]: the pipeline from staged to told
//! - [`deliver`]: the log, to whoever is attached
//! - [`health`]: legs and status
//! - [`life`] and [`slot`]: opened or read back, its end; the right to run
//! - [`asks`], [`injection`]: commands over HTTP, faults on purpose
//! - [`handover`]: leaving for another server

mod accept;
mod actions;
mod again;
mod asks;
mod commands;
mod commit;
mod deliver;
mod gather;
mod handover;
mod health;
mod injection;
mod life;
mod media;
mod members;
mod memory;
mod quarantine;
mod queue;
mod runs;
mod slot;
mod streams;
mod turns;
mod welcome;
mod words;

use std::collections::VecDeque;

use keel_wire::{
    CommandId, EndReason, Fault, ParticipantId, Seq, SessionId, Snapshot, StreamId, UnixMillis,
    record::SessionRow,
};
use serde_json::Value;

use crate::{Instant, ring::Ring, small_map::SmallMap};

use commit::{InFlight, Stage};
use deliver::Crowd;
use gather::Gather;
use handover::Leaving;
pub(crate) use handover::Readiness;
use health::{Legs, StoreLeg};
use injection::InForce;
pub(crate) use injection::Wanted;
use members::Member;
use memory::Memory;
use quarantine::Quarantine;
use runs::Run;
use streams::Stream;
use turns::Turn;

/// How far a session is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Life {
    /// It stands in line; nothing but waiting happens in it.
    Queued,
    /// It goes on.
    Open,
    /// It is over; what remains is telling so. `told` once the end is committed.
    Ended {
        reason: EndReason,
        fault: Option<Box<Fault>>,
        told: bool,
    },
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    life: Life,
    /// The row as the next batch will write it.
    row: SessionRow,
    /// The fold of what is committed.
    fold: Snapshot,
    /// Frames of what is committed.
    ring: Ring,
    /// The log's end, committed and staged.
    committed: Seq,
    staged: Seq,
    members: SmallMap<ParticipantId, Member>,
    streams: SmallMap<StreamId, Stream>,
    params: Value,
    params_version: Seq,
    params_applied: Seq,
    /// Open turns, in order; the first is the one that runs.
    turns: VecDeque<Turn>,
    quarantine: Quarantine,
    memory: Memory,
    run: Option<Run>,
    /// A run that was given up and is being killed; nothing runs until it is gone.
    dying: Option<crate::node::RunId>,
    stage: Stage,
    inflight: Option<InFlight>,
    /// The command that is being run: what a panic is laid to.
    doing: Option<CommandId>,
    /// Another server writes its log.
    lost: bool,
    /// What its resume keys are made with.
    key: [u8; 32],
    /// How often it was offered to another server, here and elsewhere.
    moves: u64,
    leaving: Leaving,
    store: StoreLeg,
    legs: Legs,
    media: media::Media,
    /// The position of the stored snapshot, and how many events are kept below it.
    snapshot_seq: Seq,
    /// Since when the first absent participant is away.
    away_first: Option<Instant>,
    /// Since when nobody is attached and nothing runs.
    idle_since: Option<Instant>,
    /// When the session must end, on the monotonic clock, and whether that was announced.
    ends_at: Option<Instant>,
    end_announced: bool,
    /// When its state last changed, for status.
    since: UnixMillis,
    /// Its status as last told.
    told_status: Option<keel_wire::Status>,
    /// What was broken on purpose.
    injected: Vec<InForce>,
    crowd: Crowd,
    gather: Gather,
    /// Positions of text that may be put together, of turns that have ended.
    compactable: VecDeque<(Seq, Seq)>,
    /// When it began to wait for a slot, and where it stands.
    queued_at: Option<Instant>,
    place: (u32, u32),
}

impl Session {
    /// The log's committed end.
    pub(crate) const fn committed(&self) -> Seq {
        self.committed
    }

    /// Whether something is at stake: a turn runs.
    pub(crate) const fn is_busy(&self) -> bool {
        self.run.is_some()
    }

    /// Whether its connections are watched closely: a turn runs, or media may flow.
    pub(crate) fn is_watched(&self) -> bool {
        self.is_busy() || self.media.is_connected()
    }

    /// Whether another server writes its log: then nothing here is to be trusted.
    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// The command that it was at when it panicked.
    pub(crate) const fn doing(&self) -> Option<&CommandId> {
        self.doing.as_ref()
    }

    /// Its transports for media.
    pub(crate) fn transports(&self) -> impl Iterator<Item = crate::node::media::PeerId> {
        self.media.transports()
    }

    pub(crate) const fn row(&self) -> &SessionRow {
        &self.row
    }
}
