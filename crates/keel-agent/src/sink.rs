//! The attempt's mouth: where outputs are counted, charged to the budgets, cut to size and held
//! back until somebody consumes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use keel_wire::{CancelStep, limits::TEXT_BYTES_MAX};
use tokio::sync::{Notify, mpsc};

use crate::{BudgetKind, Budgets, Failure, Output, credit::Credit, limits::CREDIT_BYTES};

/// Nothing more is taken from this attempt; it should return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// A budget is used up. The runner names it in the outcome, whatever the attempt returns.
    #[error("a budget is used up")]
    Budget,
    /// Nobody listens any more.
    #[error("nobody listens")]
    Gone,
}

/// What an attempt has said so far, shared by its sink and its runner.
#[derive(Debug)]
pub(crate) struct Meter {
    budgets: Budgets,
    pub(crate) credit: Credit,
    bytes: AtomicU64,
    lines: AtomicU64,
    calls: AtomicU64,
    breach: OnceLock<Failure>,
    breached: Notify,
}

impl Meter {
    pub(crate) fn new(budgets: Budgets) -> Self {
        Self {
            budgets,
            credit: Credit::new(),
            bytes: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            breach: OnceLock::new(),
            breached: Notify::new(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub(crate) fn breach(&self) -> Option<&Failure> {
        self.breach.get()
    }

    /// Resolves once a budget is used up.
    pub(crate) async fn breached(&self) {
        if self.breach.get().is_none() {
            self.breached.notified().await;
        }
    }

    /// Counts lines that the provider wrote.
    pub(crate) fn count_lines(&self, lines: u64) -> Result<(), Stopped> {
        self.charge(BudgetKind::Lines, lines)
    }

    fn charge(&self, of: BudgetKind, more: u64) -> Result<(), Stopped> {
        let (counter, limit) = match of {
            BudgetKind::Lines => (&self.lines, self.budgets.lines_max),
            BudgetKind::Bytes => (&self.bytes, self.budgets.bytes_max),
            BudgetKind::Calls => (&self.calls, self.budgets.calls_max),
        };
        if self.breach.get().is_some() {
            return Err(Stopped::Budget);
        }
        let before = counter.load(Ordering::Relaxed);
        if before.saturating_add(more) <= limit {
            counter.store(before.saturating_add(more), Ordering::Relaxed);
            return Ok(());
        }
        let _ = self.breach.set(Failure::Budget { of, limit });
        self.breached.notify_one();
        Err(Stopped::Budget)
    }
}

/// Takes what an attempt says.
#[derive(Debug)]
pub struct Sink {
    pub(crate) meter: Arc<Meter>,
    pub(crate) outputs: mpsc::UnboundedSender<Output>,
}

impl Sink {
    /// Says `output`, once there is credit for it. Long text is cut at characters' borders; empty
    /// text says nothing.
    ///
    /// # Errors
    /// When nothing more is taken; the attempt should then return.
    pub async fn send(&mut self, output: Output) -> Result<(), Stopped> {
        let Output::Text(mut text) = output else {
            return self.push(output).await;
        };
        while text.len() > TEXT_BYTES_MAX {
            let rest = text.split_off(text.floor_char_boundary(TEXT_BYTES_MAX));
            self.push(Output::Text(std::mem::replace(&mut text, rest)))
                .await?;
        }
        if text.is_empty() {
            return Ok(());
        }
        self.push(Output::Text(text)).await
    }

    /// Counts lines that the provider wrote.
    ///
    /// # Errors
    /// When that uses up the budget of lines.
    pub fn count_lines(&mut self, lines: u64) -> Result<(), Stopped> {
        self.meter.count_lines(lines)
    }

    /// A second mouth of the same attempt.
    pub(crate) fn twin(&self) -> Self {
        Self {
            meter: Arc::clone(&self.meter),
            outputs: self.outputs.clone(),
        }
    }

    /// Says a step of a cancel, which waits for nobody. There are three at most, so they are told
    /// without credit.
    pub(crate) fn step(&self, step: CancelStep) {
        // Nobody who listens any more is none the worse for it.
        let _ = self.outputs.send(Output::Cancelling { step });
    }

    /// What was said so far, and whether anybody consumes it.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    async fn push(&self, output: Output) -> Result<(), Stopped> {
        if output == Output::ModelCall {
            self.meter.charge(BudgetKind::Calls, 1)?;
        }
        self.meter.charge(BudgetKind::Bytes, output.bytes())?;
        let cost = output.cost();
        debug_assert!(cost <= CREDIT_BYTES, "an output that could never be told");
        tokio::select! {
            biased;
            () = self.outputs.closed() => return Err(Stopped::Gone),
            () = self.meter.credit.take(cost) => {}
        }
        self.outputs.send(output).map_err(|_| Stopped::Gone)
    }
}
