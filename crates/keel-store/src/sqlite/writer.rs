//! The writer thread: the one place that changes the database.
//!
//! A cycle takes what waits, fairly, into one transaction, and answers after its sync. Where many write,
//! cycles begin a little apart, so that each takes more; what one caller asks for after the other never
//! waits for that. When the store refuses, the writer refuses at once and tries by itself whether it can
//! again. After a failure whose outcome is unknown it trusts nothing: a new connection must write and sync
//! something over the place in doubt before any question is answered.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use keel_wire::{SessionId, UnixMillis, record::Fence};
use rusqlite::Connection;

use super::{
    apply,
    connect::Target,
    failure::error_of,
    fair::Fair,
    files::Files,
    group::{self, Outcome},
    job::{Answer, Ask, Job, Waiting},
    pace::Pace,
    wal,
};
use crate::{
    CommitError, Health, StoreError, StoreErrorKind,
    bounds::{CHECKPOINT_IDLE, GROUP_BYTES_MAX, GROUP_WRITES_MAX, PROBE_APART, PROBE_EVERY},
};

/// What the thread owns.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) target: Target,
    pub(super) files: Files,
    pub(super) fence: Fence,
    /// `None` when it is not to be trusted.
    pub(super) conn: Option<Connection>,
    /// Held open and never used. Were the last connection closed while something is in doubt, the next
    /// would take whatever it finds in the log for committed.
    pub(super) _anchor: Connection,
    /// The outcome of a transaction is unknown, or a sync has failed, and nothing was synced since.
    pub(super) doubt: bool,
    pub(super) standing: Standing,
    pub(super) health: Arc<Mutex<Health>>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) readers: Vec<JoinHandle<()>>,
    /// Whether the write-ahead log holds what the database does not.
    pub(super) dirty: bool,
    /// Keeps the write-ahead log short under load.
    pub(super) bound: wal::Bound,
}

/// Whether it writes.
#[derive(Debug)]
pub(super) enum Standing {
    /// It does.
    Writing,
    /// It does not, until a try succeeds.
    Refusing {
        error: StoreError,
        since: UnixMillis,
        tried: Instant,
    },
    /// It never will again: another server has the store, or the database is damaged.
    Stopped(CommitError),
}

impl Writer {
    /// Serves until the queue is closed and empty; then puts everything away.
    pub(super) fn run(mut self, queue: &Receiver<Job>) -> Result<(), StoreError> {
        let mut waiting: Fair<Option<SessionId>, Job> = Fair::new();
        let mut pace = Pace::default();
        let mut served = false;
        loop {
            collect(queue, &mut waiting);
            if served {
                pace.over(!waiting.is_empty());
            }
            if waiting.is_empty() {
                match self.idle(queue) {
                    Ok(None) => {}
                    Ok(Some(job)) => waiting.push(job.ask.lane(), job.ask.cost(), job),
                    Err(Closed) => return self.finish(),
                }
            }
            std::thread::sleep(pace.wait(Instant::now()));
            collect(queue, &mut waiting);
            let group = waiting.take(GROUP_BYTES_MAX, GROUP_WRITES_MAX);
            let bytes: usize = group.iter().map(|job| job.ask.cost()).sum();
            self.waiting.leave(group.len(), bytes);
            served = !group.is_empty();
            if served {
                pace.begun(Instant::now());
                self.serve(group);
            }
        }
    }

