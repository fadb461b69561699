//! Breaking things on purpose. Whoever may not cannot tell this path from one that is not there.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use keel_core::node::{Answer, Ask, Strike};
use keel_wire::{Code, Injected, Injection, ParticipantId, SessionId};
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Bearer, Body},
    reply,
};
use crate::shared::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InjectBody {
    session: SessionId,
    participant: Option<ParticipantId>,
    fault: Injection,
    for_ms: Option<u64>,
    seed: Option<u64>,
}

#[derive(Serialize)]
struct Broken {
    struck: usize,
    #[serde(flatten)]
    injected: Option<Box<Injected>>,
}

/// `POST /v1/debug/faults`.
pub(super) async fn inject(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let bearer = Bearer::from_request_parts(&mut parts, &shared).await;
    let grant = match bearer {
        Ok(Bearer(grant)) if grant.may_inject && parts.method == Method::POST => grant,
        Ok(_) | Err(_) => {
            tracing::warn!("audit: fault injection was refused");
            return reply::nothing_here();
        }
    };
    let request = Request::from_parts(parts, body);
    let Body(body) = match Body::<InjectBody>::from_request(request, &shared).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    if let Err(response) = access::row(&shared, &grant, &body.session).await {
        return response;
    }
    let InjectBody {
        session,
        participant,
        fault: injection,
        for_ms,
        seed,
    } = body;
    tracing::warn!(
        token_id = grant.token_id, %session, participant = participant.as_ref().map(|p| p.as_str()),
        ?injection, "audit: something is broken on purpose"
    );
    let strike = Strike {
        session,
        participant,
        injection,
        for_ms,
        seed,
    };
    match shared.ask(Ask::Inject(strike)).await {
        Some(Answer::Struck {
            count: struck @ 1..,
            injected,
        }) => reply::ok(&Broken { struck, injected }),
        Some(
            Answer::Struck { .. }
            | Answer::Media(_)
            | Answer::Status(_)
            | Answer::Receipt(_)
            | Answer::Census(_),
        ) => reply::refuse(
            StatusCode::CONFLICT,
            Code::InvalidRequest,
            "there is nothing to break",
        ),
        None => reply::stopping(),
    }
}
