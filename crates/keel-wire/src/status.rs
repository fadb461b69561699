//! How a session is, as one value: pushed, read over HTTP, shown in the console and the SDKs.
//!
//! Checked wherever it is made ([`Status::check`]): failed has a fault, live has none, recovering has
//! a cause and a next step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Code, Fault, Injected, Leg, UnixMillis};

/// What a session or a leg is waiting to have rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// New connection, same attachment.
    Fast,
    /// New attachment, same participant.
    Rejoin,
    /// New attachment on another node.
    Migrate,
}

/// What has to happen before a recovery can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingFor {
    /// A way to the server.
    Network,
    /// A fresh token.
    Token,
    /// The server said when to come back.
    Server,
    /// The store writes again.
    Store,
}

/// How far a first connect has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Fetching a token.
    Token,
    /// Name, TCP, TLS and upgrade.
    Dial,
    /// Hello is sent.
    Hello,
    /// Welcome is here; what was missed is being replayed.
    Replay,
}

/// Why a session ended on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// This client left; the session goes on.
    Detached,
    /// Somebody ended the session.
    Ended,
    /// It lasted as long as it may.
    DurationLimit,
    /// An operator ended or deleted it.
    Operator,
    /// It could not go on.
    Failed,
}

/// The health of one leg.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "health", rename_all = "snake_case")]
pub enum LegState {
    /// It works.
    Up,
    /// It works, badly.
    Degraded {
        /// Why.
        fault: Box<Fault>,
    },
    /// It does not work, and nothing is being done about it.
    Down {
        /// Why.
        fault: Box<Fault>,
    },
    /// It does not work, and it is being rebuilt.
    Recovering {
        /// What is rebuilt.
        strategy: Strategy,
        /// The attempt, from 1.
        attempt: u32,
        /// Milliseconds until the next attempt; 0 while one runs.
        next_ms: u64,
        /// What it waits for, where it does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waiting_for: Option<WaitingFor>,
        /// Milliseconds until it is given up; absent means never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// Why.
        fault: Box<Fault>,
    },
}

/// One leg, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LegStatus {
    /// Which.
    pub leg: Leg,
    /// How it is.
    #[serde(flatten)]
    pub state: LegState,
}

/// The state of a session, derived from its legs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// A first connect is under way.
    Connecting {
        /// How far it has come.
        phase: Phase,
    },
    /// In line for a slot.
    Queued {
        /// Place in line, from 1.
        position: u32,
        /// How long the line is.
        of: u32,
    },
    /// All legs are up.
    Live,
    /// A leg works badly, or one that the session can do without is down.
    Degraded,
    /// A leg is being rebuilt.
    Recovering,
    /// Over, on purpose.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// Over, by a fault.
    Failed,
}

/// How a session is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Derived from the legs.
    #[serde(flatten)]
    pub state: State,
    /// The first cause, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
    /// The legs that the session has.
    #[serde(default)]
    pub legs: Vec<LegStatus>,
    /// What is broken on purpose at present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub injected: Vec<Injected>,
    /// Since when, by the wall clock of who says it.
    pub since: UnixMillis,
}

impl Status {
    /// The rule that is broken, if one is (req M31): checked by the auditor, the simulator and the
    /// drill at every observed instant.
    #[must_use]
    pub fn check(&self) -> Option<&'static str> {
        match &self.state {
            State::Failed if self.fault.is_none() => Some("failed without a fault"),
            State::Live if self.fault.is_some() => Some("live with a fault"),
            State::Live if self.legs.iter().any(|leg| leg.state != LegState::Up) => {
                Some("live with a leg that is not up")
            }
            State::Recovering if self.fault.is_none() => Some("recovering without a cause"),
            State::Recovering
                if !self.legs.iter().any(|leg| {
                    matches!(&leg.state, LegState::Recovering { attempt, .. } if *attempt >= 1)
                }) =>
            {
                Some("recovering without a next step")
            }
            State::Degraded if self.fault.is_none() => Some("degraded without a fault"),
            State::Connecting { .. }
            | State::Queued { .. }
            | State::Live
            | State::Degraded
            | State::Recovering
            | State::Ended { .. }
            | State::Failed => None,
        }
    }

    /// Whether the session is over.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self.state, State::Ended { .. } | State::Failed)
    }

    /// The code of its fault, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self.fault.as_deref().map(|fault| &fault.code) {
            Some(crate::FaultCode::Known(code)) => Some(*code),
            Some(crate::FaultCode::Unknown(_)) | None => None,
        }
    }
}
