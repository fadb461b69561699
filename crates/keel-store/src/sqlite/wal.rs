//! The write-ahead log: moved into the database when nothing else is to do, and before it grows long.
//!
//! SQLite would do it inside of somebody's commit. Here it is done between commits, and one that a
//! reader hinders is tried again later.

use rusqlite::Connection;

use super::failure::error_of;
use crate::{
    StoreError, StoreErrorKind,
    bounds::{WAL_BYTES_HARD, WAL_BYTES_SOFT},
};

/// When to move the log under load, where no idle moment comes.
#[derive(Debug)]
pub(super) struct Bound {
    due_at: u64,
}

impl Bound {
    pub(super) const fn new() -> Self {
        Self {
            due_at: WAL_BYTES_SOFT,
        }
    }

    /// How to move a log of that size, if it is to be moved.
    pub(super) const fn due(&self, bytes: u64) -> Option<&'static str> {
        if bytes < self.due_at {
            None
        } else if bytes < WAL_BYTES_HARD {
            Some("PASSIVE")
        } else {
            Some("TRUNCATE")
        }
    }

    /// That it was tried, and whether all was moved.
    pub(super) fn tried(&mut self, whole: bool, bytes: u64) {
        // A log that was moved whole is written from its start again, and cut back by SQLite.
        self.due_at = if whole {
            WAL_BYTES_SOFT
        } else {
            tracing::warn!(bytes, "the write-ahead log grows: a long read holds it");
            bytes + WAL_BYTES_SOFT / 4
        };
    }
}

/// Settles what is in doubt. What can be read is moved into the database and synced, for after a failed
/// sync nobody knows what of the log is on the disk; then the log is emptied, so that what cannot be
/// read now will never appear.
pub(super) fn settle(conn: &Connection) -> Result<(), StoreError> {
    if moved(conn, "TRUNCATE")? {
        Ok(())
    } else {
        Err(StoreError::new(
            StoreErrorKind::Busy,
            "a read keeps the log from being settled",
        ))
    }
}

/// Moves the log into the database. Whether all of it was moved.
pub(super) fn moved(conn: &Connection, mode: &str) -> Result<bool, StoreError> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    let counts = |row: &rusqlite::Row<'_>| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, i64>(2)?,
        ))
    };
    let (busy, pages, moved) = conn
        .query_row(&sql, [], counts)
        .map_err(|error| error_of(&error))?;
    Ok(busy == 0 && pages == moved)
}
