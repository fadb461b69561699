//! A store in one SQLite file that survives kill -9 and power cuts.
//!
//! One thread writes, in groups: what waits while the disk syncs goes into the next transaction
//! together. A few threads read beside it. A directory belongs to one open store; the kernel sees to
//! that. What is acknowledged is synced (`synchronous = FULL`), always.

mod apply;
mod connect;
mod failure;
mod fair;
mod files;
mod group;
mod handover;
mod job;
mod list;
mod open;
mod pace;
mod read;
mod reader;
mod rows;
mod schema;
mod search;
mod shrink;
mod wal;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use keel_wire::{
    Seq, SessionId, UnixMillis,
    handover::{Handover, Offer, Part},
    journal::Entry,
    record::{Batch, Fence, Loaded, SessionRow, StoredEvent},
};
use tokio::sync::watch;

use crate::{
    BoxFuture, CommitError, Counts, Found, Head, Health, Listing, OpenError, Page, PageLimit,
    Scope, Search, Store, StoreError, StoreErrorKind,
};
use job::{Answer, Ask, Queue};
use reader::Readers;

/// How to open a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The directory, which is made if it is missing and is the store's alone.
    pub dir: PathBuf,
    /// The engine's file layer, by name; `None` for its own. Tests break disks with it.
    pub vfs: Option<String>,
}

impl Config {
    /// The store of that directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            vfs: None,
        }
    }
}

/// A store in a SQLite file.
///
/// Dropping it without [`Store::close`] finishes what is queued too, and blocks while it does.
#[derive(Debug)]
pub struct Sqlite {
    fence: Fence,
    queue: Queue,
    readers: Readers,
    health: Arc<Mutex<Health>>,
    done: watch::Receiver<Option<Result<(), StoreError>>>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Sqlite {
    /// Locks the directory, brings the schema up, takes a new fence and starts the threads.
    ///
    /// Blocks for as long as that takes: from async code, call it where blocking is allowed.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        open::open(config)
    }

    fn write(&self, ask: Ask) -> BoxFuture<Result<(), StoreError>> {
        let answer = self.queue.ask(ask);
        Box::pin(async { answer.await.map(drop).map_err(without_outcome) })
    }
}

fn without_outcome(error: CommitError) -> StoreError {
    match error {
        CommitError::NotWritten(error) | CommitError::Unknown(error) => error,
        CommitError::Fenced => StoreError::taken_over(),
        CommitError::Conflict { .. } => unreachable!("only commits expect a head"),
    }
}

fn join(thread: &Mutex<Option<JoinHandle<()>>>) {
    let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(thread) = thread {
        // Its panic is in the log by the panic hook, and `done` says that it left no outcome.
        let _ = thread.join();
    }
}

