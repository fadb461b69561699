//! The handle of a session.

use std::{sync::Arc, time::Duration};

use keel_core::client::{Membership, ResumeState, Simulate};
use keel_wire::{
    ActionId, Answer, CancelTurn, Command, ContinueTurn, Cursor, DescribeSession, EndReason,
    EndSession, Fault, InjectFault, Injection, PromoteTurn, RetryTurn, Say, Send, SessionId,
    SetParams, Snapshot, State, Status, TurnId,
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::{
    ConnectError, Events, Receipt,
    error::over,
    feed::Feed,
    request::{Control, Order, submit},
};

/// One participant's handle of a session. Cheap to clone; when the last one is dropped, the
/// connection is closed as by [`Session::close`].
///
/// A command is on its way when its method returns: the order of calls is the order of commands,
/// whether or not their receipts are waited for. While the connection is down, commands wait in a
/// bounded outbox and are sent after the recovery, each once.
#[derive(Debug, Clone)]
pub struct Session(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) controls: mpsc::Sender<Control>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) cursor: watch::Receiver<Cursor>,
    pub(crate) membership: watch::Receiver<Option<Arc<Membership>>>,
    pub(crate) tracker: TaskTracker,
    #[cfg(feature = "media")]
    pub(crate) media: crate::media::Beginning,
}

impl Session {
    /// What happens, in order. The first stream begins with [`crate::Event::Joined`]; a later one
    /// with a snapshot, as [`crate::Event::Gap`].
    #[must_use]
    pub fn events(&self) -> Events {
        self.0.feed.reader()
    }

