//! Backends that are model's servers, as clients see them: over a server of a few lines that speaks
//! Chat Completions.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use keel_server::config::{Backend, BackendKind, StoreKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Host, hello, is_turn_end, text_of};

/// Says what it was told, a line a message; `limited N` as the last is a 429 for the first N calls,
/// and `refused` a 401 that repeats the key.
async fn model() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let calls = Arc::new(AtomicU32::new(0));
    let router = Router::new()
        .route("/v1/chat/completions", post(answer))
        .with_state(calls);
    // It ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn answer(
    State(calls): State<Arc<AtomicU32>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let call = calls.fetch_add(1, Ordering::Relaxed);
    let messages = body["messages"].as_array().expect("messages");
    let line = |message: &Value| {
        let (role, content) = (&message["role"], &message["content"]);
        format!(
            "{}: {}\n",
            role.as_str().expect("text"),
            content.as_str().expect("text")
        )
    };
    let prompt = messages.last().expect("one")["content"]
        .as_str()
        .expect("text");
    if prompt == "refused" {
        let key = headers.get(header::AUTHORIZATION);
        let key = key.map_or("none", |key| key.to_str().expect("a key"));
        let error = json!({"error": {"message": format!("no: {key}"), "type": "auth"}});
        return (StatusCode::UNAUTHORIZED, Json(error)).into_response();
    }
    if let Some(limit) = prompt.strip_prefix("limited ")
        && call < limit.parse().expect("a number")
    {
        let later = [("retry-after-ms", "20")];
        return (StatusCode::TOO_MANY_REQUESTS, later, "{}").into_response();
    }
    let text: String = messages.iter().map(line).collect();
    let chunk = json!({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]});
    let events = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    ([(header::CONTENT_TYPE, "text/event-stream")], events).into_response()
}

fn asks(url: &str) -> Backend {
    Backend {
        base_url: Some(url.to_owned()),
        model: Some("m".to_owned()),
        ..Backend::of(BackendKind::OpenAi)
    }
}

fn chain(names: &[&str]) -> Backend {
    Backend {
        chain: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Backend::of(BackendKind::Fallback)
    }
}

async fn host(backends: Vec<(&str, Backend)>) -> Host {
    Host::start(StoreKind::Sqlite, |config| {
        config.session.default_backend = Some(backends[0].0.to_owned());
        for (name, backend) in backends {
            config.backends.insert(name.to_owned(), backend);
        }
    })
    .await
}

/// Says each, and gives the frames of each turn.
async fn say(host: &Host, prompts: &[&str]) -> Vec<Vec<Value>> {
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    let mut turns = Vec::new();
    for (n, prompt) in (1..).zip(prompts) {
        wire.say(n, prompt).await;
        turns.push(wire.until(is_turn_end).await);
    }
    turns
}

fn kinds<'a>(frames: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let of_kind = frames.iter().filter(|frame| frame["kind"] == kind);
    of_kind.map(|frame| &frame["data"]).collect()
}

#[tokio::test]
async fn a_model_is_told_what_was_said_before() {
    let url = model().await;
    let host = host(vec![("model", asks(&url))]).await;
    let turns = say(&host, &["one", "two"]).await;
    assert_eq!(text_of(&turns[0]), "user: one\n");
    let second = "user: one\nassistant: user: one\n\nuser: two\n";
    assert_eq!(text_of(&turns[1]), second);
    let end = turns[1].last().expect("one");
    assert_eq!(end["data"]["stop_reason"], "end_turn", "{end}");
    host.close().await;
}

#[tokio::test]
async fn a_retry_is_told_before_it_comes_and_supersedes_nothing_h02() {
    let url = model().await;
    let host = host(vec![("model", asks(&url))]).await;
    let turns = say(&host, &["limited 2"]).await;
    let told = kinds(&turns[0], "turn.retrying");
    assert_eq!(told.len(), 2, "{:#?}", turns[0]);
    for retrying in told {
        assert_eq!(retrying["fault"]["code"], "provider_rate_limited");
        assert!(
            (20..=520).contains(&retrying["in_ms"].as_u64().unwrap()),
            "{retrying}"
        );
    }
    assert_eq!(text_of(&turns[0]), "user: limited 2\n");
    let end = turns[0].last().expect("one");
    assert_eq!(
        (&end["data"]["end"], &end["data"]["attempt"]),
        (&json!("done"), &json!(3))
    );
    host.close().await;
}