impl Store for Sqlite {
    fn fence(&self) -> Fence {
        self.fence
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<Result<(), CommitError>> {
        let answer: BoxFuture<Answer> = self.queue.ask(Ask::Commit(batch));
        Box::pin(async { answer.await.map(drop) })
    }

    fn head(&self, session: &SessionId) -> BoxFuture<Result<Option<Head>, StoreError>> {
        let answer = self.queue.ask(Ask::Head(session.clone()));
        Box::pin(async { answer.await.map_err(without_outcome) })
    }

    fn row(&self, session: &SessionId) -> BoxFuture<Result<Option<SessionRow>, StoreError>> {
        let session = session.clone();
        self.readers.read(move |conn| read::row(conn, &session))
    }

    fn load(&self, session: &SessionId) -> BoxFuture<Result<Option<Loaded>, StoreError>> {
        let session = session.clone();
        self.readers.read(move |conn| read::load(conn, &session))
    }

    fn events(
        &self,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<Result<Vec<StoredEvent>, StoreError>> {
        let session = session.clone();
        self.readers
            .read(move |conn| read::events(conn, &session, after, limit))
    }

    fn unsettled(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionRow>, StoreError>> {
        let after = after.cloned();
        self.readers
            .read(move |conn| read::unsettled(conn, after.as_ref(), limit))
    }

    fn list(&self, listing: Listing) -> BoxFuture<Result<Page, StoreError>> {
        self.readers.read(move |conn| list::list(conn, &listing))
    }

    fn counts(
        &self,
        scope: Scope,
        subject: Option<String>,
    ) -> BoxFuture<Result<Counts, StoreError>> {
        self.readers
            .read(move |conn| list::counts(conn, &scope, subject.as_deref()))
    }

    fn search(&self, search: Search) -> BoxFuture<Result<Found, StoreError>> {
        self.readers.read(move |conn| search::find(conn, &search))
    }

    fn append_journal(
        &self,
        entries: Vec<(SessionId, Entry)>,
    ) -> BoxFuture<Result<(), StoreError>> {
        // Each session's entries keep the order of that session's writes.
        let mut sessions: Vec<(SessionId, Vec<Entry>)> = Vec::new();
        for (session, entry) in entries {
            match sessions.iter_mut().find(|(known, _)| *known == session) {
                Some((_, entries)) => entries.push(entry),
                None => sessions.push((session, vec![entry])),
            }
        }
        let asks = sessions
            .into_iter()
            .map(|(session, entries)| Ask::Journal(session, entries));
        let answers: Vec<_> = asks.map(|ask| self.write(ask)).collect();
        Box::pin(async move {
            let mut outcome = Ok(());
            for answer in answers {
                outcome = outcome.and(answer.await);
            }
            outcome
        })
    }

    fn journal(
        &self,
        session: &SessionId,
        limit: usize,
    ) -> BoxFuture<Result<Vec<Entry>, StoreError>> {
        let session = session.clone();
        self.readers
            .read(move |conn| read::journal(conn, &session, limit))
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<Result<(), StoreError>> {
        self.write(Ask::Delete(session.clone()))
    }

    fn trim(&self, session: &SessionId, through: Seq) -> BoxFuture<Result<(), StoreError>> {
        self.write(Ask::Trim(session.clone(), through))
    }

    fn revoke(&self, token_id: &str, until: UnixMillis) -> BoxFuture<Result<(), StoreError>> {
        self.write(Ask::Revoke(token_id.to_owned(), until))
    }

    fn revoked(&self) -> BoxFuture<Result<Vec<(String, UnixMillis)>, StoreError>> {
        self.readers.read(read::revoked)
    }

    fn handover(&self, session: &SessionId) -> BoxFuture<Result<Option<Handover>, StoreError>> {
        let session = session.clone();
        self.readers
            .read(move |conn| handover::read(conn, &session))
    }

    fn held(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionId>, StoreError>> {
        let after = after.cloned();
        self.readers
            .read(move |conn| handover::held(conn, after.as_ref(), limit))
    }

    fn mark(&self, session: &SessionId, handover: Handover) -> BoxFuture<Result<(), StoreError>> {
        self.write(Ask::Mark(session.clone(), Box::new(handover)))
    }

    fn stage(&self, offer: Offer, part: Part) -> BoxFuture<Result<(), StoreError>> {
        self.write(Ask::Stage(offer, Box::new(part)))
    }

    fn accept(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>> {
        let answer = self.queue.ask(Ask::Accept(offer));
        Box::pin(async { answer.await.map_err(without_outcome) })
    }

    fn settle(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>> {
        let answer = self.queue.ask(Ask::Settle(offer));
        Box::pin(async { answer.await.map_err(without_outcome) })
    }

    fn health(&self) -> Health {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn probe(&self) -> BoxFuture<Result<(), StoreError>> {
        self.write(Ask::Probe)
    }

    fn close(&self) -> BoxFuture<Result<(), StoreError>> {
        self.readers.close();
        self.queue.close();
        let (mut done, thread) = (self.done.clone(), self.thread.clone());
        Box::pin(async move {
            let outcome = done
                .wait_for(Option::is_some)
                .await
                .map(|outcome| outcome.clone());
            // The outcome is the last thing that the thread gives, so this does not wait.
            join(&thread);
            let died = || StoreError::new(StoreErrorKind::Other, "the writer thread panicked");
            outcome.ok().flatten().unwrap_or_else(|| Err(died()))
        })
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.readers.close();
        self.queue.close();
        join(&self.thread);
    }
}
