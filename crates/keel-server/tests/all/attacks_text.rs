//! Hostile texts: kept and found as they are, never read as anything else, and capped.

use std::time::{Duration, Instant};

use keel_server::config::StoreKind;
use serde_json::{Value, json};

use crate::support::{Answer, Host, hello, is_turn_end};

const NASTY: [&str; 9] = [
    "'; DROP TABLE session; --",
    "\" OR 1=1 --",
    "a' UNION SELECT * FROM session --",
    "%",
    "_*?[a-z]%",
    "nul\0in the midst",
    "\u{1f6df}\u{1f3f3}\u{fe0f}\u{200d}\u{1f308} \u{202e}rtl \u{feff}",
    "x ORDER BY 1 DESC LIMIT 1000000",
    "\\'\r\n\t\u{7f}",
];

/// A text as part of an address.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// Opens a session of this project, says the text, and hears what came of it.
async fn said(host: &Host, project: &str) -> (String, Vec<Value>) {
    let mut wire = host.dial().await;
    let mut frame = hello(&host.token());
    frame["project"] = json!(project);
    wire.send(frame).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await.pop();
    wire.say(1, project).await;
    let seen = wire.until(is_turn_end).await;
    let session = welcome.expect("one")["session"]
        .as_str()
        .expect("an id")
        .to_owned();
    (session, seen)
}

fn ids(answer: &Answer) -> Vec<String> {
    let rows = answer.json()["sessions"].take();
    let rows = rows.as_array().expect("rows").clone();
    let id = |row: &Value| row["session"].as_str().expect("an id").to_owned();
    rows.iter().map(id).collect()
}

#[tokio::test]
async fn texts_are_kept_and_listed_as_they_are_in_both_stores_a68() {
    for kind in [StoreKind::Sqlite, StoreKind::Memory] {
        let host = Host::start(kind, |_| ()).await;
        let token = host.token();
        let mut sessions = Vec::new();
        for text in NASTY {
            let (session, seen) = said(&host, text).await;
            let accepted = |frame: &&Value| frame["kind"] == "turn.accepted";
            let heard = seen.iter().find(accepted).expect("accepted");
            assert_eq!(heard["data"]["text"], text);
            sessions.push(session);
        }
        for (text, session) in NASTY.iter().zip(&sessions) {
            // That project, and no other: `%` is no wildcard.
            let path = format!("/v1/sessions?project={}", escaped(text));
            assert_eq!(
                ids(&host.get(&path, &token).await),
                std::slice::from_ref(session),
                "{text:?}"
            );
            let read = host.get(&format!("/v1/sessions/{session}"), &token).await;
            assert_eq!(read.json()["project"], *text, "{read:?}");
            let events = host
                .get(&format!("/v1/sessions/{session}/events"), &token)
                .await;
            let events = events.json();
            let all = events["events"].as_array().expect("events");
            let kept = all.iter().find(|event| event["kind"] == "turn.accepted");
            assert_eq!(kept.expect("kept")["data"]["text"], *text);
        }
        let all = ids(&host.get("/v1/sessions", &token).await);
        assert_eq!(all.len(), NASTY.len(), "all are there");
        host.close().await;
    }
}

#[tokio::test]
async fn addresses_are_no_queries_a68() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let token = host.token();
    let (session, _) = said(&host, "p").await;
    for text in NASTY {
        for path in [
            format!("/v1/sessions/{}", escaped(text)),
            format!("/v1/sessions/{}/events", escaped(text)),
            format!("/v1/sessions/{}{}", session, escaped(text)),
        ] {
            let answer = host.get(&path, &token).await;
            assert_eq!(answer.status, 404, "{path}: {answer:?}");
        }
        for query in ["before", "limit", "order", "sort", "after"] {
            let path = format!("/v1/sessions?{query}={}", escaped(text));
            let answer = host.get(&path, &token).await;
            assert_eq!(answer.status, 400, "{path}: {answer:?}");
        }
        let path = format!("/v1/sessions?projects={}", escaped(text));
        assert_eq!(
            ids(&host.get(&path, &token).await),
            Vec::<String>::new(),
            "{path}"
        );
    }
    assert_eq!(ids(&host.get("/v1/sessions", &token).await), [session]);
    host.close().await;
}

#[tokio::test]
async fn texts_are_capped_before_they_are_read_a68() {
    let host = Host::memory().await;
    let token = host.token();
    let begun = Instant::now();
    // One gibibyte is claimed; that it does not come is not waited for.
    let claim = format!(
        "POST /v1/sessions/s-1/commands HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\nidempotency-key: k\r\nconnection: close\r\n\
         content-length: 1073741824\r\n\r\n{{",
        host.address()
    );
    let answer = Answer::parse(&host.raw(claim.as_bytes()).await);
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    let long = "p".repeat(257);
    let mut wire = host.dial().await;
    let mut frame = hello(&token);
    frame["project"] = json!(long);
    wire.send(frame).await;
    let (_, seen) = wire.closed().await;
    assert_eq!(seen[0]["fault"]["code"], "invalid_request", "{seen:#?}");
    // A prompt over its cap is refused, and the session goes on.
    let mut wire = host.dial().await;
    wire.send(hello(&token)).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, &"x".repeat(60 * 1024 + 1)).await;
    let receipt = wire.until(|frame| frame["type"] == "receipt").await.pop();
    let receipt = receipt.expect("one");
    assert_eq!(receipt["fault"]["code"], "invalid_request", "{receipt:#}");
    wire.say(2, "short").await;
    wire.until(is_turn_end).await;
    host.close().await;
}
