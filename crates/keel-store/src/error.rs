//! What can go wrong at a store: who is to blame, and whether it is written.
//!
//! The difference that matters is between "not written" and "unknown". A store says `NotWritten` only
//! when it knows; whoever reads `Unknown` asks for the log's end again before doing anything.

use std::{fmt, path::PathBuf};

use keel_wire::Seq;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// No space is left. Heals by itself when space returns.
    Full,
    /// Reading or writing failed. Heals by itself when a try succeeds.
    Io,
    /// Syncing to disk failed: what was written may or may not be there after a power cut.
    Fsync,
    /// Another process holds the database. Heals by itself.
    Busy,
    /// What is stored makes no sense. A retry cannot help; a backup can.
    Corrupt,
    /// The store is closed, or another server has taken it over.
    Closed,
    /// Too much waits already. A retry after a pause can help.
    Overloaded,
    /// Anything else: the caller's mistake, or one of this crate's.
    Other,
}

impl StoreErrorKind {
    /// The kind as one lower-case word, for logs, metrics and a fault's `detail`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Io => "io",
            Self::Fsync => "fsync",
            Self::Busy => "busy",
            Self::Corrupt => "corrupt",
            Self::Closed => "closed",
            Self::Overloaded => "overloaded",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for StoreErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failure of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("store: {kind}: {message}")]
pub struct StoreError {
    /// What kind; callers branch on this.
    pub kind: StoreErrorKind,
    /// A sentence for a person, with the engine's own code where there is one. Never parsed.
    pub message: String,
}

impl StoreError {
    /// A failure of that kind.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(crate) fn closed() -> Self {
        Self::new(StoreErrorKind::Closed, "the store is closed")
    }

    pub(crate) fn taken_over() -> Self {
        Self::new(
            StoreErrorKind::Closed,
            "another server has taken the store over",
        )
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Corrupt, message)
    }
}

/// Why a batch is not known to be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it was written, and nothing of it will appear later.
    #[error("not written: {0}")]
    NotWritten(#[source] StoreError),
    /// It may be there or not. [`crate::Store::head`] tells, once the store can tell.
    #[error("unknown whether written: {0}")]
    Unknown(#[source] StoreError),
    /// This server is no longer the one that may write. Nothing was written; stop.
    #[error("fenced: another server holds the store")]
    Fenced,
    /// The session's log does not end where the batch expects. Nothing was written; load anew.
    #[error("conflict: the log ends at {head:?}")]
    Conflict {
        /// Where the log ends; `None` if there is no such session.
        head: Option<Seq>,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process (or another store in this one) has it open.
    #[error("{} is in use by another server", .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It was written by a newer version of this program. Nothing was changed.
    #[error("the store has schema {found}, this program knows up to {known}")]
    SchemaTooNew {
        /// The version found.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// A directory or file could not be made, opened or locked.
    #[error("{}: {source}", .path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}
