//! Runs: one task each, between a provider's attempt and the Node.
//!
//! A run ends exactly once by construction: what tells the end is told it by being dropped, too.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use keel_agent::{
    Budgets, Ending, OutputStream, Provider, Running, Told, limits::OUTPUT_COST_BYTES,
};
use keel_core::node::{Input, Misplaced, RunEnd, RunFailure, RunId, RunOutput, RunRequest};
use keel_wire::{ActionId, Code, Seq, SessionId, TurnId};
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    history::{Histories, History},
    until,
};
use crate::{
    clock, random,
    workplace::{Purpose, Workplaces},
};

/// What serves sessions, by name.
pub(crate) type Backends = BTreeMap<String, (Arc<dyn Provider>, Budgets)>;

/// How long what a backend keeps may take to be gone, once it is killed.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

/// What the Node wants of a run.
enum Order {
    Credit(usize),
    Cancel,
    Stall(Duration),
    Answer(keel_agent::Answer),
    Steer(String),
}

pub(super) struct Runs {
    backends: Backends,
    workplaces: Workplaces,
    tracker: TaskTracker,
    histories: Histories,
    orders: HashMap<RunId, mpsc::UnboundedSender<Order>>,
    told: Option<mpsc::UnboundedSender<Input>>,
}

impl Runs {
    /// What runs say comes out of the receiver: per run in order, its end last. It is bounded by the
    /// credit that each run has.
    pub(super) fn new(
        backends: Backends,
        workplaces: Workplaces,
        tracker: TaskTracker,
        histories: Histories,
    ) -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (told, receiver) = mpsc::unbounded_channel();
        (
            Self {
                backends,
                workplaces,
                tracker,
                histories,
                orders: HashMap::new(),
                told: Some(told),
            },
            receiver,
        )
    }

    pub(super) fn start(&mut self, run: RunId, request: RunRequest) {
        let Some(told) = self.told.clone() else {
            return;
        };
        let mouth = Mouth {
            run,
            told,
            end: Some(RunEnd::Failed(internal())),
        };
        let Some((provider, budgets)) = self.backends.get(&request.backend) else {
            let message = format!("there is no backend named {:?}", request.backend);
            mouth.end(RunEnd::Failed(failure(Code::BackendNotFound, message)));
            return;
        };
        let (orders, taken) = mpsc::unbounded_channel();
        self.orders.insert(run, orders);
        let (history_to, forget) = (request.history_to, request.forget);
        let bound = request.bound;
        let bound = bound.filter(|bound| bound.provider == provider.name());
        let request = keel_agent::Request {
            session: request.session,
            turn: request.turn,
            attempt: request.attempt,
            prompt: request.prompt,
            backend: request.backend,
            cwd: request.cwd.map(Into::into),
            bound: bound.map(|bound| bound.id),
            params: request.params,
            history: Vec::new(),
        };
        let wanted = provider.wants_history().then(|| self.histories.clone());
        let start = Start {
            provider: Arc::clone(provider),
            request,
            budgets: *budgets,
            workplaces: self.workplaces.clone(),
        };
        let begun = begin(start, wanted, history_to, forget, taken, mouth);
        self.tracker.spawn(begun);
    }

    fn order(&self, run: RunId, order: Order) {
        if let Some(orders) = self.orders.get(&run) {
            // It may be over, and its end on the way.
            let _ = orders.send(order);
        }
    }

    pub(super) fn credit(&self, run: RunId, bytes: usize) {
        self.order(run, Order::Credit(bytes));
    }

    pub(super) fn cancel(&self, run: RunId) {
        self.order(run, Order::Cancel);
    }

    pub(super) fn stall(&self, run: RunId, span: Duration) {
        self.order(run, Order::Stall(span));
    }

    pub(super) fn answer(&self, run: RunId, action: ActionId, answer: Value) {
        self.order(run, Order::Answer(keel_agent::Answer { action, answer }));
    }

    pub(super) fn steer(&self, run: RunId, text: String) {
        self.order(run, Order::Steer(text));
    }

    /// Nothing that a backend keeps for a session is needed any more.
    pub(super) fn release(&self, session: &SessionId, backend: &str) {
        if let Some((provider, _)) = self.backends.get(backend) {
            provider.release(session);
        }
    }

    /// Kills what backends keep beyond their runs, all of which are over, and waits until it is gone.
    pub(super) async fn close(&self) {
        let all = self.backends.iter().map(async |(name, (provider, _))| {
            if timeout(CLOSED_WITHIN, provider.close()).await.is_err() {
                tracing::error!(backend = name, "what a backend keeps did not end in time");
            }
        });
        futures_util::future::join_all(all).await;
    }

    /// A run that nobody gives orders any more kills itself.
    pub(super) fn kill(&mut self, run: RunId) {
        self.orders.remove(&run);
    }

    pub(super) fn forget(&mut self, run: RunId) {
        self.orders.remove(&run);
    }

    /// Kills all; the receiver ends when the last is over.
    pub(super) fn stop(&mut self) {
        self.orders.clear();
        self.told = None;
    }
}

