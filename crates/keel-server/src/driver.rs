//! The driver: one task owns the Node, feeds it and performs what it puts out.
//!
//! Inputs come through one bounded queue, answers of the store and of runs beside it: those are
//! bounded by what was asked, and must not wait behind a flood. It decides nothing: every branch
//! here is about how, never about whether.

mod effects;
mod event;
mod history;
mod journal;
mod late;
mod load;
mod mouth;
mod runs;
mod store_io;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use keel_core::node::{Ask, AskId, Input, MediaFact, Node, Outputs, Progress};
use keel_store::Store;
use keel_wire::FaultId;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::Tokens, clock::Clock, health::Health, meter::Meter, peers::Peers, tails::Tails,
    workplace::Workplaces,
};

pub(crate) use event::Event;
use event::{Asker, Conn, Conns};
pub(crate) use runs::Backends;
use runs::Runs;
pub(crate) use store_io::load_revoked;

/// Inputs that may wait for the driver.
pub(crate) const EVENTS_WAITING_MAX: usize = 512;
/// Inputs after which others of this thread have their turn.
const AT_ONCE: u32 = 512;
/// How often the driver shows that it lives, and the journal is put away.
const EVERY: Duration = Duration::from_millis(200);
/// How long the store may take to answer what was asked, once the server is being closed.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Driver {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) events: mpsc::Receiver<Event>,
    /// The other end of `events`, to measure how long it takes.
    pub(crate) probes: mpsc::WeakSender<Event>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: Tokens,
    pub(crate) health: Arc<Health>,
    pub(crate) meter: Meter,
    pub(crate) tails: Arc<Tails>,
    pub(crate) backends: Backends,
    pub(crate) peers: Arc<Peers>,
    pub(crate) workplaces: Workplaces,
    pub(crate) planes: Option<(crate::media::Planes, crate::media::Facts)>,
    pub(crate) tracker: TaskTracker,
    pub(crate) closing: CancellationToken,
}

/// The driver at work.
struct Work {
    node: Node,
    clock: Clock,
    store: Arc<dyn Store>,
    tokens: Tokens,
    health: Arc<Health>,
    meter: Meter,
    tails: Arc<Tails>,
    conns: Conns,
    asks: HashMap<AskId, Asker>,
    asked: u64,
    runs: Runs,
    workplaces: Workplaces,
    /// The media planes, where there are any.
    planes: Option<crate::media::Planes>,
    ops: FuturesUnordered<store_io::Op>,
    journal: journal::Journal,
    /// A fault on purpose: until when, and its id.
    store_refuses: Option<(Instant, FaultId)>,
    late: late::Late,
    load: load::Gauge,
    drained: Vec<oneshot::Sender<()>>,
    peers: Arc<Peers>,
    handed_over: Vec<oneshot::Sender<Progress>>,
    outputs: Outputs,
}

impl Driver {
    /// Runs until the server is closed; then everything that it began is over.
    pub(crate) async fn run(self) {
        let Self {
            node,
            clock,
            mut events,
            store,
            tokens,
            health,
            meter,
            tails,
            ..
        } = self;
        let probes = self.probes;
        let workplaces = self.workplaces;
        let (runs, mut told) = Runs::new(
            self.backends,
            workplaces.clone(),
            self.tracker,
            history::Histories::new(Arc::clone(&store)),
        );
        let (planes, mut facts) = self.planes.unzip();
        let mut work = Work {
            node,
            clock,
            store,
            tokens,
            health,
            meter,
            tails,
            conns: Conns::default(),
            asks: HashMap::new(),
            asked: 0,
            runs,
            workplaces,
            planes,
            ops: FuturesUnordered::new(),
            journal: journal::Journal::default(),
            store_refuses: None,
            late: late::Late::default(),
            load: load::Gauge::new(probes),
            drained: Vec::new(),
            peers: self.peers,
            handed_over: Vec::new(),
            outputs: Outputs::new(),
        };
        work.input(Input::Start);
        work.health.set_started();
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut at_once = 0;
        loop {
            let deadline = work.node.deadline();
            let due = deadline.map(|deadline| work.clock.at(deadline.at));
            tokio::select! {
                () = self.closing.cancelled() => break,
                Some(done) = work.ops.next(), if !work.ops.is_empty() => work.done(done),
                Some(input) = told.recv() => work.run_told(input),
                Some(fact) = media_told(&mut facts) => work.media_told(fact),
                Some(event) = events.recv(), if work.late.has_room() => {
                    if let Some(event) = work.late.pass(event) {
                        work.event(event);
                    }
                }
                event = work.late.next(), if !work.late.is_empty() => work.event(event),
                _ = beat.tick() => work.beat(),
                () = until(due) => {}
            }
            work.tick_if_due();
            work.media_refused();
            at_once += 1;
            if at_once == AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
        }
        drop(events);
        work.finish(told).await;
    }
}

