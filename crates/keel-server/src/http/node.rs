//! How this server is.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use keel_core::node::{Answer, Ask, Census};
use keel_store::Health;
use keel_wire::{Code, UnixMillis};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    access::{Admin, Bearer},
    reply,
};
use crate::{shared::Shared, tls};

#[derive(Serialize, JsonSchema)]
pub(super) struct Node {
    version: &'static str,
    uptime_ms: u64,
    fence: u64,
    stalled: bool,
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    census: Census,
    store: Store,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    tls: Option<tls::Shown>,
}

#[derive(Serialize, JsonSchema)]
struct Store {
    writes: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<UnixMillis>,
}

impl From<Health> for Store {
    fn from(health: Health) -> Self {
        match health {
            Health::Ok => Self {
                writes: true,
                kind: None,
                since: None,
            },
            Health::ReadOnly { error, since } => Self {
                writes: false,
                kind: Some(error.kind.name()),
                since: Some(since),
            },
        }
    }
}

/// `GET /v1/node`.
pub(super) async fn node(State(shared): State<Arc<Shared>>, Admin(_): Admin) -> Response {
    let census = match shared.ask(Ask::Census).await {
        Some(Answer::Census(census)) => census,
        Some(Answer::Status(_) | Answer::Media(_) | Answer::Receipt(_) | Answer::Struck { .. }) => {
            Census::default()
        }
        None => return reply::stopping(),
    };
    let uptime = shared.health.clock().uptime();
    reply::ok(&Node {
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        fence: shared.fence.0,
        stalled: shared.health.is_stalled(),
        census,
        store: shared.store.health().into(),
        tls: shared.tls.as_ref().map(|tls| tls.shown()),
    })
}

/// It lives.
#[derive(Serialize, JsonSchema)]
pub(super) struct Alive {
    ok: bool,
}

/// New work may come.
#[derive(Serialize, JsonSchema)]
pub(super) struct Ready {
    ready: bool,
}

/// `GET /healthz`: whether this process should go on living. Asks nobody.
pub(super) async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    if shared.health.is_stalled() {
        reply::refuse(StatusCode::SERVICE_UNAVAILABLE, Code::Internal, "stalled")
    } else {
        reply::ok(&Alive { ok: true })
    }
}

/// `GET /readyz`: whether new work should come here.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>, Bearer(_): Bearer) -> Response {
    let store: Store = shared.store.health().into();
    if shared.health.is_ready() && store.writes {
        reply::ok(&Ready { ready: true })
    } else {
        let code = if store.writes {
            Code::ServerShutdown
        } else {
            Code::StoreFailed
        };
        reply::refuse(StatusCode::SERVICE_UNAVAILABLE, code, "not ready")
    }
}

/// `GET /metrics`, for administrators.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>, Admin(_): Admin) -> Response {
    let mut response = Response::new(Body::from(shared.meter.render()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
