//! Breaking things on purpose. Whoever may not cannot tell this path from one that is not there.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use keel_core::node::{Answer, Ask};
use keel_wire::{Code, Injection, ParticipantId, SessionId};
use serde::Deserialize;

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
    } = body;
    tracing::warn!(
        token_id = grant.token_id, %session, participant = participant.as_ref().map(|p| p.as_str()),
        ?injection, "audit: something is broken on purpose"
    );
    match shared
        .ask(Ask::Inject {
            session,
            participant,
            injection,
        })
        .await
    {
        Some(Answer::Struck(struck)) if struck > 0 => {
            reply::ok(&serde_json::json!({ "struck": struck }))
        }
        Some(Answer::Struck(_) | Answer::Status(_) | Answer::Receipt(_) | Answer::Census(_)) => {
            reply::refuse(
                StatusCode::CONFLICT,
                Code::InvalidRequest,
                "there is nothing to break",
            )
        }
        None => reply::stopping(),
    }
}
