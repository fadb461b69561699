//! The contract of a store.
//!
//! Whatever is acknowledged survives, in order and whole; whatever is not acknowledged is either
//! absent, or said to be unknown. Nothing here decides what a session may do.

use std::{pin::Pin, sync::Arc};

use keel_wire::{
    Epoch, Seq, SessionId, UnixMillis,
    handover::{Handover, Offer, Part},
    journal::Entry,
    record::{Batch, Fence, Loaded, SessionRow, StoredEvent},
};

use crate::{CommitError, Counts, Found, Listing, Page, Scope, Search, StoreError};

/// What every call of a [`Store`] gives back. It borrows nothing, so it can be spawned or dropped.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The log.
    pub epoch: Epoch,
    /// Its last position; 0 when it is empty.
    pub seq: Seq,
}

impl Head {
    /// Of a log that is not there any more.
    pub(crate) const NONE: Self = Self {
        epoch: Epoch(Seq::ZERO),
        seq: Seq::ZERO,
    };
}

/// How much of a log to read at once. The first event is given even if it alone is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Most events; 0 counts as 1.
    pub events: usize,
    /// Most bytes, by [`StoredEvent::cost`].
    pub bytes: usize,
}

/// Whether the store writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It refuses every write at once; reads go on. It tries by itself whether it can again.
    ReadOnly {
        /// Why.
        error: StoreError,
        /// Since when, by the wall clock.
        since: UnixMillis,
    },
}

