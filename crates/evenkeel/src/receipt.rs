//! What became of a command, for whoever waits for it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use keel_core::client::CommandOutcome;
use keel_wire::{Code, Fault, ReceiptBody, Seq, TurnId};
use tokio::sync::oneshot;

use crate::{
    CommandError,
    error::{over, own_fault},
};

/// The server did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The turn that it began or concerns.
    pub turn: Option<TurnId>,
    /// Turns before that one.
    pub position: Option<u32>,
    /// The version of the params that it made.
    pub version: Option<Seq>,
}

/// The receipt of a command that is already on its way.
///
/// Waiting for it is cancel-safe, and dropping it takes nothing back: the command is sent, resent
/// after losses, and run once. Slowness is no failure; [`crate::Event::StillWaiting`] tells of it.
#[derive(Debug)]
#[must_use = "a command can be refused; its receipt says so"]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Waiting(oneshot::Receiver<CommandOutcome>),
    Refused(Option<Box<Fault>>),
}

impl Receipt {
    pub(crate) const fn waiting(outcome: oneshot::Receiver<CommandOutcome>) -> Self {
        Self(State::Waiting(outcome))
    }

    pub(crate) fn refused(fault: Fault) -> Self {
        Self(State::Refused(Some(Box::new(fault))))
    }
}

impl Future for Receipt {
    type Output = Result<Accepted, CommandError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(fault) => {
                let fault = fault.take().unwrap_or_else(|| Box::new(over()));
                Poll::Ready(Err(CommandError::Refused(fault)))
            }
            State::Waiting(outcome) => Pin::new(outcome).poll(cx).map(|outcome| match outcome {
                Ok(outcome) => told(outcome),
                // Only a driver that panicked leaves a command without an outcome.
                Err(_) => {
                    let fault = own_fault(Code::Internal, "the SDK's driver is gone");
                    Err(CommandError::Unknown(Box::new(fault)))
                }
            }),
        }
    }
}

fn told(outcome: CommandOutcome) -> Result<Accepted, CommandError> {
    match outcome {
        CommandOutcome::Answered(ReceiptBody::Ok {
            turn,
            position,
            version,
        }) => Ok(Accepted {
            turn,
            position,
            version,
        }),
        CommandOutcome::Answered(ReceiptBody::Fault(fault)) => Err(CommandError::Faulted(fault)),
        CommandOutcome::Refused(fault) => Err(CommandError::Refused(fault)),
        CommandOutcome::Unknown(fault) => Err(CommandError::Unknown(fault)),
    }
}
