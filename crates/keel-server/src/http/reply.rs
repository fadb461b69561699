//! Answers: JSON, and faults as the one body of every refusal.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use keel_wire::{Code, Fault, FaultCode, Origin, Retry};
use serde::Serialize;

use crate::{clock, random};

pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_string(body).expect("what is answered has string keys");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

pub(crate) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// A fault of `code`, made here.
pub(crate) fn new_fault(code: Code) -> Fault {
    Fault::new(random::fault_id(), code, Origin::Server, clock::wall())
}

pub(crate) fn refuse(status: StatusCode, code: Code, message: &str) -> Response {
    with_status(status, &new_fault(code).message(message))
}

/// A fault with the status that its code stands for.
pub(crate) fn fault(fault: &Fault) -> Response {
    with_status(status_of(fault), fault)
}

/// The status that a fault's code stands for.
pub(crate) fn status_of(fault: &Fault) -> StatusCode {
    match &fault.code {
        FaultCode::Known(code) => status(*code),
        FaultCode::Unknown(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(crate) fn code(code: Code) -> Response {
    fault(&new_fault(code))
}

fn with_status(status: StatusCode, fault: &Fault) -> Response {
    let mut response = json(status, fault);
    note_retry(&mut response, fault);
    response
}

/// Puts into a refusal's header what HTTP has words for: when to come back, and with what.
pub(super) fn note_retry(response: &mut Response, fault: &Fault) {
    let status = response.status();
    let headers = response.headers_mut();
    if let Retry::After { ms } = fault.retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}

/// The answer to what is not there, and to what must look as if it were not.
pub(crate) fn nothing_here() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        Code::InvalidRequest,
        "there is nothing here",
    )
}

pub(crate) fn invalid(message: &str) -> Response {
    refuse(StatusCode::BAD_REQUEST, Code::InvalidRequest, message)
}

/// Something is wrong inside: the words are in the log under the fault's id, and nowhere else.
pub(crate) fn internal(code: Code, error: &dyn std::fmt::Display) -> Response {
    let fault_told = new_fault(code);
    tracing::error!(fault = %fault_told.id, %error, "a request failed");
    fault(&fault_told)
}

/// The Node is there no more.
pub(crate) fn stopping() -> Response {
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        Code::ServerShutdown,
        Code::ServerShutdown.says(),
    )
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated | Code::TokenExpired => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied | Code::OriginNotAllowed => StatusCode::FORBIDDEN,
        Code::InvalidRequest | Code::ProtocolError | Code::MediaRefused => StatusCode::BAD_REQUEST,
        Code::UnsupportedVersion => StatusCode::UPGRADE_REQUIRED,
        Code::SessionMoved => StatusCode::MISDIRECTED_REQUEST,
        Code::SessionNotFound | Code::BackendNotFound => StatusCode::NOT_FOUND,
        Code::SessionLimit | Code::RateLimited | Code::OutboxFull => StatusCode::TOO_MANY_REQUESTS,
        Code::AtCapacity
        | Code::StoreFailed
        | Code::ServerShutdown
        | Code::MediaFailed
        | Code::MediaStalled
        | Code::QueueExpired
        | Code::RecoveryDeadline => StatusCode::SERVICE_UNAVAILABLE,
        Code::SessionBusy
        | Code::Superseded
        | Code::Duplicate
        | Code::OutcomeUnknown
        | Code::ResumeRefused
        | Code::ResumeGap
        | Code::LogRewound
        | Code::RejoinLimit => StatusCode::CONFLICT,
        Code::Expired | Code::SessionDurationLimit => StatusCode::GONE,
        Code::PromptQuarantined => StatusCode::UNPROCESSABLE_ENTITY,
        Code::ProviderCrashed
        | Code::ProviderTimeout
        | Code::ProviderProtocol
        | Code::ProviderBudget
        | Code::ProviderSpawn
        | Code::ProviderAuth
        | Code::ProviderRefused
        | Code::ProviderRateLimited
        | Code::ProviderUnavailable
        | Code::TurnInterrupted => StatusCode::BAD_GATEWAY,
        Code::HandshakeTimeout
        | Code::HeartbeatTimeout
        | Code::ConnectionClosed
        | Code::TransportError
        | Code::SlowConsumer => StatusCode::REQUEST_TIMEOUT,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
