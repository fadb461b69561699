//! The reader threads: a bounded queue, and a connection each that can only read.
//!
//! Readers never wait for the writer, nor the writer for them. A reader whose connection failed gets
//! a new one with its next job.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::connect::Target;
use crate::{
    BoxFuture, StoreError, StoreErrorKind,
    bounds::{READERS, READS_WAITING_MAX},
};

/// Reads, and says whether the connection is still good.
type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> bool + Send>;

/// The way to the reader threads. Closed by taking the sender.
#[derive(Debug)]
pub(super) struct Readers {
    sender: Mutex<Option<SyncSender<Job>>>,
}

impl Readers {
    /// Starts the threads; whoever takes the handles joins them after [`Self::close`].
    pub(super) fn start(target: &Target) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (sender, receiver) = sync_channel(READS_WAITING_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        let start = |number: usize| {
            let (target, receiver) = (target.clone(), receiver.clone());
            std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || serve(&target, &receiver))
        };
        let threads = (0..READERS).map(start).collect::<Result<Vec<_>, _>>()?;
        Ok((
            Self {
                sender: Mutex::new(Some(sender)),
            },
            threads,
        ))
    }

    /// Queues a read now; the future only waits for the answer.
    pub(super) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<Result<T, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |conn| {
            let outcome = conn.and_then(read);
            let good = !matches!(&outcome, Err(error) if is_the_connections(error.kind));
            let _ = reply.send(outcome);
            good
        });
        match self.enqueue(job) {
            Err(error) => Box::pin(async { Err(error) }),
            Ok(()) => Box::pin(async {
                let died = |_| {
                    Err(StoreError::new(
                        StoreErrorKind::Other,
                        "the reader panicked",
                    ))
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
        match sender.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                let why = "too many reads wait";
                Err(StoreError::new(StoreErrorKind::Overloaded, why))
            }
            Err(TrySendError::Disconnected(_)) => Err(StoreError::closed()),
        }
    }

    /// What is queued is still read; nothing more is taken.
    pub(super) fn close(&self) {
        drop(
            self.sender
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// Whether a failure is one after which a new connection may do better.
const fn is_the_connections(kind: StoreErrorKind) -> bool {
    match kind {
        StoreErrorKind::Io | StoreErrorKind::Fsync | StoreErrorKind::Busy => true,
        StoreErrorKind::Full
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Closed
        | StoreErrorKind::Overloaded
        | StoreErrorKind::Other => false,
    }
}

fn serve(target: &Target, receiver: &Mutex<Receiver<Job>>) {
    let mut connection: Option<Connection> = None;
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = next else { return };
        let opened = match connection.take() {
            Some(connection) => Ok(connection),
            None => target.reader(),
        };
        let outcome = match &opened {
            Ok(connection) => catch_unwind(AssertUnwindSafe(|| job(Ok(connection)))),
            Err(error) => Ok(job(Err(error.clone()))),
        };
        if outcome.unwrap_or(false) {
            connection = opened.ok();
        }
    }
}
