//! What the writer thread is asked to do, and the queue to it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
    mpsc::{SyncSender, TrySendError},
};

use keel_wire::{Seq, SessionId, UnixMillis, journal::Entry, record::Batch};
use tokio::sync::oneshot;

use crate::{
    BoxFuture, CommitError, Head, StoreError, StoreErrorKind, bounds::WRITES_WAITING_BYTES_MAX,
};

/// One thing to do in a transaction.
#[derive(Debug)]
pub(super) enum Ask {
    Commit(Box<Batch>),
    Head(SessionId),
    Journal(SessionId, Vec<Entry>),
    Delete(SessionId),
    Trim(SessionId, Seq),
    Revoke(String, UnixMillis),
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
            | Self::Trim(session, _) => Some(session.clone()),
            Self::Revoke(..) | Self::Probe => None,
        }
    }

    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Commit(batch) => batch.cost(),
            Self::Journal(_, entries) => 256 * entries.len(),
            Self::Head(_) | Self::Delete(_) | Self::Trim(..) | Self::Revoke(..) | Self::Probe => {
                256
            }
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

/// The way to the writer thread, bounded in jobs and in bytes. Closed by taking the sender.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Mutex<Option<SyncSender<Job>>>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    pub(super) fn new(sender: SyncSender<Job>, bytes: Arc<AtomicUsize>) -> Self {
        Self {
            sender: Mutex::new(Some(sender)),
            bytes,
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
        let overloaded = |what: &str| {
            let why = format!("too many {what} wait for the writer");
            Err(StoreError::new(StoreErrorKind::Overloaded, why))
        };
        let cost = job.ask.cost();
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > WRITES_WAITING_BYTES_MAX {
            self.bytes.fetch_sub(cost, Ordering::Relaxed);
            return overloaded("bytes");
        }
        let refused = match sender.try_send(job) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(_)) => overloaded("writes"),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::closed()),
        };
        self.bytes.fetch_sub(cost, Ordering::Relaxed);
        refused
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
