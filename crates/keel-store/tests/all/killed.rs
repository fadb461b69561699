//! Processes that die, and processes that fight over one directory.
//!
//! The child is this binary again, running one of the ignored tests below.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use keel_store::{OpenError, Sqlite, conformance::Scribe, sqlite::Config};
use keel_wire::SessionId;

use crate::support::{created, head, open, said};

const DIR: &str = "KEEL_STORE_TEST_DIR";
const ROUND: &str = "KEEL_STORE_TEST_ROUND";
const SESSIONS: u128 = 8;

fn child(test: &str, dir: &Path, round: u128) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--ignored", "--exact", "--nocapture", test])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    (child, out)
}

/// Commits batches of three events to several sessions at once, and says what was acknowledged.
#[tokio::test]
#[ignore = "run by the tests below, in a process of its own"]
async fn child_commits_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let round: u128 = std::env::var(ROUND)
        .expect("set")
        .parse()
        .expect("a number");
    let store = open(Path::new(&dir));
    let mut tasks = Vec::new();
    for number in 0..SESSIONS {
        let mut scribe = Scribe::new(&store, round * 100 + number);
        tasks.push(tokio::spawn(async move {
            scribe.write(&[created()]).await;
            loop {
                let mut batch = scribe.batch(&[said(40), said(5_000), said(40)]);
                if batch.row.head.get() % 30 == 1 {
                    batch.compact = Some((keel_wire::Seq::ZERO.next(), batch.row.head));
                }
                scribe.commit(batch).await.expect("nothing is in the way");
                println!("\nacked {} {}", scribe.id(), scribe.row.head);
            }
        }));
    }
    // Each goes on until the process is killed, or panics.
    tasks
        .pop()
        .expect("there are some")
        .await
        .expect("no panic");
}

#[tokio::test]
async fn every_acked_commit_survives_kill_9_and_none_is_torn() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acked: BTreeMap<SessionId, u64> = BTreeMap::new();
    for round in 0..5 {
        let (mut child, mut out) = child("killed::child_commits_until_killed", dir.path(), round);
        let mut said = String::new();
        for _ in 0..200 + round * 37 {
            out.read_line(&mut said).expect("readable");
        }
        child.kill().expect("it runs");
        out.read_to_string(&mut said).expect("readable");
        child.wait().expect("reaped");
        // A line that was cut off in the pipe was acknowledged to nobody.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        for line in whole.lines() {
            let mut words = line.split(' ');
            if words.next() != Some("acked") {
                continue;
            }
            let session = words.next().expect("a session").parse().expect("an id");
            acked.insert(
                session,
                words.next().expect("a head").parse().expect("a number"),
            );
        }

        let opened = Instant::now();
        let store = open(dir.path());
        assert!(opened.elapsed().as_secs() < 5, "no lease to wait for");
        assert_eq!(
            store.fence().0,
            u64::try_from(round).expect("small") * 2 + 2
        );
        assert!(!acked.is_empty());
        for (session, acked) in &acked {
            let head = head(&store, session)
                .await
                .expect("an acked session is there");
            assert!(head >= *acked, "{session}: acked {acked}, found {head}");
            assert_eq!(
                head % 3,
                1,
                "{session}: a batch of three is whole or absent"
            );
            store.load(session).await.expect("not torn").expect("there");
        }
        store.close().await.expect("closed");
    }
}

/// Opens the store and keeps it.
#[test]
#[ignore = "run by the test below, in a process of its own"]
fn child_holds_the_store() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let _store = open(Path::new(&dir));
    println!("\nopen");
    std::thread::sleep(std::time::Duration::from_secs(60));
}

#[test]
fn a_second_server_is_refused_until_the_first_is_gone_s20() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut child, mut out) = child("killed::child_holds_the_store", dir.path(), 0);
    let mut said = String::new();
    while !said.ends_with("open\n") {
        assert!(
            out.read_line(&mut said).expect("readable") > 0,
            "the child said {said:?}"
        );
    }
    let refused = Sqlite::open(&Config::new(dir.path()));
    assert!(matches!(&refused, Err(OpenError::Locked { dir: at }) if at == dir.path()));

    child.kill().expect("it runs");
    child.wait().expect("reaped");
    let store = Sqlite::open(&Config::new(dir.path())).expect("the kernel freed the lock");
    let second = Sqlite::open(&Config::new(dir.path()));
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "in one process too"
    );
    drop(store);
    Sqlite::open(&Config::new(dir.path())).expect("dropping lets go");
}
