//! Close codes, and what a client makes of each (RFC 6455 §7.4).
//!
//! Evenkeel sends only 4000 to 4599 after hello, repeating what a fault frame has said: the class
//! tells a client what to do even when proxies ate the frame.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A WebSocket close code as received; 1005 and 1006 stand for "none" and "no close at all".
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct CloseCode(pub u16);

/// What a client does about a connection that ended with a close code and nothing better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A new connection for the same attachment.
    Fast,
    /// As [`Verdict::Fast`], but the second time without progress in between is for good.
    FastOnce,
    /// A new attachment for the same participant.
    Rejoin,
    /// A new attachment on another node.
    Migrate,
    /// Come back when told, or after a while.
    Later,
    /// Do not come back by yourself.
    Never,
    /// A normal end that nobody announced: told as `connection_closed`, not repeated.
    Closed,
}

impl CloseCode {
    /// Sent by a client that leaves.
    pub const NORMAL: Self = Self(1000);
    /// No close code was received.
    pub const NONE: Self = Self(1005);
    /// The connection ended without a close frame.
    pub const ABNORMAL: Self = Self(1006);

    /// What a client does about it.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self.0 {
            1000 => Verdict::Closed,
            1002 | 1003 | 1007 | 1009 => Verdict::FastOnce,
            1008 => Verdict::Never,
            1013 => Verdict::Later,
            4003 => Verdict::FastOnce,
            4100..=4199 => Verdict::Rejoin,
            4200..=4299 => Verdict::Migrate,
            4400..=4499 => Verdict::Never,
            4500..=4599 => Verdict::Later,
            // 1001, 1005, 1006, 1011, 1012, 1014, 40xx; and what nobody has defined: a broken
            // middlebox must not end a session for good.
            _ => Verdict::Fast,
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
