//! The store in SQLite keeps the contract, and survives what disks and processes do to it.

use std::sync::Arc;

use keel_store::{
    Sqlite, Store,
    conformance::{self, Factory},
    sqlite::Config,
};
use tempfile::TempDir;

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
