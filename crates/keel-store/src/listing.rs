//! Listings of sessions: newest first, by key and not by offset.
//!
//! The order is (last activity, session), both descending, so that a page's last row is the key of
//! the next. A session that is active while somebody pages moves to the top: it may be missed by that
//! walk, but is never seen twice.

use keel_wire::{SessionId, UnixMillis, record::SessionRow};

use crate::{PROJECTS_MAX, StoreError, StoreErrorKind};

/// Whose sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    All,
    /// Those of one project.
    Project(String),
    /// Those of any of these projects, at most [`crate::PROJECTS_MAX`].
    Projects(Vec<String>),
}

/// Where a page begins: below this row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageKey {
    /// The row's last activity.
    pub last_activity: UnixMillis,
    /// The row's session, which tells rows of the same millisecond apart.
    pub session: SessionId,
}

impl PageKey {
    pub(crate) fn of(row: &SessionRow) -> Self {
        let session = row.session.clone();
        Self {
            last_activity: row.last_activity,
            session,
        }
    }
}

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Whose sessions.
    pub scope: Scope,
    /// Only those opened with a token of this subject.
    pub subject: Option<String>,
    /// Only those below this row; `None` for the first page.
    pub before: Option<PageKey>,
    /// Most rows in the page; 0 counts as 1.
    pub limit: usize,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The rows, newest first.
    pub rows: Vec<SessionRow>,
    /// The key of the next page; `None` when this is the last.
    pub next: Option<PageKey>,
}

impl Listing {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match &self.scope {
            Scope::Projects(set) if set.len() > PROJECTS_MAX => Err(StoreError::new(
                StoreErrorKind::Other,
                format!(
                    "a listing of {} projects is above the bound of {PROJECTS_MAX}",
                    set.len()
                ),
            )),
            Scope::All | Scope::Project(_) | Scope::Projects(_) => Ok(()),
        }
    }

    /// The most rows of a page, at least 1.
    pub(crate) fn rows_max(&self) -> usize {
        self.limit.max(1)
    }

    /// The page from rows in order, of which one more than fit shows that another page follows.
    pub(crate) fn page(&self, mut rows: Vec<SessionRow>) -> Page {
        let more = rows.len() > self.rows_max();
        rows.truncate(self.rows_max());
        let next = rows.last().filter(|_| more).map(PageKey::of);
        Page { rows, next }
    }
}
