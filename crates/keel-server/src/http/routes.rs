//! The table of what is served: each path once, with what serves it and what is said about it.
//!
//! The router and the document are both made of it, so that neither has what the other has not. What is
//! not here is not told: the files of the page; `/v1/peer`, by which servers ask each other; and
//! `/v1/debug/faults`, which whoever may not use it cannot tell from what is not there.

use std::sync::Arc;

use axum::{
    extract::State,
    response::Response,
    routing::{any, get, post},
};
use keel_wire::ReceiptBody;
use serde_json::{Value, json};

use super::{
    access::Bearer,
    backends, commands, drain, events, export, node,
    openapi::{self, Operation, Route},
    reply, sessions, tokens, transcript, whip,
};
use crate::{shared::Shared, socket};

/// Everything that this server serves, besides what is not told.
pub(super) fn table(shared: &Shared) -> Vec<Route> {
    let mut routes = sessions();
    routes.extend(one_session());
    routes.extend(server());
    if shared.media_backend.is_some() {
        routes.extend(media());
    }
    routes.push(Route {
        path: "/openapi.json",
        serves: get(read),
        operations: vec![
            Operation::new("GET", "readDocument", "This document")
                .answers::<serde_json::Map<String, Value>>(200, "The document."),
        ],
    });
    routes
}

/// `GET /openapi.json`.
async fn read(State(shared): State<Arc<Shared>>, Bearer(_): Bearer) -> Response {
    reply::ok(&openapi::document(&table(&shared)))
}

fn key() -> Value {
    json!({ "type": "string", "pattern": "^[!-~]{1,128}$" })
}

const KEY: &str = "idempotency-key";
const KEY_SAYS: &str = "Unique among the caller's own: the same one is the same request.";

fn sessions() -> Vec<Route> {
    vec![
        Route {
            path: "/v1/sessions",
            serves: get(sessions::list).post(sessions::create),
            operations: vec![
                Operation::new(
                    "GET",
                    "listSessions",
                    "Lists and finds sessions, the last active first",
                )
                .query::<sessions::ListQuery>()
                .answers::<sessions::Page>(200, "A page of sessions."),
                Operation::new(
                    "POST",
                    "createSession",
                    "Opens a session that nobody is in as yet",
                )
                .header(KEY, KEY_SAYS, false, &key())
                .body::<sessions::CreateBody>()
                .answers::<sessions::Row>(200, "The session that was opened with this key before.")
                .linked()
                .answers::<sessions::Row>(201, "The session.")
                .linked()
                .refuses(&[404, 409, 429]),
            ],
        },
        Route {
            path: "/v1/sessions/counts",
            serves: get(sessions::counts),
            operations: vec![
                Operation::new(
                    "GET",
                    "countSessions",
                    "How many sessions there are, by state",
                )
                .query::<sessions::CountQuery>()
                .answers::<sessions::Counted>(200, "The counts."),
            ],
        },
    ]
}

