//! Refusals of routes whose clients know nothing of our faults: problem details (RFC 9457) that carry
//! the fault.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use keel_wire::{Code, Fault};
use serde_json::json;

use super::reply;

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    fault: Box<Fault>,
}

impl Problem {
    /// One made here.
    pub(super) fn new(status: StatusCode, code: Code, message: &str) -> Self {
        let fault = Box::new(reply::new_fault(code).message(message));
        Self { status, fault }
    }

    /// A code, with the status that it stands for.
    pub(super) fn code(code: Code) -> Self {
        Box::new(reply::new_fault(code)).into()
    }

    /// The same with another status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response {
        let (status, fault) = (self.status, self.fault);
        let body = json!({
            "type": format!("urn:evenkeel:fault:{}", fault.code.name()),
            "title": status.canonical_reason().unwrap_or("refused"),
            "status": status.as_u16(),
            "detail": fault.message,
            "fault": fault,
        });
        let mut response = reply::json(status, &body);
        reply::note_retry(&mut response, &fault);
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<Box<Fault>> for Problem {
    /// A fault, with the status that its code stands for.
    fn from(fault: Box<Fault>) -> Self {
        let status = reply::status_of(&fault);
        Self { status, fault }
    }
}
