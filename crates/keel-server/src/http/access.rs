//! What a handler asks of a request before it does anything: a token, an id, a JSON body.

use std::sync::Arc;

use axum::{
    body::{HttpBody, to_bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
    response::Response,
};
use keel_store::{StoreError, StoreErrorKind};
use keel_wire::{Code, Fault, Grant, SessionId, handover::Mark, record::SessionRow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::{BODY_BYTES_MAX, reply};
use crate::{edge, shared::Shared};

/// The bearer of a good token.
pub(super) struct Bearer(pub(super) Grant);

/// The bearer of an administrator's token.
pub(super) struct Admin(pub(super) Grant);

/// The session that the path names.
pub(super) struct Target(pub(super) SessionId);

/// The members of the query.
pub(super) struct Asked<T>(pub(super) T);

/// The JSON body.
pub(super) struct Body<T>(pub(super) T);

impl FromRequestParts<Arc<Shared>> for Bearer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let header = edge::one(&parts.headers, header::AUTHORIZATION)
            .ok()
            .flatten();
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let origin = edge::one(&parts.headers, header::ORIGIN).ok().flatten();
        let verdict = token.ok_or(Code::Unauthenticated);
        verdict
            .and_then(|token| shared.tokens.verify(token, origin))
            .map(Self)
            .map_err(reply::code)
    }
}

impl FromRequestParts<Arc<Shared>> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let Bearer(grant) = Bearer::from_request_parts(parts, shared).await?;
        if grant.admin {
            Ok(Self(grant))
        } else {
            Err(reply::code(Code::PermissionDenied))
        }
    }
}

impl FromRequestParts<Arc<Shared>> for Target {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Response> {
        let path = Path::<String>::from_request_parts(parts, shared).await.ok();
        let id = path.and_then(|Path(text)| text.parse().ok());
        id.map(Self)
            .ok_or_else(|| reply::code(Code::SessionNotFound))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Response> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(reply::invalid(&error.body_text())),
        }
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Response> {
        let kind = edge::one(request.headers(), header::CONTENT_TYPE)
            .ok()
            .flatten();
        let kind = kind.map(|kind| kind.split(';').next().unwrap_or("").trim());
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
            return Err(reply::refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                Code::InvalidRequest,
                "want content-type: application/json",
            ));
        }
        let too_large = || {
            reply::refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                Code::InvalidRequest,
                "the body is larger than 65536 bytes, or broke off",
            )
        };
        // What says beforehand that it is too large is not waited for.
        if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let bytes = timeout(
            shared.request_within,
            to_bytes(request.into_body(), BODY_BYTES_MAX),
        );
        let bytes = match bytes.await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => {
                return Err(reply::refuse(
                    StatusCode::REQUEST_TIMEOUT,
                    Code::InvalidRequest,
                    "the body did not arrive in time",
                ));
            }
        };
        serde_json::from_slice(&bytes)
            .or_else(|error| from_whole_numbers(&bytes).ok_or(error))
            .map(Self)
            .map_err(|error| reply::invalid(&error.to_string()))
    }
}

/// The same, with its whole numbers as integers: to JSON `2.0` is one, and to our types it is not.
fn from_whole_numbers<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut value = serde_json::from_slice(bytes).ok()?;
    make_whole(&mut value);
    serde_json::from_str(&value.to_string()).ok()
}

fn make_whole(value: &mut Value) {
    /// Up to here every integer is a double.
    const MOST: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) => {
            let double = number.as_f64().filter(|_| number.is_f64());
            if let Some(double) = double.filter(|it| it.fract() == 0.0 && it.abs() <= MOST) {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "it is whole, and in bounds"
                )]
                let whole = double as i64;
                *value = whole.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Object(object) => object.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The row of a session, if it is there for the bearer. One of others is not there.
pub(super) async fn row(
    shared: &Shared,
    grant: &Grant,
    session: &SessionId,
) -> Result<SessionRow, Response> {
    let row = known(shared, grant, session).await?;
    row.ok_or_else(|| reply::code(Code::SessionNotFound))
}

/// The row of a session; `None` where neither it nor anything of it is known here. One of others, here
/// or moved, is refused as not there.
pub(super) async fn known(
    shared: &Shared,
    grant: &Grant,
    session: &SessionId,
) -> Result<Option<SessionRow>, Response> {
    let not_found = || reply::code(Code::SessionNotFound);
    match shared.store.row(session).await {
        Ok(Some(row)) if grant.may_enter(&row) => Ok(Some(row)),
        Ok(Some(_)) => Err(not_found()),
        Ok(None) => match moved(shared, session).await {
            Ok(Some((row, fault))) if grant.may_enter(&row) => Err(reply::fault(&fault)),
            Ok(Some(_)) => Err(not_found()),
            Ok(None) => Ok(None),
            Err(error) => Err(store(&error)),
        },
        Err(error) => Err(store(&error)),
    }
}

/// What a session was that another server has, and what is said of it to those who may enter it.
pub(super) async fn moved(
    shared: &Shared,
    session: &SessionId,
) -> Result<Option<(SessionRow, Fault)>, StoreError> {
    let handover = shared.store.handover(session).await?;
    Ok(match handover.map(|handover| handover.mark) {
        Some(Mark::Moved { address, row, .. }) => {
            let fault = reply::new_fault(Code::SessionMoved).session(session);
            Some((*row, fault.detail("target", address)))
        }
        Some(Mark::Offered { .. } | Mark::Received { .. } | Mark::Kept | Mark::Declined) | None => {
            None
        }
    })
}

/// A store's refusal, as the caller may see it.
pub(super) fn store(error: &StoreError) -> Response {
    let code = match error.kind {
        StoreErrorKind::Other => Code::InvalidRequest,
        StoreErrorKind::Full
        | StoreErrorKind::Io
        | StoreErrorKind::Fsync
        | StoreErrorKind::Busy
        | StoreErrorKind::Corrupt
        | StoreErrorKind::Closed
        | StoreErrorKind::Overloaded => Code::StoreFailed,
    };
    reply::internal(code, error)
}
