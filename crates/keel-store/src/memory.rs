//! A store in this process: for tests, and for `dev --memory`.
//!
//! It keeps the contract to the letter but one: nothing survives the process. Every call is done when
//! it is made, under one lock, so that the order of calls is the order of effects. [`Faults`] makes it
//! refuse, lie in wait or answer `unknown`, as a real one does.

mod faults;
mod handover;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keel_wire::{
    Seq, SessionId, UnixMillis,
    handover::{Handover, Offer, Part},
    journal::Entry,
    record::{Batch, Fence, Loaded, SessionRow, StoredEvent},
};
use tokio::sync::oneshot;

pub use faults::{CommitFault, Faults, Held};

use crate::{
    BoxFuture, CommitError, Counts, Found, Head, Health, Listing, Page, PageLimit, Scope, Search,
    Store, StoreError, StoreErrorKind, check,
};
use state::State;

/// A store in memory. Cheap to make; [`Memory::reopen`] is what a restart is to the others.
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    fence: Fence,
    closed: Mutex<bool>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    faults: Faults,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::open(Arc::new(Shared::default()))
    }

    /// The same sessions with a newer fence, as after a restart: what this handle commits from then
    /// on is fenced.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self::open(self.shared.clone())
    }

    fn open(shared: Arc<Shared>) -> Self {
        let fence = unpoisoned(&shared.state).grant();
        Self {
            shared,
            fence,
            closed: Mutex::new(false),
        }
    }

    /// What can be broken on purpose, for tests.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    fn is_closed(&self) -> bool {
        *unpoisoned(&self.closed)
    }

    /// Does `job` in the order of calls: at once, or when the gate opens.
    fn ordered<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Shared) -> Result<T, CommitError> + Send + 'static,
    ) -> BoxFuture<Result<T, CommitError>> {
        if self.is_closed() {
            return Box::pin(async { Err(CommitError::NotWritten(StoreError::closed())) });
        }
        let (reply, answer) = oneshot::channel();
        let shared = self.shared.clone();
        self.shared.faults.pass(Box::new(move || {
            // The caller may have gone; what it asked for is done all the same.
            let _ = reply.send(job(&shared));
        }));
        Box::pin(async move {
            let lost = |_| Err(CommitError::NotWritten(StoreError::closed()));
            answer.await.unwrap_or_else(lost)
        })
    }

    fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut State) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<Result<T, StoreError>> {
        let fence = self.fence;
        let done = self.ordered(move |shared| {
            let mut state = unpoisoned(&shared.state);
            shared.faults.allow_write()?;
            if state.fence() != fence {
                return Err(CommitError::Fenced);
            }
            job(&mut state).map_err(CommitError::NotWritten)
        });
        Box::pin(async move { done.await.map_err(without_outcome) })
    }

    fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&State) -> Result<T, StoreError>,
    ) -> BoxFuture<Result<T, StoreError>> {
        let answer = if self.is_closed() {
            Err(StoreError::closed())
        } else {
            job(&unpoisoned(&self.shared.state))
        };
        Box::pin(async { answer })
    }
}

/// A panic while the lock was held is a bug that its own test shows; the map is whole regardless,
/// because every change is made after the last check.
fn unpoisoned<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

fn without_outcome(error: CommitError) -> StoreError {
    match error {
        CommitError::NotWritten(error) | CommitError::Unknown(error) => error,
        CommitError::Fenced => StoreError::taken_over(),
        CommitError::Conflict { .. } => unreachable!("only commits expect a head"),
    }
}

