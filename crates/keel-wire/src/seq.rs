//! Positions in a session's log.
//!
//! A sequence means nothing without its epoch: the epoch names one unbroken log, and changes only
//! when continuity cannot be proven. A cursor is the pair, and says "I have applied up to here".

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::INTEGER_MAX;

/// A position, or a count that must survive JavaScript: 0 to 2^53 - 1. 0 is "before the first".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema,
)]
pub struct Seq(#[schemars(range(max = 9_007_199_254_740_991_u64))] u64);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);
    /// The last position that there can be.
    pub const MAX: Self = Self(INTEGER_MAX);

    /// `None` above 2^53 - 1.
    #[must_use]
    pub const fn new(value: u64) -> Option<Self> {
        if value <= INTEGER_MAX {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one. Saturates: at a million events a second 2^53 is 285 years off.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// This position moved on by `count`, saturating.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        let sum = self.0.saturating_add(count);
        Self(if sum > INTEGER_MAX { INTEGER_MAX } else { sum })
    }

    /// How many positions lie after `earlier` up to this one; 0 if there are none.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Seq {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = u64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom("a sequence is at most 2^53 - 1"))
    }
}

/// Identity of one unbroken log. Counts up each time that continuity cannot be proven.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub struct Epoch(pub Seq);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far a client has applied a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Cursor {
    /// The log.
    pub epoch: Epoch,
    /// The last position applied.
    pub seq: Seq,
}

/// A run of positions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// The first position.
    pub from: Seq,
    /// The last position; never below `from`.
    pub to: Seq,
}

impl Range {
    /// The range of one position.
    #[must_use]
    pub const fn one(seq: Seq) -> Self {
        Self { from: seq, to: seq }
    }
}
