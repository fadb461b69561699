//! Events a second through the store, beside the same rows in the same batches through bare rusqlite.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use keel_store::{Sqlite, Store, sqlite::Config};
use keel_wire::{
    Epoch, RawData, Seq, SessionId,
    record::{Batch, SessionRow, StoredEvent},
};
use rusqlite::{Connection, params};
use serde_json::json;

use crate::{bench::Bench, results::Measured, samples::Samples};

/// Events of one commit: what a busy session stages while the commit before is synced.
const BATCH: usize = 64;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let dir = bench.dir("batched");
    std::fs::create_dir_all(&dir)?;
    let config = Config::new(dir.join("store"));
    let store = tokio::task::block_in_place(|| Sqlite::open(&config))?;
    let mut bare = Bare::open(&dir.join("bare.sqlite3"))?;
    let mut row = row();
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for n in 0..bench.samples(2_000) {
        let events = events(row.head);
        let expected = (n > 0).then_some(row.head);
        row.head = events.last().map_or(row.head, |event| event.to);
        row.last_activity += 1;
        let begun = Instant::now();
        tokio::task::block_in_place(|| bare.commit(&row, &events))?;
        theirs.push(begun.elapsed().as_secs_f64());
        let batch = Batch {
            fence: store.fence(),
            expected,
            row: row.clone(),
            events,
            receipts: Vec::new(),
            streams: Vec::new(),
            streams_dropped: Vec::new(),
            snapshot: None,
            compact: None,
            search: Vec::new(),
        };
        let begun = Instant::now();
        store.commit(batch.into()).await?;
        ours.push(begun.elapsed().as_secs_f64());
    }
    store.close().await?;
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let rate = |samples: &Samples| (samples.len() * BATCH) as f64 / samples.sum();
    let method = format!(
        "events of about 150 bytes through keel-store's SQLite, {BATCH} a commit of one session, each \
         synced; beside the same rows by prepared statements into the same tables and indexes of a bare \
         rusqlite (WAL, synchronous = FULL), in as many transactions, in turns; {}",
        bench.build()
    );
    let result = Measured::figure("batched_events", "per_s", ours.len() * BATCH, rate(&ours))
        .beside(rate(&theirs))
        .yields_at_least(0.5)
        .method(method);
    Ok(vec![result])
}

fn row() -> SessionRow {
    SessionRow {
        session: SessionId::from_bits(1),
        subject: "bench".to_owned(),
        backend: "echo".to_owned(),
        project: None,
        created_at: 1_000,
        last_activity: 1_000,
        ends_by: None,
        epoch: Epoch(Seq::ZERO.next()),
        head: Seq::ZERO,
        trimmed: Seq::ZERO,
        open_turn: false,
        waiting: false,
        ended: false,
        slot: None,
        about: keel_wire::record::About::default(),
    }
}

/// The next batch of a log.
fn events(head: Seq) -> Vec<StoredEvent> {
    let mut at = head;
    let mut next = || {
        at = at.next();
        let data = json!({
            "turn": "t-bench", "attempt": 1, "at_byte": at.get() * 80,
            "data": format!("{:0>80}", at.get()),
        });
        StoredEvent {
            from: at,
            to: at,
            kind: "text".into(),
            data: RawData::from_value(&data),
        }
    };
    (0..BATCH).map(|_| next()).collect()
}

/// The store's tables for events and sessions, by hand.
struct Bare(Connection);

impl Bare {
    fn open(path: &Path) -> Result<Self> {
        let conn = Connection::open(path)?;
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.busy_timeout(Duration::from_secs(1))?;
        let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        ensure!(mode == "wal", "the journal mode is {mode}");
        conn.execute_batch(
            "CREATE TABLE session (id INTEGER PRIMARY KEY, session TEXT NOT NULL UNIQUE,
               last_activity INTEGER NOT NULL, head INTEGER NOT NULL) STRICT;
             CREATE INDEX session_recent ON session (last_activity, session);
             CREATE TABLE event (id INTEGER PRIMARY KEY, session INTEGER NOT NULL,
               from_seq INTEGER NOT NULL, to_seq INTEGER NOT NULL, kind TEXT NOT NULL,
               data TEXT NOT NULL) STRICT;
             CREATE UNIQUE INDEX event_position ON event (session, to_seq);",
        )?;
        Ok(Self(conn))
    }

    fn commit(&mut self, row: &SessionRow, events: &[StoredEvent]) -> Result<()> {
        let work = self.0.transaction()?;
        {
            let mut session = work.prepare_cached(
                "INSERT INTO session (id, session, last_activity, head) VALUES (1, ?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET last_activity = ?2, head = ?3",
            )?;
            let head = i64::try_from(row.head.get())?;
            let at = i64::try_from(row.last_activity)?;
            session.execute(params![row.session.as_str(), at, head])?;
            let mut insert = work.prepare_cached(
                "INSERT INTO event (session, from_seq, to_seq, kind, data) VALUES (1, ?1, ?2, ?3, ?4)",
            )?;
            for event in events {
                let (from, to) = (event.from.get(), event.to.get());
                let (from, to) = (i64::try_from(from)?, i64::try_from(to)?);
                insert.execute(params![from, to, &*event.kind, event.data.get()])?;
            }
        }
        Ok(work.commit()?)
    }
}
