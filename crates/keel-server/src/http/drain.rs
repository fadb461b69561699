//! Handing every session over to another server, by an administrator.

use std::{sync::Arc, time::Duration};

use axum::{extract::State, http::StatusCode, response::Response};
use keel_wire::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access::{Admin, Body},
    reply,
};
use crate::{
    peers::{self, HandOverError},
    shared::Shared,
};

/// Longest that turns may be given to end.
const WITHIN_MAX: Duration = Duration::from_secs(3_600);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainBody {
    /// A peer: its name, or where it is. Absent means `drain.target`.
    target: Option<String>,
    /// How long turns that run may take to end; then they are interrupted.
    within_ms: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Begun {
    draining: bool,
    target: String,
}

/// `POST /v1/node/drain`: begins, and answers; `GET /v1/node` says how far it is.
pub(super) async fn begin(
    State(shared): State<Arc<Shared>>,
    Admin(_): Admin,
    Body(body): Body<DrainBody>,
) -> Response {
    let Some(target) = body.target.or_else(|| shared.drain_target.clone()) else {
        return reply::invalid("want a `target`: there is no `drain.target` in the configuration");
    };
    let within = body
        .within_ms
        .map_or(shared.drain_within, Duration::from_millis);
    if within > WITHIN_MAX {
        return reply::invalid("want a `within_ms` of an hour at most");
    }
    match peers::hand_over(&shared, &target, within).await {
        // Nobody waits for the end here: whoever asked looks how far it is.
        Ok(_) => {
            let begun = Begun {
                draining: true,
                target,
            };
            reply::json(StatusCode::ACCEPTED, &begun)
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &HandOverError) -> Response {
    let (status, code) = match error {
        HandOverError::UnknownPeer(_) => (StatusCode::BAD_REQUEST, Code::InvalidRequest),
        HandOverError::UnknownKeys { .. } | HandOverError::Refuses { .. } => {
            (StatusCode::CONFLICT, Code::InvalidRequest)
        }
        HandOverError::Unreachable { .. } => (StatusCode::BAD_GATEWAY, Code::TransportError),
        HandOverError::Late | HandOverError::Closing => {
            (StatusCode::SERVICE_UNAVAILABLE, Code::ServerShutdown)
        }
    };
    reply::refuse(status, code, &error.to_string())
}
