//! Sessions opened over HTTP, and what people say about them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use keel_core::node::{Answer, Ask, Opening};
use keel_wire::{
    BusyPolicy, Code, Command, DescribeSession, FaultCode, Grant, ReceiptBody, Role, SessionId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    super::{
        access::{self, Bearer, Body, Target},
        commands::key_of,
        reply,
    },
    list::Row,
};
use crate::{random, shared::Shared, workplace::Purpose};

/// What is said about a session that is opened.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct CreateBody {
    /// What is to serve it; absent means the server's default.
    backend: Option<String>,
    /// The project it belongs to, where the token does not say.
    project: Option<String>,
    /// Its params.
    params: Option<Map<String, Value>>,
    /// What happens to a `say` while a turn runs.
    busy: Option<BusyPolicy>,
    /// What a person calls it, in 512 bytes at most.
    title: Option<String>,
    /// Where its programs work: beneath one of the backend's `cwd_roots`.
    cwd: Option<String>,
    /// Words to find it by: 16 of 64 bytes at most.
    #[schemars(length(max = 16), inner(length(min = 1)))]
    tags: Option<Vec<String>>,
}

/// `POST /v1/sessions`: opens a session that nobody is in as yet; once for each idempotency key.
pub(in super::super) async fn create(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    headers: HeaderMap,
    Body(body): Body<CreateBody>,
) -> Response {
    let key = match key_of(&headers) {
        Ok(key) => key,
        Err(response) => return response,
    };
    if grant.role < Role::Owner {
        return reply::code(Code::PermissionDenied);
    }
    if let Some(key) = &key {
        let body = serde_json::to_string(&body).unwrap_or_default();
        let scope = ["sessions", &grant.subject, key];
        if !shared.idempotency.fits(&scope, &body) {
            return reply::refuse(
                StatusCode::CONFLICT,
                Code::InvalidRequest,
                "the idempotency key was used with another body",
            );
        }
    }
    let session = match (&grant.session, &key) {
        (Some(only), _) => only.clone(),
        (None, Some(key)) => named_by(&grant, key),
        (None, None) => SessionId::from_bits(u128::from_le_bytes(random::bytes())),
    };
    match access::known(&shared, &grant, &session).await {
        Ok(Some(row)) => return opened(StatusCode::OK, &row.into(), &session),
        Ok(None) => {}
        Err(response) => return response,
    }
    let named = body.backend.as_ref().unwrap_or(&shared.default_backend);
    let granted = grant.backends.as_ref();
    let allowed = granted.is_none_or(|list| list.contains(named));
    if !allowed || !shared.backends.iter().any(|offered| offered.name == *named) {
        return reply::code(Code::BackendNotFound);
    }
    let cwd = match body.cwd {
        None => None,
        Some(cwd) => {
            let found = shared.workplaces.find(named.clone(), cwd, Purpose::Open);
            match found.await {
                Ok(path) => Some(path),
                Err(misplaced) => {
                    let fault = reply::new_fault(misplaced.code).message(misplaced.message);
                    return reply::fault(&fault);
                }
            }
        }
    };
    let opening = Opening {
        backend: body.backend,
        project: body.project,
        params: body.params.map(Value::Object),
        busy: body.busy,
        title: body.title,
        cwd,
        tags: body.tags.unwrap_or_default(),
    };
    let question = Ask::Open {
        session: session.clone(),
        grant: grant.clone(),
        opening,
    };
    let status = match receipt(shared.ask(question).await) {
        Ok(()) => StatusCode::CREATED,
        // The same request at the same time was a little faster.
        Err(Refused::Duplicate) => StatusCode::OK,
        Err(Refused::Answer(response)) => return *response,
    };
    match access::row(&shared, &grant, &session).await {
        Ok(row) => opened(status, &row.into(), &session),
        Err(response) => response,
    }
}

/// The session that a key stands for, the same for as long as there is one.
fn named_by(grant: &Grant, key: &str) -> SessionId {
    let mut hash = Sha256::new();
    for part in ["session", grant.subject.as_str(), key] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let bits = digest.iter().take(16);
    SessionId::from_bits(bits.fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
}

fn opened(status: StatusCode, row: &Row, session: &SessionId) -> Response {
    let mut response = reply::json(status, row);
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/sessions/{session}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// What changes about a session; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct DescribeBody {
    /// What a person calls it, in 512 bytes at most; empty for nothing.
    title: Option<String>,
    /// Whether it is marked to be found soon.
    starred: Option<bool>,
    /// Whether it is put away.
    archived: Option<bool>,
    /// Words to find it by, in place of those before: 16 of 64 bytes at most.
    #[schemars(length(max = 16), inner(length(min = 1)))]
    tags: Option<Vec<String>>,
}

/// `PATCH /v1/sessions/{session}`: by the session's own command, so that it is in the log and every
/// participant sees it. Of one that is over only what is listed changes.
pub(in super::super) async fn describe(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    headers: HeaderMap,
    Body(body): Body<DescribeBody>,
) -> Response {
    let key = match key_of(&headers) {
        Ok(key) => key,
        Err(response) => return response,
    };
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    let about = DescribeSession {
        title: body.title,
        starred: body.starred,
        archived: body.archived,
        tags: body.tags,
    };
    if about == DescribeSession::default() {
        return reply::ok(&Row::from(row));
    }
    let question = Ask::Command {
        session: session.clone(),
        grant: grant.clone(),
        key: key.unwrap_or_else(|| random::hex(&random::bytes::<16>())),
        command: Command::DescribeSession(about),
    };
    match receipt(shared.ask(question).await) {
        Ok(()) => {}
        Err(Refused::Duplicate) => return reply::code(Code::Duplicate),
        Err(Refused::Answer(response)) => return *response,
    }
    match access::row(&shared, &grant, &session).await {
        Ok(row) => reply::ok(&Row::from(row)),
        Err(response) => response,
    }
}

enum Refused {
    Duplicate,
    Answer(Box<Response>),
}

fn receipt(answer: Option<Answer>) -> Result<(), Refused> {
    let response = match answer {
        Some(Answer::Receipt(ReceiptBody::Ok { .. })) => return Ok(()),
        Some(Answer::Receipt(ReceiptBody::Fault(fault))) => {
            if fault.code == FaultCode::Known(Code::Duplicate) {
                return Err(Refused::Duplicate);
            }
            reply::fault(&fault)
        }
        Some(Answer::Status(_) | Answer::Media(_) | Answer::Census(_) | Answer::Struck { .. }) => {
            reply::internal(Code::Internal, &"the Node answered another question")
        }
        None => reply::stopping(),
    };
    Err(Refused::Answer(Box::new(response)))
}