/// Whether the session's directory is still where it was found, if it has one.
async fn stands(workplaces: &Workplaces, request: &keel_agent::Request) -> Result<(), Misplaced> {
    let Some(cwd) = request.cwd.as_ref().and_then(|cwd| cwd.to_str()) else {
        return Ok(());
    };
    let (backend, cwd) = (request.backend.clone(), cwd.to_owned());
    let found = workplaces.find(backend, cwd, Purpose::Spawn).await;
    found.map(drop)
}

/// Tells the Node what a run says, and its end when it is dropped.
struct Mouth {
    run: RunId,
    told: mpsc::UnboundedSender<Input>,
    end: Option<RunEnd>,
}

impl Mouth {
    fn say(&self, output: RunOutput) {
        let _ = self.told.send(Input::RunOutput {
            run: self.run,
            output,
        });
    }

    fn end(mut self, end: RunEnd) {
        self.end = Some(end);
    }
}

impl Drop for Mouth {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = self.told.send(Input::RunEnded { run: self.run, end });
        }
    }
}

/// What was told and not credited yet: bytes as the Node counts them, and as the provider does.
#[derive(Default)]
struct Owed {
    outputs: VecDeque<(usize, u32)>,
    credited: usize,
}

impl Owed {
    /// What to give back to the provider for so many more bytes of the Node's.
    fn credit(&mut self, bytes: usize) -> u32 {
        self.credited += bytes;
        let mut cost: u32 = 0;
        while let Some((counted, costs)) = self.outputs.front() {
            if *counted > self.credited {
                break;
            }
            self.credited -= counted;
            cost = cost.saturating_add(*costs);
            self.outputs.pop_front();
        }
        cost
    }
}

/// What it takes to start an attempt.
struct Start {
    provider: Arc<dyn Provider>,
    request: keel_agent::Request,
    budgets: Budgets,
    workplaces: Workplaces,
}

/// Starts the attempt, with what was said before where its provider wants that.
async fn begin(
    mut start: Start,
    histories: Option<Histories>,
    history_to: Seq,
    forget: Vec<TurnId>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mouth: Mouth,
) {
    if let Err(misplaced) = stands(&start.workplaces, &start.request).await {
        return mouth.end(RunEnd::Failed(failure(misplaced.code, misplaced.message)));
    }
    let (mut notice, mut early) = (None, Vec::new());
    if let Some(histories) = histories {
        let session = start.request.session.clone();
        let read = tokio::select! {
            read = histories.read(&session, history_to, &forget) => read,
            () = given_up(&mut orders, &mut early) => {
                return mouth.end(RunEnd::Cancelled { forced: false });
            }
        };
        match read {
            Ok(History {
                exchanges,
                notice: left_out,
            }) => {
                start.request.history = exchanges;
                notice = left_out;
            }
            Err(error) => {
                let message = format!("what was said before cannot be read: {error}");
                return mouth.end(RunEnd::Failed(failure(Code::StoreFailed, message)));
            }
        }
    }
    let name = start.provider.name().to_owned();
    let (running, outputs) = keel_agent::spawn(start.provider, start.request, start.budgets);
    for text in early {
        // As many as may wait to be taken fit.
        let _ = running.steer(text);
    }
    attend(running, outputs, orders, name, notice, mouth).await;
}

/// Resolves when nobody wants a run any more that has not begun; what is said into it until then is
/// kept.
async fn given_up(orders: &mut mpsc::UnboundedReceiver<Order>, early: &mut Vec<String>) {
    loop {
        match orders.recv().await {
            Some(Order::Cancel) | None => return,
            Some(Order::Steer(text)) => early.push(text),
            Some(Order::Credit(_) | Order::Stall(_) | Order::Answer(_)) => {}
        }
    }
}

