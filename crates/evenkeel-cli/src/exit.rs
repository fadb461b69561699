//! What an exit code says, after `sysexits.h`.

use std::fmt;

use evenkeel::{
    ConnectError,
    wire::{Code, Fault, FaultCode},
};

pub(crate) const HELP: &str = "Exit codes: 0 done, 1 a turn did not end as done (or a proof failed), \
2 wrong usage, 69 no server or no room, 75 failed for now, 77 not allowed, 78 wrong configuration.";

/// The turn did not end as done, or a proof failed.
pub(crate) const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNAVAILABLE: u8 = 69;
const TEMPORARY: u8 = 75;
const PERMISSION: u8 = 77;
const CONFIG: u8 = 78;

/// Why a verb did not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(USAGE, message)
    }

    pub(crate) fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(UNAVAILABLE, message)
    }

    pub(crate) fn temporary(message: impl fmt::Display) -> Self {
        Self::new(TEMPORARY, message)
    }

    pub(crate) fn permission(message: impl fmt::Display) -> Self {
        Self::new(PERMISSION, message)
    }

    pub(crate) fn config(message: impl fmt::Display) -> Self {
        Self::new(CONFIG, message)
    }

    fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
        }
    }
}

impl From<&Fault> for Failure {
    fn from(fault: &Fault) -> Self {
        let code = match &fault.code {
            FaultCode::Known(code) => of_code(*code),
            FaultCode::Unknown(_) => TEMPORARY,
        };
        Self::new(code, fault)
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::from(&*error.fault)
    }
}

const fn of_code(code: Code) -> u8 {
    match code {
        Code::Unauthenticated
        | Code::TokenExpired
        | Code::PermissionDenied
        | Code::OriginNotAllowed => PERMISSION,
        Code::InvalidRequest => USAGE,
        Code::UnsupportedVersion
        | Code::BackendNotFound
        | Code::SessionNotFound
        | Code::SessionMoved
        | Code::AtCapacity
        | Code::SessionLimit
        | Code::QueueExpired
        | Code::HandshakeTimeout
        | Code::ConnectionClosed
        | Code::TransportError => UNAVAILABLE,
        Code::RateLimited
        | Code::SessionBusy
        | Code::Superseded
        | Code::SessionDurationLimit
        | Code::Expired
        | Code::Duplicate
        | Code::OutcomeUnknown
        | Code::OutboxFull
        | Code::HeartbeatTimeout
        | Code::ProtocolError
        | Code::SlowConsumer
        | Code::ServerShutdown
        | Code::ResumeGap
        | Code::ResumeRefused
        | Code::LogRewound
        | Code::MediaRefused
        | Code::MediaFailed
        | Code::MediaStalled
        | Code::RecoveryDeadline
        | Code::RejoinLimit
        | Code::StoreFailed
        | Code::Internal => TEMPORARY,
        Code::PromptQuarantined
        | Code::ProviderCrashed
        | Code::ProviderTimeout
        | Code::ProviderProtocol
        | Code::ProviderBudget
        | Code::ProviderSpawn
        | Code::ProviderAuth
        | Code::ProviderRefused
        | Code::ProviderRateLimited
        | Code::ProviderUnavailable
        | Code::TurnInterrupted => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_caller_the_house_and_the_moment_differ() {
        assert_eq!(of_code(Code::TokenExpired), PERMISSION);
        assert_eq!(of_code(Code::AtCapacity), UNAVAILABLE);
        assert_eq!(of_code(Code::StoreFailed), TEMPORARY);
    }
}
