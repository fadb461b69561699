//! The HTTP API: reads from the store, questions to the Node, and nothing that changes by a GET.
//!
//! Every request passes one guard (host, origin, no token in the address); every route but
//! `/healthz` and the page wants a bearer token; every refusal is one [`keel_wire::Fault`] as
//! JSON, and a session of others is not there.

mod access;
mod backends;
mod commands;
mod drain;
mod events;
mod export;
mod faults;
mod idempotency;
mod node;
mod openapi;
mod page;
mod problem;
pub(crate) mod reply;
mod routes;
mod sessions;
mod tokens;
mod transcript;
mod whip;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{any, get, post},
};
use keel_wire::Code;

use crate::{edge::Refusal, peers, shared::Shared, tickets::Ticket};

pub(crate) use backends::Offered;
pub(crate) use idempotency::Idempotency;

/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Where a request comes from, beside it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) ticket: Arc<Mutex<Option<Ticket>>>,
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes::table(&shared) {
        router = router.route(route.path, route.serves);
    }
    if !shared.peers.is_empty() {
        router = router
            .route("/v1/peer/hello", post(peers::hello))
            .route("/v1/peer/sessions/{session}", post(peers::session));
    }
    if shared.faults {
        router = router.route("/v1/debug/faults", any(faults::inject));
    }
    if shared.playground {
        for (path, text) in page::ASSETS {
            router = router.route(path, get(async move || page::asset(path, text)));
        }
    }
    router
        .method_not_allowed_fallback(async || {
            reply::refuse(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::InvalidRequest,
                "that cannot be done here",
            )
        })
        .fallback(async || reply::nothing_here())
        .layer(from_fn_with_state(Arc::clone(&shared), guard))
        .with_state(shared)
}

/// What every request passes, whatever its path.
async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (version, uri) = (request.version(), request.uri());
    let mut response = match shared.edge.admit(version, uri, request.headers()) {
        Ok(_) if has_token(uri.query()) => reply::refuse(
            StatusCode::BAD_REQUEST,
            Code::InvalidRequest,
            "a token does not belong into an address: send it as a bearer token or in hello",
        ),
        Ok(_) => next.run(request).await,
        Err(refusal) => refuse(&shared, refusal, &request),
    };
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn has_token(query: Option<&str>) -> bool {
    let names = query
        .unwrap_or("")
        .split('&')
        .filter_map(|pair| pair.split('=').next());
    names.into_iter().any(|name| {
        let name = name.to_ascii_lowercase();
        ["token", "access_token", "jwt", "authorization"].contains(&name.as_str())
    })
}

fn refuse(shared: &Shared, refusal: Refusal, request: &Request) -> Response {
    let address = request.extensions().get::<Peer>().map(|peer| peer.address);
    let path = request.uri().path();
    let (why, status, code, message) = match refusal {
        Refusal::Malformed(message) => (
            "malformed",
            StatusCode::BAD_REQUEST,
            Code::InvalidRequest,
            message,
        ),
        Refusal::Host => (
            "host",
            StatusCode::MISDIRECTED_REQUEST,
            Code::OriginNotAllowed,
            "this server does not answer to that host name",
        ),
        Refusal::Origin => (
            "origin",
            StatusCode::FORBIDDEN,
            Code::OriginNotAllowed,
            Code::OriginNotAllowed.says(),
        ),
    };
    shared.meter.refused(why);
    tracing::warn!(why, "audit: a request was refused before it was read");
    tracing::debug!(why, ?address, ?path, "refused");
    let mut response = reply::refuse(status, code, message);
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
