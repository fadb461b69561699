//! What a commit answers when the disk fails under it, and how the store comes back.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use keel_store::{CommitError, Store, StoreErrorKind, conformance::Scribe};
use rusqlite::ffi;
use tempfile::TempDir;

use crate::{
    support::{created, head, healed, open, said, why},
    vfs::Disk,
};

fn on(disk: &'static Disk) -> (TempDir, Arc<dyn Store>) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(disk.store(dir.path()));
    (dir, store)
}

fn unknown(answer: Result<(), CommitError>) -> StoreErrorKind {
    match answer {
        Err(CommitError::Unknown(error)) => error.kind,
        other => panic!("{other:?}"),
    }
}

fn not_written(answer: Result<(), CommitError>) -> StoreErrorKind {
    match answer {
        Err(CommitError::NotWritten(error)) => error.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_sync_is_unknown_until_the_disk_syncs_again_s08() {
    let disk = Disk::register("s08");
    let (dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;

    disk.wal_sync.store(ffi::SQLITE_IOERR_FSYNC, SeqCst);
    disk.db_sync.store(ffi::SQLITE_IOERR_FSYNC, SeqCst);
    let doubtful = scribe.batch(&[said(10)]);
    assert_eq!(
        unknown(store.commit(doubtful.clone().into()).await),
        StoreErrorKind::Fsync
    );
    assert_eq!(why(&store), Some(StoreErrorKind::Fsync));
    let told = store.head(scribe.id()).await.map_err(|error| error.kind);
    assert_eq!(
        told,
        Err(StoreErrorKind::Fsync),
        "nobody guesses while it is in doubt"
    );
    assert_eq!(
        not_written(store.commit(doubtful.clone().into()).await),
        StoreErrorKind::Fsync
    );
    assert!(store.probe().await.is_err());
    let loaded = store
        .load(scribe.id())
        .await
        .expect("reads go on")
        .expect("there");
    assert_eq!(
        loaded.row.head.get(),
        1,
        "what is not known to be written is not shown"
    );

    disk.wal_sync.store(0, SeqCst);
    disk.db_sync.store(0, SeqCst);
    healed(&store).await;
    assert_eq!(
        head(&store, scribe.id()).await,
        Some(1),
        "settled, for good"
    );
    scribe.commit(doubtful).await.expect("it was not written");
    scribe.write(&[said(10)]).await;
    store.close().await.expect("closed");
    let store = open(dir.path());
    assert_eq!(head(&store, scribe.id()).await, Some(3));
    assert!(store.load(scribe.id()).await.is_ok());
}

#[tokio::test]
async fn an_unknown_commit_is_whole_or_absent_after_a_restart_s08() {
    let disk = Disk::register("s08-restart");
    let (dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    disk.wal_sync.store(ffi::SQLITE_IOERR_FSYNC, SeqCst);
    let doubtful = scribe.batch(&[said(10), said(20), said(30)]);
    assert_eq!(
        unknown(store.commit(doubtful.into()).await),
        StoreErrorKind::Fsync
    );
    store.close().await.expect_err("it could not be put away");
    drop(store);

    let store = open(dir.path());
    let head = head(&store, scribe.id()).await;
    assert!(matches!(head, Some(1 | 4)), "{head:?}");
    assert!(store.load(scribe.id()).await.is_ok());
}

#[tokio::test]
async fn a_full_disk_at_the_commit_is_not_written_and_heals_by_itself_s07() {
    let disk = Disk::register("s07");
    let (dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    disk.wal_write.store(ffi::SQLITE_FULL, SeqCst);
    let batch = scribe.batch(&[said(10)]);
    assert_eq!(
        not_written(store.commit(batch.clone().into()).await),
        StoreErrorKind::Full
    );
    assert_eq!(why(&store), Some(StoreErrorKind::Full));
    assert_eq!(
        head(&store, scribe.id()).await,
        Some(1),
        "where the log ends is not in doubt"
    );
    let asked = Instant::now();
    assert_eq!(
        not_written(store.commit(batch.clone().into()).await),
        StoreErrorKind::Full
    );
    assert!(
        asked.elapsed() < Duration::from_millis(200),
        "refused at once"
    );

    disk.wal_write.store(0, SeqCst);
    healed(&store).await;
    scribe.commit(batch).await.expect("space has returned");
    store.close().await.expect("closed");
    assert_eq!(head(&open(dir.path()), scribe.id()).await, Some(2));
}

#[tokio::test]
async fn a_probe_heals_without_waiting_s07() {
    let disk = Disk::register("s07-probe");
    let (_dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    disk.wal_write.store(ffi::SQLITE_FULL, SeqCst);
    not_written(store.commit(scribe.batch(&[created()]).into()).await);
    disk.wal_write.store(0, SeqCst);
    assert_eq!(store.probe().await, Ok(()));
    assert_eq!(why(&store), None);
    scribe.write(&[created()]).await;
}

#[tokio::test]
async fn every_probe_reaches_the_disk_s07() {
    let disk = Disk::register("s07-every-probe");
    let (_dir, store) = on(disk);
    for round in 0..3 {
        let before = disk.wal_syncs.load(SeqCst);
        assert_eq!(store.probe().await, Ok(()));
        assert!(
            disk.wal_syncs.load(SeqCst) > before,
            "probe {round} wrote nothing"
        );
        disk.wal_write.store(ffi::SQLITE_FULL, SeqCst);
        let full = store.probe().await.map_err(|error| error.kind);
        assert_eq!(full, Err(StoreErrorKind::Full), "probe {round}");
        disk.wal_write.store(0, SeqCst);
    }
}

#[tokio::test]
async fn a_failed_write_at_the_commit_is_unknown_and_settled_s08() {
    let disk = Disk::register("ioerr");
    let (_dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    disk.wal_write.store(ffi::SQLITE_IOERR_WRITE, SeqCst);
    let batch = scribe.batch(&[said(10)]);
    assert_eq!(
        unknown(store.commit(batch.clone().into()).await),
        StoreErrorKind::Io
    );
    disk.wal_write.store(0, SeqCst);
    healed(&store).await;
    assert_eq!(head(&store, scribe.id()).await, Some(1));
    scribe.commit(batch).await.expect("it goes on");
}

#[tokio::test]
async fn a_failed_checkpoint_loses_nothing_s08() {
    let disk = Disk::register("checkpoint");
    let (dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    disk.db_sync.store(ffi::SQLITE_IOERR_FSYNC, SeqCst);
    scribe.write(&[said(10)]).await;
    // The checkpoint comes in the first idle moment.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(why(&store), Some(StoreErrorKind::Fsync));
    disk.db_sync.store(0, SeqCst);
    healed(&store).await;
    scribe.write(&[said(10)]).await;
    store.close().await.expect("closed");
    assert_eq!(head(&open(dir.path()), scribe.id()).await, Some(3));
}

#[tokio::test]
async fn waiters_share_the_syncs_of_a_slow_disk_s09() {
    let disk = Disk::register("s09");
    let (_dir, store) = on(disk);
    store.probe().await.expect("a good disk");
    disk.sync_ms.store(50, SeqCst);
    let before = disk.wal_syncs.load(SeqCst);
    let commits: Vec<_> = (0..64)
        .map(|n| store.commit(Scribe::new(&store, n).batch(&[created()]).into()))
        .collect();
    for commit in commits {
        commit.await.expect("late, but right");
    }
    let syncs = disk.wal_syncs.load(SeqCst) - before;
    assert!(syncs <= 6, "{syncs} syncs for 64 commits");
}

#[tokio::test]
async fn a_journal_alone_waits_for_no_sync() {
    use keel_wire::journal::{Entry, Fact};
    let disk = Disk::register("journal");
    let (_dir, store) = on(disk);
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    let before = disk.wal_syncs.load(SeqCst);
    let entry = Entry {
        at: 1,
        participant: None,
        fact: Fact::Hibernated,
    };
    store
        .append_journal(vec![(scribe.id().clone(), entry.clone())])
        .await
        .expect("kept");
    assert_eq!(disk.wal_syncs.load(SeqCst), before);
    assert_eq!(store.journal(scribe.id(), 1).await, Ok(vec![entry]));
    scribe.write(&[said(1)]).await;
    assert!(
        disk.wal_syncs.load(SeqCst) > before,
        "a commit after it is synced"
    );
}

/// Keeps the writer in a sync that has just begun.
async fn occupy(disk: &Disk, store: &Arc<dyn Store>) {
    let before = disk.wal_syncs.load(SeqCst);
    disk.sync_ms.store(3_000, SeqCst);
    drop(store.probe());
    while disk.wal_syncs.load(SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    disk.sync_ms.store(0, SeqCst);
}

#[tokio::test]
async fn what_waits_is_bounded() {
    let disk = Disk::register("bounded");
    let (_dir, store) = on(disk);
    let scribe = Scribe::new(&store, 1);
    occupy(disk, &store).await;
    let heads: Vec<_> = (0..6_000).map(|_| store.head(scribe.id())).collect();
    let mut overloaded = 0;
    for head in heads {
        match head.await {
            Ok(head) => assert_eq!(head, None),
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::Overloaded);
                overloaded += 1;
            }
        }
    }
    assert_eq!(overloaded, 6_000 - 4_096);

    let batches: Vec<_> = (0..6)
        .map(|n| Scribe::new(&store, n).batch(&[said(15 * 1024 * 1024)]))
        .collect();
    occupy(disk, &store).await;
    let answers: Vec<_> = batches
        .into_iter()
        .map(|batch| store.commit(batch.into()))
        .collect();
    let mut refused = 0;
    for answer in answers {
        match answer.await {
            Ok(()) => {}
            Err(CommitError::NotWritten(error)) => {
                assert_eq!(error.kind, StoreErrorKind::Overloaded);
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 2, "64 MiB may wait");
}
