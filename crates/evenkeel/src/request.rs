//! What handles ask of the driver.

use std::time::Duration;

use keel_core::client::{CommandOutcome, ResumeState, Simulate};
use keel_wire::{Code, Command, Fault, Snapshot};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{
    Receipt,
    error::{over, own_fault},
};

/// Whether a connect succeeded.
pub(crate) type Verdict = oneshot::Sender<Result<(), Box<Fault>>>;

/// A command, and who waits for its receipt.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) command: Command,
    pub(crate) ttl: Option<Duration>,
    pub(crate) receipt: oneshot::Sender<CommandOutcome>,
}

/// Gives the driver a command.
pub(crate) fn submit(
    orders: &mpsc::Sender<Order>,
    command: Command,
    ttl: Option<Duration>,
) -> Receipt {
    let (receipt, outcome) = oneshot::channel::<CommandOutcome>();
    let order = Order {
        command,
        ttl,
        receipt,
    };
    match orders.try_send(order) {
        Ok(()) => Receipt::waiting(outcome),
        Err(TrySendError::Full(_)) => {
            Receipt::refused(own_fault(Code::OutboxFull, Code::OutboxFull.says()))
        }
        Err(TrySendError::Closed(_)) => Receipt::refused(over()),
    }
}

/// All else.
#[derive(Debug)]
pub(crate) enum Control {
    Connect(Verdict),
    Detach,
    Close,
    Simulate(Simulate),
    Token(String),
    Network { online: bool },
    Probe,
    Snapshot(oneshot::Sender<Snapshot>),
    ResumeState(oneshot::Sender<Option<ResumeState>>),
}
