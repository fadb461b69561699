//! What this server offers whoever shows a token: from this a page makes its choice.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use keel_wire::Role;
use schemars::JsonSchema;
use serde::Serialize;

use super::{access::Bearer, reply};
use crate::{config::BackendKind, shared::Shared};

/// A backend by its name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Offered {
    pub(crate) name: String,
    pub(crate) kind: BackendKind,
    /// The models among which a session may choose by its param `model`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) models: Vec<String>,
    /// The modes of an agent among which a session may choose by its param `mode`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) modes: Vec<String>,
    /// Whether a session may say where its programs work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cwd: bool,
}

/// What `GET /v1/backends` answers.
#[derive(Serialize, JsonSchema)]
pub(super) struct Offer<'a> {
    /// The backend of sessions whose opener names none.
    default: &'a str,
    /// Those that the token may open.
    backends: Vec<&'a Offered>,
    /// Whether this server takes media.
    media: bool,
    /// Whether things may be broken on purpose: switched on here, and allowed by the token.
    faults: bool,
    /// The highest role that may be asked for.
    role: Role,
    /// Whether the token makes others.
    mints: bool,
}

/// `GET /v1/backends`.
pub(super) async fn list(State(shared): State<Arc<Shared>>, Bearer(grant): Bearer) -> Response {
    let may_open = |offered: &&Offered| {
        let named = grant.backends.as_ref();
        named.is_none_or(|names| names.contains(&offered.name))
    };
    reply::ok(&Offer {
        default: &shared.default_backend,
        backends: shared.backends.iter().filter(may_open).collect(),
        media: shared.takes_media,
        faults: shared.faults && grant.may_inject,
        role: grant.role,
        mints: grant.admin,
    })
}
