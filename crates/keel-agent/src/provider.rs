//! The provider trait: one attempt at one turn, as a future that returns its outcome.

use std::{fmt, future::Future, path::PathBuf, pin::Pin};

use keel_wire::{ActionId, SessionId, TurnId};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::{Outcome, Sink};

/// An attempt under way. Dropping it must stop, at once, everything that it started.
pub type Attempt = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A provider that is being closed.
pub type Closing<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Adapts an agent backend to one program or vendor.
pub trait Provider: fmt::Debug + Send + Sync {
    /// The name of its kind, one of [`crate::KINDS`].
    fn name(&self) -> &str;

    /// Makes one attempt. It says what it has to say to `sink`, listens to `control`, and returns
    /// how it ended; it must return soon after [`Ask::Cancel`] or after the sink refuses.
    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt;

    /// Whether it remembers nothing itself and wants [`Request::history`].
    fn wants_history(&self) -> bool {
        false
    }

    /// Whether a running attempt takes [`Ask::Steer`].
    fn steers(&self) -> bool {
        false
    }

    /// The server stops: everything that is kept, for whatever session, is killed, and this returns
    /// when nothing of it is left. No attempt runs any more, and none begins.
    fn close(&self) -> Closing<'_> {
        Box::pin(std::future::ready(()))
    }

    /// The session is over, or leaves this server: nothing that is kept for it is needed any more.
    /// What runs for it is killed; this does not wait until it is dead.
    fn release(&self, session: &SessionId) {
        let _ = session;
    }
}

/// What is asked of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The session.
    pub session: SessionId,
    /// The turn.
    pub turn: TurnId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The name of the backend, which configuration gave it.
    pub backend: String,
    /// Where the session's programs work; absent means where the backend says.
    pub cwd: Option<PathBuf>,
    /// The agent's own name for the conversation, as [`crate::Output::Bound`] told it before.
    pub bound: Option<String>,
    /// What the person said. Never an argument, never interpreted.
    pub prompt: String,
    /// The session's params.
    pub params: Value,
    /// What was said before, oldest first; for providers that remember nothing themselves.
    pub history: Vec<Exchange>,
}

/// A turn that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub text: String,
}

/// An answer to [`crate::Output::NeedsAction`].
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The action that it is for.
    pub action: ActionId,
    /// The answer.
    pub answer: Value,
}

/// What the session asks of a running attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Stop. Asked once.
    Cancel,
    /// Go on with this.
    Answer(Answer),
    /// Take this along, too; only asked of a provider that [`Provider::steers`]. What was handed out
    /// counts as taken; what was not when the attempt ends becomes a turn of its own.
    Steer(String),
}

/// The attempt's ear.
#[derive(Debug)]
pub struct Control {
    pub(crate) cancel: watch::Receiver<bool>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Words that were handed out.
    pub(crate) words_taken: watch::Sender<u64>,
    pub(crate) cancel_told: bool,
}

impl Control {
    /// What is asked next; pending for ever when nothing can be asked any more. May be dropped and
    /// called again without losing anything.
    pub async fn next(&mut self) -> Ask {
        let ask = tokio::select! {
            biased;
            () = asked(&mut self.cancel), if !self.cancel_told => None,
            ask = self.asks.recv() => ask,
        };
        match ask {
            Some(ask) => {
                if matches!(ask, Ask::Steer(_)) {
                    self.words_taken.send_modify(|taken| *taken += 1);
                }
                ask
            }
            None if self.cancel_told => std::future::pending().await,
            // The handle's end means the same: nobody wants the answer any more.
            None => {
                self.cancel_told = true;
                Ask::Cancel
            }
        }
    }

    /// Waits for a cancel and forgets answers.
    pub async fn cancelled(&mut self) {
        while self.next().await != Ask::Cancel {}
    }
}

async fn asked(cancel: &mut watch::Receiver<bool>) {
    // An error means that the handle is gone.
    let _ = cancel.wait_for(|cancel| *cancel).await;
}
