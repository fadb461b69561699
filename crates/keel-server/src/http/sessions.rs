//! Sessions: listed, read, deleted.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use keel_core::node::{Answer, Ask, Presence};
use keel_store::{Listing, PageKey, PageLimit, Scope};
use keel_wire::{
    Code, EndReason, Event, Fault, ReceiptBody, Role, Seq, SessionId, Status, UnixMillis,
    journal::Entry,
    record::{SessionRow, SlotRow},
};
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Asked, Bearer, Target},
    reply,
};
use crate::{meter::fault_of, random, shared::Shared};

/// Rows of a page, where the caller does not say.
const ROWS: usize = 50;
/// Rows of a page at most.
const ROWS_MAX: usize = 200;
/// Journal entries at most.
const ENTRIES_MAX: usize = 512;
/// Last faults that are told with a session.
const FAULTS: usize = 8;

#[derive(Serialize)]
struct Row {
    session: SessionId,
    subject: String,
    backend: String,
    project: Option<String>,
    created_at: UnixMillis,
    last_activity: UnixMillis,
    ends_by: Option<UnixMillis>,
    epoch: keel_wire::Epoch,
    head: Seq,
    trimmed: Seq,
    open_turn: bool,
    ended: bool,
    slot: Option<SlotRow>,
}

impl From<SessionRow> for Row {
    fn from(row: SessionRow) -> Self {
        Self {
            session: row.session,
            subject: row.subject,
            backend: row.backend,
            project: row.project,
            created_at: row.created_at,
            last_activity: row.last_activity,
            ends_by: row.ends_by,
            epoch: row.epoch,
            head: row.head,
            trimmed: row.trimmed,
            open_turn: row.open_turn,
            ended: row.ended,
            slot: row.slot,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    project: Option<String>,
    projects: Option<String>,
    limit: Option<usize>,
    before: Option<String>,
}

#[derive(Serialize)]
struct Page {
    sessions: Vec<Row>,
    /// Opaque: the next page's `before`; absent at the end.
    next: Option<String>,
}

/// `GET /v1/sessions`: newest first by last activity.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Asked(query): Asked<ListQuery>,
) -> Response {
    if let Some(only) = &grant.session {
        let rows = access::row(&shared, &grant, only).await;
        let sessions = rows.into_iter().map(Row::from).collect();
        return reply::ok(&Page {
            sessions,
            next: None,
        });
    }
    let scope = match (query.project, query.projects) {
        (Some(_), Some(_)) => return reply::invalid("want `project` or `projects`, not both"),
        (Some(project), None) => Scope::Project(project),
        (None, Some(projects)) => Scope::Projects(projects.split(',').map(str::to_owned).collect()),
        (None, None) => Scope::All,
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
    let subject = (!grant.admin).then_some(grant.subject);
    match shared
        .store
        .list(Listing {
            scope,
            subject,
            filter: keel_store::Filter::default(),
            before,
            limit,
        })
        .await
    {
        Ok(page) => reply::ok(&Page {
            sessions: page.rows.into_iter().map(Row::from).collect(),
            next: page.next.as_ref().map(cursor),
        }),
        Err(error) => access::store(&error),
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

#[derive(Serialize)]
struct Read {
    #[serde(flatten)]
    row: Row,
    /// Absent when the session is not in memory: nobody is there and nothing runs.
    status: Option<Status>,
    participants: Vec<Presence>,
    /// The last ones, oldest first.
    faults: Vec<Fault>,
}

/// `GET /v1/sessions/{session}`.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
) -> Response {
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    let Some(answer) = shared
        .ask(Ask::Status {
            session: session.clone(),
        })
        .await
    else {
        return reply::stopping();
    };
    let (status, participants) = match answer {
        Answer::Status(Some((status, participants))) => (Some(status), participants),
        Answer::Status(None) | Answer::Receipt(_) | Answer::Census(_) | Answer::Struck { .. } => {
            match ended(&shared, &row).await {
                Ok(status) => (status, Vec::new()),
                Err(response) => return response,
            }
        }
    };
    let faults = match shared.store.journal(&session, ENTRIES_MAX).await {
        Ok(entries) => last_faults(&entries),
        Err(error) => return access::store(&error),
    };
    reply::ok(&Read {
        row: row.into(),
        status,
        participants,
        faults,
    })
}

/// How a session ended that is not in memory, as the last event of its log says.
async fn ended(shared: &Shared, row: &SessionRow) -> Result<Option<Status>, Response> {
    if !row.ended {
        return Ok(None);
    }
    let before = Seq::new(row.head.get().saturating_sub(1)).unwrap_or(Seq::ZERO);
    let limit = PageLimit {
        events: 1,
        bytes: 1,
    };
    let read = shared.store.events(&row.session, before, limit).await;
    let last = read.map_err(|error| access::store(&error))?.pop();
    let event = last.map(|last| Event::decode(&last.kind, last.data.get()));
    let (reason, fault) = match event {
        Some(Ok(Some(Event::SessionEnded(ended)))) => (ended.reason, ended.fault),
        Some(Ok(_) | Err(_)) | None => (EndReason::Ended, None),
    };
    Ok(Some(Status {
        state: match &fault {
            Some(_) => keel_wire::State::Failed,
            None => keel_wire::State::Ended { reason },
        },
        fault,
        legs: Vec::new(),
        injected: Vec::new(),
        since: row.last_activity,
    }))
}

fn last_faults(entries: &[Entry]) -> Vec<Fault> {
    let faults: Vec<&Fault> = entries
        .iter()
        .filter_map(|entry| fault_of(&entry.fact))
        .collect();
    faults[faults.len().saturating_sub(FAULTS)..]
        .iter()
        .map(|fault| (*fault).clone())
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Entries {
    entries: Vec<Entry>,
}

/// `GET /v1/sessions/{session}/journal`: the last entries, oldest first.
pub(super) async fn journal(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    Asked(query): Asked<JournalQuery>,
) -> Response {
    if let Err(response) = access::row(&shared, &grant, &session).await {
        return response;
    }
    let limit = query.limit.unwrap_or(ENTRIES_MAX);
    if limit == 0 || limit > ENTRIES_MAX {
        return reply::invalid("want a `limit` of 1 to 512");
    }
    match shared.store.journal(&session, limit).await {
        Ok(entries) => reply::ok(&Entries { entries }),
        Err(error) => access::store(&error),
    }
}

/// `DELETE /v1/sessions/{session}`: ends it, then forgets it.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
) -> Response {
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    if grant.role < Role::Owner && !grant.admin {
        return reply::code(Code::PermissionDenied);
    }
    if !row.ended {
        match shared
            .ask(Ask::End {
                session: session.clone(),
                grant,
            })
            .await
        {
            Some(Answer::Receipt(ReceiptBody::Fault(fault))) => return reply::fault(&fault),
            Some(
                Answer::Receipt(ReceiptBody::Ok { .. })
                | Answer::Status(_)
                | Answer::Census(_)
                | Answer::Struck { .. },
            ) => {}
            None => return reply::stopping(),
        }
    }
    tracing::info!(%session, "audit: a session is deleted");
    match shared.store.delete(&session).await {
        Ok(()) => {
            // Who reads its log is to see that there is none.
            shared.tails.grown(&session);
            reply::ok(&serde_json::json!({ "deleted": session }))
        }
        Err(error) => access::store(&error),
    }
}
