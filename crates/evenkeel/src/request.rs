//! What handles ask of the driver.

use std::time::Duration;

use keel_core::client::{CommandOutcome, ResumeState, Simulate};
use keel_wire::{Command, Fault, Snapshot};
use tokio::sync::oneshot;

/// Whether a connect succeeded.
pub(crate) type Verdict = oneshot::Sender<Result<(), Box<Fault>>>;

/// A command, and who waits for its receipt.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) command: Command,
    pub(crate) ttl: Option<Duration>,
    pub(crate) receipt: oneshot::Sender<CommandOutcome>,
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
