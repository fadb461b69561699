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
use keel_core::node::{Input, RunEnd, RunFailure, RunId, RunOutput, RunRequest};
use keel_wire::{ActionId, Code};
use serde_json::{Map, Value};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;

use super::until;
use crate::{clock, random};

/// What serves sessions, by name.
pub(crate) type Backends = BTreeMap<String, (Arc<dyn Provider>, Budgets)>;

/// What the Node wants of a run.
enum Order {
    Credit(usize),
    Cancel,
    Stall(Duration),
    Answer(keel_agent::Answer),
}

pub(super) struct Runs {
    backends: Backends,
    tracker: TaskTracker,
    orders: HashMap<RunId, mpsc::UnboundedSender<Order>>,
    told: Option<mpsc::UnboundedSender<Input>>,
}

impl Runs {
    /// What runs say comes out of the receiver: per run in order, its end last. It is bounded by the
    /// credit that each run has.
    pub(super) fn new(
        backends: Backends,
        tracker: TaskTracker,
    ) -> (Self, mpsc::UnboundedReceiver<Input>) {
        let (told, receiver) = mpsc::unbounded_channel();
        (
            Self {
                backends,
                tracker,
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
        let name = provider.name().to_owned();
        let (running, outputs) = keel_agent::spawn(Arc::clone(provider), request, *budgets);
        self.tracker
            .spawn(attend(running, outputs, taken, name, mouth));
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

async fn attend(
    running: Running,
    mut outputs: OutputStream,
    mut orders: mpsc::UnboundedReceiver<Order>,
    provider: String,
    mouth: Mouth,
) {
    let mut running = Some(running);
    let mut owed = Owed::default();
    let (mut stalled, mut cancelled) = (None, false);
    loop {
        tokio::select! {
            told = outputs.next(), if stalled.is_none() => match told {
                Some(Told::Output(output)) => {
                    let cost = output.cost();
                    let (output, counted) = translate(&provider, output);
                    let counted = counted.then(|| {
                        cost.saturating_sub(OUTPUT_COST_BYTES) as usize
                    });
                    match counted {
                        Some(counted) => owed.outputs.push_back((counted, cost)),
                        None => if let Some(running) = &running { running.refill(cost) },
                    }
                    mouth.say(output);
                }
                Some(Told::Outcome(outcome)) => return mouth.end(end_of(&outcome, cancelled)),
                None => return,
            },
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

/// An output, and whether the Node will credit its bytes.
fn translate(provider: &str, output: keel_agent::Output) -> (RunOutput, bool) {
    match output {
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
        keel_agent::Output::ModelCall | keel_agent::Output::Noise { .. } => {
            (RunOutput::Alive, false)
        }
    }
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
