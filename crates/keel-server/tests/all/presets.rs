//! Every preset of an agent or a model's server, at each way into a session: a crash is one fault, the
//! session goes on, and somebody who speaks into a turn is told that it runs.
//!
//! Behind the presets of agents is a script under the preset's own name; behind those of model's servers
//! is a server of a few lines. What they do is in the last thing that they are told.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
    routing::post,
};
use futures_util::{StreamExt as _, stream};
use keel_agent::acp::PRESETS;
use keel_server::{
    Server,
    config::{Backend, BackendKind, StoreKind},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::timeout};

use crate::support::{Host, PATIENCE, Wire, config, hello, is_turn_end, text_of};

/// How soon somebody is told that a turn runs.
const BUSY_WITHIN: Duration = Duration::from_millis(250);
/// What a turn says that comes to its end, and what one says before it does not.
const ALL: &str = "one two ";
const SOME: &str = "one ";

/// An agent that speaks ACP as a shell can: `crash` and `slow` in a prompt do so.
const AGENT: &str = r#"#!/bin/sh
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([0-9][0-9]*\).*/\1/p')
  say() {
    printf '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"a-1","update":'
    printf '{"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"%s"}}}}\n' "$1"
  }
  reply() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
  case "$line" in
    *'"initialize"'*) reply '{"protocolVersion":1,"agentCapabilities":{"loadSession":true}}' ;;
    *'"session/new"'*) reply '{"sessionId":"a-1"}' ;;
    *'"session/load"'*) reply 'null' ;;
    *'"session/prompt"'*)
      say 'one '
      case "$line" in
        *crash*) kill -SEGV $$ ;;
        *slow*) turn=$id ;;
        *) say 'two '; reply '{"stopReason":"end_turn"}' ;;
      esac ;;
    *'"session/cancel"'*) id=$turn; reply '{"stopReason":"cancelled"}' ;;
  esac
done
"#;

/// Where a server can be opened, closed and opened again.
struct Place {
    dir: TempDir,
    backend: Backend,
    crashed: &'static str,
}

impl Place {
    async fn of(preset: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let agent = PRESETS.iter().find(|known| known.name == preset);
        let (backend, crashed) = match agent {
            Some(agent) => (
                agent_named(agent.command[0], preset, &dir),
                "provider_crashed",
            ),
            None => (model_of(preset).await, "provider_unavailable"),
        };
        Self {
            dir,
            backend,
            crashed,
        }
    }

    async fn open(&self) -> Host {
        let (mut config, unused) = config(StoreKind::Sqlite);
        config.store.path = self.dir.path().join("data");
        config
            .backends
            .insert("tried".to_owned(), self.backend.clone());
        config.session.default_backend = Some("tried".to_owned());
        let server = Server::bind(config).await.expect("a server");
        Host {
            running: server.start().expect("a start"),
            dir: unused,
        }
    }

    /// Closes a server; no program of its is left.
    async fn close(&self, host: Host) {
        host.close().await;
        assert_eq!(left_in(self.dir.path()), Vec::<String>::new());
    }
}

/// The preset with a script under its program's name in its `PATH`.
fn agent_named(program: &str, preset: &str, dir: &TempDir) -> Backend {
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).expect("a directory");
    let script = bin.join(program);
    fs::write(&script, AGENT).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its own");
    let mut backend = Backend {
        preset: Some(preset.to_owned()),
        ..Backend::of(BackendKind::Acp)
    };
    let path = format!("{}:/usr/bin:/bin", bin.display());
    backend.env.insert("PATH".to_owned(), path);
    backend
}

/// Command lines of what runs from this directory.
fn left_in(dir: &Path) -> Vec<String> {
    let needle = dir.display().to_string();
    let line = |path: PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    let lines = fs::read_dir("/proc")
        .expect("Linux")
        .flatten()
        .map(|entry| line(entry.path()));
    lines.filter(|line| line.contains(&needle)).collect()
}

async fn model_of(preset: &str) -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let router = Router::new().route("/v1/chat/completions", post(answer));
    // It ends with the test's runtime.
    tokio::spawn(async move { axum::serve(listener, router).await });
    Backend {
        preset: Some(preset.to_owned()),
        base_url: Some(url),
        model: Some("m".to_owned()),
        tries: Some(1),
        ..Backend::of(BackendKind::OpenAi)
    }
}

