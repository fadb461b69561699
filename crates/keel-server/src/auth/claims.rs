//! The claims of a token.

use keel_wire::{Grant, Role, SessionId};
use serde::{Deserialize, Serialize};

use crate::{auth::AUDIENCE, clock, random};

/// The longest that a token made here may last, in seconds.
pub(super) const TTL_S_MAX: u64 = 366 * 24 * 3_600;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whom it is for; sessions are found and listed by it.
    pub sub: String,
    /// For which service; always [`AUDIENCE`].
    #[serde(default, skip_deserializing)]
    pub aud: String,
    /// When it expires, in seconds since the Unix epoch.
    pub exp: u64,
    /// From when on it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Its id, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The one session that it is good for; absent means any of the subject's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The highest role that may be asked for; absent means the least.
    #[serde(default = "least")]
    pub role: Role,
    /// The backends that it may open; absent means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<String>>,
    /// The project that its sessions belong to; absent lets the caller name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Pages that may use it; absent means any that the server allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
    /// The longest that a session opened with it may last, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_s: Option<u64>,
    /// Faults may be injected with it, where the server has that switched on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub faults: bool,
    /// Reads and ends anybody's sessions, mints and revokes tokens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
}

const fn least() -> Role {
    Role::Viewer
}

impl Claims {
    /// Claims of `subject` in `role`, good from now on for `ttl_s` seconds (a year at most), with a
    /// fresh id.
    #[must_use]
    pub fn new(subject: impl Into<String>, role: Role, ttl_s: u64) -> Self {
        let now = clock::wall() / 1_000;
        Self {
            sub: subject.into(),
            aud: AUDIENCE.to_owned(),
            exp: now + ttl_s.min(TTL_S_MAX),
            nbf: None,
            iat: Some(now),
            iss: None,
            jti: Some(random::hex(&random::bytes::<16>())),
            session: None,
            role,
            backends: None,
            project: None,
            origins: None,
            max_s: None,
            faults: false,
            admin: false,
        }
    }

    pub(super) fn grant(self) -> Grant {
        Grant {
            subject: self.sub,
            role: self.role,
            session: self.session,
            backends: self.backends,
            project: self.project,
            session_ms_max: self.max_s.map(|s| s.saturating_mul(1_000)),
            expires: self.exp.saturating_mul(1_000),
            token_id: self.jti,
            may_inject: self.faults,
            admin: self.admin,
        }
    }
}
