//! From an HTTP request to a WebSocket: what RFC 6455 §4.2 asks of a server, and nothing negotiated
//! but the subprotocol.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use keel_core::node::ConnId;
use keel_wire::{Code, SUBPROTOCOL};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::server::TlsStream;
use tungstenite::handshake::derive_accept_key;

use super::{Socket, Transport};
use crate::{
    driver::Event,
    edge,
    http::{Peer, reply},
    shared::Shared,
    tickets::{Full, Ticket},
};

/// Unacknowledged data, or silence under probes, that ends a transport.
const TCP_DEAD_AFTER: Duration = Duration::from_secs(10);

/// Sets a fresh transport up: no delay, and a dead peer is noticed by the kernel too.
pub(crate) fn tune(stream: &TcpStream) {
    use rustix::net::sockopt;
    // Each is a help and none is a need.
    let _ = sockopt::set_tcp_nodelay(stream, true);
    let _ = sockopt::set_tcp_user_timeout(stream, 10_000);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, TCP_DEAD_AFTER / 2);
    let _ = sockopt::set_tcp_keepintvl(stream, TCP_DEAD_AFTER / 4);
    let _ = sockopt::set_tcp_keepcnt(stream, 3);
}

/// What of a request's header is a WebSocket handshake: the answer to its key.
fn handshake(method: &Method, headers: &HeaderMap) -> Result<String, (StatusCode, &'static str)> {
    let bad = |why| Err((StatusCode::BAD_REQUEST, why));
    let has_token = |name: header::HeaderName, token: &str| {
        let values = headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values
            .flat_map(|list| list.split(','))
            .any(|item| item.trim().eq_ignore_ascii_case(token))
    };
    if method != Method::GET
        || !has_token(header::CONNECTION, "upgrade")
        || !has_token(header::UPGRADE, "websocket")
    {
        return Err((StatusCode::UPGRADE_REQUIRED, "want a WebSocket handshake"));
    }
    match edge::one(headers, header::SEC_WEBSOCKET_VERSION) {
        Ok(Some("13")) => {}
        Ok(_) | Err(()) => {
            return Err((
                StatusCode::UPGRADE_REQUIRED,
                "want Sec-WebSocket-Version: 13",
            ));
        }
    }
    let key = match edge::one(headers, header::SEC_WEBSOCKET_KEY) {
        Ok(Some(key)) if is_key(key) => key,
        Ok(_) | Err(()) => return bad("want one Sec-WebSocket-Key of 16 bytes"),
    };
    if !has_token(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return bad("want the subprotocol evenkeel.v1.json");
    }
    Ok(derive_accept_key(key.as_bytes()))
}

/// Whether it is the base64 of 16 bytes.
fn is_key(key: &str) -> bool {
    let digits = key.strip_suffix("==").unwrap_or("");
    digits.len() == 22
        && digits
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

/// `GET /v1/connect`.
pub(crate) async fn connect(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    let accept = match handshake(request.method(), request.headers()) {
        Ok(accept) => accept,
        Err((status, why)) => {
            shared.meter.refused("unsupported_version");
            tracing::info!(code = Code::UnsupportedVersion.name(), why, "refused");
            let mut response = reply::refuse(status, Code::UnsupportedVersion, why);
            let version = HeaderValue::from_static("13");
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_VERSION, version);
            return response;
        }
    };
    let (Some(peer), Some(on_upgrade)) = (
        request.extensions().get::<Peer>().cloned(),
        request.extensions_mut().remove::<OnUpgrade>(),
    ) else {
        return reply::refuse(
            StatusCode::BAD_REQUEST,
            Code::InvalidRequest,
            "cannot be upgraded",
        );
    };
    let handshake = match shared.tickets.handshake() {
        Ok(handshake) => handshake,
        Err(full) => return refuse_full(&shared, full),
    };
    let ticket = match ticket(&shared, &peer, request.headers()) {
        Ok(ticket) => ticket,
        Err(full) => return refuse_full(&shared, full),
    };
    let origin = edge::one(request.headers(), header::ORIGIN)
        .ok()
        .flatten()
        .map(str::to_owned);
    let conn = shared.next_conn();
    let task = Arc::clone(&shared);
    shared.tracker.spawn(async move {
        let Ok(upgraded) = on_upgrade.await else {
            return;
        };
        let Some((transport, head)) = taken(upgraded) else {
            return;
        };
        let (outbox, frames) = mpsc::unbounded_channel();
        let opened = Event::Opened {
            conn,
            outbox,
            origin,
            handshake,
        };
        if task.events.send(opened).await.is_ok() {
            let (events, meter) = (task.events.clone(), task.meter.clone());
            let socket = Socket::new(conn, transport, &head, frames, events, meter, ticket);
            // A task of its own, no larger than a connection needs.
            task.tracker.spawn(socket.run());
        }
    });
    switch(&accept)
}

/// The transport under an upgraded connection, and what was read of it beyond the request.
fn taken(upgraded: Upgraded) -> Option<(Transport, Bytes)> {
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => Some((parts.io.into_inner().into(), parts.read_buf)),
        Err(upgraded) => {
            let parts = upgraded
                .downcast::<TokioIo<Box<TlsStream<TcpStream>>>>()
                .ok()?;
            Some(((*parts.io.into_inner()).into(), parts.read_buf))
        }
    }
}

fn switch(accept: &str) -> Response {
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
        .body(Body::empty());
    response.expect("the key's digest is base64, the rest is ours")
}

/// The connection's own ticket, counted for whoever is behind a proxy.
fn ticket(shared: &Arc<Shared>, peer: &Peer, headers: &HeaderMap) -> Result<Ticket, Full> {
    let mut ticket = peer.take_ticket().ok_or(Full::Server)?;
    let address = shared.edge.address(peer.address.ip(), headers);
    if shared.edge.is_proxy(peer.address.ip()) && !shared.edge.is_proxy(address) {
        shared.tickets.count(&mut ticket, address)?;
    }
    Ok(ticket)
}

fn refuse_full(shared: &Shared, full: Full) -> Response {
    let (why, code, status) = match full {
        Full::Server => ("server", Code::AtCapacity, StatusCode::SERVICE_UNAVAILABLE),
        Full::Unauthenticated => (
            "unauthenticated",
            Code::AtCapacity,
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        Full::Address => ("address", Code::RateLimited, StatusCode::TOO_MANY_REQUESTS),
    };
    shared.meter.refused(why);
    tracing::info!(code = code.name(), why, "refused");
    reply::refuse(status, code, "too many connections")
}

impl Shared {
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(
            self.conns
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed),
        )
    }
}

/// Where a transport comes from, for extension of requests.
impl Peer {
    pub(crate) fn new(address: SocketAddr, ticket: Ticket) -> Self {
        Self {
            address,
            ticket: Arc::new(std::sync::Mutex::new(Some(ticket))),
        }
    }

    fn take_ticket(&self) -> Option<Ticket> {
        self.ticket
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }
}
