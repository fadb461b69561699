//! Listings, searches and counts of sessions.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use keel_store::{Counts, Filter, Hit, Listing, PageKey, Scope, Search, Standing, StoreError};
use keel_wire::{
    Epoch, Grant, Seq, SessionId, TurnId, UnixMillis,
    record::{SessionRow, SlotRow},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    access::{self, Asked, Bearer},
    reply,
};
use crate::{random, shared::Shared};

/// Rows of a page, where the caller does not say.
const ROWS: usize = 50;
/// Rows of a page at most.
const ROWS_MAX: usize = 200;
/// Rows that are read at a time to count those of some backends.
const COUNTED_ROWS: usize = 512;
/// How often they are.
const COUNTED_PAGES: usize = 16;

/// How a session stands.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Stands {
    /// A turn runs, or will.
    Running,
    /// It waits for somebody: a turn for an answer, or the session for a slot.
    Waiting,
    /// Nothing happens in it.
    Idle,
    /// It is over.
    Ended,
}

impl From<Standing> for Stands {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Running => Self::Running,
            Standing::Waiting => Self::Waiting,
            Standing::Idle => Self::Idle,
            Standing::Ended => Self::Ended,
        }
    }
}

impl From<Stands> for Standing {
    fn from(state: Stands) -> Self {
        match state {
            Stands::Running => Self::Running,
            Stands::Waiting => Self::Waiting,
            Stands::Idle => Self::Idle,
            Stands::Ended => Self::Ended,
        }
    }
}

/// Where a session stands with its backend's capacity.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "place", rename_all = "snake_case")]
pub(in super::super) enum Slot {
    /// It holds a slot.
    Held,
    /// It stands in line.
    Waiting {
        /// Lower comes first.
        order: u64,
        /// When it is given up, in milliseconds since the Unix epoch.
        until: UnixMillis,
        /// It had been admitted before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
}

impl From<SlotRow> for Slot {
    fn from(slot: SlotRow) -> Self {
        match slot {
            SlotRow::Held => Self::Held,
            SlotRow::Waiting {
                order,
                until,
                again,
            } => Self::Waiting {
                order,
                until,
                again,
            },
        }
    }
}

/// What is listed of a session. Times are in milliseconds since the Unix epoch.
#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Row {
    /// The session.
    session: SessionId,
    /// Whose token it was opened with.
    subject: String,
    /// What serves it.
    backend: String,
    /// The project it belongs to.
    project: Option<String>,
    /// What a person calls it.
    title: Option<String>,
    /// Where its programs work.
    cwd: Option<String>,
    /// Whether it is marked to be found soon.
    starred: bool,
    /// Whether it is put away.
    archived: bool,
    /// Words to find it by.
    tags: Vec<String>,
    /// How it stands.
    state: Stands,
    /// When it was opened.
    created_at: UnixMillis,
    /// When anything was last committed to it.
    last_activity: UnixMillis,
    /// When it must end, if it must.
    ends_by: Option<UnixMillis>,
    /// The log.
    epoch: Epoch,
    /// The last position of the log.
    head: Seq,
    /// Positions up to here are no longer kept.
    trimmed: Seq,
    /// Whether a turn is open.
    open_turn: bool,
    /// Whether it is over.
    ended: bool,
    /// Where it stands with its backend's capacity.
    slot: Option<Slot>,
}

impl From<SessionRow> for Row {
    fn from(row: SessionRow) -> Self {
        Self {
            state: Standing::of(&row).into(),
            session: row.session,
            subject: row.subject,
            backend: row.backend,
            project: row.project,
            title: row.about.title,
            cwd: row.about.cwd,
            starred: row.about.starred,
            archived: row.about.archived,
            tags: row.about.tags,
            created_at: row.created_at,
            last_activity: row.last_activity,
            ends_by: row.ends_by,
            epoch: row.epoch,
            head: row.head,
            trimmed: row.trimmed,
            open_turn: row.open_turn,
            ended: row.ended,
            slot: row.slot.map(Slot::from),
        }
    }
}