    /// How the session is: never live while something is stuck. The last value stays readable.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.0.status.clone()
    }

    /// What the welcome said; `None` while the session waits in line.
    #[must_use]
    pub fn membership(&self) -> Option<Arc<Membership>> {
        self.0.membership.borrow().clone()
    }

    /// The session's id; `None` while it waits in line.
    #[must_use]
    pub fn id(&self) -> Option<SessionId> {
        self.membership()
            .map(|membership| membership.session.clone())
    }

    /// How far the log is applied: every event up to here has been given to [`Session::events`].
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        *self.0.cursor.borrow()
    }

    /// Begins a turn; while another runs, the session's policy decides what becomes of it
    /// ([`crate::Builder::busy`]), and the receipt names the turn that it is or went into.
    pub fn say(&self, text: impl Into<String>) -> Receipt {
        self.command(Say { text: text.into() })
    }

    /// Tells every participant something; no turn begins.
    pub fn send(&self, data: Value) -> Receipt {
        self.command(Send { data })
    }

    /// Patches the params (RFC 7396): null clears, absent keeps.
    pub fn set(&self, patch: Value) -> Receipt {
        self.command(SetParams { patch })
    }

    /// Stops a turn; `None` means the one that runs.
    pub fn cancel(&self, turn: Option<TurnId>) -> Receipt {
        self.command(CancelTurn { turn })
    }

    /// Begins a turn with the prompt of one that is over. Never done by itself once that one has said
    /// something, called a tool or asked.
    pub fn retry(&self, turn: TurnId) -> Receipt {
        self.command(RetryTurn { turn })
    }

    /// Begins a turn that goes on with what one said that did not come to its end.
    pub fn continue_turn(&self, turn: TurnId) -> Receipt {
        self.command(ContinueTurn { turn })
    }

    /// Makes a turn that waits the next one.
    pub fn promote(&self, turn: TurnId) -> Receipt {
        self.command(PromoteTurn { turn })
    }

    /// Changes how the session is described; what is absent keeps.
    pub fn describe(&self, about: DescribeSession) -> Receipt {
        self.command(about)
    }

    /// Answers what a turn waits for. The first valid answer of anybody's wins.
    pub fn answer(&self, turn: TurnId, action: ActionId, answer: Value) -> Receipt {
        self.command(Answer {
            turn,
            action,
            answer,
        })
    }

    /// Ends the session for everybody.
    pub fn end(&self) -> Receipt {
        self.command(EndSession {})
    }

    /// Breaks something at the server, where that is switched on and the token allows it.
    pub fn inject(&self, fault: Injection, lasting: Option<Duration>) -> Receipt {
        let for_ms = lasting.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        self.command(InjectFault {
            fault,
            for_ms,
            seed: None,
        })
    }

    /// Any command, without a time limit.
    pub fn command(&self, command: impl Into<Command>) -> Receipt {
        self.submit(command.into(), None)
    }

    /// Any command that is not to be run later than `ttl` from now; then it ends as `expired`.
    pub fn command_within(&self, command: impl Into<Command>, ttl: Duration) -> Receipt {
        self.submit(command.into(), Some(ttl))
    }

    fn submit(&self, command: Command, ttl: Option<Duration>) -> Receipt {
        submit(&self.0.orders, command, ttl)
    }

    /// The session's pictures and sound. The first call begins the task that carries them; before it
    /// there is none.
    #[cfg(feature = "media")]
    #[must_use]
    pub fn media(&self) -> crate::media::Media {
        self.0.media.handle(&self.0.tracker)
    }

    /// The fold of every event up to [`Session::cursor`]; `None` when the session is over.
    pub async fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.0.controls.send(Control::Snapshot(reply)).await.ok()?;
        answer.await.ok()
    }

    /// What another client needs to go on where this one is (see [`crate::Builder::resume`]): keep
    /// it as one keeps a token. It covers every event that [`Session::events`] was given, read or
    /// not. `None` before the welcome and after the end.
    pub async fn resume_state(&self) -> Option<ResumeState> {
        let (reply, answer) = oneshot::channel();
        let asked = self.0.controls.send(Control::ResumeState(reply)).await;
        asked.ok()?;
        answer.await.ok()?
    }

    /// Breaks something on this side, by the path of the real fault. Told as
    /// [`crate::Notice::NothingToBreak`] where there is nothing.
    pub async fn simulate(&self, fault: Simulate) {
        self.control(Control::Simulate(fault)).await;
    }

    /// Brings a fresh token: of the same subject and session, allowing no more than the last.
    pub async fn refresh_token(&self, token: impl Into<String>) {
        self.control(Control::Token(token.into())).await;
    }

    /// Says whether there is a network, where the system knows: retries pause without one.
    pub async fn set_online(&self, online: bool) {
        self.control(Control::Network { online }).await;
    }

    /// Has a look at once: the machine woke, the application came to the front.
    pub async fn probe(&self) {
        self.control(Control::Probe).await;
    }

    /// Connects again after [`crate::Event::Failed`]; [`Session::events`] then gives a new stream.
    /// Does nothing while the session stands.
    ///
    /// # Errors
    /// With the first cause; the session can be connected again after that.
    pub async fn reconnect(&self) -> Result<(), ConnectError> {
        self.connect().await
    }

    /// Waits until the session is over for this client.
    ///
    /// # Errors
    /// With the fault that ended it.
    pub async fn over(&self) -> Result<EndReason, Box<Fault>> {
        let mut status = self.status();
        // The driver says how it ended before it goes; if it panicked, it did not.
        let _ = status.wait_for(Status::is_terminal).await;
        let status = status.borrow();
        if let State::Ended { reason } = &status.state {
            return Ok(*reason);
        }
        Err(status.fault.clone().unwrap_or_else(|| Box::new(over())))
    }

    /// Leaves: the server is told, and the session's work goes on. Comes back when every task and
    /// socket of this client is gone.
    pub async fn detach(&self) {
        self.control(Control::Detach).await;
        // A session that had failed stays in the driver's hands until somebody closes it.
        if self.over().await.is_err() {
            self.control(Control::Close).await;
        }
        self.0.tracker.wait().await;
    }

    /// Drops everything at once: the server keeps this participant's place for the resume window.
    /// Comes back when every task and socket of this client is gone.
    pub async fn close(&self) {
        self.control(Control::Close).await;
        self.0.tracker.wait().await;
    }

    async fn control(&self, control: Control) {
        // A driver that is gone has nothing left to be told.
        let _ = self.0.controls.send(control).await;
    }
}
