//! Others that hold the database: a lock, a long read, a newer server.

use std::time::Duration;

use keel_store::{CommitError, StoreErrorKind, conformance::Scribe};

use crate::support::{created, head, healed, open, raw, said, why};

#[tokio::test]
async fn a_lock_of_another_process_is_busy_and_passes_s11() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    let other = raw(dir.path());
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let batch = scribe.batch(&[said(10)]);
    match store.commit(batch.clone().into()).await {
        Err(CommitError::NotWritten(error)) => {
            assert_eq!(error.kind, StoreErrorKind::Busy);
            assert!(error.message.contains("sqlite 5"), "{error}");
        }
        answer => panic!("{answer:?}"),
    }
    assert_eq!(why(&store), Some(StoreErrorKind::Busy));
    assert!(store.load(scribe.id()).await.is_ok(), "reads go on");
    other.execute_batch("ROLLBACK").expect("freed");
    healed(&store).await;
    scribe.commit(batch).await.expect("it passes");
}

#[tokio::test]
async fn a_long_read_stops_no_commit_and_the_log_is_bounded_s11() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    let wal = || {
        dir.path()
            .join("sessions.sqlite3-wal")
            .metadata()
            .expect("there")
            .len()
    };

    let reader = raw(dir.path());
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM event")
        .expect("a view is held");
    for _ in 0..100 {
        scribe.write(&[said(200_000)]).await;
    }
    assert!(
        wal() > 20_000_000,
        "the reader keeps the log from starting anew"
    );
    reader.execute_batch("COMMIT").expect("let go");
    for _ in 0..100 {
        scribe.write(&[said(200_000)]).await;
    }
    assert!(wal() < 30_000_000, "{} bytes of log", wal());
    // In an idle moment it is moved; the next write starts it anew and cuts it.
    tokio::time::sleep(Duration::from_millis(600)).await;
    scribe.write(&[said(10)]).await;
    assert!(wal() <= 8 * 1024 * 1024, "{} bytes of log", wal());
}

#[tokio::test]
async fn who_lost_the_store_writes_nothing_more_s20() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    raw(dir.path())
        .execute("UPDATE meta SET fence = fence + 1", [])
        .expect("taken over");
    let batch = scribe.batch(&[said(10)]);
    assert_eq!(
        store.commit(batch.clone().into()).await,
        Err(CommitError::Fenced)
    );
    assert_eq!(why(&store), Some(StoreErrorKind::Closed));
    assert_eq!(
        store.commit(batch.into()).await,
        Err(CommitError::Fenced),
        "for good"
    );
    let refused = [store.probe().await, store.delete(scribe.id()).await];
    for answer in refused {
        assert_eq!(
            answer.map_err(|error| error.kind),
            Err(StoreErrorKind::Closed)
        );
    }
    store.close().await.expect("closed");
    assert_eq!(head(&open(dir.path()), scribe.id()).await, Some(1));
}
