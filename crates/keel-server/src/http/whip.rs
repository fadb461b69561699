//! `/whip/{session}` and `/whep/{session}`: RFC 9725 and its sibling for players.

use std::sync::Arc;

use axum::{
    body::{Body, to_bytes},
    extract::{Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use keel_wire::{Code, Grant, Role, SessionId};
use serde::Deserialize;
use tokio::{sync::oneshot, time::timeout};

use super::{BODY_BYTES_MAX, problem::Problem};
use crate::{
    edge,
    shared::Shared,
    whip::{self, Ask, Busy, Fragment, Offer, Patched, Resource, Start, Unpatched, Way},
};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    /// What serves a new session; absent means the server's default for media.
    backend: Option<String>,
}

/// `/whip`: publishes to a new session.
pub(super) async fn anew(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    at_endpoint(&shared, Way::Publish, None, request).await
}

/// `/whip/{session}`.
pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    Path(session): Path<String>,
    request: Request,
) -> Response {
    at_endpoint(&shared, Way::Publish, Some(session), request).await
}

/// `/whep/{session}`.
pub(super) async fn play(
    State(shared): State<Arc<Shared>>,
    Path(session): Path<String>,
    request: Request,
) -> Response {
    at_endpoint(&shared, Way::Play, Some(session), request).await
}

/// `/whip/{session}/{resource}`.
pub(super) async fn published(
    State(shared): State<Arc<Shared>>,
    Path(names): Path<(String, String)>,
    request: Request,
) -> Response {
    at_resource(&shared, Way::Publish, names, request).await
}

/// `/whep/{session}/{resource}`.
pub(super) async fn played(
    State(shared): State<Arc<Shared>>,
    Path(names): Path<(String, String)>,
    request: Request,
) -> Response {
    at_resource(&shared, Way::Play, names, request).await
}

async fn at_endpoint(
    shared: &Arc<Shared>,
    way: Way,
    session: Option<String>,
    request: Request,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answer = match *request.method() {
        Method::OPTIONS => Ok(options("OPTIONS, GET, HEAD, POST")),
        Method::GET | Method::HEAD => Ok(empty(StatusCode::NO_CONTENT)),
        Method::POST => post(shared, way, session, request).await,
        _ => Ok(not_allowed("OPTIONS, GET, HEAD, POST")),
    };
    open_to(origin, answer.unwrap_or_else(Problem::into_response))
}

async fn at_resource(
    shared: &Arc<Shared>,
    way: Way,
    names: (String, String),
    request: Request,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let answer = match *request.method() {
        Method::OPTIONS => Ok(options("OPTIONS, GET, HEAD, PATCH, DELETE")),
        Method::GET | Method::HEAD => Ok(empty(StatusCode::NO_CONTENT)),
        Method::PATCH => patch(shared, way, &names, request).await,
        Method::DELETE => delete(shared, way, &names, request.headers()).await,
        _ => Ok(not_allowed("OPTIONS, GET, HEAD, PATCH, DELETE")),
    };
    open_to(origin, answer.unwrap_or_else(Problem::into_response))
}

type Answer = Result<Response, Problem>;

async fn post(shared: &Arc<Shared>, way: Way, session: Option<String>, request: Request) -> Answer {
    let (token, grant) = bearer(shared, request.headers())?;
    let not_found = || Problem::code(Code::SessionNotFound);
    let session: Option<SessionId> = match session {
        Some(name) => Some(name.parse().map_err(|_| not_found())?),
        None => None,
    };
    let asked = Query::<Asked>::try_from_uri(request.uri());
    let asked = asked.map_err(|error| invalid(&error.body_text()))?.0;
    if way == Way::Publish && grant.role < Role::Publisher {
        let why = "publishing takes the role publisher";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            Code::PermissionDenied,
            why,
        ));
    }
    let origin = edge::one(request.headers(), header::ORIGIN);
    let origin = origin.ok().flatten().map(str::to_owned);
    let body = body(shared, request, SDP).await?;
    let offer = Offer::read(&body, way).map_err(|wrong| {
        let why = wrong.to_string();
        Problem::new(StatusCode::BAD_REQUEST, Code::MediaRefused, &why)
    })?;
    let place = shared.whip.reserve(&grant.subject);
    let place = place.map_err(|fault| {
        shared.meter.refused("whip");
        Problem::from(fault)
    })?;
    // Who may open the session under this name says what serves it; all others join.
    let opens = way == Way::Publish && grant.role == Role::Owner;
    let backend = asked.backend.or_else(|| shared.media_backend.clone());
    let start = Start {
        way,
        session,
        backend: backend.filter(|_| opens),
        token,
        origin,
        subject: grant.subject,
        role: match way {
            Way::Publish => grant.role,
            Way::Play => Role::Viewer,
        },
        offer,
    };
    let opened = whip::open(shared, place, start).await;
    let opened = opened?;
    let mut response = Response::new(Body::from(opened.answer));
    *response.status_mut() = StatusCode::CREATED;
    let location = format!("/{}/{}/{}", way.path(), opened.session, opened.id);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    put(headers, header::LOCATION, &location);
    put(headers, header::ETAG, &opened.etag);
    for server in &opened.ice_servers {
        for url in &server.urls {
            put(headers, header::LINK, &whip::link(server, url));
        }
    }
    Ok(response)
}