impl Store for Memory {
    fn fence(&self) -> Fence {
        self.fence
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<Result<(), CommitError>> {
        let granted = self.fence;
        self.ordered(move |shared| {
            let mut state = unpoisoned(&shared.state);
            if batch.fence != granted || state.fence() != granted {
                return Err(CommitError::Fenced);
            }
            check::batch(&batch).map_err(CommitError::NotWritten)?;
            shared.faults.allow_write()?;
            let broken = |kind| StoreError::new(kind, "broken on purpose");
            match shared.faults.next() {
                None => state.commit(Arc::unwrap_or_clone(batch)),
                Some(CommitFault::NotWritten(kind)) => Err(CommitError::NotWritten(broken(kind))),
                Some(CommitFault::UnknownWritten) => {
                    state.commit(Arc::unwrap_or_clone(batch))?;
                    Err(CommitError::Unknown(broken(StoreErrorKind::Fsync)))
                }
                Some(CommitFault::UnknownNotWritten) => {
                    Err(CommitError::Unknown(broken(StoreErrorKind::Fsync)))
                }
            }
        })
    }

    fn head(&self, session: &SessionId) -> BoxFuture<Result<Option<Head>, StoreError>> {
        let session = session.clone();
        let head = self.ordered(move |shared| Ok(unpoisoned(&shared.state).head(&session)));
        Box::pin(async move { head.await.map_err(without_outcome) })
    }

    fn row(&self, session: &SessionId) -> BoxFuture<Result<Option<SessionRow>, StoreError>> {
        self.read(|state| Ok(state.row(session)))
    }

    fn load(&self, session: &SessionId) -> BoxFuture<Result<Option<Loaded>, StoreError>> {
        self.read(|state| Ok(state.load(session)))
    }

    fn events(
        &self,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<Result<Vec<StoredEvent>, StoreError>> {
        self.read(|state| Ok(state.events(session, after, limit)))
    }

    fn unsettled(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionRow>, StoreError>> {
        self.read(|state| Ok(state.unsettled(after, limit)))
    }

    fn list(&self, listing: Listing) -> BoxFuture<Result<Page, StoreError>> {
        self.read(|state| {
            listing.scope.check()?;
            state.list(&listing)
        })
    }

    fn counts(
        &self,
        scope: Scope,
        subject: Option<String>,
    ) -> BoxFuture<Result<Counts, StoreError>> {
        self.read(|state| {
            scope.check()?;
            Ok(state.counts(&scope, subject.as_deref()))
        })
    }

    fn search(&self, search: Search) -> BoxFuture<Result<Found, StoreError>> {
        self.read(|state| {
            search.scope.check()?;
            state.search(&search)
        })
    }

    fn append_journal(
        &self,
        entries: Vec<(SessionId, Entry)>,
    ) -> BoxFuture<Result<(), StoreError>> {
        self.write(|state| {
            state.append_journal(entries);
            Ok(())
        })
    }

    fn journal(
        &self,
        session: &SessionId,
        limit: usize,
    ) -> BoxFuture<Result<Vec<Entry>, StoreError>> {
        self.read(|state| Ok(state.journal(session, limit)))
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<Result<(), StoreError>> {
        let session = session.clone();
        self.write(move |state| {
            state.delete(&session);
            Ok(())
        })
    }

    fn trim(&self, session: &SessionId, through: Seq) -> BoxFuture<Result<(), StoreError>> {
        let session = session.clone();
        self.write(move |state| state.trim(&session, through))
    }

    fn revoke(&self, token_id: &str, until: UnixMillis) -> BoxFuture<Result<(), StoreError>> {
        let token_id = token_id.to_owned();
        self.write(move |state| {
            state.revoke(token_id, until);
            Ok(())
        })
    }

    fn revoked(&self) -> BoxFuture<Result<Vec<(String, UnixMillis)>, StoreError>> {
        self.read(|state| Ok(state.revoked()))
    }

    fn handover(&self, session: &SessionId) -> BoxFuture<Result<Option<Handover>, StoreError>> {
        self.read(|state| Ok(state.handovers.get(session).cloned()))
    }

    fn held(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionId>, StoreError>> {
        self.read(|state| Ok(state.held(after, limit)))
    }

    fn mark(&self, session: &SessionId, handover: Handover) -> BoxFuture<Result<(), StoreError>> {
        let session = session.clone();
        self.write(move |state| state.mark(&session, handover))
    }

    fn stage(&self, offer: Offer, part: Part) -> BoxFuture<Result<(), StoreError>> {
        self.write(move |state| state.stage(offer, part))
    }

    fn accept(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>> {
        self.write(move |state| Ok(state.accept(&offer)))
    }

    fn settle(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>> {
        self.write(move |state| Ok(state.settle(&offer)))
    }

    fn health(&self) -> Health {
        self.shared.faults.health()
    }

    fn probe(&self) -> BoxFuture<Result<(), StoreError>> {
        self.write(|_| Ok(()))
    }

    fn close(&self) -> BoxFuture<Result<(), StoreError>> {
        *unpoisoned(&self.closed) = true;
        Box::pin(async { Ok(()) })
    }
}
