//! What a caller gets instead of what was asked for: always a [`Fault`].

use keel_wire::{Code, Fault, FaultId, Origin, Retry};

use crate::clock;

/// There is no session. The fault says why, and whether another try makes sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct ConnectError {
    /// Why.
    pub fault: Box<Fault>,
}

impl ConnectError {
    pub(crate) fn new(fault: Fault) -> Self {
        Self {
            fault: Box::new(fault),
        }
    }
}

/// What became of a command that was not done, or may not have been.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// The server did not do it, and says why.
    #[error("{0}")]
    Faulted(Box<Fault>),
    /// It was never sent, and will not be.
    #[error("not sent: {0}")]
    Refused(Box<Fault>),
    /// It was sent, and the session was given up before an answer came, or the server no longer knows
    /// (`outcome_unknown`): it may have been done.
    #[error("sent, and not known what became of it: {0}")]
    Unknown(Box<Fault>),
}

impl CommandError {
    /// Why.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        match self {
            Self::Faulted(fault) | Self::Refused(fault) | Self::Unknown(fault) => fault,
        }
    }
}

/// Fresh bits of the system's randomness; the clock where it has none.
pub(crate) fn random() -> u128 {
    let mut bits = [0; 16];
    match getrandom::fill(&mut bits) {
        Ok(()) => u128::from_le_bytes(bits),
        Err(_) => u128::from(clock::wall()),
    }
}

/// A fault seen on this side.
pub(crate) fn own_fault(code: Code, message: &str) -> Fault {
    let id = FaultId::from_bits(random());
    Fault::new(id, code, Origin::Client, clock::wall()).message(message)
}

/// What is answered when there is nobody left to ask.
pub(crate) fn over() -> Fault {
    own_fault(
        Code::ConnectionClosed,
        "the session is over for this client",
    )
    .retry(Retry::Never)
}
