//! What other servers ask of this one. Each request is sealed; who does not know the secret is not
//! told that there is anything here.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody},
    extract::{Path, Request, State},
    http::{StatusCode, header::HOST},
    response::Response,
};
use http_body_util::BodyExt;
use keel_core::node::Input;
use keel_store::{Head, StoreError, StoreErrorKind};
use keel_wire::{
    Code, SessionId,
    handover::{Offer, Outcome, Part, Step},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    Greeting, Hello, PEER_BODY_BYTES_MAX,
    give::Asked,
    seal::{self, Digesting, Sealed},
};
use crate::{clock, driver::Event, edge, http::reply, shared::Shared};

/// Revocations that are written together.
const REVOKED_AT_ONCE: usize = 1_024;

/// `POST /v1/peer/hello`.
pub(crate) async fn hello(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let hello: Hello = match read(&shared, request).await {
        Ok(hello) => hello,
        Err(response) => return response,
    };
    let known = shared.tokens.revoked();
    let fresh = hello.revoked.iter().filter(|(token, _)| !known.has(token));
    let fresh: Vec<_> = fresh.collect();
    for some in fresh.chunks(REVOKED_AT_ONCE) {
        // Queued together, so they are written together.
        let answers = some
            .iter()
            .map(|(token, until)| shared.store.revoke(token, *until));
        for answer in answers.collect::<Vec<_>>() {
            if let Err(error) = answer.await {
                return reply::internal(Code::StoreFailed, &error);
            }
        }
    }
    shared.tokens.revoked().add(hello.revoked);
    let known = shared.tokens.key_prints();
    let unknown = hello.keys.into_iter().filter(|key| !known.contains(key));
    reply::ok(&Greeting {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        unknown_keys: unknown.map(|key| key.kid).collect(),
        refuses: (!shared.health.is_ready()).then(busy),
    })
}

fn busy() -> String {
    "it is stopping, or just starting".to_owned()
}

/// `POST /v1/peer/sessions/{session}`.
pub(crate) async fn session(
    State(shared): State<Arc<Shared>>,
    Path(session): Path<String>,
    request: Request,
) -> Response {
    let asked: Asked = match read(&shared, request).await {
        Ok(asked) => asked,
        Err(response) => return response,
    };
    let Ok(session) = session.parse::<SessionId>() else {
        return reply::nothing_here();
    };
    let offer = Offer {
        session,
        id: asked.id,
        moves: asked.moves,
    };
    match asked.step {
        Step::Keep(part) => keep(&shared, offer, *part).await,
        Step::Accept => {
            let session = offer.session.clone();
            let accepted = shared.store.accept(offer).await;
            taken(
                &shared,
                &session,
                accepted,
                "it is here already, or was not whole",
            )
            .await
        }
        Step::Settle => {
            let session = offer.session.clone();
            let settled = shared.store.settle(offer).await;
            taken(&shared, &session, settled, "it was never accepted").await
        }
    }
}

/// What the store says of an offer. Whoever accepted it may not have come to tell the Node, which is
/// told again: that changes nothing.
async fn taken(
    shared: &Shared,
    session: &SessionId,
    known: Result<Option<Head>, StoreError>,
    declined: &str,
) -> Response {
    if matches!(known, Ok(Some(_)))
        && let Err(response) = take_over(shared, session).await
    {
        return response;
    }
    answer(known, declined)
}

async fn keep(shared: &Shared, offer: Offer, part: Part) -> Response {
    let declined = |why: String| reply::ok(&Outcome::Declined { why });
    if let Part::Begin { row, .. } = &part {
        if !shared.health.is_ready() {
            return declined(busy());
        }
        let mut backends = shared.backends.iter();
        if !backends.any(|backend| backend.name == row.backend) {
            return declined(format!("it has no backend {:?}", row.backend));
        }
    }
    match shared.store.stage(offer, part).await {
        Ok(()) => reply::ok(&Outcome::Kept),
        Err(error) if error.kind == StoreErrorKind::Other => declined(error.message),
        Err(error) => reply::internal(Code::StoreFailed, &error),
    }
}

/// The Node is told before the other server is: who comes from there is let in.
async fn take_over(shared: &Shared, session: &SessionId) -> Result<(), Response> {
    let row = shared.store.row(session).await;
    let row = row.map_err(|error| reply::internal(Code::StoreFailed, &error))?;
    // It may have been deleted since.
    let Some(row) = row else { return Ok(()) };
    tracing::info!(%session, "audit: a session was taken over");
    let took_over = Input::TookOver { row: Box::new(row) };
    let sent = shared.events.send(Event::Input(took_over)).await;
    sent.map_err(|_| reply::stopping())
}

fn answer(known: Result<Option<Head>, StoreError>, declined: &str) -> Response {
    match known {
        Ok(Some(_)) => reply::ok(&Outcome::Accepted),
        Ok(None) => reply::ok(&Outcome::Declined {
            why: declined.to_owned(),
        }),
        Err(error) => reply::internal(Code::StoreFailed, &error),
    }
}

/// The body of a request that a peer has sealed for this server. Nothing of it is read before that is
/// proven, and nothing is made of one that is not the body that was sealed.
async fn read<T: DeserializeOwned>(shared: &Shared, request: Request) -> Result<T, Response> {
    let (head, body) = request.into_parts();
    let header = |name| edge::one(&head.headers, name).ok().flatten();
    let refused = |why: &'static str| {
        tracing::warn!(why, "audit: a request that no peer has sealed");
        reply::nothing_here()
    };
    let told = (header(seal::HEADER), header(seal::DIGEST_HEADER));
    let (Some(seal), Some(digest)) = told else {
        return Err(reply::nothing_here());
    };
    let sealed = Sealed {
        // It is one of this server's names, or it would not have come so far.
        host: header(HOST.as_str()).unwrap_or_default(),
        path: head.uri.path(),
        digest,
    };
    if !shared.peers.have_sealed(seal, sealed, clock::wall()) {
        return Err(refused("the seal is not good"));
    }
    let too_large = || {
        let message = "the body is too large, or broke off";
        reply::refuse(StatusCode::PAYLOAD_TOO_LARGE, Code::InvalidRequest, message)
    };
    let read = timeout(shared.request_within, whole(body)).await;
    let (bytes, is) = read.ok().flatten().ok_or_else(too_large)?;
    if is != digest {
        return Err(refused("the body is not what was sealed"));
    }
    serde_json::from_slice(&bytes).map_err(|error| reply::invalid(&error.to_string()))
}

/// A body within its bound, and its digest.
async fn whole(mut body: Body) -> Option<(Vec<u8>, String)> {
    if body.size_hint().lower() > PEER_BODY_BYTES_MAX as u64 {
        return None;
    }
    let (mut bytes, mut digest) = (Vec::new(), Digesting::default());
    while let Some(frame) = body.frame().await {
        // What is no data is the end of them.
        let Ok(piece) = frame.ok()?.into_data() else {
            continue;
        };
        if bytes.len() + piece.len() > PEER_BODY_BYTES_MAX {
            return None;
        }
        digest.add(&piece);
        bytes.extend_from_slice(&piece);
    }
    Some((bytes, digest.finish()))
}
