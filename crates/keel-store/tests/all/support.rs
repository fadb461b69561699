//! What several tests need.

use std::{path::Path, sync::Arc, time::Duration};

use keel_store::{Health, Sqlite, Store, StoreErrorKind, sqlite::Config};
use keel_wire::{
    BusyPolicy, CommandId, Event, Message, ParticipantId, Seq, SessionCreated, SessionId, StreamId,
};
use rusqlite::Connection;

pub(crate) fn open(dir: &Path) -> Arc<dyn Store> {
    Arc::new(Sqlite::open(&Config::new(dir)).expect("it opens"))
}

pub(crate) fn created() -> Event {
    let backend = "agent".to_owned();
    SessionCreated {
        backend,
        project: None,
        busy: BusyPolicy::Reject,
        title: None,
        cwd: None,
        tags: Vec::new(),
    }
    .into()
}

/// An event of about so many bytes.
pub(crate) fn said(bytes: usize) -> Event {
    Message {
        by: ParticipantId::from_bits(1),
        command: CommandId {
            stream: StreamId::from_bits(1),
            n: Seq::ZERO,
        },
        data: "x".repeat(bytes).into(),
    }
    .into()
}

/// A connection behind the store's back.
pub(crate) fn raw(dir: &Path) -> Connection {
    Connection::open(dir.join("sessions.sqlite3")).expect("the database is there")
}

pub(crate) async fn head(store: &Arc<dyn Store>, session: &SessionId) -> Option<u64> {
    let head = store.head(session).await.expect("nothing is in doubt");
    head.map(|head| head.seq.get())
}

pub(crate) fn why(store: &Arc<dyn Store>) -> Option<StoreErrorKind> {
    match store.health() {
        Health::Ok => None,
        Health::ReadOnly { error, .. } => Some(error.kind),
    }
}

/// Waits until the store has noticed by itself that it can write.
pub(crate) async fn healed(store: &Arc<dyn Store>) {
    for _ in 0..100 {
        if store.health() == Health::Ok {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not heal: {:?}", store.health());
}
