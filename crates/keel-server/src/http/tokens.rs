//! Tokens: made and revoked by administrators.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use keel_core::node::Input;
use keel_wire::{Code, Role, SessionId, UnixMillis, limits::INTEGER_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Admin, Body},
    reply,
};
use crate::{
    auth::{Claims, Tokens},
    clock,
    driver::Event,
    shared::Shared,
};

/// How long a token lasts, where the caller does not say, in seconds.
const TTL_S: u64 = 3_600;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MintBody {
    /// Whose it is, in 256 bytes at most.
    #[schemars(length(min = 1))]
    subject: String,
    role: Role,
    /// How long it lasts, in seconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    ttl_s: Option<u64>,
    session: Option<SessionId>,
    backends: Option<Vec<String>>,
    project: Option<String>,
    origins: Option<Vec<String>>,
    /// How long a session that it opens may last, in seconds.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    max_s: Option<u64>,
    #[serde(default)]
    faults: bool,
    #[serde(default)]
    admin: bool,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Minted {
    token: String,
    token_id: Option<String>,
    /// In milliseconds since the Unix epoch.
    expires: UnixMillis,
}

/// `POST /v1/tokens`.
pub(super) async fn mint(
    State(shared): State<Arc<Shared>>,
    Admin(grant): Admin,
    Body(body): Body<MintBody>,
) -> Response {
    if body.subject.is_empty() || body.subject.len() > 256 {
        return reply::invalid("want a `subject` of 1 to 256 bytes");
    }
    let numbers = [body.ttl_s, body.max_s].into_iter().flatten();
    if numbers.max().is_some_and(|number| number > INTEGER_MAX) {
        return reply::invalid("want numbers below 2^53");
    }
    if body.faults && !grant.may_inject {
        return reply::code(Code::PermissionDenied);
    }
    let mut claims = Claims::new(body.subject, body.role, body.ttl_s.unwrap_or(TTL_S));
    claims.session = body.session;
    claims.backends = body.backends;
    claims.project = body.project;
    claims.origins = body.origins;
    claims.max_s = body.max_s;
    claims.faults = body.faults;
    claims.admin = body.admin;
    tracing::info!(
        token_id = claims.jti,
        admin = claims.admin,
        "audit: a token was made"
    );
    let minted = Minted {
        token: shared.tokens.mint(&claims),
        expires: claims.exp.saturating_mul(1_000),
        token_id: claims.jti,
    };
    reply::json(StatusCode::CREATED, &minted)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    /// Which, in 128 bytes at most.
    #[schemars(length(min = 1))]
    token_id: String,
    /// When it expires by itself, in milliseconds since the Unix epoch, where that is known.
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    until: Option<UnixMillis>,
}

/// What was revoked.
#[derive(Serialize, JsonSchema)]
pub(super) struct Revoked {
    /// The token, by its id.
    revoked: String,
}

/// `POST /v1/tokens/revoke`: kept first, then told; connections that came with it are closed.
pub(super) async fn revoke(
    State(shared): State<Arc<Shared>>,
    Admin(_): Admin,
    Body(body): Body<RevokeBody>,
) -> Response {
    if body.token_id.is_empty() || body.token_id.len() > 128 {
        return reply::invalid("want a `token_id` of 1 to 128 bytes");
    }
    if body.until.is_some_and(|until| until > INTEGER_MAX) {
        return reply::invalid("want numbers below 2^53");
    }
    let until = body.until.unwrap_or_else(|| Tokens::longest(clock::wall()));
    if let Err(error) = shared.store.revoke(&body.token_id, until).await {
        return access::store(&error);
    }
    shared
        .tokens
        .revoked()
        .add([(body.token_id.clone(), until)]);
    tracing::info!(token_id = body.token_id, "audit: a token was revoked");
    let revoked = Input::Revoked {
        token_id: body.token_id.clone(),
    };
    if shared.events.send(Event::Input(revoked)).await.is_err() {
        return reply::stopping();
    }
    reply::ok(&Revoked {
        revoked: body.token_id,
    })
}