/// Where sessions are kept. Shared as `Arc<dyn Store>`.
///
/// **Cancel safety.** A call is queued when it is made, not when its future is first polled. Dropping
/// the future forgets the answer and nothing else: a queued write is still done.
///
/// **Order.** Writes to one session, and [`Store::head`] of it, are done in the order in which they
/// were called. A read that is called after a write was acknowledged sees it.
///
/// **Errors.** A read fails with [`StoreError`]; `Corrupt` concerns that session and no other. The
/// store does not retry: an answer is the outcome of one attempt.
pub trait Store: Send + Sync + 'static {
    /// The right to write that was granted when this store was opened. Never changes.
    fn fence(&self) -> Fence;

    /// Writes a batch, all of it or nothing, and answers when it will survive a power cut.
    ///
    /// `batch.expected` must be where the log ends, and `None` exactly when there is no such session.
    /// What `batch.row` says in `trimmed` is ignored: that number is the store's.
    ///
    /// # Errors
    /// See [`CommitError`]: each variant says what is known about the batch.
    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<Result<(), CommitError>>;

    /// Where a session's log ends; `None` if there is no such session.
    ///
    /// Ordered with commits, so it settles what became of one that answered `Unknown` or whose future
    /// was dropped: the answer will not change behind the caller's back.
    ///
    /// # Errors
    /// While an unknown outcome cannot be settled (`Fsync`, `Io`): ask again later.
    fn head(&self, session: &SessionId) -> BoxFuture<Result<Option<Head>, StoreError>>;

    /// What a session is, without its log; `None` if there is no such session.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be read.
    fn row(&self, session: &SessionId) -> BoxFuture<Result<Option<SessionRow>, StoreError>>;

    /// Everything needed to bring a session into memory; `None` if there is no such session.
    ///
    /// # Errors
    /// `Corrupt` when what is stored cannot be read or has a hole.
    fn load(&self, session: &SessionId) -> BoxFuture<Result<Option<Loaded>, StoreError>>;

    /// Events from the one that covers `after + 1` on, in order, each following the one before.
    ///
    /// The first may begin at or below `after` (ranges are given as they are), or above `after + 1`
    /// (what was there is trimmed). Empty at the log's end and when there is no such session.
    ///
    /// # Errors
    /// `Corrupt` when an event cannot be read or does not follow.
    fn events(
        &self,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<Result<Vec<StoredEvent>, StoreError>>;

    /// Sessions that have not ended and have an open turn or a slot, and those that are offered to
    /// another server, by session id, above `after`.
    ///
    /// A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// When it cannot be read. A row that makes no sense is left out and logged.
    fn unsettled(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionRow>, StoreError>>;

    /// A page of sessions, newest first. Never sorts: every listing walks an index (req M41).
    ///
    /// # Errors
    /// When it cannot be read, or names more than [`crate::PROJECTS_MAX`] projects.
    fn list(&self, listing: Listing) -> BoxFuture<Result<Page, StoreError>>;

    /// How many sessions of a scope there are, of one subject or of all; see [`Counts`].
    ///
    /// # Errors
    /// When it cannot be read, or names more than [`crate::PROJECTS_MAX`] projects.
    fn counts(
        &self,
        scope: Scope,
        subject: Option<String>,
    ) -> BoxFuture<Result<Counts, StoreError>>;

    /// Sessions by their titles and by what was said in them: the beginnings of the last turns'
    /// prompts and answers. What was written before there was a search is not found.
    ///
    /// # Errors
    /// When it cannot be read, there is no word to look for, or too many projects are named.
    fn search(&self, search: Search) -> BoxFuture<Result<Found, StoreError>>;

    /// Adds to journals, [`crate::JOURNAL_ENTRIES_MAX`] entries a session, the oldest going first.
    ///
    /// Readable when it answers, but a power cut may take it. Entries of unknown sessions are dropped.
    ///
    /// # Errors
    /// When nothing of it was kept.
    fn append_journal(&self, entries: Vec<(SessionId, Entry)>)
    -> BoxFuture<Result<(), StoreError>>;

    /// The last `limit` entries of a session's journal, oldest first.
    ///
    /// # Errors
    /// When it cannot be read. An entry that makes no sense is left out and logged.
    fn journal(
        &self,
        session: &SessionId,
        limit: usize,
    ) -> BoxFuture<Result<Vec<Entry>, StoreError>>;

    /// Forgets a session with everything that belongs to it. Nothing happens if there is none.
    ///
    /// # Errors
    /// When it is not known to be done; it may be called again.
    fn delete(&self, session: &SessionId) -> BoxFuture<Result<(), StoreError>>;

    /// Drops the events that lie wholly at or below `through`, and says so in the row's `trimmed`.
    ///
    /// Nothing happens if there is no such session.
    ///
    /// # Errors
    /// `Other` when `through` is above the stored snapshot: those events exist nowhere else.
    fn trim(&self, session: &SessionId, through: Seq) -> BoxFuture<Result<(), StoreError>>;

    /// Remembers that a token is no longer good, at least until it expires by itself at `until`.
    ///
    /// # Errors
    /// When it is not known to be kept; it may be called again.
    fn revoke(&self, token_id: &str, until: UnixMillis) -> BoxFuture<Result<(), StoreError>>;

    /// The tokens that were revoked, by id.
    ///
    /// # Errors
    /// When it cannot be read.
    fn revoked(&self) -> BoxFuture<Result<Vec<(String, UnixMillis)>, StoreError>>;

    /// Where a session stands with being handed from server to server; `None` if it never was.
    ///
    /// # Errors
    /// When it cannot be read.
    fn handover(&self, session: &SessionId) -> BoxFuture<Result<Option<Handover>, StoreError>>;

    /// Sessions that are here and have not ended, by id, above `after`.
    ///
    /// A page shorter than `limit` is the last.
    ///
    /// # Errors
    /// When it cannot be read.
    fn held(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionId>, StoreError>>;

    /// Writes where a session stands, and with it that it is gone where it has moved: all of it or
    /// nothing. Ordered with commits. The same again changes nothing.
    ///
    /// # Errors
    /// When it is not known to be written; it may be called again. `Other` for a number below the one
    /// that is kept, and when a session that is to be offered is not there.
    fn mark(&self, session: &SessionId, handover: Handover) -> BoxFuture<Result<(), StoreError>>;

    /// Keeps a part of a session that another server offers, in order; [`Part::Begin`] drops what there
    /// was. Nothing of it counts before [`Store::accept`].
    ///
    /// # Errors
    /// When it is not known to be kept: begin again. `Other` when it does not belong to what is kept, or
    /// all of it is larger than [`crate::STAGED_BYTES_MAX`].
    fn stage(&self, offer: Offer, part: Part) -> BoxFuture<Result<(), StoreError>>;

    /// Makes the session of the parts that are kept this store's, all of it or nothing. What was accepted
    /// before is answered as accepted.
    ///
    /// `None` when it is declined: the session is here already, the offer's number has passed, or the
    /// parts are not all of a session.
    ///
    /// # Errors
    /// When it is not known; it may be called again, and so may [`Store::settle`].
    fn accept(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>>;

    /// Whether that offer was accepted; if it was not, it never is any more. Its parts are dropped.
    ///
    /// # Errors
    /// When it is not known; it may be called again.
    fn settle(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>>;

    /// Whether the store writes, as far as it knows. Costs nothing.
    fn health(&self) -> Health;

    /// Tries a tiny write at once, so that healing is noticed without waiting for a commit.
    ///
    /// # Errors
    /// Why it does not write.
    fn probe(&self) -> BoxFuture<Result<(), StoreError>>;

    /// Finishes what is queued, then lets go of every file and thread. Calls after it fail as `Closed`.
    ///
    /// # Errors
    /// When what is in memory could not be put away tidily; what was acknowledged is kept all the same.
    fn close(&self) -> BoxFuture<Result<(), StoreError>>;
}