async fn media_told(facts: &mut Option<crate::media::Facts>) -> Option<MediaFact> {
    match facts {
        Some(facts) => facts.recv().await,
        None => None,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Work {
    /// Gives the Node one input and performs what comes of it.
    fn input(&mut self, input: Input) {
        let began = self.clock.uptime();
        let mut outputs = std::mem::take(&mut self.outputs);
        self.node.handle(self.clock.now(), input, &mut outputs);
        for output in outputs.drain(..) {
            self.perform(output);
        }
        self.outputs = outputs;
        self.meter
            .input_handled(self.clock.uptime().saturating_sub(began));
    }

    fn tick_if_due(&mut self) {
        let due = |deadline: Option<keel_core::Deadline>, now: keel_core::Instant| {
            deadline.filter(|deadline| deadline.at <= now)
        };
        let now = self.clock.now().mono;
        let Some(before) = due(self.node.deadline(), now) else {
            return;
        };
        self.input(Input::Tick);
        if due(self.node.deadline(), now).is_some_and(|after| after == before) {
            // A deadline that does not advance would spin; the beat calls again.
            tracing::error!(why = before.why, "a deadline did not advance");
            debug_assert!(false, "the deadline {:?} did not advance", before.why);
        }
    }

    fn media_told(&mut self, fact: MediaFact) {
        if let Some(planes) = &mut self.planes {
            planes.told(&fact);
        }
        self.input(Input::Media(fact));
    }

    /// What a media plane had no room for is told of here.
    fn media_refused(&mut self) {
        let refused = |work: &mut Self| work.planes.as_mut()?.take_refused();
        while let Some(fact) = refused(self) {
            self.input(Input::Media(fact));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened {
                conn,
                outbox,
                origin,
                handshake,
            } => {
                let origin = origin.map(Into::into);
                self.conns.insert(
                    conn,
                    Conn {
                        outbox,
                        origin,
                        handshake: Some(handshake),
                    },
                );
                self.input(Input::Opened { conn });
            }
            Event::Input(input) => self.conn_input(input),
            Event::Ask { question, reply } => self.ask(question, Asker::Caller(reply)),
            Event::Probe { sent } => self.load.arrived(Instant::now(), sent),
            Event::HandOver {
                peer,
                address,
                within,
                handed_over,
            } => {
                self.health.set_draining();
                self.handed_over.push(handed_over);
                self.input(Input::HandOver {
                    peer,
                    address,
                    within,
                });
            }
            Event::Drain {
                within,
                target,
                drained,
            } => {
                self.health.set_draining();
                self.drained.push(drained);
                self.input(Input::Drain { within, target });
            }
        }
    }

    /// What a connection says after the Node has ended it is nobody's business.
    fn conn_input(&mut self, input: Input) {
        let (conn, last) = match &input {
            Input::Frame { conn, .. } | Input::NotText { conn } | Input::Flushed { conn, .. } => {
                (Some(conn), false)
            }
            Input::Lost { conn, .. } => (Some(conn), true),
            Input::Start
            | Input::Opened { .. }
            | Input::Verified { .. }
            | Input::Placed { .. }
            | Input::Recovered { .. }
            | Input::Loaded { .. }
            | Input::Committed { .. }
            | Input::CommitFailed { .. }
            | Input::Head { .. }
            | Input::Page { .. }
            | Input::RunOutput { .. }
            | Input::RunEnded { .. }
            | Input::Media(_)
            | Input::Load(_)
            | Input::Ask { .. }
            | Input::Revoked { .. }
            | Input::Drain { .. }
            | Input::HandOver { .. }
            | Input::Held { .. }
            | Input::Marked { .. }
            | Input::Delivered { .. }
            | Input::TookOver { .. }
            | Input::Tick => (None, false),
        };
        if let Some(conn) = conn {
            let known = if last {
                self.conns.remove(conn).is_some()
            } else {
                self.conns.contains_key(conn)
            };
            if !known {
                return;
            }
        }
        self.input(input);
    }

    fn ask(&mut self, question: Ask, asker: Asker) {
        self.asked += 1;
        let ask = AskId(self.asked);
        self.asks.insert(ask, asker);
        self.input(Input::Ask { ask, question });
    }

    fn run_told(&mut self, input: Input) {
        if let Input::RunEnded { run, .. } = &input {
            self.runs.forget(*run);
        }
        self.input(input);
    }

    fn beat(&mut self) {
        self.health.beat();
        self.flush_journal();
        self.meter.upkeep();
        if let Some(planes) = &mut self.planes {
            planes.catch_up();
        }
        let load = self.load.measure(Instant::now());
        self.input(Input::Load(load));
        self.ask(Ask::Census, Asker::Gauges);
    }

    /// Ends what is left: connections are told, runs are stopped, the store is asked for its last
    /// answers and closed.
    async fn finish(mut self, mut told: mpsc::UnboundedReceiver<Input>) {
        self.conns.clear();
        self.asks.clear();
        self.runs.stop();
        while told.recv().await.is_some() {}
        self.runs.close().await;
        let last = async { while self.ops.next().await.is_some() {} };
        if timeout(LAST_ANSWERS_WITHIN, last).await.is_err() {
            tracing::warn!("the store did not answer everything before it was closed");
        }
        let entries = self.journal.take();
        if !entries.is_empty()
            && let Err(error) = self.store.append_journal(entries).await
        {
            tracing::warn!(%error, "the last of the journal was not kept");
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store was not closed tidily");
        }
    }
}
