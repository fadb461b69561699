//! The journal: what happened to a session's connections, attempts and store, beside its log.
//!
//! Unsequenced, bounded, flushed lazily, never replayed to participants. It is what `sessions why`,
//! incidents and metrics are made from: each entry is counted by the shell when the core emits it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ActionId, CloseCode, EndReason, Evidence, Fault, Injected, InstanceId, Joined, ParticipantId,
    Range, Strategy, TurnEnd, TurnId, UnixMillis,
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// When, by the server's wall clock.
    pub at: UnixMillis,
    /// To whom, where it concerns one participant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<ParticipantId>,
    /// What.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The session was brought into memory.
    Activated {
        /// A turn was found without an owner, so the server before this one was cut off.
        unclean: bool,
    },
    /// The session left memory.
    Hibernated,
    /// A participant is connected.
    Connected {
        /// How.
        how: Joined,
        /// Which rung of the ladder, where it came back from a loss.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strategy: Option<Strategy>,
        /// Events between its cursor and the log's end.
        missed: u64,
        /// Milliseconds since the server noticed the loss, where it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        away_ms: Option<u64>,
        /// What the client says about the loss.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// What a participant missed has been delivered to it.
    Replayed {
        /// How many events.
        events: u64,
        /// Milliseconds since it was connected.
        took_ms: u64,
    },
    /// A connection is lost.
    ConnectionLost {
        /// As what it was told, to whoever could still be told.
        fault: Box<Fault>,
        /// Milliseconds since the last byte from it.
        silent_ms: u64,
        /// How it was closed, where it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        close: Option<CloseCode>,
    },
    /// A participant left.
    Detached,
    /// Somebody was refused.
    Refused {
        /// As what.
        fault: Box<Fault>,
    },
    /// A connection of the same participant took another's place.
    Superseded {
        /// The instance that took it.
        by: InstanceId,
        /// Whether it is another SDK instance than the one before.
        takeover: bool,
    },
    /// A participant was passed over events.
    Gap {
        /// Which.
        range: Range,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Box<Fault>>,
    },
    /// A place in line.
    Queued {
        /// From 1.
        position: u32,
        /// How long the line is.
        of: u32,
    },
    /// A slot was granted.
    Granted {
        /// Milliseconds in line.
        waited_ms: u64,
    },
    /// The slot was given back.
    Released,
    /// An attempt at a turn began.
    TurnStarted {
        /// The turn.
        turn: TurnId,
        /// From 1.
        attempt: u32,
    },
    /// Nothing was heard from a turn's provider for a while.
    TurnStalled {
        /// The turn.
        turn: TurnId,
        /// Milliseconds since the last output.
        silent_ms: u64,
    },
    /// An attempt came to nothing.
    AttemptFailed {
        /// The turn.
        turn: TurnId,
        /// From 1.
        attempt: u32,
        /// Why.
        fault: Box<Fault>,
    },
    /// An answer to what a turn waits for was not taken.
    AnswerRefused {
        /// The turn that was named.
        turn: TurnId,
        /// The question that was named.
        action: ActionId,
        /// Why.
        fault: Box<Fault>,
    },
    /// A turn is over.
    TurnEnded {
        /// The turn.
        turn: TurnId,
        /// How.
        end: TurnEnd,
        /// Milliseconds since it was accepted.
        took_ms: u64,
        /// Why, where it was not done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<Box<Fault>>,
    },
    /// A frame made no sense.
    ProtocolError {
        /// What was wrong with it.
        fault: Box<Fault>,
    },
    /// The store refuses to write.
    StoreFailed {
        /// Why.
        fault: Box<Fault>,
    },
    /// The store writes again.
    StoreHealed {
        /// Milliseconds since it refused.
        after_ms: u64,
    },
    /// A participant's media does not flow: a track fell silent, or its transport is gone.
    MediaLost {
        /// Why.
        fault: Box<Fault>,
    },
    /// A track of a participant flows again.
    MediaRecovered {
        /// Milliseconds since it was told as lost.
        after_ms: u64,
    },
    /// The session's machine panicked and was rebuilt from the store.
    Panicked {
        /// The fault's id is in the log with the panic's text.
        fault: Box<Fault>,
    },
    /// Something was broken on purpose.
    Injected {
        /// What, and its id.
        injected: Injected,
    },
    /// A law did not hold. Never expected; raised as an error in the log too.
    AuditFailed {
        /// Which.
        law: String,
    },
    /// The session is over.
    Ended {
        /// Why.
        reason: EndReason,
    },
}