#[tokio::test]
async fn a_chain_tells_each_step_and_one_failure_with_all_causes_m22() {
    let url = model().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        format!("http://{}/v1", listener.local_addr().expect("an address"))
    };
    let mut dead = asks(&closed);
    dead.tries = Some(1);
    let backends = |names: &[&str]| {
        vec![
            ("chain", chain(names)),
            ("dead", dead.clone()),
            ("model", asks(&url)),
        ]
    };
    let good = host(backends(&["dead", "model"])).await;
    let turns = say(&good, &["one", "two"]).await;
    assert_eq!(
        text_of(&turns[1]),
        "user: one\nassistant: user: one\n\nuser: two\n"
    );
    let steps = kinds(&turns[0], "turn.started");
    assert_eq!(steps.len(), 2, "{:#?}", turns[0]);
    assert_eq!(steps[1]["fault"]["code"], "provider_unavailable");
    good.close().await;

    let bad = host(backends(&["dead", "model"])).await;
    let turns = say(&bad, &["refused"]).await;
    let end = turns[0].last().expect("one");
    assert_eq!(end["data"]["end"], "failed", "{end:#?}");
    let fault = &end["data"]["fault"];
    assert_eq!(fault["code"], "provider_auth", "{fault:#?}");
    assert_eq!(fault["detail"]["cause"], "fallback", "{fault:#?}");
    bad.close().await;
}

/// The key is taken from a variable that every test has.
#[tokio::test]
async fn a_key_that_the_server_of_the_model_repeats_goes_nowhere_a67() {
    const VARIABLE: &str = "CARGO_MANIFEST_DIR";
    let key = std::env::var(VARIABLE).expect("cargo runs the tests");
    let url = model().await;
    let mut backend = asks(&url);
    backend.api_key_env = Some(VARIABLE.to_owned());
    let host = host(vec![("model", backend)]).await;
    let turns = say(&host, &["refused"]).await;
    let end = turns[0].last().expect("one");
    let fault = &end["data"]["fault"];
    assert_eq!(
        fault["detail"]["reported"], "no: Bearer [redacted]",
        "{fault:#?}"
    );
    let mut told = serde_json::to_string(&turns).expect("JSON");
    for path in ["/v1/sessions", "/v1/backends", "/v1/node", "/metrics"] {
        told += &host.get(path, &host.admin()).await.body;
    }
    assert!(!told.contains(&key), "{told}");
    host.close().await;
}

#[tokio::test]
async fn the_models_that_a_session_may_choose_are_offered() {
    let url = model().await;
    let mut backend = asks(&url);
    backend.models = vec!["n".to_owned(), "m".to_owned()];
    let agent = Backend {
        command: vec!["agent".to_owned()],
        models: vec!["large".to_owned()],
        modes: vec!["plan".to_owned()],
        ..Backend::of(BackendKind::Acp)
    };
    let host = host(vec![
        ("model", backend),
        ("one", asks(&url)),
        ("agent", agent),
    ])
    .await;
    let offered = host.get("/v1/backends", &host.token()).await.json();
    let of = |name: &str| {
        let mut found = offered["backends"].as_array().unwrap().iter();
        found
            .find(|it| it["name"] == name)
            .expect("offered")
            .clone()
    };
    assert_eq!(
        of("model"),
        json!({"name": "model", "kind": "openai", "models": ["m", "n"]})
    );
    assert_eq!(of("one"), json!({"name": "one", "kind": "openai"}));
    assert_eq!(
        of("agent"),
        json!({"name": "agent", "kind": "acp", "models": ["large"], "modes": ["plan"]})
    );
    host.close().await;
}
