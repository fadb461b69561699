//! Opening a store: lock, schema, check, fence, threads; in this order, each before the next.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread::JoinHandle,
};

use keel_wire::record::Fence;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::watch;

use super::{
    Config, Sqlite, apply,
    connect::Target,
    failure::error_of,
    files::Files,
    job::{Job, Queue, Waiting},
    reader::Readers,
    schema, wal,
    writer::{Standing, Writer, now},
};
use crate::{
    CommitError, Health, OpenError, StoreError, StoreErrorKind,
    bounds::{QUICK_CHECK_BYTES_MAX, WRITES_WAITING_MAX},
};

pub(super) fn open(config: &Config) -> Result<Sqlite, OpenError> {
    let files = Files::lock(&config.dir)?;
    let target = Target {
        path: files.database(),
        vfs: config.vfs.clone(),
    };
    let mut conn = target.writer()?;
    schema::migrate(&mut conn)?;
    let damage = if closed_cleanly(&conn)? {
        None
    } else {
        recover(&conn)?
    };
    let fence = grant(&mut conn).map_err(|error| error_of(&error))?;
    let anchor = target.reader()?;
    // A connection is not at the log before it has read.
    apply::fence(&anchor)?;

    let (readers, reader_threads) = Readers::start(&target).map_err(|e| no_thread(&e))?;
    let (health, standing) = match damage {
        None => (Health::Ok, Standing::Writing),
        Some(error) => {
            tracing::error!(%error, "the database is damaged: it is read, and not written");
            let health = Health::ReadOnly {
                error: error.clone(),
                since: now(),
            };
            (health, Standing::Stopped(CommitError::NotWritten(error)))
        }
    };
    let health = Arc::new(Mutex::new(health));
    let waiting = Arc::new(Waiting::default());
    let (sender, receiver) = sync_channel(WRITES_WAITING_MAX);
    let queue = Queue::new(sender, waiting.clone());
    let writer = Writer {
        target,
        files,
        fence,
        conn: Some(conn),
        _anchor: anchor,
        doubt: false,
        standing,
        health: health.clone(),
        waiting,
        readers: reader_threads,
        dirty: true,
        bound: wal::Bound::new(),
    };
    let (thread, done) = start(writer, receiver, health.clone()).map_err(|e| no_thread(&e))?;
    let thread = Arc::new(Mutex::new(Some(thread)));
    Ok(Sqlite {
        fence,
        queue,
        readers,
        health,
        done,
        thread,
    })
}

fn no_thread(error: &std::io::Error) -> StoreError {
    StoreError::new(
        StoreErrorKind::Other,
        format!("no thread for the store: {error}"),
    )
}

type Done = watch::Receiver<Option<Result<(), StoreError>>>;

fn start(
    writer: Writer,
    queue: Receiver<Job>,
    health: Arc<Mutex<Health>>,
) -> std::io::Result<(JoinHandle<()>, Done)> {
    let (say_done, done) = watch::channel(None);
    let serve = move || {
        let _obituary = Obituary(health);
        let outcome = writer.run(&queue);
        // Everything is put away by now: the lock, too, was the writer's.
        say_done.send_replace(Some(outcome));
    };
    let thread = std::thread::Builder::new()
        .name("store-write".to_owned())
        .spawn(serve)?;
    Ok((thread, done))
}

/// Says in [`Health`] that the writer panicked, if it did.
struct Obituary(Arc<Mutex<Health>>);

impl Drop for Obituary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = StoreError::new(StoreErrorKind::Other, "the writer thread panicked");
            let health = Health::ReadOnly {
                error,
                since: now(),
            };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = health;
        }
    }
}

fn closed_cleanly(conn: &Connection) -> Result<bool, StoreError> {
    let sql = "SELECT clean FROM meta WHERE id = 1";
    let clean = conn.query_row(sql, [], |row| row.get(0));
    clean.map_err(|error| error_of(&error))
}

/// After an unclean end: what is damaged, if something is.
///
/// What the log holds may have been read but never synced by whoever was here before, so it is moved
/// into the database and synced before anything is built upon it.
fn recover(conn: &Connection) -> Result<Option<StoreError>, StoreError> {
    if let Some(damage) = damage(conn)? {
        return Ok(Some(damage));
    }
    wal::settle(conn).map(|()| None)
}

/// Reads the whole database once, if that is cheap. What is damaged is then read and listed as far as
/// it goes, but not written, so that the damage does not spread (S10, A69).
fn damage(conn: &Connection) -> Result<Option<StoreError>, StoreError> {
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: u64 = conn
        .query_row(size, [], |row| row.get(0))
        .map_err(|error| error_of(&error))?;
    if bytes > QUICK_CHECK_BYTES_MAX {
        tracing::info!(
            bytes,
            "store was not closed; too large to be checked whole at a start"
        );
        return Ok(None);
    }
    let verdict = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(None),
        Ok(verdict) => Ok(Some(StoreError::corrupt(verdict))),
        Err(error) => match error_of(&error) {
            error if error.kind == StoreErrorKind::Corrupt => Ok(Some(error)),
            error => Err(error),
        },
    }
}

/// Takes the store over from whoever had it, and marks it as not cleanly closed.
fn grant(conn: &mut Connection) -> rusqlite::Result<Fence> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "UPDATE meta SET fence = fence + 1, clean = 0 WHERE id = 1 RETURNING fence";
    let fence = tx.query_row(sql, [], |row| row.get(0))?;
    // Sessions that it was receiving: whoever offers them begins again.
    tx.execute("DELETE FROM staged", [])?;
    tx.commit()?;
    Ok(Fence(fence))
}
