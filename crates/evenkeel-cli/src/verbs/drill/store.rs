//! A store that stands before another and does not keep what it promises.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use keel_drill::Mutant;
use keel_store::{
    BoxFuture, CommitError, Counts, Found, Head, Health, Listing, Page, PageLimit, Scope, Search,
    Store, StoreError, StoreErrorKind,
};
use keel_wire::{
    Seq, SessionId, UnixMillis,
    handover::{Handover, Offer, Part},
    journal::Entry,
    record::{Batch, Fence, Loaded, SessionRow, StoredEvent},
};

/// Batches of a session that are written before the lying begins: it is there, and somebody is in it.
const HONEST_BATCHES: u32 = 4;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    AckUnwritten,
    AckRefused,
    DamageUnseen,
    JournalLost,
}

impl Defect {
    pub(super) const fn of(mutant: Mutant) -> Option<Self> {
        match mutant {
            Mutant::AckUnwritten => Some(Self::AckUnwritten),
            Mutant::AckRefused => Some(Self::AckRefused),
            Mutant::DamageUnseen => Some(Self::DamageUnseen),
            Mutant::JournalLost => Some(Self::JournalLost),
            Mutant::LossUntold
            | Mutant::LossTwice
            | Mutant::ToldLate
            | Mutant::CauseChanged
            | Mutant::NeverBack
            | Mutant::ReplayDropped
            | Mutant::TextDropped
            | Mutant::TextDoubled
            | Mutant::StatusUntold
            | Mutant::SaysTwice
            | Mutant::AgentLies
            | Mutant::CutAgain
            | Mutant::Unlocked
            | Mutant::EndlessRun
            | Mutant::CrashIsDone
            | Mutant::ChildLeft
            | Mutant::LogMute
            | Mutant::MediaUntold
            | Mutant::MediaTwice
            | Mutant::MediaNeverBack
            | Mutant::PictureDropped
            | Mutant::PictureDoubled
            | Mutant::PicturesMixed
            | Mutant::PictureFrozen
            | Mutant::WayBrokenAgain => None,
        }
    }
}

pub(super) struct Saboteur {
    inner: Arc<dyn Store>,
    defect: Defect,
    batches: Mutex<BTreeMap<SessionId, u32>>,
}

impl Saboteur {
    pub(super) const fn new(inner: Arc<dyn Store>, defect: Defect) -> Self {
        Self {
            inner,
            defect,
            batches: Mutex::new(BTreeMap::new()),
        }
    }

    fn is_honest(&self, batch: &Batch) -> bool {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let written = batches.entry(batch.row.session.clone()).or_default();
        *written += 1;
        *written <= HONEST_BATCHES
    }
}

impl Store for Saboteur {
    fn fence(&self) -> Fence {
        self.inner.fence()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<Result<(), CommitError>> {
        match self.defect {
            Defect::AckUnwritten if !self.is_honest(&batch) => Box::pin(async { Ok(()) }),
            Defect::AckRefused => {
                let commit = self.inner.commit(batch);
                Box::pin(async {
                    drop(commit.await);
                    Ok(())
                })
            }
            Defect::AckUnwritten | Defect::DamageUnseen | Defect::JournalLost => {
                self.inner.commit(batch)
            }
        }
    }

    fn head(&self, session: &SessionId) -> BoxFuture<Result<Option<Head>, StoreError>> {
        self.inner.head(session)
    }

    fn row(&self, session: &SessionId) -> BoxFuture<Result<Option<SessionRow>, StoreError>> {
        self.inner.row(session)
    }

    fn load(&self, session: &SessionId) -> BoxFuture<Result<Option<Loaded>, StoreError>> {
        let read = self.inner.load(session);
        if self.defect != Defect::DamageUnseen {
            return read;
        }
        Box::pin(async {
            match read.await {
                Err(error) if error.kind == StoreErrorKind::Corrupt => Ok(None),
                read => read,
            }
        })
    }

    fn events(
        &self,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<Result<Vec<StoredEvent>, StoreError>> {
        self.inner.events(session, after, limit)
    }

    fn unsettled(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionRow>, StoreError>> {
        self.inner.unsettled(after, limit)
    }

    fn list(&self, listing: Listing) -> BoxFuture<Result<Page, StoreError>> {
        self.inner.list(listing)
    }

    fn counts(
        &self,
        scope: Scope,
        subject: Option<String>,
    ) -> BoxFuture<Result<Counts, StoreError>> {
        self.inner.counts(scope, subject)
    }

    fn search(&self, search: Search) -> BoxFuture<Result<Found, StoreError>> {
        self.inner.search(search)
    }

    fn append_journal(
        &self,
        entries: Vec<(SessionId, Entry)>,
    ) -> BoxFuture<Result<(), StoreError>> {
        if self.defect == Defect::JournalLost {
            return Box::pin(async { Ok(()) });
        }
        self.inner.append_journal(entries)
    }

    fn journal(
        &self,
        session: &SessionId,
        limit: usize,
    ) -> BoxFuture<Result<Vec<Entry>, StoreError>> {
        self.inner.journal(session, limit)
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<Result<(), StoreError>> {
        self.inner.delete(session)
    }

    fn trim(&self, session: &SessionId, through: Seq) -> BoxFuture<Result<(), StoreError>> {
        self.inner.trim(session, through)
    }

    fn revoke(&self, token_id: &str, until: UnixMillis) -> BoxFuture<Result<(), StoreError>> {
        self.inner.revoke(token_id, until)
    }

    fn revoked(&self) -> BoxFuture<Result<Vec<(String, UnixMillis)>, StoreError>> {
        self.inner.revoked()
    }

    fn handover(&self, session: &SessionId) -> BoxFuture<Result<Option<Handover>, StoreError>> {
        self.inner.handover(session)
    }

    fn held(
        &self,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<SessionId>, StoreError>> {
        self.inner.held(after, limit)
    }

    fn mark(&self, session: &SessionId, handover: Handover) -> BoxFuture<Result<(), StoreError>> {
        self.inner.mark(session, handover)
    }

    fn stage(&self, offer: Offer, part: Part) -> BoxFuture<Result<(), StoreError>> {
        self.inner.stage(offer, part)
    }

    fn accept(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>> {
        self.inner.accept(offer)
    }

    fn settle(&self, offer: Offer) -> BoxFuture<Result<Option<Head>, StoreError>> {
        self.inner.settle(offer)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn probe(&self) -> BoxFuture<Result<(), StoreError>> {
        self.inner.probe()
    }

    fn close(&self) -> BoxFuture<Result<(), StoreError>> {
        self.inner.close()
    }
}
