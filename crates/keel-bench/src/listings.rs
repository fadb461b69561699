//! The newest page of each listing, in a store of a million sessions.

use std::{collections::BTreeSet, path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use keel_store::{Listing, Scope, Sqlite, Store, sqlite::Config};
use rusqlite::Connection;

use crate::{
    bench::Bench,
    results::Measured,
    samples::{Samples, ms},
};

const SESSIONS: usize = 1_000_000;
const PROJECTS: usize = 500;
/// Projects of the set that is listed.
const SET: usize = 20;
/// Rows of a page, as HTTP gives them where nobody says.
const ROWS: usize = 50;
const BOUND_MS: f64 = 2.;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let dir = bench.dir("listings");
    let count = bench.samples(SESSIONS);
    (bench.told)(&format!("filling a store with {count} sessions"));
    let config = Config::new(&dir);
    let store = tokio::task::block_in_place(|| Sqlite::open(&config))?;
    store.close().await?;
    drop(store);
    tokio::task::block_in_place(|| fill(&dir, count))?;
    let store = tokio::task::block_in_place(|| Sqlite::open(&config))?;
    let mut results = Vec::new();
    let mut listings = [
        ("list_1000000_all", Samples::default()),
        ("list_1000000_project", Samples::default()),
        ("list_1000000_projects", Samples::default()),
    ];
    for n in 0..bench.samples(2_000) {
        for (kind, (_, samples)) in listings.iter_mut().enumerate() {
            let listing = Listing {
                scope: scope(kind, n),
                subject: None,
                filter: keel_store::Filter::default(),
                before: None,
                limit: ROWS,
            };
            let begun = Instant::now();
            let page = store.list(listing).await?;
            samples.push(ms(begun.elapsed()));
            check(&page)?;
        }
    }
    store.close().await?;
    drop(store);
    std::fs::remove_dir_all(&dir).context("a million sessions are not kept")?;
    for (name, samples) in listings {
        let method = format!(
            "from `list` of keel-store's SQLite to the newest {ROWS} rows, of {count} sessions in \
             {PROJECTS} projects, a set being {SET} of them, another each time; {}",
            bench.build()
        );
        let p99 = samples.p99();
        results.push(
            Measured::of(name, "ms", &samples)
                .target("p99 <= 2 ms", p99 <= BOUND_MS)
                .method(method),
        );
    }
    Ok(results)
}

fn project(n: usize) -> String {
    format!("project-{}", n % PROJECTS)
}

fn scope(kind: usize, n: usize) -> Scope {
    match kind {
        0 => Scope::All,
        1 => Scope::Project(project(n)),
        _ => Scope::Projects((0..SET).map(|k| project(n + k * 7)).collect()),
    }
}

/// A whole page, newest first, and more behind it.
fn check(page: &keel_store::Page) -> Result<()> {
    ensure!(page.rows.len() == ROWS, "{} rows", page.rows.len());
    ensure!(page.next.is_some(), "it is not the only page");
    let newest_first = page
        .rows
        .is_sorted_by(|a, b| a.last_activity >= b.last_activity);
    ensure!(newest_first, "it is in order");
    let sessions: BTreeSet<_> = page.rows.iter().map(|row| &row.session).collect();
    ensure!(sessions.len() == ROWS, "a session is in it twice");
    Ok(())
}

/// Puts rows where the store puts them; it is closed meanwhile.
fn fill(dir: &Path, count: usize) -> Result<()> {
    let conn = Connection::open(dir.join("sessions.sqlite3"))?;
    conn.pragma_update(None, "synchronous", "off")?;
    conn.pragma_update(None, "cache_size", -256_000)?;
    // Ids are as the server mints them: spread evenly. Projects take turns.
    conn.execute(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1)
         INSERT INTO session (session, subject, backend, project, created_at, last_activity, epoch,
           head, trimmed, open_turn, ended)
         SELECT 's-' || lower(hex(randomblob(16))), 'subject-' || (i % 10000), 'echo',
           'project-' || (i % ?2), 1700000000000 + i * 10, 1700000000000 + i * 10, 1, 3, 0, 0, 0
         FROM n",
        [i64::try_from(count)?, i64::try_from(PROJECTS)?],
    )?;
    let stored: i64 = conn.query_row("SELECT count(*) FROM session", [], |row| row.get(0))?;
    ensure!(stored == i64::try_from(count)?, "{stored} were stored");
    Ok(conn.execute_batch("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")?)
}
