//! A store that stands before the server's own, so that a test can be there at a certain moment.

use std::sync::Arc;

use keel_server::{Server, config::StoreKind};
use keel_store::{
    BoxFuture, CommitError, Counts, Found, Head, Health, Listing, Page, PageLimit, Scope, Search,
    Store, StoreError,
};
use keel_wire::{
    Seq, SessionId, UnixMillis,
    handover::{Handover, Offer, Part},
    journal::Entry,
    record::{Batch, Fence, Loaded, SessionRow, StoredEvent},
};

use crate::support::{Host, config};

type Answer<T> = BoxFuture<Result<T, StoreError>>;

/// What is done in the store's place; by default nothing else.
pub(crate) trait Moment: Send + Sync + 'static {
    fn events(
        &self,
        store: &Arc<dyn Store>,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> Answer<Vec<StoredEvent>> {
        store.events(session, after, limit)
    }

    fn accept(&self, store: &Arc<dyn Store>, offer: Offer) -> Answer<Option<Head>> {
        store.accept(offer)
    }
}

/// A server of that configuration whose store `moment` stands before, and its own store.
pub(crate) async fn server(
    change: impl FnOnce(&mut keel_server::Config),
    moment: impl Moment,
) -> (Server, Arc<dyn Store>, tempfile::TempDir) {
    let (mut config, dir) = config(StoreKind::Memory);
    change(&mut config);
    let server = Server::bind(config).await.expect("a server");
    let mut own = None;
    let server = server.with_store(|inner| {
        own = Some(Arc::clone(&inner));
        Arc::new(Aside { inner, moment })
    });
    (server, own.expect("a store"), dir)
}

pub(crate) fn started(server: Server, dir: tempfile::TempDir) -> Host {
    let running = server.start().expect("a start");
    Host { running, dir }
}

struct Aside<M> {
    inner: Arc<dyn Store>,
    moment: M,
}

impl<M: Moment> Store for Aside<M> {
    fn events(
        &self,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> Answer<Vec<StoredEvent>> {
        self.moment.events(&self.inner, session, after, limit)
    }

    fn accept(&self, offer: Offer) -> Answer<Option<Head>> {
        self.moment.accept(&self.inner, offer)
    }

    // The rest is the store's.

    fn fence(&self) -> Fence {
        self.inner.fence()
    }

    fn commit(&self, batch: Arc<Batch>) -> BoxFuture<Result<(), CommitError>> {
        self.inner.commit(batch)
    }

    fn head(&self, session: &SessionId) -> Answer<Option<Head>> {
        self.inner.head(session)
    }

    fn row(&self, session: &SessionId) -> Answer<Option<SessionRow>> {
        self.inner.row(session)
    }

    fn load(&self, session: &SessionId) -> Answer<Option<Loaded>> {
        self.inner.load(session)
    }

    fn unsettled(&self, after: Option<&SessionId>, limit: usize) -> Answer<Vec<SessionRow>> {
        self.inner.unsettled(after, limit)
    }

    fn list(&self, listing: Listing) -> Answer<Page> {
        self.inner.list(listing)
    }

    fn counts(&self, scope: Scope, subject: Option<String>) -> Answer<Counts> {
        self.inner.counts(scope, subject)
    }

    fn search(&self, search: Search) -> Answer<Found> {
        self.inner.search(search)
    }

    fn append_journal(&self, entries: Vec<(SessionId, Entry)>) -> Answer<()> {
        self.inner.append_journal(entries)
    }

    fn journal(&self, session: &SessionId, limit: usize) -> Answer<Vec<Entry>> {
        self.inner.journal(session, limit)
    }

    fn delete(&self, session: &SessionId) -> Answer<()> {
        self.inner.delete(session)
    }

    fn trim(&self, session: &SessionId, through: Seq) -> Answer<()> {
        self.inner.trim(session, through)
    }

    fn revoke(&self, token_id: &str, until: UnixMillis) -> Answer<()> {
        self.inner.revoke(token_id, until)
    }

    fn revoked(&self) -> Answer<Vec<(String, UnixMillis)>> {
        self.inner.revoked()
    }

    fn handover(&self, session: &SessionId) -> Answer<Option<Handover>> {
        self.inner.handover(session)
    }

    fn held(&self, after: Option<&SessionId>, limit: usize) -> Answer<Vec<SessionId>> {
        self.inner.held(after, limit)
    }

    fn mark(&self, session: &SessionId, handover: Handover) -> Answer<()> {
        self.inner.mark(session, handover)
    }

    fn stage(&self, offer: Offer, part: Part) -> Answer<()> {
        self.inner.stage(offer, part)
    }

    fn settle(&self, offer: Offer) -> Answer<Option<Head>> {
        self.inner.settle(offer)
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn probe(&self) -> Answer<()> {
        self.inner.probe()
    }

    fn close(&self) -> Answer<()> {
        self.inner.close()
    }
}