async fn attend(
    running: Running,
    mut outputs: OutputStream,
    mut orders: mpsc::UnboundedReceiver<Order>,
    provider: String,
    mut notice: Option<Value>,
    mouth: Mouth,
) {
    let mut words = Taken {
        taken: running.words_taken(),
        told: 0,
    };
    let mut running = Some(running);
    let mut owed = Owed::default();
    let (mut stalled, mut cancelled) = (None, false);
    loop {
        tokio::select! {
            told = outputs.next(), if stalled.is_none() => match told {
                Some(Told::Output(output)) => {
                    let answers = matches!(
                        output,
                        keel_agent::Output::Text(_) | keel_agent::Output::Item(_)
                    );
                    if let Some(notice) = notice.take_if(|_| answers) {
                        owed.outputs.push_back((keel_wire::json_len(&notice), 0));
                        mouth.say(RunOutput::Item(notice));
                    }
                    let cost = output.cost();
                    let output = translate(&provider, output);
                    match (&output, &running) {
                        (Some((_, true)), _) => {
                            let counted = cost.saturating_sub(OUTPUT_COST_BYTES) as usize;
                            owed.outputs.push_back((counted, cost));
                        }
                        (_, Some(running)) => running.refill(cost),
                        (_, None) => {}
                    }
                    if let Some((output, _)) = output {
                        mouth.say(output);
                    }
                }
                Some(Told::Outcome(outcome)) => {
                    // What was taken is told before the end: the rest was not.
                    words.tell(&mouth);
                    return mouth.end(end_of(&outcome, cancelled));
                }
                None => return,
            },
            () = words.more() => words.tell(&mouth),
            () = until(stalled), if stalled.is_some() => stalled = None,
            order = orders.recv(), if running.is_some() => match (order, &running) {
                (Some(Order::Credit(bytes)), Some(running)) => running.refill(owed.credit(bytes)),
                (Some(Order::Cancel), Some(running)) => {
                    running.cancel();
                    (stalled, cancelled) = (None, true);
                }
                (Some(Order::Stall(span)), _) => stalled = Some(Instant::now() + span),
                (Some(Order::Answer(answer)), Some(running)) => {
                    if !running.answer(answer) {
                        tracing::warn!(run = mouth.run.0, "an answer was not taken");
                    }
                }
                (Some(Order::Steer(text)), Some(running)) => {
                    if !running.steer(text) {
                        // It is over, or its end is near: the Node hears that they were not taken.
                        tracing::debug!(run = mouth.run.0, "words were not taken");
                    }
                }
                (Some(_), None) => {}
                // Killed: dropping the handle stops everything that the attempt started.
                (None, _) => {
                    running = None;
                    stalled = None;
                }
            },
        }
    }
}

/// Words that an attempt has taken, and how many of them the Node knows of.
struct Taken {
    taken: watch::Receiver<u64>,
    told: u64,
}

impl Taken {
    /// Returns when there may be more; never once there can be none.
    async fn more(&mut self) {
        if self.taken.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn tell(&mut self, mouth: &Mouth) {
        let taken = *self.taken.borrow_and_update();
        for _ in self.told..taken {
            mouth.say(RunOutput::WordsTaken);
        }
        self.told = taken;
    }
}

/// An output, and whether the Node will credit its bytes; nothing for lines that are not of the
/// protocol: an agent that mutters for ever that it waits for a network is as silent as one that hangs.
fn translate(provider: &str, output: keel_agent::Output) -> Option<(RunOutput, bool)> {
    Some(match output {
        keel_agent::Output::Started { .. } => (RunOutput::Started, false),
        keel_agent::Output::Text(text) => {
            // Of no text nothing is committed, so nothing is credited.
            let counted = !text.is_empty();
            (RunOutput::Text(text), counted)
        }
        keel_agent::Output::Item(item) => (RunOutput::Item(item), true),
        keel_agent::Output::NewAttempt { failure } => {
            let failure = failure_of(&failure);
            (RunOutput::NewAttempt { failure }, false)
        }
        keel_agent::Output::Retrying { in_ms, failure } => {
            let failure = failure_of(&failure);
            (RunOutput::Retrying { in_ms, failure }, false)
        }
        keel_agent::Output::Bound { id } => {
            let provider = provider.to_owned();
            (RunOutput::Bound { provider, id }, false)
        }
        keel_agent::Output::Cancelling { step } => (RunOutput::Cancelling(step), false),
        keel_agent::Output::NeedsAction(action) => (RunOutput::NeedsAction(action), false),
        keel_agent::Output::ModelCall => (RunOutput::Alive, false),
        keel_agent::Output::Noise { lines } => {
            tracing::debug!(provider, lines, "lines are not of the protocol");
            return None;
        }
    })
}

fn end_of(outcome: &keel_agent::Outcome, cancelled: bool) -> RunEnd {
    match &outcome.ending {
        Ending::Done { stop_reason } => RunEnd::Done {
            stop_reason: stop_reason.clone(),
        },
        Ending::Cancelled { forced } => RunEnd::Cancelled { forced: *forced },
        Ending::Failed(keel_agent::Failure::Dropped) if cancelled => {
            RunEnd::Cancelled { forced: true }
        }
        Ending::Failed(failed) => {
            let fault = outcome.fault(random::fault_id(), clock::wall());
            RunEnd::Failed(fault.map_or_else(|| failure_of(failed), RunFailure::from))
        }
    }
}

fn failure(code: Code, message: String) -> RunFailure {
    RunFailure {
        code,
        message,
        detail: Map::new(),
        retry: None,
        causes: Vec::new(),
    }
}

fn failure_of(failure: &keel_agent::Failure) -> RunFailure {
    failure.fault(random::fault_id(), clock::wall()).into()
}

fn internal() -> RunFailure {
    failure(
        Code::Internal,
        "the run was lost inside the server".to_owned(),
    )
}