    /// Waits for a job. What is due when none comes is done, and `None` given back.
    fn idle(&mut self, queue: &Receiver<Job>) -> Result<Option<Job>, Closed> {
        let patience = match &self.standing {
            Standing::Refusing { .. } => Some(PROBE_EVERY),
            Standing::Writing => self.dirty.then_some(CHECKPOINT_IDLE),
            Standing::Stopped(_) => None,
        };
        let Some(patience) = patience else {
            return queue.recv().map(Some).map_err(|_| Closed);
        };
        match queue.recv_timeout(patience) {
            Ok(job) => return Ok(Some(job)),
            Err(RecvTimeoutError::Disconnected) => return Err(Closed),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if matches!(self.standing, Standing::Writing) {
            self.checkpoint("PASSIVE");
        } else {
            self.try_again();
        }
        Ok(None)
    }

    fn serve(&mut self, group: Vec<Job>) {
        let asked = group.iter().any(|job| matches!(job.ask, Ask::Probe));
        match &self.standing {
            Standing::Refusing { tried, .. } if asked || tried.elapsed() > PROBE_APART => {
                self.try_again();
            }
            Standing::Writing | Standing::Refusing { .. } | Standing::Stopped(_) => {}
        }
        match &self.standing {
            Standing::Writing => self.transact(group),
            Standing::Refusing { error, .. } => {
                let refused = CommitError::NotWritten(error.clone());
                self.refuse(group, &refused);
            }
            Standing::Stopped(error) => {
                let refused = error.clone();
                self.refuse(group, &refused);
            }
        }
    }

    fn transact(&mut self, group: Vec<Job>) {
        let conn = self.conn.as_ref().expect("who writes has a connection");
        // A journal alone does not wait for the disk, and makes nobody wait for it.
        let lazy = group.iter().all(|job| matches!(job.ask, Ask::Journal(..)));
        let outcome = if lazy {
            transact_unsynced(conn, self.fence, &group)
        } else {
            group::transact(conn, self.fence, &group, now())
        };
        match outcome {
            Outcome::Done(answers) => {
                self.dirty = true;
                answer_all(group, answers);
                self.bound_wal();
            }
            Outcome::NotWritten(error) => {
                self.begin_refusing(error.clone());
                answer_same(group, &CommitError::NotWritten(error));
            }
            Outcome::Unknown(error) => {
                self.distrust(error.clone());
                answer_same(group, &CommitError::Unknown(error));
            }
            Outcome::Fenced => {
                tracing::error!(fence = self.fence.0, "another server has the store");
                self.stop(CommitError::Fenced, StoreError::taken_over());
                answer_same(group, &CommitError::Fenced);
            }
        }
    }

    /// Answers without writing. Where a log ends can be told as long as nothing is in doubt.
    fn refuse(&self, group: Vec<Job>, error: &CommitError) {
        for job in group {
            let answer = match (&job.ask, &self.conn) {
                (Ask::Head(session), Some(conn))
                    if !self.doubt && *error != CommitError::Fenced =>
                {
                    apply::head(conn, session).map_err(CommitError::NotWritten)
                }
                (_, Some(_) | None) => Err(error.clone()),
            };
            job.answer(answer);
        }
    }

    /// Whether it writes again. A connection that was given up is replaced first.
    fn try_again(&mut self) {
        if matches!(self.standing, Standing::Stopped(_)) {
            return;
        }
        let outcome = self.probe();
        match (outcome, &mut self.standing) {
            (Ok(()), Standing::Refusing { since, .. }) => {
                let after_ms = now().saturating_sub(*since);
                tracing::info!(after_ms, "store writes again");
                self.standing = Standing::Writing;
                self.dirty = true;
                self.tell(Health::Ok);
            }
            (
                Err(error),
                Standing::Refusing {
                    error: told,
                    since,
                    tried,
                },
            ) => {
                *tried = Instant::now();
                *told = error.clone();
                let since = *since;
                self.tell(Health::ReadOnly { error, since });
            }
            (_, Standing::Writing | Standing::Stopped(_)) => {}
        }
    }

    fn probe(&mut self) -> Result<(), StoreError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.target.writer()?,
        };
        if self.doubt {
            wal::settle(&conn)?;
        }
        let (reply, _) = tokio::sync::oneshot::channel();
        let probe = [Job {
            ask: Ask::Probe,
            reply,
        }];
        match group::transact(&conn, self.fence, &probe, now()) {
            Outcome::Done(_) => {
                self.conn = Some(conn);
                self.doubt = false;
                Ok(())
            }
            Outcome::NotWritten(error) => {
                self.conn = Some(conn);
                Err(error)
            }
            Outcome::Unknown(error) => {
                self.doubt = true;
                Err(error)
            }
            Outcome::Fenced => {
                self.stop(CommitError::Fenced, StoreError::taken_over());
                Err(StoreError::taken_over())
            }
        }
    }

    /// After this, only a new connection that has synced something is believed again.
    fn distrust(&mut self, error: StoreError) {
        self.conn = None;
        self.doubt = true;
        self.begin_refusing(error);
    }

    fn begin_refusing(&mut self, error: StoreError) {
        tracing::error!(%error, "store refuses to write");
        let since = now();
        self.tell(Health::ReadOnly {
            error: error.clone(),
            since,
        });
        self.standing = Standing::Refusing {
            error,
            since,
            tried: Instant::now(),
        };
    }

    fn stop(&mut self, refused: CommitError, error: StoreError) {
        self.tell(Health::ReadOnly {
            error,
            since: now(),
        });
        self.standing = Standing::Stopped(refused);
    }

    fn tell(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn bound_wal(&mut self) {
        if let Some(mode) = self.bound.due(self.files.wal_bytes()) {
            let whole = self.checkpoint(mode);
            self.bound.tried(whole, self.files.wal_bytes());
        }
    }

    /// Moves the write-ahead log into the database. Whether all of it was moved.
    fn checkpoint(&mut self, mode: &str) -> bool {
        let Some(conn) = &self.conn else { return false };
        self.dirty = false;
        match wal::moved(conn, mode) {
            Ok(whole) => whole,
            // The database could not be synced. What was acknowledged is in the log, which is whole.
            Err(error) if matches!(error.kind, StoreErrorKind::Io | StoreErrorKind::Fsync) => {
                self.distrust(error);
                false
            }
            Err(error) => {
                tracing::warn!(%error, "checkpoint");
                false
            }
        }
    }

    /// Waits for the readers, leaves the mark of a clean end, and lets go of the files.
    fn finish(mut self) -> Result<(), StoreError> {
        for reader in self.readers.drain(..) {
            // A reader catches its jobs' panics; one more would have been logged by the panic hook.
            let _ = reader.join();
        }
        match &self.standing {
            Standing::Writing => {}
            Standing::Refusing { error, .. } => return Err(error.clone()),
            Standing::Stopped(_) => return Ok(()),
        }
        let conn = self.conn.take().expect("who writes has a connection");
        group::run(
            &conn,
            "UPDATE meta SET clean = 1, probe = NULL WHERE id = 1",
        )?;
        if wal::moved(&conn, "TRUNCATE")? {
            Ok(())
        } else {
            Err(StoreError::new(
                StoreErrorKind::Busy,
                "another process reads the store",
            ))
        }
    }
}

