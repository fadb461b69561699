//! The runner: it owns an attempt's task and gives exactly one outcome for it, after the last
//! output, whatever the provider does.
//!
//! It must never depend on the provider to end: a panic, a drop and a provider that does not return
//! after a cancel are outcomes too.

use std::{any::Any, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinError, JoinHandle},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Answer, Ask, Control, Ending, Failure, Outcome, Output, Provider, Request, Sink,
    limits::{ASKS_MAX, CANCEL_MAX, REPORTED_BYTES_MAX, STOP_MAX},
    sink::Meter,
};

/// What one attempt may use up. Time is the session's to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Lines that the provider writes.
    pub lines_max: u64,
    /// Bytes that it says.
    pub bytes_max: u64,
    /// Calls of its model, where it tells of them.
    pub calls_max: u64,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            lines_max: 1_000_000,
            bytes_max: 256 * 1024 * 1024,
            calls_max: 200,
        }
    }
}

/// What comes from a running attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// More output.
    Output(Output),
    /// The end; nothing follows.
    Outcome(Box<Outcome>),
}

/// Starts an attempt on the current tokio runtime.
///
/// # Panics
/// Outside a tokio runtime.
#[must_use]
pub fn spawn(
    provider: Arc<dyn Provider>,
    request: Request,
    budgets: Budgets,
) -> (Running, OutputStream) {
    let meter = Arc::new(Meter::new(budgets));
    let (cancel, cancelled) = watch::channel(false);
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (words, words_taken) = watch::channel(0);
    let (outputs, told) = mpsc::unbounded_channel();

    let control = Control {
        cancel: cancelled.clone(),
        asks: asked,
        words_taken: words,
        cancel_told: false,
    };
    let sink = Sink {
        meter: Arc::clone(&meter),
        outputs,
    };
    let task = tokio::spawn(drive(provider, request, control, sink, Arc::clone(&meter)));

    let running = Running {
        cancel,
        asks,
        words_taken,
        meter: Arc::clone(&meter),
        task: task.abort_handle(),
    };
    let state = StreamState::Running;
    let stream = OutputStream {
        told,
        task,
        cancelled,
        give_up_at: None,
        meter,
        state,
    };
    (running, stream)
}

async fn drive(
    provider: Arc<dyn Provider>,
    request: Request,
    control: Control,
    sink: Sink,
    meter: Arc<Meter>,
) -> Outcome {
    let attempt = provider.run(request, control, sink);
    let overdue = async {
        meter.breached().await;
        sleep(STOP_MAX).await;
    };
    tokio::select! {
        biased;
        outcome = attempt => outcome,
        () = overdue => Outcome::failed(Failure::Dropped),
    }
}

/// A handle on a running attempt. Dropping it kills the attempt and everything that it started.
#[derive(Debug)]
pub struct Running {
    cancel: watch::Sender<bool>,
    asks: mpsc::Sender<Ask>,
    words_taken: watch::Receiver<u64>,
    meter: Arc<Meter>,
    task: AbortHandle,
}

impl Running {
    /// Asks the attempt to stop. Its outcome comes within [`CANCEL_MAX`], and may still be that it
    /// was done already.
    pub fn cancel(&self) {
        self.cancel.send_replace(true);
    }

    /// Answers what the attempt waits for; `false` if it takes no more answers.
    #[must_use]
    pub fn answer(&self, answer: Answer) -> bool {
        self.asks.try_send(Ask::Answer(answer)).is_ok()
    }

    /// Says something into the turn that runs; `false` if it takes no more.
    #[must_use]
    pub fn steer(&self, text: String) -> bool {
        self.asks.try_send(Ask::Steer(text)).is_ok()
    }

    /// How many of the words that were said into it the attempt has taken.
    #[must_use]
    pub fn words_taken(&self) -> watch::Receiver<u64> {
        self.words_taken.clone()
    }

    /// Gives back the [`Output::cost`] of what was consumed.
    pub fn refill(&self, bytes: u32) {
        self.meter.credit.refill(bytes);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a running attempt tells: outputs, then one outcome.
#[derive(Debug)]
pub struct OutputStream {
    told: mpsc::UnboundedReceiver<Output>,
    task: JoinHandle<Outcome>,
    cancelled: watch::Receiver<bool>,
    give_up_at: Option<Instant>,
    meter: Arc<Meter>,
    state: StreamState,
}

#[derive(Debug)]
enum StreamState {
    /// The attempt runs.
    Running,
    /// It has ended; what it said before is told first.
    Ended(Box<Outcome>),
    /// The outcome was told.
    Over,
}

impl OutputStream {
    /// The next output, or the outcome; `None` after that. May be dropped and called again without
    /// losing anything.
    pub async fn next(&mut self) -> Option<Told> {
        if matches!(self.state, StreamState::Running) {
            let ended = tokio::select! {
                biased;
                ended = &mut self.task => ended.unwrap_or_else(from_join_error),
                () = overdue(&mut self.cancelled, &mut self.give_up_at) => Outcome::cancelled(true),
                Some(output) = self.told.recv() => return Some(Told::Output(output)),
            };
            self.task.abort();
            self.told.close();
            self.state = StreamState::Ended(Box::new(self.sealed(ended)));
        }
        if let Ok(output) = self.told.try_recv() {
            return Some(Told::Output(output));
        }
        match std::mem::replace(&mut self.state, StreamState::Over) {
            StreamState::Ended(outcome) => Some(Told::Outcome(outcome)),
            StreamState::Running | StreamState::Over => None,
        }
    }

    /// The outcome with what only the runner knows: a used-up budget, and whether anybody asked
    /// for the cancel that a provider reports.
    fn sealed(&self, mut outcome: Outcome) -> Outcome {
        let asked = *self.cancelled.borrow();
        let cancelled = matches!(outcome.ending, Ending::Cancelled { .. });
        if cancelled && !asked {
            outcome.ending = Ending::Failed(Failure::Dropped);
        }
        if let (Some(breach), false) = (self.meter.breach(), cancelled && asked) {
            outcome.ending = Ending::Failed(breach.clone());
        }
        outcome.bytes = self.meter.bytes();
        outcome.lines = self.meter.lines();
        outcome
    }
}

impl Drop for OutputStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Resolves when a cancelled attempt has had all the time that it may take.
async fn overdue(cancelled: &mut watch::Receiver<bool>, give_up_at: &mut Option<Instant>) {
    if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
        // The handle is gone, so the task is aborted and ends by itself.
        return std::future::pending().await;
    }
    let at = *give_up_at.get_or_insert_with(|| Instant::now() + CANCEL_MAX);
    sleep_until(at).await;
}

fn from_join_error(error: JoinError) -> Outcome {
    Outcome::failed(match error.try_into_panic() {
        Ok(payload) => Failure::Panicked {
            message: panic_message(payload.as_ref()),
        },
        Err(_) => Failure::Dropped,
    })
}

pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    let mut text = text.unwrap_or("without a message").to_owned();
    text.truncate(text.floor_char_boundary(REPORTED_BYTES_MAX));
    text
}
