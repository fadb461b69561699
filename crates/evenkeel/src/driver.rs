//! The one task of a session: owns the client machine and performs what it puts out.
//!
//! It decides nothing about the protocol. What it does decide is when to read: while a reader of
//! events is behind, the machine is given nothing at all, so that no event is lost and no time passes
//! for it. That such a wait goes on is told in the status. Who leaves waits for no reader.

mod perform;
mod readers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use keel_core::{
    Client,
    client::{CommandOutcome, Config, ConnEnd, ConnId, Input, Membership, Outputs},
};
use keel_wire::{Cursor, Fault, State, Status};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    connection::{Connection, Trust},
    error::random,
    feed::Feed,
    request::{Control, Order, Verdict},
    token::Provider,
};

/// Frames of all connections that wait for the machine.
pub(crate) const REPORTS_MAX: usize = 32;
/// How long a reader of events may be waited for until the status tells of it, and until commands are
/// refused, whose receipts would stand behind those events.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What handles read without asking.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) status: watch::Sender<Status>,
    pub(crate) cursor: watch::Sender<Cursor>,
    pub(crate) membership: watch::Sender<Option<Arc<Membership>>>,
}

/// What a token provider gives, or why it gives nothing.
type Fetched = Result<String, String>;

pub(crate) struct Driver {
    machine: Client,
    clock: Clock,
    out: Outputs,
    orders: mpsc::Receiver<Order>,
    controls: mpsc::Receiver<Control>,
    reports: mpsc::Receiver<Input>,
    reporter: mpsc::Sender<Input>,
    connections: BTreeMap<ConnId, Connection>,
    tasks: JoinSet<()>,
    trust: Trust,
    /// Cancelled to drop every socket at once.
    abort: CancellationToken,
    provider: Option<Provider>,
    fetches: JoinSet<Fetched>,
    waiting: BTreeMap<u64, oneshot::Sender<CommandOutcome>>,
    /// Commands so far.
    locals: u64,
    verdict: Option<Verdict>,
    /// What it is to be told.
    judged: Option<Result<(), Box<Fault>>>,
    /// To the task of the session's media.
    #[cfg(feature = "media")]
    media: mpsc::UnboundedSender<crate::media::Order>,
    feed: Arc<Feed>,
    shown: Shown,
    /// Since when a reader of events is waited for.
    full_since: Option<Instant>,
    told_stuck: bool,
    /// Somebody wants to leave: that waits for no reader.
    leaving: bool,
    left: bool,
}

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) provider: Option<Provider>,
    pub(crate) trust: Trust,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) controls: mpsc::Receiver<Control>,
    pub(crate) reports: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    #[cfg(feature = "media")]
    pub(crate) media: mpsc::UnboundedSender<crate::media::Order>,
    pub(crate) feed: Arc<Feed>,
    pub(crate) shown: Shown,
    pub(crate) abort: CancellationToken,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        // The seed makes ids, and nothing that is a secret.
        let seed = u64::try_from(random() & u128::from(u64::MAX)).unwrap_or_default();
        let (reporter, reports) = parts.reports;
        Self {
            machine: Client::new(parts.config, seed),
            clock: Clock::start(),
            out: Outputs::new(),
            orders: parts.orders,
            controls: parts.controls,
            reports,
            reporter,
            connections: BTreeMap::new(),
            tasks: JoinSet::new(),
            trust: parts.trust,
            abort: parts.abort,
            provider: parts.provider,
            fetches: JoinSet::new(),
            waiting: BTreeMap::new(),
            locals: 0,
            verdict: None,
            judged: None,
            #[cfg(feature = "media")]
            media: parts.media,
            feed: parts.feed,
            shown: parts.shown,
            full_since: None,
            told_stuck: false,
            leaving: false,
            left: false,
        }
    }

    /// Runs until the session is over for this client and every task is gone.
    pub(crate) async fn run(mut self) {
        while !self.left {
            self.look_at_readers();
            let reads = self.leaving || self.full_since.is_none();
            let takes_orders = reads || self.told_stuck;
            let deadline = self.machine.deadline().filter(|_| reads);
            let tick_at = deadline.map(|deadline| self.clock.at(deadline.at));
            let stuck_at = self.full_since.filter(|_| !self.told_stuck);
            tokio::select! {
                control = self.controls.recv() => self.control(control),
                () = self.feed.changed() => {}
                Some(order) = self.orders.recv(), if takes_orders => self.order(order),
                Some(report) = self.reports.recv(), if reads => self.take_reports(report),
                Some(done) = self.tasks.join_next() => self.done(&done),
                Some(fetched) = self.fetches.join_next() => self.fetched(fetched),
                () = until(tick_at) => self.input(Input::Tick),
                () = until(stuck_at.map(|at| at + STUCK_AFTER)) => self.tell_stuck(),
            }
        }
        self.refuse_rest();
        // The provider's own code may take as long as it likes; nobody wants a token any more.
        self.fetches.shutdown().await;
        // Connections that are being closed; each has a bound.
        while self.tasks.join_next().await.is_some() {}
    }

    /// What has come by now is taken together, as long as readers keep up.
    fn take_reports(&mut self, first: Input) {
        self.input(first);
        for _ in 1..REPORTS_MAX {
            if self.left || self.feed.is_full() {
                return;
            }
            let Ok(report) = self.reports.try_recv() else {
                return;
            };
            self.input(report);
        }
    }

    fn order(&mut self, order: Order) {
        if self.told_stuck {
            let _ = order
                .receipt
                .send(CommandOutcome::Refused(Box::new(readers::stuck())));
            return;
        }
        self.locals += 1;
        let local = self.locals;
        self.waiting.insert(local, order.receipt);
        self.input(Input::Command {
            local,
            command: order.command,
            ttl: order.ttl,
        });
    }

    fn control(&mut self, control: Option<Control>) {
        let input = match control {
            Some(Control::Connect(verdict)) => {
                if self.machine.status().since > 0 && self.machine.status().state != State::Failed {
                    // It is connected, or about to be.
                    let _ = verdict.send(Ok(()));
                    return;
                }
                self.verdict = Some(verdict);
                self.leaving = false;
                self.feed.open();
                Input::Connect
            }
            Some(Control::Detach) => {
                // What was asked for before is sent before.
                while let Ok(order) = self.orders.try_recv() {
                    self.order(order);
                }
                self.leaving = true;
                Input::Detach
            }
            // The last handle is gone, or somebody wants to be.
            Some(Control::Close) | None => {
                self.left = true;
                Input::Close
            }
            Some(Control::Simulate(simulate)) => Input::Simulate(simulate),
            Some(Control::Token(token)) => Input::Token(Ok(token)),
            Some(Control::Network { online }) => Input::Network { online },
            Some(Control::Probe) => Input::Probe,
            Some(Control::Snapshot(reply)) => {
                let _ = reply.send(self.machine.snapshot().clone());
                return;
            }
            Some(Control::ResumeState(reply)) => {
                let _ = reply.send(self.machine.resume_state());
                return;
            }
        };
        self.input(input);
    }

    fn done(&self, done: &Result<(), JoinError>) {
        if let Err(error) = done
            && !error.is_cancelled()
        {
            tracing::error!(%error, "a connection's task panicked");
        }
    }

    fn fetched(&mut self, fetched: Result<Fetched, JoinError>) {
        let token = match fetched {
            Ok(token) => token,
            // The machine had given up waiting for it.
            Err(error) if error.is_cancelled() => return,
            Err(_) => Err("the token provider panicked".to_owned()),
        };
        self.input(Input::Token(token));
    }

    fn input(&mut self, input: Input) {
        let bytes = if let Input::Frame { bytes, .. } = &input {
            bytes.len()
        } else {
            0
        };
        let ended = if let Input::Closed { conn, end } = &input {
            // After a failed write, what is still to be read may follow.
            (*end != ConnEnd::WriteFailed).then_some(*conn)
        } else {
            None
        };
        self.machine.handle(self.clock.now(), input, &mut self.out);
        if let Some(conn) = ended {
            // Its task ends by itself, after the closing handshake.
            self.connections.remove(&conn);
        }
        self.perform(bytes);
        let cursor = self.machine.cursor();
        self.shown.cursor.send_if_modified(|shown| {
            let differs = *shown != cursor;
            *shown = cursor;
            differs
        });
    }
}

impl Drop for Driver {
    /// Also after a panic: nobody is left waiting.
    fn drop(&mut self) {
        self.abort.cancel();
        self.feed.close();
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