fn one_session() -> Vec<Route> {
    vec![
        Route {
            path: "/v1/sessions/{session}",
            serves: get(sessions::read)
                .patch(sessions::describe)
                .delete(sessions::delete),
            operations: vec![
                Operation::new("GET", "readSession", "How a session is")
                    .answers::<sessions::Read>(200, "The session."),
                Operation::new(
                    "PATCH",
                    "describeSession",
                    "Changes what is said about a session",
                )
                .header(KEY, KEY_SAYS, false, &key())
                .body::<sessions::DescribeBody>()
                .answers::<sessions::Row>(200, "The session as it is now.")
                .refuses(&[409, 429]),
                Operation::new(
                    "DELETE",
                    "deleteSession",
                    "Forgets a session with all that belongs to it",
                )
                .query::<sessions::DeleteQuery>()
                .answers::<sessions::Deleted>(200, "It is gone.")
                .refuses(&[409, 429]),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/events",
            serves: get(events::read),
            operations: vec![
                Operation::new(
                    "GET",
                    "readEvents",
                    "The log: a page, or with `accept: text/event-stream` as it grows",
                )
                .query::<events::EventsQuery>()
                .header(
                    "last-event-id",
                    "In place of `after`.",
                    false,
                    &json!({ "type": "string", "pattern": events::POSITION }),
                )
                .answers::<events::Page>(200, "A page of events.")
                .or_as("text/event-stream"),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/transcript",
            serves: get(transcript::read),
            operations: vec![
                Operation::new("GET", "readTranscript", "The log as turns, page by page")
                    .query::<transcript::TranscriptQuery>()
                    .answers::<transcript::Transcript>(200, "A page of turns."),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/export",
            serves: get(export::read),
            operations: vec![
                Operation::new("GET", "exportSession", "The whole session as a file")
                    .query::<export::ExportQuery>()
                    .answers_as(
                        200,
                        "The file, as it is read.",
                        &["application/jsonl", "text/markdown"],
                    ),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/journal",
            serves: get(sessions::journal),
            operations: vec![
                Operation::new(
                    "GET",
                    "readJournal",
                    "What happened to a session and its connections",
                )
                .query::<sessions::JournalQuery>()
                .answers::<sessions::Entries>(200, "The last entries."),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/media",
            serves: get(sessions::media),
            operations: vec![
                Operation::new(
                    "GET",
                    "readMedia",
                    "How a session's media is doing: transports, and what passes on each",
                )
                .answers::<sessions::Media>(200, "Its transports."),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/commands",
            serves: post(commands::command),
            operations: vec![
                Operation::new("POST", "runCommand", "Runs a command, once for each key")
                    .header(KEY, KEY_SAYS, true, &key())
                    .body_of(openapi::commands)
                    .answers::<ReceiptBody>(200, "The receipt.")
                    .refuses(&[409, 410, 422, 429]),
            ],
        },
        Route {
            path: "/v1/sessions/{session}/end",
            serves: post(commands::end),
            operations: vec![
                Operation::new("POST", "endSession", "Ends a session for everybody")
                    .body::<commands::EndBody>()
                    .answers::<ReceiptBody>(200, "The receipt.")
                    .refuses(&[429]),
            ],
        },
    ]
}

fn server() -> Vec<Route> {
    vec![
        Route {
            path: "/v1/connect",
            serves: get(socket::connect),
            operations: vec![
                Operation::new(
                    "GET",
                    "connect",
                    "A WebSocket of subprotocol `evenkeel.v1.json`; its token is in `hello`",
                )
                .without_token()
                .answers_as(101, "The protocol is spoken.", &[])
                .refuses(&[400, 403, 405, 426]),
            ],
        },
        Route {
            path: "/v1/tokens",
            serves: post(tokens::mint),
            operations: vec![
                Operation::new("POST", "mintToken", "Makes a token, for administrators")
                    .body::<tokens::MintBody>()
                    .answers::<tokens::Minted>(201, "The token."),
            ],
        },
        Route {
            path: "/v1/tokens/revoke",
            serves: post(tokens::revoke),
            operations: vec![
                Operation::new(
                    "POST",
                    "revokeToken",
                    "Makes a token good for nothing, for administrators",
                )
                .body::<tokens::RevokeBody>()
                .answers::<tokens::Revoked>(200, "It is good for nothing."),
            ],
        },
        Route {
            path: "/v1/backends",
            serves: get(backends::list),
            operations: vec![
                Operation::new("GET", "listBackends", "What the token's bearer may open")
                    .answers::<backends::Offer<'_>>(200, "The backends."),
            ],
        },
        Route {
            path: "/v1/node",
            serves: get(node::node),
            operations: vec![
                Operation::new("GET", "readNode", "How this server is, for administrators")
                    .answers::<node::Node>(200, "The server."),
            ],
        },
        Route {
            path: "/v1/node/drain",
            serves: post(drain::begin),
            operations: vec![
                Operation::new(
                    "POST",
                    "handOver",
                    "Hands every session over to another server, for administrators",
                )
                .body::<drain::DrainBody>()
                .answers::<drain::Begun>(202, "It has begun; `readNode` says how far it is.")
                .refuses(&[409, 502]),
            ],
        },
        Route {
            path: "/healthz",
            serves: get(node::healthz),
            operations: vec![
                Operation::new("GET", "isAlive", "Whether this process should go on living")
                    .without_token()
                    .answers::<node::Alive>(200, "It should."),
            ],
        },
        Route {
            path: "/readyz",
            serves: get(node::readyz),
            operations: vec![
                Operation::new("GET", "isReady", "Whether new work should come here")
                    .answers::<node::Ready>(200, "It should."),
            ],
        },
        Route {
            path: "/metrics",
            serves: get(node::metrics),
            operations: vec![
                Operation::new(
                    "GET",
                    "readMetrics",
                    "Prometheus metrics, for administrators",
                )
                .answers_as(200, "The metrics.", &["text/plain"]),
            ],
        },
    ]
}

const PROBLEM: &str = "application/problem+json";

fn media() -> Vec<Route> {
    let offer = |id: &'static str, says: &'static str| {
        Operation::new("POST", id, says)
            .text_body("application/sdp")
            .answers_as(201, "The answer, at its resource.", &["application/sdp"])
            .refuses(&[400, 408, 409, 413, 415, 429])
            .refuses_as(PROBLEM)
    };
    let asked = |get: &'static str, options: &'static str| {
        [
            Operation::new("GET", get, "That something is here")
                .without_token()
                .answers_as(204, "It is.", &[])
                .refuses_as(PROBLEM),
            Operation::new("OPTIONS", options, "What is taken here, and as what")
                .without_token()
                .answers_as(200, "It is in the header.", &[])
                .refuses_as(PROBLEM),
        ]
    };
    let patch = |id: &'static str| {
        Operation::new("PATCH", id, "Adds candidates, or restarts ICE")
            .text_body("application/trickle-ice-sdpfrag")
            .answers_as(
                200,
                "ICE begins anew.",
                &["application/trickle-ice-sdpfrag"],
            )
            .answers_as(204, "They are taken.", &[])
            .refuses(&[400, 405, 408, 409, 412, 413, 415, 422, 428, 429])
            .refuses_as(PROBLEM)
    };
    let gone = |id: &'static str| {
        Operation::new("DELETE", id, "Ends it")
            .answers_as(200, "It is over.", &[])
            .refuses(&[400])
            .refuses_as(PROBLEM)
    };
    let route = |path, serves, own: Vec<Operation>, asked: [Operation; 2]| Route {
        path,
        serves,
        operations: own.into_iter().chain(asked).collect(),
    };
    vec![
        route(
            "/whip",
            any(whip::anew),
            vec![offer("publishAnew", "Publishes to a new session, by WHIP").refuses(&[404])],
            asked("lookAtPublishingAnew", "askToPublishAnew"),
        ),
        route(
            "/whip/{session}",
            any(whip::publish),
            vec![offer("publish", "Publishes to a session, by WHIP")],
            asked("lookAtPublishing", "askToPublish"),
        ),
        route(
            "/whip/{session}/{resource}",
            any(whip::published),
            vec![patch("changePublishing"), gone("endPublishing")],
            asked("lookAtPublished", "askAboutPublished"),
        ),
        route(
            "/whep/{session}",
            any(whip::play),
            vec![offer("play", "Plays a session, by WHEP")],
            asked("lookAtPlaying", "askToPlay"),
        ),
        route(
            "/whep/{session}/{resource}",
            any(whip::played),
            vec![patch("changePlaying"), gone("endPlaying")],
            asked("lookAtPlayed", "askAboutPlayed"),
        ),
    ]
}