async fn patch(
    shared: &Arc<Shared>,
    way: Way,
    names: &(String, String),
    request: Request,
) -> Answer {
    let resource = find(shared, way, names, request.headers())?;
    let tags = if_match(request.headers())?;
    let body = body(shared, request, FRAGMENT).await?;
    let fragment = Fragment::read(&body).map_err(|wrong| invalid(&wrong.to_string()))?;
    let (reply, patched) = oneshot::channel();
    let ask = Ask::Patch {
        tags,
        fragment,
        reply,
    };
    match asked(&resource, ask, patched).await? {
        Ok(Patched::Trickled) => Ok(empty(StatusCode::NO_CONTENT)),
        Ok(Patched::Restarted { fragment, etag }) => {
            let mut response = Response::new(Body::from(fragment));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
            put(headers, header::ETAG, &etag);
            Ok(response)
        }
        Err(Unpatched::Stale) => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            Code::InvalidRequest,
            "the entity tag is of another ICE session",
        )),
        Err(Unpatched::Refused(fault)) => {
            Err(Problem::from(fault).with_status(StatusCode::UNPROCESSABLE_ENTITY))
        }
    }
}

/// Awaited: when it is answered, nothing is left of the resource.
async fn delete(
    shared: &Arc<Shared>,
    way: Way,
    names: &(String, String),
    headers: &HeaderMap,
) -> Answer {
    let resource = find(shared, way, names, headers)?;
    let (reply, left) = oneshot::channel();
    asked(&resource, Ask::Leave { reply }, left).await?;
    Ok(empty(StatusCode::OK))
}

/// Asks a resource, and waits for what it says.
async fn asked<T>(
    resource: &Resource,
    ask: Ask,
    answer: oneshot::Receiver<T>,
) -> Result<T, Problem> {
    let over = || Problem::code(Code::SessionNotFound);
    match resource.ask(ask) {
        Ok(()) => answer.await.map_err(|_| over()),
        Err(Busy::Over) => Err(over()),
        Err(Busy::Full) => Err(Problem::code(Code::RateLimited)),
    }
}

/// The bearer's token, and what it allows.
fn bearer(shared: &Shared, headers: &HeaderMap) -> Result<(String, Grant), Problem> {
    let token = edge::one(headers, header::AUTHORIZATION).ok().flatten();
    let token = token.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    let origin = edge::one(headers, header::ORIGIN).ok().flatten();
    let verdict = token.ok_or(Code::Unauthenticated);
    let verdict = verdict.and_then(|token| {
        let grant = shared.tokens.verify(token, origin)?;
        Ok((token.to_owned(), grant))
    });
    verdict.map_err(Problem::code)
}

/// A resource of the bearer's; those of others are not there.
fn find(
    shared: &Shared,
    way: Way,
    (session, id): &(String, String),
    headers: &HeaderMap,
) -> Result<Arc<Resource>, Problem> {
    let (_, grant) = bearer(shared, headers)?;
    let own = |resource: &Arc<Resource>| {
        resource.way == way
            && resource.session.as_str() == session
            && (grant.subject == resource.subject || grant.admin)
            && (grant.session.as_ref()).is_none_or(|only| *only == resource.session)
    };
    let found = shared.whip.find(id).filter(own);
    found.ok_or_else(|| Problem::code(Code::SessionNotFound))
}

/// The entity tags of `If-Match`; `None` for any.
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<String>>, Problem> {
    let values: Vec<&str> = headers
        .get_all(header::IF_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    if values.is_empty() {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            Code::InvalidRequest,
            "want If-Match with the entity tag of the ICE session, or \"*\" to restart it",
        ));
    }
    // Some clients quote it, as the RFC's own example does.
    let any = values.iter().any(|tag| matches!(*tag, "*" | "\"*\""));
    Ok((!any).then(|| values.into_iter().map(str::to_owned).collect()))
}

/// The body, as text of that kind.
async fn body(shared: &Shared, request: Request, wanted: &str) -> Result<String, Problem> {
    let kind = edge::one(request.headers(), header::CONTENT_TYPE);
    let kind = kind.ok().flatten().and_then(|kind| kind.split(';').next());
    if !kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted)) {
        let message = format!("want content-type: {wanted}");
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidRequest,
            &message,
        ));
    }
    let bytes = to_bytes(request.into_body(), BODY_BYTES_MAX);
    let bytes = match timeout(shared.request_within, bytes).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                Code::InvalidRequest,
                "the body is larger than 65536 bytes, or broke off",
            ));
        }
        Err(_) => {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                Code::InvalidRequest,
                "the body did not arrive in time",
            ));
        }
    };
    String::from_utf8(bytes.into()).map_err(|_| invalid("the body is no UTF-8"))
}

fn invalid(message: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, Code::InvalidRequest, message)
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

fn not_allowed(methods: &'static str) -> Response {
    let why = "that cannot be done here";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::InvalidRequest, why);
    let mut response = problem.into_response();
    let allow = HeaderValue::from_static(methods);
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

fn options(methods: &'static str) -> Response {
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    headers.insert("accept-post", HeaderValue::from_static(SDP));
    headers.insert("accept-patch", HeaderValue::from_static(FRAGMENT));
    let cors = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, methods),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, if-match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    for (name, value) in cors {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Lets a page read the answer: its origin was found on the list before the request came here.
fn open_to(origin: Option<HeaderValue>, mut response: Response) -> Response {
    if let Some(origin) = origin {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("location, etag, link, retry-after, accept-post"),
        );
    }
    response
}
