//! Commands over HTTP: once for each idempotency key.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use keel_core::node::{Answer, Ask};
use keel_wire::{Code, Command, RawData, ReceiptBody};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    access::{self, Bearer, Body, Target},
    reply,
};
use crate::{edge, shared::Shared};

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommandBody {
    name: String,
    data: RawData,
}

/// `POST /v1/sessions/{session}/commands`.
pub(super) async fn command(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    headers: HeaderMap,
    Body(body): Body<CommandBody>,
) -> Response {
    let key = match key_of(&headers) {
        Ok(Some(key)) => key,
        Ok(None) => return no_key(),
        Err(response) => return response,
    };
    if let Err(response) = access::row(&shared, &grant, &session).await {
        return response;
    }
    let command = match Command::decode(&body.name, body.data.get()) {
        Ok(Some(command)) => command,
        Ok(None) => return reply::invalid("there is no command of that name"),
        Err(error) => return reply::invalid(&error.to_string()),
    };
    let scope = [session.as_str(), &grant.subject, &key];
    if !shared
        .idempotency
        .fits(&scope, &format!("{}\n{}", body.name, body.data.get()))
    {
        return reply::refuse(
            StatusCode::CONFLICT,
            Code::InvalidRequest,
            "the idempotency key was used with another body",
        );
    }
    receipt(
        shared
            .ask(Ask::Command {
                session,
                grant,
                key,
                command,
            })
            .await,
    )
}

/// The request's idempotency key, where it has one.
#[expect(
    clippy::result_large_err,
    reason = "the error is the answer, made once a request"
)]
pub(super) fn key_of(headers: &HeaderMap) -> Result<Option<String>, Response> {
    match edge::one(headers, "idempotency-key") {
        Ok(None) => Ok(None),
        Ok(Some(key)) if is_key(key) => Ok(Some(key.to_owned())),
        Ok(Some(_)) | Err(()) => Err(no_key()),
    }
}

fn no_key() -> Response {
    reply::invalid("want one Idempotency-Key of 1 to 128 visible characters")
}

fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
}

/// Nothing: an end has no settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndBody {}

/// `POST /v1/sessions/{session}/end`.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    Body(EndBody {}): Body<EndBody>,
) -> Response {
    if let Err(response) = access::row(&shared, &grant, &session).await {
        return response;
    }
    receipt(shared.ask(Ask::End { session, grant }).await)
}

fn receipt(answer: Option<Answer>) -> Response {
    match answer {
        Some(Answer::Receipt(ReceiptBody::Fault(fault))) => reply::fault(&fault),
        Some(Answer::Receipt(body @ ReceiptBody::Ok { .. })) => reply::ok(&body),
        Some(Answer::Status(_) | Answer::Media(_) | Answer::Census(_) | Answer::Struck { .. }) => {
            reply::internal(Code::Internal, &"the Node answered another question")
        }
        None => reply::stopping(),
    }
}
