//! Sessions: listed and found, read, deleted.

mod describe;
mod list;
mod media;

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use keel_core::node::{Answer, Ask, Presence};
use keel_store::PageLimit;
use keel_wire::{
    Code, EndReason, Event, Fault, ParticipantId, ReceiptBody, Role, Seq, SessionId, Status,
    journal::Entry, record::SessionRow,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Asked, Bearer, Target},
    reply,
};
use crate::{meter::fault_of, shared::Shared};

pub(super) use describe::{CreateBody, DescribeBody, create, describe};
pub(super) use list::{CountQuery, Counted, ListQuery, Page, Row, counts, list};
pub(super) use media::{Media, media};

/// Journal entries at most.
const ENTRIES_MAX: usize = 512;
/// Last faults that are told with a session.
const FAULTS: usize = 8;

/// A member of a session in memory.
#[derive(Serialize, JsonSchema)]
pub(super) struct Member {
    /// Who.
    participant: ParticipantId,
    /// As what.
    role: Role,
    /// Whether a connection is there.
    connected: bool,
}

impl From<Presence> for Member {
    fn from(presence: Presence) -> Self {
        Self {
            participant: presence.participant,
            role: presence.role,
            connected: presence.connected,
        }
    }
}

/// How a session is.
#[derive(Serialize, JsonSchema)]
pub(super) struct Read {
    #[serde(flatten)]
    row: Row,
    /// Null when the session is not in memory: nobody is there and nothing runs.
    status: Option<Status>,
    /// Its members; empty when it is not in memory.
    participants: Vec<Member>,
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
        Answer::Status(None)
        | Answer::Media(_)
        | Answer::Receipt(_)
        | Answer::Census(_)
        | Answer::Struck { .. } => match ended(&shared, &row).await {
            Ok(status) => (status, Vec::new()),
            Err(response) => return response,
        },
    };
    let faults = match shared.store.journal(&session, ENTRIES_MAX).await {
        Ok(entries) => last_faults(&entries),
        Err(error) => return access::store(&error),
    };
    reply::ok(&Read {
        row: row.into(),
        status,
        participants: participants.into_iter().map(Member::from).collect(),
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    /// Entries at most.
    #[schemars(range(min = 1, max = 512))]
    limit: Option<usize>,
}

/// Entries of a journal.
#[derive(Serialize, JsonSchema)]
pub(super) struct Entries {
    /// The last ones, oldest first.
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// Whether a session that is in use is ended first; else it is refused.
    #[serde(default)]
    force: bool,
}

/// What was deleted.
#[derive(Serialize, JsonSchema)]
pub(super) struct Deleted {
    /// The session.
    deleted: SessionId,
}

/// `DELETE /v1/sessions/{session}`: ends it, then forgets it with everything that belongs to it.
///
/// One in use, by whoever is connected to it or by a turn, is not deleted by the way: that takes `force`.
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    Asked(query): Asked<DeleteQuery>,
) -> Response {
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    if grant.role < Role::Owner && !grant.admin {
        return reply::code(Code::PermissionDenied);
    }
    if !row.ended {
        if !query.force && (row.open_turn || is_attended(&shared, &session).await) {
            return reply::refuse(
                StatusCode::CONFLICT,
                Code::SessionBusy,
                "somebody is connected or a turn is open: `force=true` ends the session first",
            );
        }
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
                | Answer::Media(_)
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
            reply::ok(&Deleted { deleted: session })
        }
        Err(error) => access::store(&error),
    }
}

/// Whether anybody is connected to it.
async fn is_attended(shared: &Shared, session: &SessionId) -> bool {
    let session = session.clone();
    match shared.ask(Ask::Status { session }).await {
        Some(Answer::Status(Some((_, members)))) => members.iter().any(|member| member.connected),
        Some(
            Answer::Status(None)
            | Answer::Media(_)
            | Answer::Receipt(_)
            | Answer::Census(_)
            | Answer::Struck { .. },
        )
        | None => false,
    }
}
