//! What can be broken in a [`Memory`](super::Memory) on purpose, for the tests of whoever uses a store.
//!
//! Faults are chosen beforehand and happen to the commits that come next, in order; nothing is random.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use keel_wire::UnixMillis;

use crate::{CommitError, Health, StoreError, StoreErrorKind};

/// What becomes of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// It is refused, and not written.
    NotWritten(StoreErrorKind),
    /// It is written, and answered `Unknown`.
    UnknownWritten,
    /// It is not written, and answered `Unknown`.
    UnknownNotWritten,
}

/// The switches. A clone switches the same store.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Switches>>);

#[derive(Default)]
struct Switches {
    next: VecDeque<CommitFault>,
    refusing: Option<(StoreError, UnixMillis)>,
    gates: usize,
    held: VecDeque<Job>,
}

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A closed gate: writes and heads wait behind it, in order, until it is dropped.
#[derive(Debug)]
#[must_use = "the gate opens when this is dropped"]
pub struct Held(Faults);

impl Faults {
    /// This becomes of the next commit that no fault is chosen for yet.
    pub fn fail_next(&self, fault: CommitFault) {
        self.switches().next.push_back(fault);
    }

    /// Every write is refused, and [`Health`] says so, until [`Self::heal`].
    pub fn refuse(&self, kind: StoreErrorKind) {
        let error = StoreError::new(kind, "refused on purpose");
        self.switches().refusing = Some((error, now()));
    }

    /// Writes are taken again.
    pub fn heal(&self) {
        self.switches().refusing = None;
    }

    /// Closes a gate before every write. What is called meanwhile is queued, as at a slow disk.
    pub fn hold(&self) -> Held {
        self.switches().gates += 1;
        Held(self.clone())
    }

    /// How many writes and heads wait behind the gate.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.switches().held.len()
    }

    /// Does the job, or queues it behind the gate.
    pub(super) fn pass(&self, job: Job) {
        let mut switches = self.switches();
        if switches.gates > 0 {
            switches.held.push_back(job);
        } else {
            drop(switches);
            job();
        }
    }

    pub(super) fn next(&self) -> Option<CommitFault> {
        self.switches().next.pop_front()
    }

    pub(super) fn allow_write(&self) -> Result<(), CommitError> {
        match &self.switches().refusing {
            Some((error, _)) => Err(CommitError::NotWritten(error.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn health(&self) -> Health {
        match &self.switches().refusing {
            Some((error, since)) => Health::ReadOnly {
                error: error.clone(),
                since: *since,
            },
            None => Health::Ok,
        }
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        loop {
            let mut switches = self.0.switches();
            // The gate counts as closed until the last job is taken, so that nothing overtakes.
            let job = match switches.gates {
                1 => switches.held.pop_front(),
                _ => None,
            };
            let Some(job) = job else {
                switches.gates -= 1;
                return;
            };
            drop(switches);
            job();
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switches = self.switches();
        f.debug_struct("Faults")
            .field("next", &switches.next)
            .field("refusing", &switches.refusing)
            .field("gates", &switches.gates)
            .field("waiting", &switches.held.len())
            .finish()
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