async fn answer(Json(body): Json<Value>) -> Response {
    let said = |text: &str, reason: Value| {
        let chunk = json!({"choices": [{"delta": {"content": text}, "finish_reason": reason}]});
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let some = said(SOME, Value::Null);
    let last = body["messages"].as_array().and_then(|all| all.last());
    let prompt = last.and_then(|last| last["content"].as_str());
    let body = match prompt.unwrap_or_default() {
        "crash" => {
            // What is cut at once is not sent either.
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(stream::iter([Ok(some)]).chain(cut))
        }
        "slow" => {
            let first = stream::iter([Ok::<_, Infallible>(some)]);
            Body::from_stream(first.chain(stream::pending()))
        }
        _ => {
            let end = said("two ", json!("stop"));
            let done = Bytes::from("data: [DONE]\n\n");
            Body::from_stream(stream::iter([some, end, done].map(Ok::<_, Infallible>)))
        }
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// In, in a session of its own or in this one.
async fn enter(host: &Host, session: Option<&str>, stream: &str) -> (Wire, String) {
    let mut wire = host.dial().await;
    let mut said = hello(&host.token());
    said["stream"]["id"] = json!(stream);
    said["instance"] = json!(format!("i-{stream}"));
    if let Some(session) = session {
        said["session"] = json!(session);
    }
    wire.send(said).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await.pop();
    let welcome = welcome.expect("one");
    let session = welcome["session"].as_str().expect("an id").to_owned();
    wire.until(|frame| frame["type"] == "replayed").await;
    (wire, session)
}

/// Says something, and hears its turn to the end.
async fn turn(wire: &mut Wire, n: u64, text: &str) -> (Vec<Value>, Value) {
    wire.say(n, text).await;
    let heard = timeout(PATIENCE, wire.until(is_turn_end)).await;
    let heard = heard.unwrap_or_else(|_| panic!("{text} has no end"));
    let end = heard.last().expect("its end")["data"].clone();
    (heard, end)
}

async fn assert_fine(wire: &mut Wire, n: u64) {
    let (heard, end) = turn(wire, n, "fine").await;
    assert_eq!(end["end"], "done", "{end}");
    assert_eq!(text_of(&heard), ALL);
}

/// Dies in the middle of a turn: one fault with its cause, what was said is kept, the session goes on.
async fn crashes(preset: &str, resumed: bool) {
    let place = Place::of(preset).await;
    let mut host = place.open().await;
    let (mut wire, session) = enter(&host, None, "c-first").await;
    let mut n = 1;
    if resumed {
        assert_fine(&mut wire, 1).await;
        drop(wire);
        place.close(host).await;
        host = place.open().await;
        (wire, _) = enter(&host, Some(&session), "c-again").await;
    }
    let (heard, end) = turn(&mut wire, n, "crash").await;
    assert_eq!(end["end"], "failed", "{end}");
    assert_eq!(end["fault"]["code"], place.crashed, "{end}");
    assert_eq!(text_of(&heard), SOME);
    n += 1;
    assert_fine(&mut wire, n).await;

    let log = host
        .get(
            &format!("/v1/sessions/{session}/events?after=0&limit=2048"),
            &host.admin(),
        )
        .await
        .json();
    let of = |kind: &str| {
        let events = log["events"].as_array().expect("events").iter();
        let turns = events.filter(|event| event["kind"] == kind);
        let turns = turns.map(|event| event["data"]["turn"].as_str().expect("a turn").to_owned());
        turns.collect::<Vec<_>>()
    };
    let mut ended = of("turn.ended");
    ended.sort();
    let mut accepted = of("turn.accepted");
    accepted.sort();
    assert_eq!(ended, accepted, "each has one end");
    drop(wire);
    place.close(host).await;
}

/// Whoever speaks into a turn is told at once that it runs, since when and by whom; it goes on.
async fn is_busy(preset: &str) {
    let place = Place::of(preset).await;
    let host = place.open().await;
    let (mut wire, session) = enter(&host, None, "c-first").await;
    wire.say(1, "slow").await;
    let started = wire.until(|frame| frame["kind"] == "text").await;
    let running = started
        .iter()
        .find(|frame| frame["kind"] == "turn.accepted");
    let running = running.expect("accepted")["data"]["turn"].clone();

    let (mut other, _) = enter(&host, Some(&session), "c-other").await;
    let asked_at = Instant::now();
    other.say(1, "fine").await;
    let refused = other.until(|frame| frame["type"] == "receipt").await.pop();
    assert!(asked_at.elapsed() < BUSY_WITHIN, "{:?}", asked_at.elapsed());
    let fault = refused.expect("a receipt")["fault"].clone();
    assert_eq!(fault["code"], "session_busy", "{fault}");
    assert_eq!(fault["turn"], running, "{fault}");
    assert!(fault["detail"]["since_ms"].is_u64(), "{fault}");

    let cancel = json!({ "turn": running });
    wire.send(json!({ "type": "command", "n": 2, "name": "turn.cancel", "data": cancel }))
        .await;
    let ended = wire.until(is_turn_end).await.pop().expect("its end");
    assert_eq!(ended["data"]["turn"], running);
    assert_eq!(ended["data"]["end"], "cancelled", "{ended}");
    assert_fine(&mut wire, 3).await;
    drop((wire, other));
    place.close(host).await;
}

/// The tests of one preset, by name.
macro_rules! preset {
    ($($name:ident)*) => {$(
        mod $name {
            const PRESET: &str = stringify!($name);

            #[tokio::test]
            async fn a_crash_in_a_new_session_is_one_fault_and_it_goes_on_m21_e10() {
                super::crashes(PRESET, false).await;
            }

            #[tokio::test]
            async fn a_crash_in_a_resumed_session_is_one_fault_and_it_goes_on_m21_e10() {
                super::crashes(PRESET, true).await;
            }

            #[tokio::test]
            async fn whoever_speaks_into_a_turn_is_told_session_busy_m24() {
                super::is_busy(PRESET).await;
            }
        }
    )*};
}

preset! { claude codex gemini cursor opencode goose openrouter local }

/// A preset that is added is tested, too.
#[test]
fn every_preset_of_an_agent_is_tried_m21() {
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    let tried = ["claude", "codex", "gemini", "cursor", "opencode", "goose"];
    assert_eq!(names, tried);
}
