//! Files that are not what was written: one session pays, not all.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use keel_store::{
    CommitError, Listing, OpenError, Scope, Sqlite, Store, StoreErrorKind, conformance::Scribe,
    sqlite::Config,
};

use crate::support::{created, open, raw, said, why};

async fn two_sessions(store: &Arc<dyn Store>) -> (Scribe, Scribe) {
    let mut torn = Scribe::new(store, 1);
    let mut sound = Scribe::new(store, 2);
    for scribe in [&mut torn, &mut sound] {
        scribe
            .write(&[created(), said(10), said(20), said(30)])
            .await;
    }
    (torn, sound)
}

#[tokio::test]
async fn a_torn_session_is_refused_and_its_neighbour_is_not_s10() {
    let tears = [
        "UPDATE event SET data = '{\"torn' WHERE session = 1 AND to_seq = 2",
        "UPDATE event SET data = '' WHERE session = 1 AND to_seq = 4",
        "UPDATE event SET data = CAST(x'ff' AS TEXT) WHERE session = 1 AND to_seq = 4",
        "DELETE FROM event WHERE session = 1 AND to_seq = 1",
        "DELETE FROM event WHERE session = 1 AND to_seq = 3",
        "DELETE FROM event WHERE session = 1 AND to_seq = 4",
        "UPDATE event SET from_seq = 2 WHERE session = 1 AND to_seq = 3",
        "UPDATE event SET from_seq = -1 WHERE session = 1 AND to_seq = 3",
        "UPDATE session SET head = 3 WHERE id = 1",
        "UPDATE session SET trimmed = 2 WHERE id = 1",
        "UPDATE session SET epoch = -1 WHERE id = 1",
        "UPDATE session SET slot = '{}' WHERE id = 1",
        "INSERT INTO snapshot VALUES (1, 2, '{\"seq\":2')",
        "INSERT INTO stream VALUES (1, 'NOT AN ID', 'p-1', 0, 0, 0)",
    ];
    for tear in tears {
        let dir = tempfile::tempdir().expect("a directory");
        let store = open(dir.path());
        let (torn, mut sound) = two_sessions(&store).await;
        assert_eq!(raw(dir.path()).execute(tear, []), Ok(1), "{tear}");
        let error = store.load(torn.id()).await.expect_err(tear);
        assert_eq!(error.kind, StoreErrorKind::Corrupt, "{tear}: {error}");

        store
            .load(sound.id())
            .await
            .expect("the neighbour is served")
            .expect("there");
        sound.write(&[said(40)]).await;
        assert_eq!(why(&store), None, "{tear}");
        let all = Listing {
            scope: Scope::All,
            subject: None,
            filter: keel_store::Filter::default(),
            before: None,
            limit: 10,
        };
        let page = store.list(all).await.expect("listings go on");
        assert!(
            page.rows.iter().any(|row| row.session == *sound.id()),
            "{tear}"
        );
        store.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_torn_log_is_not_compacted_and_its_turn_still_ends_s10() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let (mut torn, _) = two_sessions(&store).await;
    let tear = "UPDATE event SET data = '{' WHERE session = 1 AND to_seq = 2";
    raw(dir.path()).execute(tear, []).expect("torn");
    let mut batch = torn.batch(&[said(1)]);
    batch.compact = Some((keel_wire::Seq::ZERO.next(), batch.row.head));
    torn.commit(batch).await.expect("what is written is sound");
}

/// Overwrites a leaf page of the events.
fn rot(dir: &Path) {
    let conn = raw(dir);
    let sql =
        "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf' LIMIT 1 OFFSET 3";
    let page: u32 = conn.query_row(sql, [], |row| row.get(0)).expect("a leaf");
    drop(conn);
    let file = OpenOptions::new()
        .write(true)
        .open(dir.join("sessions.sqlite3"))
        .expect("there");
    file.write_all_at(&[0xa5; 4096], u64::from(page - 1) * 4096)
        .expect("written");
}

#[tokio::test]
async fn bit_rot_in_one_log_leaves_the_others_s10() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut heavy = Scribe::new(&store, 1);
    heavy.write(&[created()]).await;
    for _ in 0..30 {
        heavy.write(&[said(1_500)]).await;
    }
    let mut light = Scribe::new(&store, 2);
    light.write(&[created()]).await;
    store.close().await.expect("closed");
    rot(dir.path());

    let store = open(dir.path());
    let error = store.load(heavy.id()).await.expect_err("it is rotten");
    assert_eq!(error.kind, StoreErrorKind::Corrupt);
    store
        .load(light.id())
        .await
        .expect("the other is served")
        .expect("there");
    let batch = keel_wire::record::Batch {
        fence: store.fence(),
        ..light.batch(&[said(1)])
    };
    store.commit(batch.into()).await.expect("and written");
}

#[tokio::test]
async fn damage_found_after_an_unclean_end_is_read_and_not_written_s10() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let mut heavy = Scribe::new(&store, 1);
    heavy.write(&[created()]).await;
    for _ in 0..30 {
        heavy.write(&[said(1_500)]).await;
    }
    let mut light = Scribe::new(&store, 2);
    light.write(&[created()]).await;
    store.close().await.expect("closed");
    raw(dir.path())
        .execute("UPDATE meta SET clean = 0", [])
        .expect("as after kill -9");
    rot(dir.path());

    let store = open(dir.path());
    assert_eq!(why(&store), Some(StoreErrorKind::Corrupt));
    let batch = keel_wire::record::Batch {
        fence: store.fence(),
        ..light.batch(&[said(1)])
    };
    let answer = store.commit(batch.into()).await;
    assert!(matches!(answer, Err(CommitError::NotWritten(e)) if e.kind == StoreErrorKind::Corrupt));
    assert!(store.probe().await.is_err());
    store
        .load(light.id())
        .await
        .expect("the other is still read")
        .expect("there");
}

#[test]
fn what_is_not_a_store_is_refused_a69() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || Sqlite::open(&Config::new(dir.path()));
    std::fs::write(dir.path().join("sessions.sqlite3"), vec![7; 8_192]).expect("written");
    match open() {
        Err(OpenError::Store(error)) => assert_eq!(error.kind, StoreErrorKind::Corrupt),
        other => panic!("{other:?}"),
    }
    std::fs::remove_file(dir.path().join("sessions.sqlite3")).expect("there");
    drop(open().expect("it opens"));
    let evil = "CREATE TRIGGER evil AFTER INSERT ON event BEGIN DELETE FROM session; END";
    raw(dir.path()).execute_batch(evil).expect("put in");
    assert!(matches!(open(), Err(OpenError::Store(error)) if error.message.contains("evil")));
    raw(dir.path())
        .execute_batch("DROP TRIGGER evil; PRAGMA user_version = 99")
        .expect("newer");
    assert!(matches!(
        open(),
        Err(OpenError::SchemaTooNew {
            found: 99,
            known: 4
        })
    ));
}

#[tokio::test]
async fn nobody_else_can_read_the_files_s10() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("deep/store");
    let store = open(&place);
    Scribe::new(&store, 1).write(&[created()]).await;
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    for name in [
        "lock",
        "sessions.sqlite3",
        "sessions.sqlite3-wal",
        "sessions.sqlite3-shm",
    ] {
        assert_eq!(mode(&place.join(name)), 0o600, "{name}");
    }
    store.close().await.expect("closed");
}
