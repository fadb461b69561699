//! What the writer thread is asked to do, and the queue to it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
    mpsc::{SyncSender, TrySendError},
};

use keel_wire::{
    Seq, SessionId, UnixMillis,
    handover::{Handover, Offer, Part},
    journal::Entry,
    record::Batch,
};
use tokio::sync::oneshot;

use crate::{
    BoxFuture, CommitError, Head, StoreError, StoreErrorKind,
    bounds::{WRITES_WAITING_BYTES_MAX, WRITES_WAITING_MAX},
};

/// One thing to do in a transaction.
#[derive(Debug)]
pub(super) enum Ask {
    Commit(Arc<Batch>),
    Head(SessionId),
    Journal(SessionId, Vec<Entry>),
    Delete(SessionId),
    Trim(SessionId, Seq),
    Revoke(String, UnixMillis),
    Mark(SessionId, Box<Handover>),
    Stage(Offer, Box<Part>),
    Accept(Offer),
    Settle(Offer),
    Probe,
}

impl Ask {
    /// Whose order it must keep.
    pub(super) fn lane(&self) -> Option<SessionId> {
        match self {
            Self::Commit(batch) => Some(batch.row.session.clone()),
            Self::Head(session)
            | Self::Journal(session, _)
            | Self::Delete(session)
            | Self::Mark(session, _)
            | Self::Trim(session, _) => Some(session.clone()),
            Self::Stage(offer, _) | Self::Accept(offer) | Self::Settle(offer) => {
                Some(offer.session.clone())
            }
            Self::Revoke(..) | Self::Probe => None,
        }
    }

    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Commit(batch) => batch.cost(),
            Self::Journal(_, entries) => 256 * entries.len(),
            Self::Stage(_, part) => 256 + part.cost(),
            Self::Head(_)
            | Self::Delete(_)
            | Self::Trim(..)
            | Self::Revoke(..)
            | Self::Mark(..)
            | Self::Accept(_)
            | Self::Settle(_)
            | Self::Probe => 256,
        }
    }
}

/// What comes of it: a head where one was asked for.
pub(super) type Answer = Result<Option<Head>, CommitError>;

/// An [`Ask`] with the way back to who asked.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ask: Ask,
    pub(super) reply: oneshot::Sender<Answer>,
}

impl Job {
    /// The caller may have gone; what it asked for was done all the same.
    pub(super) fn answer(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// What waits to be written, wherever it waits: in the queue or at the writer thread.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    /// Counts one in, if it is within the bounds.
    fn enter(&self, cost: usize) -> Result<(), StoreError> {
        let jobs = self.jobs.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(cost, Ordering::Relaxed);
        if jobs < WRITES_WAITING_MAX && bytes + cost <= WRITES_WAITING_BYTES_MAX {
            return Ok(());
        }
        self.leave(1, cost);
        let why = format!("{jobs} writes of {bytes} bytes wait already");
        Err(StoreError::new(StoreErrorKind::Overloaded, why))
    }

    /// Counts so many out.
    pub(super) fn leave(&self, jobs: usize, bytes: usize) {
        self.jobs.fetch_sub(jobs, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The way to the writer thread, bounded in jobs and in bytes. Closed by taking the sender.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Mutex<Option<SyncSender<Job>>>,
    waiting: Arc<Waiting>,
}

impl Queue {
    pub(super) fn new(sender: SyncSender<Job>, waiting: Arc<Waiting>) -> Self {
        Self {
            sender: Mutex::new(Some(sender)),
            waiting,
        }
    }

    /// Queues it now; the future only waits for the answer.
    pub(super) fn ask(&self, ask: Ask) -> BoxFuture<Answer> {
        let (reply, answer) = oneshot::channel();
        match self.enqueue(Job { ask, reply }) {
            Err(error) => Box::pin(async { Err(CommitError::NotWritten(error)) }),
            Ok(()) => Box::pin(async {
                // The thread died with the job in its hands: nobody can say how far it came.
                let died = |_| {
                    let why = "the writer thread is gone";
                    Err(CommitError::Unknown(StoreError::new(
                        StoreErrorKind::Closed,
                        why,
                    )))
                };
                answer.await.unwrap_or_else(died)
            }),
        }
    }

    fn enqueue(&self, job: Job) -> Result<(), StoreError> {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = sender.as_ref() else {
            return Err(StoreError::closed());
        };
        let cost = job.ask.cost();
        self.waiting.enter(cost)?;
        match sender.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => unreachable!("the queue holds as many as may wait"),
            Err(TrySendError::Disconnected(_)) => {
                self.waiting.leave(1, cost);
                Err(StoreError::closed())
            }
        }
    }

    /// What is queued is still done; nothing more is taken.
    pub(super) fn close(&self) {
        drop(
            self.sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
