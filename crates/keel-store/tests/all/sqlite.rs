//! The store in SQLite keeps the contract, and survives what disks and processes do to it.

use std::sync::Arc;

use keel_store::{
    Sqlite, Store,
    conformance::{self, Factory, Scribe},
    sqlite::Config,
};
use tempfile::TempDir;

use crate::support::{created, open, said};

struct OnDisk;

impl Factory for OnDisk {
    type Place = TempDir;

    fn place(&self) -> TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn open(&self, place: &TempDir) -> Arc<dyn Store> {
        Arc::new(Sqlite::open(&Config::new(place.path())).expect("it opens"))
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    conformance::run(&OnDisk).await;
}

#[tokio::test]
async fn reads_beside_writes_see_only_whole_batches() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    let (reader, session) = (store.clone(), scribe.id().clone());
    let reads = tokio::spawn(async move {
        let mut last = 0;
        while last < 301 {
            let loaded = reader
                .load(&session)
                .await
                .expect("readable")
                .expect("there");
            let head = loaded.row.head.get();
            assert_eq!((head % 3, loaded.events.len() as u64), (1, head));
            assert!(head >= last, "what was seen stays");
            last = head;
        }
    });
    for _ in 0..100 {
        scribe.write(&[said(10), said(10), said(10)]).await;
    }
    reads.await.expect("no panic");
}

#[tokio::test]
async fn dropping_a_store_finishes_what_is_queued() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for number in 0..50 {
        drop(store.commit(Scribe::new(&store, number).batch(&[created()]).into()));
    }
    drop(store);
    let store = open(dir.path());
    for number in 0..50 {
        let id = Scribe::new(&store, number).id().clone();
        assert!(
            store.head(&id).await.expect("readable").is_some(),
            "{number}"
        );
    }
}
