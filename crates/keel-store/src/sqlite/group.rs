//! Group commit: one transaction for all that waits.
//!
//! Nearly always all of it goes well. Where one job does not, the transaction is undone and made anew
//! with a savepoint for each: what one does wrong is undone by its savepoint and told to its caller, and
//! the others go on. What goes wrong with the disk or the engine ends the whole group, and nothing of it
//! is told as written.

use keel_wire::record::Fence;
use rusqlite::Connection;

use super::{
    apply,
    failure::error_of,
    handover,
    job::{Answer, Ask, Job},
    shrink,
};
use crate::{CommitError, StoreError, StoreErrorKind, check};

/// How a transaction came out.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is durable. An answer for each job, in their order.
    Done(Vec<Answer>),
    /// Nothing of it is there, and nothing will appear later.
    NotWritten(StoreError),
    /// It failed at the very end: it may be on the disk or not. The connection is not to be trusted.
    Unknown(StoreError),
    /// Another server has the store.
    Fenced,
}

/// Does the jobs in one transaction, and syncs it.
pub(super) fn transact(conn: &Connection, granted: Fence, jobs: &[Job], now: u64) -> Outcome {
    let applied = match apply_all(conn, granted, jobs, now, Undo::Group) {
        Ok(Applied::NotAll) if undo(conn) => apply_all(conn, granted, jobs, now, Undo::Job),
        applied => applied,
    };
    match applied {
        Ok(Applied::All(answers)) => finish(conn, answers),
        Ok(Applied::NotAll) => {
            undo(conn);
            let error = "a transaction could not be made anew";
            Outcome::Unknown(StoreError::new(StoreErrorKind::Other, error))
        }
        Ok(Applied::Fenced) => {
            undo(conn);
            Outcome::Fenced
        }
        Err(error) if undo(conn) => Outcome::NotWritten(error),
        // It could not be rolled back, so its end is not known.
        Err(error) => Outcome::Unknown(error),
    }
}

/// What came of a group, which is not committed yet.
enum Applied {
    /// An answer for each job.
    All(Vec<Answer>),
    /// A job was refused, and what it did is still there.
    NotAll,
    /// The fence is another's.
    Fenced,
}

/// What is undone when a job is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Undo {
    /// The whole group: nearly never, so that nothing is made ready for it.
    Group,
    /// What the job did: each has a savepoint.
    Job,
}

/// Does the jobs in a transaction that it begins.
fn apply_all(
    conn: &Connection,
    granted: Fence,
    jobs: &[Job],
    now: u64,
    undo: Undo,
) -> Result<Applied, StoreError> {
    run(conn, "BEGIN IMMEDIATE")?;
    if apply::fence(conn)? != granted {
        return Ok(Applied::Fenced);
    }
    let savepoint = |sql| match undo {
        Undo::Group => Ok(()),
        Undo::Job => run(conn, sql),
    };
    let mut answers = Vec::with_capacity(jobs.len());
    for job in jobs {
        savepoint("SAVEPOINT job")?;
        let answer = apply_one(conn, granted, &job.ask, now);
        if let Err(error) = &answer {
            if let Some(error) = ends_the_group(conn, error) {
                return Err(error);
            }
            if undo == Undo::Group {
                return Ok(Applied::NotAll);
            }
            run(conn, "ROLLBACK TO job")?;
        }
        savepoint("RELEASE job")?;
        answers.push(answer);
    }
    Ok(Applied::All(answers))
}

fn apply_one(conn: &Connection, granted: Fence, ask: &Ask, now: u64) -> Answer {
    let written = match ask {
        Ask::Commit(batch) => {
            if batch.fence != granted {
                return Err(CommitError::Fenced);
            }
            check::batch(batch).map_err(CommitError::NotWritten)?;
            return apply::commit(conn, batch).map(|()| None);
        }
        Ask::Head(session) => {
            return apply::head(conn, session).map_err(CommitError::NotWritten);
        }
        Ask::Accept(offer) => return handover::accept(conn, granted, offer),
        Ask::Settle(offer) => {
            return handover::settle(conn, offer).map_err(CommitError::NotWritten);
        }
        Ask::Mark(session, next) => handover::mark(conn, session, next),
        Ask::Stage(offer, part) => handover::stage(conn, offer, part),
        Ask::Journal(session, entries) => apply::journal(conn, session, entries),
        Ask::Delete(session) => apply::delete(conn, session),
        Ask::Trim(session, through) => shrink::trim(conn, session, *through),
        Ask::Revoke(token, until) => apply::revoke(conn, token, *until, now),
        Ask::Probe => apply::probe(conn),
    };
    written.map(|()| None).map_err(CommitError::NotWritten)
}

/// The failure, if it is not this job's alone.
fn ends_the_group(conn: &Connection, error: &CommitError) -> Option<StoreError> {
    let error = match error {
        CommitError::NotWritten(error) | CommitError::Unknown(error) => error,
        CommitError::Fenced | CommitError::Conflict { .. } => return None,
    };
    // SQLite rolls the whole transaction back by itself after some failures.
    let rolled_back = conn.is_autocommit();
    match error.kind {
        StoreErrorKind::Full
        | StoreErrorKind::Io
        | StoreErrorKind::Fsync
        | StoreErrorKind::Busy
        | StoreErrorKind::Closed => Some(error.clone()),
        StoreErrorKind::Corrupt | StoreErrorKind::Overloaded | StoreErrorKind::Other => {
            rolled_back.then(|| error.clone())
        }
    }
}

fn finish(conn: &Connection, answers: Vec<Answer>) -> Outcome {
    let Err(error) = run(conn, "COMMIT") else {
        return Outcome::Done(answers);
    };
    match error.kind {
        // The last frame is what makes a transaction, and it is written last: without space for it,
        // there is none. Busy comes before anything is written.
        StoreErrorKind::Full | StoreErrorKind::Busy if undo(conn) => Outcome::NotWritten(error),
        StoreErrorKind::Full
        | StoreErrorKind::Busy
        | StoreErrorKind::Io
        | StoreErrorKind::Fsync
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Closed
        | StoreErrorKind::Overloaded
        | StoreErrorKind::Other => {
            undo(conn);
            Outcome::Unknown(error)
        }
    }
}

/// Ends the transaction without writing. Whether there is none afterwards.
fn undo(conn: &Connection) -> bool {
    if !conn.is_autocommit() {
        let outcome = run(conn, "ROLLBACK");
        if let Err(error) = outcome {
            tracing::debug!(%error, "rollback");
        }
    }
    conn.is_autocommit()
}

pub(super) fn run(conn: &Connection, sql: &str) -> Result<(), StoreError> {
    let outcome = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.raw_execute());
    outcome.map(drop).map_err(|error| error_of(&error))
}