/// The queue is closed and empty.
struct Closed;

/// Takes over what is queued.
fn collect(queue: &Receiver<Job>, waiting: &mut Fair<Option<SessionId>, Job>) {
    while let Ok(job) = queue.try_recv() {
        waiting.push(job.ask.lane(), job.ask.cost(), job);
    }
}

/// A transaction that a power cut may take, but not tear.
fn transact_unsynced(conn: &Connection, fence: Fence, group: &[Job]) -> Outcome {
    // Not through the statement cache: SQLite acts on this pragma when it is compiled.
    let set = |sql: &str| conn.execute_batch(sql).map_err(|error| error_of(&error));
    if let Err(error) = set("PRAGMA synchronous = NORMAL") {
        return Outcome::NotWritten(error);
    }
    let outcome = group::transact(conn, fence, group, now());
    match set("PRAGMA synchronous = FULL") {
        Ok(()) => outcome,
        Err(error) => Outcome::Unknown(error),
    }
}

fn answer_all(group: Vec<Job>, answers: Vec<Answer>) {
    for (job, answer) in group.into_iter().zip(answers) {
        job.answer(answer);
    }
}

fn answer_same(group: Vec<Job>, error: &CommitError) {
    for job in group {
        job.answer(Err(error.clone()));
    }
}

pub(super) fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
