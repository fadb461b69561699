//! What a provider says while it works on a turn.

use keel_wire::{Action, CancelStep};
use serde_json::Value;

use crate::{
    Failure,
    limits::{CREDIT_BYTES, OUTPUT_COST_BYTES},
};

/// One thing that a provider says.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The work has begun.
    Started {
        /// The process that does it, where there is one.
        pid: Option<u32>,
    },
    /// More of the answer; at most `TEXT_BYTES_MAX` of the wire.
    Text(String),
    /// Anything else that the provider tells, untouched.
    Item(Value),
    /// The provider begins anew by itself: the text before this is superseded.
    NewAttempt {
        /// Why.
        failure: Box<Failure>,
    },
    /// The provider failed and tries again in a while; [`Self::NewAttempt`] follows when it does.
    Retrying {
        /// In so many milliseconds.
        in_ms: u64,
        /// Why.
        failure: Box<Failure>,
    },
    /// The agent keeps the conversation under a name of its own, which the next attempt is given.
    Bound {
        /// The name; at most `AGENT_ID_BYTES_MAX` of the wire.
        id: String,
    },
    /// A step on the way to its end, after [`crate::Ask::Cancel`].
    Cancelling {
        /// Which.
        step: CancelStep,
    },
    /// The provider waits for somebody.
    NeedsAction(Action),
    /// The provider called its model; counted against the budget.
    ModelCall,
    /// Lines that are not of the provider's protocol were skipped.
    Noise {
        /// How many.
        lines: u32,
    },
}

impl Output {
    /// What it takes of the credit; [`crate::Running::refill`] wants the same number back.
    #[must_use]
    pub fn cost(&self) -> u32 {
        let bytes = self.bytes().saturating_add(u64::from(OUTPUT_COST_BYTES));
        u32::try_from(bytes).map_or(CREDIT_BYTES, |bytes| bytes.min(CREDIT_BYTES))
    }

    /// Bytes of what it says.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Item(value) => keel_wire::json_len(value) as u64,
            Self::NewAttempt { failure } | Self::Retrying { failure, .. } => failure.bytes(),
            Self::NeedsAction(action) => keel_wire::json_len(action) as u64,
            // A name of a bounded length, once an attempt, which is neither text nor item.
            Self::Started { .. }
            | Self::Bound { .. }
            | Self::ModelCall
            | Self::Noise { .. }
            | Self::Cancelling { .. } => 0,
        }
    }
}
