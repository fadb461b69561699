//! Listings of sessions: newest first, by key and not by offset.
//!
//! The order is (last activity, session), both descending, so that a page's last row is the key of
//! the next. A session that is active while somebody pages moves to the top: it may be missed by that
//! walk, but is never seen twice.

use keel_wire::{SessionId, UnixMillis, record::SessionRow};

use crate::{PROJECTS_MAX, StoreError, StoreErrorKind, bounds::LIST_ROWS_READ_MAX};

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

/// How a session stands, as far as its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A turn runs, or will.
    Running,
    /// It waits for somebody: a turn for an answer, or the session for a slot.
    Waiting,
    /// Nothing happens in it.
    Idle,
    /// It is over.
    Ended,
}

impl Standing {
    /// Of that row.
    #[must_use]
    pub const fn of(row: &SessionRow) -> Self {
        match (row.ended, row.waiting, row.open_turn) {
            (true, _, _) => Self::Ended,
            (false, true, _) => Self::Waiting,
            (false, false, true) => Self::Running,
            (false, false, false) => Self::Idle,
        }
    }
}

/// Which sessions of a scope; what is `None` is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those that are put away, or only those that are not.
    pub archived: Option<bool>,
    /// Only those that are starred, or only those that are not.
    pub starred: Option<bool>,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Only those that stand so.
    pub standing: Option<Standing>,
    /// Only those that one of these serves.
    pub backends: Option<Vec<String>>,
}

impl Filter {
    pub(crate) fn takes(&self, row: &SessionRow) -> bool {
        let about = &row.about;
        self.archived.is_none_or(|want| want == about.archived)
            && self.starred.is_none_or(|want| want == about.starred)
            && self.tag.as_ref().is_none_or(|tag| about.tags.contains(tag))
            && self.standing.is_none_or(|want| want == Standing::of(row))
            && self
                .backends
                .as_ref()
                .is_none_or(|list| list.contains(&row.backend))
    }
}

/// How many sessions of a scope there are: each is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not put away, with a turn that runs or will.
    pub running: usize,
    /// Not put away, and waiting for somebody.
    pub waiting: usize,
    /// Not put away, with nothing that happens.
    pub idle: usize,
    /// Not put away, and over.
    pub ended: usize,
    /// Put away, however they stand.
    pub archived: usize,
    /// There are more than [`crate::COUNT_MAX`]: only the last active of them are counted.
    pub more: bool,
}

impl Counts {
    /// Counts one in.
    pub fn count(&mut self, row: &SessionRow) {
        let which = if row.about.archived {
            &mut self.archived
        } else {
            match Standing::of(row) {
                Standing::Running => &mut self.running,
                Standing::Waiting => &mut self.waiting,
                Standing::Idle => &mut self.idle,
                Standing::Ended => &mut self.ended,
            }
        };
        *which += 1;
    }
}

impl Scope {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Projects(set) if set.len() > PROJECTS_MAX => Err(StoreError::new(
                StoreErrorKind::Other,
                format!(
                    "a listing of {} projects is above the bound of {PROJECTS_MAX}",
                    set.len()
                ),
            )),
            Self::All | Self::Project(_) | Self::Projects(_) => Ok(()),
        }
    }

    pub(crate) fn takes(&self, row: &SessionRow) -> bool {
        match (self, &row.project) {
            (Self::All, _) => true,
            (Self::Project(one), Some(project)) => one == project,
            (Self::Projects(set), Some(project)) => set.contains(project),
            (Self::Project(_) | Self::Projects(_), None) => false,
        }
    }
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
    /// Only those that it takes.
    pub filter: Filter,
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
    /// The key of the next page; `None` when this is the last. A page of a filtered listing may be
    /// short, or empty, and have a next one: each looks at a bounded number of sessions.
    pub next: Option<PageKey>,
}

impl Listing {
    /// The most rows of a page, at least 1.
    pub(crate) fn rows_max(&self) -> usize {
        self.limit.max(1)
    }

    /// The page from the rows below its key, in order; it takes no more of them than it must.
    ///
    /// # Errors
    /// Those of the rows.
    pub(crate) fn page(
        &self,
        rows: impl IntoIterator<Item = Result<SessionRow, StoreError>>,
    ) -> Result<Page, StoreError> {
        let mut page = Page {
            rows: Vec::new(),
            next: None,
        };
        let mut last = None;
        for (read, row) in rows.into_iter().enumerate() {
            let row = row?;
            // Another row follows: it is the next page's, whether that page takes it or not.
            if page.rows.len() == self.rows_max() || read == LIST_ROWS_READ_MAX {
                page.next = last;
                break;
            }
            last = Some(PageKey::of(&row));
            if self.filter.takes(&row) {
                page.rows.push(row);
            }
        }
        Ok(page)
    }
}
