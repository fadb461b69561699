//! The closed list of fault codes: what each means, whether to come back, and how a connection
//! that ends with it is closed.
//!
//! One row a code, so that server, SDKs, console and documents cannot disagree. `docs/faults.md` has
//! a paragraph for each; a test keeps the two in step.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{CloseCode, Retry, Scope};

macro_rules! codes {
    ($( $name:literal $variant:ident, $scope:ident, $close:expr, $retry:expr, $says:literal; )+) => {
        /// What went wrong, from a closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        pub enum Code {
            $( #[doc = $says] #[schemars(rename = $name)] $variant, )+
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// A sentence for a person.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $( Self::$variant => $says, )+ }
            }

            /// What it usually strikes.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self { $( Self::$variant => Scope::$scope, )+ }
            }

            /// How a connection that ends with it is closed; `None` where it ends no connection.
            #[must_use]
            pub const fn close(self) -> Option<CloseCode> {
                let code: Option<u16> = match self { $( Self::$variant => $close, )+ };
                match code { Some(code) => Some(CloseCode(code)), None => None }
            }

            /// Whether to come back, where the fault itself says nothing better.
            #[must_use]
            pub const fn retry(self) -> Retry {
                match self { $( Self::$variant => $retry, )+ }
            }

            fn from_name(name: &str) -> Option<Self> {
                match name { $( $name => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

use crate::fault::{AFTER_A_WHILE, CONFIGURE, NEVER, NOW, REFRESH, REJOIN, TRY_AGAIN};

codes! {
    // Who you are, and what you asked for.
    "unauthenticated" Unauthenticated, Connection, Some(4401), NEVER,
        "The token is missing, malformed or not ours.";
    "token_expired" TokenExpired, Connection, Some(4402), REFRESH,
        "The token has expired; the session's place is kept until you come back with a fresh one.";
    "permission_denied" PermissionDenied, Connection, Some(4403), NEVER,
        "The token does not allow that.";
    "origin_not_allowed" OriginNotAllowed, Connection, None, NEVER,
        "This page's origin may not connect to this server.";
    "invalid_request" InvalidRequest, Connection, Some(4400), NEVER,
        "The request is well-formed, but what it asks makes no sense here.";
    "unsupported_version" UnsupportedVersion, Connection, Some(4426), NEVER,
        "Client and server have no protocol version in common.";
    "backend_not_found" BackendNotFound, Session, Some(4405), NEVER,
        "There is no backend of that name on this server.";
    "session_not_found" SessionNotFound, Session, Some(4404), NEVER,
        "There is no such session, or the token is not good for it.";

    // No room, now.
    "at_capacity" AtCapacity, Backend, Some(4503), AFTER_A_WHILE,
        "Every slot of the backend is taken.";
    "session_limit" SessionLimit, Session, Some(4502), AFTER_A_WHILE,
        "The most that this session or this caller may have at once is reached.";
    "queue_expired" QueueExpired, Session, Some(4410), TRY_AGAIN,
        "The place in the queue was given up: waited too long, or its turn came and nobody took it.";
    "rate_limited" RateLimited, Connection, Some(4529), AFTER_A_WHILE,
        "Too much was sent in too short a time.";
    "session_busy" SessionBusy, Turn, None, TRY_AGAIN,
        "A turn is running and the session does not queue another.";

    // The session's own life.
    "superseded" Superseded, Attachment, Some(4409), NEVER,
        "Another connection has taken this participant's place.";
    "session_duration_limit" SessionDurationLimit, Session, Some(4408), NEVER,
        "The session has lasted as long as it may.";

    // Commands.
    "expired" Expired, Command, None, TRY_AGAIN,
        "The command was not run: its time to live had passed.";
    "duplicate" Duplicate, Command, None, NEVER,
        "The command had been run before, and its receipt is no longer kept.";
    "outcome_unknown" OutcomeUnknown, Command, None, TRY_AGAIN,
        "The server no longer knows what became of the command: it may have run, or not.";
    "prompt_quarantined" PromptQuarantined, Command, None, TRY_AGAIN,
        "The prompt has crashed the program twice, and is not run again for a while.";
    "outbox_full" OutboxFull, Command, None, TRY_AGAIN,
        "The command was not taken: as many wait to be sent as may.";

    // Providers and their turns.
    "provider_crashed" ProviderCrashed, Turn, None, TRY_AGAIN,
        "The program behind the session ended without finishing its answer.";
    "provider_timeout" ProviderTimeout, Turn, None, TRY_AGAIN,
        "The program behind the session fell silent for longer than it may.";
    "provider_protocol" ProviderProtocol, Turn, None, TRY_AGAIN,
        "The program behind the session said something that breaks its own protocol.";
    "provider_budget" ProviderBudget, Turn, None, NEVER,
        "The turn used up its budget of lines, bytes, calls or time.";
    "provider_spawn" ProviderSpawn, Turn, None, TRY_AGAIN,
        "The program behind the session could not be started.";
    "provider_auth" ProviderAuth, Turn, None, CONFIGURE,
        "The provider wants a login or a key that it does not have, or does not take the one it has.";
    "provider_refused" ProviderRefused, Turn, None, NEVER,
        "The provider refuses the request; the same one will be refused again.";
    "provider_rate_limited" ProviderRateLimited, Turn, None, AFTER_A_WHILE,
        "The provider takes no more requests for now.";
    "provider_unavailable" ProviderUnavailable, Turn, None, TRY_AGAIN,
        "The provider cannot be reached, or fails on its side.";
    "turn_interrupted" TurnInterrupted, Turn, None, TRY_AGAIN,
        "The turn was cut off with the server; what had been told of it stays.";

    // Connections.
    "handshake_timeout" HandshakeTimeout, Connection, Some(4001), NOW,
        "The handshake was not finished in time.";
    "heartbeat_timeout" HeartbeatTimeout, Connection, Some(4002), NOW,
        "Nothing was heard from the other side for too long.";
    "connection_closed" ConnectionClosed, Connection, None, NOW,
        "The connection was closed without a word about why.";
    "transport_error" TransportError, Connection, None, NOW,
        "The connection broke.";
    "protocol_error" ProtocolError, Connection, Some(4003), NOW,
        "A frame could not be understood.";
    "slow_consumer" SlowConsumer, Attachment, Some(4004), NOW,
        "Events were not taken as fast as they came; some were passed over, and a gap says which.";
    "server_shutdown" ServerShutdown, Connection, Some(4010), NOW,
        "The server is stopping; the session goes on when it is back.";

    "session_moved" SessionMoved, Session, Some(4201), NOW,
        "The session is served by another server; the fault says where.";

    // Resuming.
    "resume_gap" ResumeGap, Attachment, None, NOW,
        "What was missed is no longer kept; a gap says which, and a snapshot stands in for it.";
    "resume_refused" ResumeRefused, Attachment, Some(4101), REJOIN,
        "The attachment cannot be resumed; join the session anew.";
    "log_rewound" LogRewound, Session, None, NOW,
        "The server's log is older than what you have seen; a new epoch begins.";
    "recovery_deadline" RecoveryDeadline, Session, None, TRY_AGAIN,
        "Recovery did not succeed within its time.";
    "rejoin_limit" RejoinLimit, Session, None, TRY_AGAIN,
        "The session had to be rejoined too often in too short a time.";

    // Media.
    "media_refused" MediaRefused, Attachment, None, NEVER,
        "What was said of a transport for media cannot be accepted; nothing has changed.";
    "media_failed" MediaFailed, Attachment, None, NOW,
        "The transport for media is gone; a new one is needed.";
    "media_stalled" MediaStalled, Attachment, None, NOW,
        "A track that should flow does not.";

    // The house.
    "store_failed" StoreFailed, Session, Some(4507), AFTER_A_WHILE,
        "The store refuses to write; nothing is told that is not kept.";
    "internal" Internal, Session, Some(4500), AFTER_A_WHILE,
        "Something is wrong inside the server; the id finds it in the log.";
}

impl Code {
    /// This code as it stands in a [`crate::Fault`].
    #[must_use]
    pub const fn known(self) -> FaultCode {
        FaultCode::Known(self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A code as read: known here, or kept verbatim because the other side is newer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultCode {
    /// One of ours.
    Known(Code),
    /// Not known to this version.
    Unknown(Box<str>),
}

impl FaultCode {
    /// The name on the wire.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known(code) => code.name(),
            Self::Unknown(name) => name,
        }
    }
}

impl PartialEq<Code> for FaultCode {
    fn eq(&self, other: &Code) -> bool {
        matches!(self, Self::Known(code) if code == other)
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Code> for FaultCode {
    fn from(code: Code) -> Self {
        Self::Known(code)
    }
}

impl Serialize for FaultCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for FaultCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Code::from_name(&name).map_or_else(|| Self::Unknown(name.into()), Self::Known))
    }
}

impl JsonSchema for FaultCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FaultCode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let known: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        schemars::json_schema!({ "type": "string", "examples": known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_survive_verbatim_m6() {
        let read: FaultCode = serde_json::from_str("\"from_the_future\"").expect("a string");
        assert_eq!(read, FaultCode::Unknown("from_the_future".into()));
        assert_eq!(
            serde_json::to_string(&read).expect("a string"),
            "\"from_the_future\""
        );
    }

    #[test]
    fn codes_close_only_with_numbers_of_ours_and_no_two_alike() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let Some(close) = code.close() else { continue };
            assert!(
                (4000..4600).contains(&close.0),
                "{code} closes with {}",
                close.0
            );
            assert!(seen.insert(close), "{code} shares its close code");
        }
    }

    #[test]
    fn close_class_and_retry_agree() {
        for code in Code::ALL {
            let Some(close) = code.close() else { continue };
            let fits = match code.retry() {
                Retry::Now => (4000..4100).contains(&close.0) || (4200..4300).contains(&close.0),
                Retry::AfterAction { .. } => (4100..4500).contains(&close.0),
                Retry::After { .. } => (4500..4600).contains(&close.0),
                Retry::Never => (4400..4500).contains(&close.0),
            };
            assert!(fits, "{code}: {close:?} says other than {:?}", code.retry());
        }
    }
}