/// Which sessions are wanted as regards their being put away.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Archived {
    /// Only those that are not.
    #[default]
    False,
    /// Only those that are.
    True,
    /// Both.
    Any,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ListQuery {
    /// Only this project's.
    project: Option<String>,
    /// Only these projects', separated by commas.
    projects: Option<String>,
    /// Those that are not put away, those that are, or both.
    #[serde(default)]
    archived: Archived,
    /// Only those that are starred, or only those that are not.
    starred: Option<bool>,
    /// Only those with this tag.
    tag: Option<String>,
    /// Only those that stand so.
    state: Option<Stands>,
    /// Only those in whose title, or in a turn of which, all these words occur.
    q: Option<String>,
    /// Rows at most.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<usize>,
    /// The `next` of the page before.
    before: Option<String>,
}

/// Where a search has found something.
#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Place {
    /// The newest turn of the session that was found; absent when it was its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn: Option<TurnId>,
    /// What stands around the words, as it was said.
    excerpt: String,
}

/// A session in a listing.
#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Listed {
    #[serde(flatten)]
    row: Row,
    /// Where a search has found something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    found: Option<Place>,
}

/// A page of sessions, the last active first.
#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Page {
    /// The sessions. A filtered page may be short, or empty, and have a next one.
    sessions: Vec<Listed>,
    /// Opaque: the next page's `before`; null at the end.
    next: Option<String>,
    /// Of a search: there is more than was looked at, and other words narrow it down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

impl Page {
    fn of(rows: impl IntoIterator<Item = SessionRow>, next: Option<String>) -> Self {
        let listed = |row: SessionRow| Listed {
            row: row.into(),
            found: None,
        };
        Self {
            sessions: rows.into_iter().map(listed).collect(),
            next,
            more: false,
        }
    }
}

/// `GET /v1/sessions`: the last active first; or those that a search finds.
pub(in super::super) async fn list(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Asked(query): Asked<ListQuery>,
) -> Response {
    if let Some(only) = &grant.session {
        let rows = access::row(&shared, &grant, only).await;
        return reply::ok(&Page::of(rows, None));
    }
    let scope = match scope(query.project, query.projects) {
        Ok(scope) => scope,
        Err(response) => return response,
    };
    let before = match query.before.as_deref().map(parse_cursor) {
        None => None,
        Some(Some(key)) => Some(key),
        Some(None) => return reply::invalid("`before` is no cursor of ours"),
    };
    let limit = match query.limit {
        Some(limit) if limit == 0 || limit > ROWS_MAX => {
            return reply::invalid("want a `limit` of 1 to 200");
        }
        limit => limit.unwrap_or(ROWS),
    };
    let filter = Filter {
        archived: match query.archived {
            Archived::False => Some(false),
            Archived::True => Some(true),
            Archived::Any => None,
        },
        starred: query.starred,
        tag: query.tag,
        standing: query.state.map(Standing::from),
        backends: grant.backends.clone(),
    };
    let subject = subject(&grant);
    if let Some(text) = query.q {
        if before.is_some() {
            return reply::invalid("a search has no pages: want `q` or `before`, not both");
        }
        let search = Search {
            text,
            scope,
            subject,
            filter,
            limit,
        };
        return find(&shared, search).await;
    }
    let listing = Listing {
        scope,
        subject,
        filter,
        before,
        limit,
    };
    match shared.store.list(listing).await {
        Ok(page) => reply::ok(&Page::of(page.rows, page.next.as_ref().map(cursor))),
        Err(error) => access::store(&error),
    }
}

