//! What a verified token allows. Made at the edge from a token's claims; never read off the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{SessionId, UnixMillis, record::SessionRow};

/// What a participant may do. Ordered: a higher role includes the lower.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees; sends nothing but its own presence.
    Viewer,
    /// Says, sends and publishes.
    Publisher,
    /// Also sets params, answers for the session and ends it.
    Owner,
}

/// What the bearer of a verified token may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Whom the token was made for. Sessions are found and listed by it.
    pub subject: String,
    /// The highest role that may be asked for.
    pub role: Role,
    /// The one session that it is good for; `None` for any of the subject's.
    pub session: Option<SessionId>,
    /// The backends that it may open; `None` for any.
    pub backends: Option<Vec<String>>,
    /// The project that its sessions belong to; `None` lets the caller name one.
    pub project: Option<String>,
    /// The longest that a session opened by it may last, in milliseconds.
    pub session_ms_max: Option<u64>,
    /// When it expires, by the server's wall clock.
    pub expires: UnixMillis,
    /// Its id, by which it can be revoked.
    pub token_id: Option<String>,
    /// Faults may be injected with it (where the server has that switched on).
    pub may_inject: bool,
    /// Reads and ends anybody's sessions, mints and revokes tokens.
    pub admin: bool,
}

impl Grant {
    /// Whether it lets its bearer into a session that exists.
    #[must_use]
    pub fn may_enter(&self, row: &SessionRow) -> bool {
        let named = self.session.as_ref() == Some(&row.session);
        let own = self.session.is_none() && self.subject == row.subject;
        let backends = self.backends.as_ref();
        let backend = backends.is_none_or(|list| list.contains(&row.backend));
        (named || own || self.admin) && backend
    }

    /// Whether `other` is of the same bearer and session and allows no more than this one.
    #[must_use]
    pub fn may_become(&self, other: &Self) -> bool {
        self.subject == other.subject
            && other.role <= self.role
            && (self.session.is_none() || self.session == other.session)
            && (!other.may_inject || self.may_inject)
            && (!other.admin || self.admin)
    }
}
