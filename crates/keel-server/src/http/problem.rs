//! Refusals of routes whose clients know nothing of our faults: problem details (RFC 9457) that carry
//! the fault.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use keel_wire::{Code, Fault};
use serde_json::json;

use super::reply;

/// A fault as a problem, with a status of its own.
pub(super) fn with_status(status: StatusCode, fault: &Fault) -> Response {
    let code = fault.code.name();
    let body = json!({
        "type": format!("urn:evenkeel:fault:{code}"),
        "title": status.canonical_reason().unwrap_or("refused"),
        "status": status.as_u16(),
        "detail": fault.message,
        "fault": fault,
    });
    let mut response = reply::json(status, &body);
    reply::note_retry(&mut response, fault);
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A fault as a problem.
pub(super) fn of(fault: &Fault) -> Response {
    with_status(reply::status_of(fault), fault)
}

/// A refusal made here.
pub(super) fn refuse(status: StatusCode, code: Code, message: &str) -> Response {
    with_status(status, &reply::new_fault(code).message(message))
}