async fn find(shared: &Shared, search: Search) -> Response {
    if let Err(error) = search.words() {
        return reply::invalid(&error.message);
    }
    let listed = |hit: Hit| Listed {
        row: hit.row.into(),
        found: Some(Place {
            turn: hit.turn,
            excerpt: hit.excerpt,
        }),
    };
    match shared.store.search(search).await {
        Ok(found) => reply::ok(&Page {
            sessions: found.hits.into_iter().map(listed).collect(),
            next: None,
            more: found.more,
        }),
        Err(error) => access::store(&error),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct CountQuery {
    /// Only this project's.
    project: Option<String>,
    /// Only these projects', separated by commas.
    projects: Option<String>,
}

/// How many sessions there are; each is counted once.
#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Counted {
    /// Not put away, with a turn that runs or will.
    running: usize,
    /// Not put away, and waiting for somebody.
    waiting: usize,
    /// Not put away, with nothing that happens.
    idle: usize,
    /// Not put away, and over.
    ended: usize,
    /// Put away, however they stand.
    archived: usize,
    /// There are more than 100000, or for a token for some backends more than are looked at: only the
    /// last active of them are counted.
    more: bool,
}

/// `GET /v1/sessions/counts`.
pub(in super::super) async fn counts(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Asked(query): Asked<CountQuery>,
) -> Response {
    let scope = match scope(query.project, query.projects) {
        Ok(scope) => scope,
        Err(response) => return response,
    };
    let counted = match &grant.session {
        Some(only) => {
            let mut counts = Counts::default();
            if let Ok(row) = access::row(&shared, &grant, only).await {
                counts.count(&row);
            }
            Ok(counts)
        }
        None if grant.backends.is_some() => counted(&shared, scope, &grant).await,
        None => shared.store.counts(scope, subject(&grant)).await,
    };
    match counted {
        Ok(counts) => reply::ok(&Counted {
            running: counts.running,
            waiting: counts.waiting,
            idle: counts.idle,
            ended: counts.ended,
            archived: counts.archived,
            more: counts.more,
        }),
        Err(error) => access::store(&error),
    }
}

/// The counts of a bearer who may see some backends' sessions only: of rows, as no index knows it.
async fn counted(shared: &Shared, scope: Scope, grant: &Grant) -> Result<Counts, StoreError> {
    let mut listing = Listing {
        scope,
        subject: subject(grant),
        filter: Filter {
            backends: grant.backends.clone(),
            ..Filter::default()
        },
        before: None,
        limit: COUNTED_ROWS,
    };
    let mut counts = Counts::default();
    for _ in 0..COUNTED_PAGES {
        let page = shared.store.list(listing.clone()).await?;
        page.rows.iter().for_each(|row| counts.count(row));
        listing.before = page.next;
        if listing.before.is_none() {
            return Ok(counts);
        }
    }
    counts.more = true;
    Ok(counts)
}

/// Whose sessions a bearer may see.
fn subject(grant: &Grant) -> Option<String> {
    (!grant.admin).then(|| grant.subject.clone())
}

#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, made once a request"
)]
fn scope(project: Option<String>, projects: Option<String>) -> Result<Scope, Response> {
    let scope = match (project, projects) {
        (Some(_), Some(_)) => {
            return Err(reply::invalid("want `project` or `projects`, not both"));
        }
        (Some(project), None) => Scope::Project(project),
        (None, Some(projects)) => Scope::Projects(projects.split(',').map(str::to_owned).collect()),
        (None, None) => Scope::All,
    };
    match &scope {
        Scope::Projects(set) if set.len() > keel_store::PROJECTS_MAX => {
            Err(reply::invalid("want 256 `projects` at most"))
        }
        Scope::All | Scope::Project(_) | Scope::Projects(_) => Ok(scope),
    }
}

fn cursor(key: &PageKey) -> String {
    random::hex(format!("{}.{}", key.last_activity, key.session).as_bytes())
}

/// A cursor only says where to go on: what may be seen is decided anew by each listing.
fn parse_cursor(text: &str) -> Option<PageKey> {
    let text = String::from_utf8(random::from_hex(text)?).ok()?;
    let (last_activity, session) = text.split_once('.')?;
    Some(PageKey {
        last_activity: last_activity.parse().ok()?,
        session: session.parse().ok()?,
    })
}
