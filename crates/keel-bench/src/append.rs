//! From an append to its delivery, beside a bare synced commit on the same disk.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use evenkeel::{Event, LogEvent};
use keel_wire as wire;
use rusqlite::{Connection, params};
use serde_json::json;

use crate::{
    bench::{Bench, UNHINDERED, until, within},
    results::Measured,
    samples::{Samples, ms},
};

/// What may come on top of twice the bare commit.
const ON_TOP_MS: f64 = 1.;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = bench.serve("append", UNHINDERED).await?;
    let (session, mut events) = served.join(served.server.addr()).await?;
    let bare = Bare::open(&bench.dir("append").join("bare.sqlite3"))?;
    let (mut delivered, mut committed) = (Samples::default(), Samples::default());
    for n in 0..bench.samples(2_000) {
        let text = format!("{n:0>160}");
        let begun = Instant::now();
        let receipt = session.send(json!({ "text": text }));
        until(&mut events, "the event", |event| {
            let Event::Log { event, .. } = event else {
                return None;
            };
            matches!(event, LogEvent::Known(wire::Event::Message(_))).then_some(())
        })
        .await?;
        delivered.push(ms(begun.elapsed()));
        within("a receipt", receipt).await??;
        let begun = Instant::now();
        tokio::task::block_in_place(|| bare.commit(n, &text))?;
        committed.push(ms(begun.elapsed()));
    }
    session.close().await;
    let bound = committed.median() * 2. + ON_TOP_MS;
    let method = format!(
        "from `send` of 160 bytes at an SDK client to the event at the same client, through the server and \
         its store; beside one INSERT of as many bytes in a transaction of a bare SQLite (WAL, \
         synchronous = FULL) on the same disk, in turns; {}",
        bench.build()
    );
    let result = Measured::of("append_delivered", "ms", &delivered)
        .beside(committed.median())
        .target(
            format!("median <= 2 x bare + 1 ms = {bound:.2} ms"),
            delivered.median() <= bound,
        )
        .method(method);
    Ok(vec![result])
}

/// A table in a file, and nothing else.
struct Bare(Connection);

impl Bare {
    fn open(path: &Path) -> Result<Self> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        ensure!(mode == "wal", "the journal mode is {mode}");
        conn.execute_batch("CREATE TABLE event (seq INTEGER PRIMARY KEY, data TEXT NOT NULL)")?;
        Ok(Self(conn))
    }

    fn commit(&self, n: usize, text: &str) -> Result<()> {
        let mut insert = self
            .0
            .prepare_cached("INSERT INTO event (seq, data) VALUES (?1, ?2)")?;
        insert.execute(params![i64::try_from(n)?, text])?;
        Ok(())
    }
}
