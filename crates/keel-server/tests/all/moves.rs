//! Sessions that move between two servers of this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use keel_server::{
    Config,
    config::{Peer, StoreKind},
};
use keel_store::{BoxFuture, Head, Store, StoreError, StoreErrorKind};
use keel_wire::handover::Offer;
use serde_json::{Value, json};

use crate::{
    aside::{self, Moment},
    peers::peer,
    support::{Host, PATIENCE, hello},
};

/// Two servers let the same clients in: their keys are in one directory.
fn with_peer(config: &mut Config, keys: &std::path::Path, name: &str, peer: Peer) {
    config.auth.key_dir = Some(keys.to_owned());
    config.peers.insert(name.to_owned(), peer);
}

/// What is only taken over from is never dialled.
fn nowhere(dir: &std::path::Path) -> Peer {
    peer(dir, "http://127.0.0.1:1")
}

fn url(host: &Host) -> String {
    format!("http://{}", host.address())
}

async fn blue_beside(green: &Host, keys: &std::path::Path) -> Host {
    let there = peer(keys, &url(green));
    let add = |config: &mut Config| with_peer(config, keys, "green", there);
    Host::start(StoreKind::Memory, add).await
}

async fn drain(blue: &Host, within_ms: u64) {
    let body = json!({ "target": "green", "within_ms": within_ms });
    let begun = blue
        .request("POST", "/v1/node/drain", Some(&blue.admin()), Some(&body))
        .await;
    assert_eq!(begun.status, 202, "{begun:?}");
}

/// Waits until the server's handing over says so.
async fn until_handover(blue: &Host, wanted: impl Fn(&Value) -> bool) {
    let admin = blue.admin();
    let told = async {
        loop {
            let node = blue.get("/v1/node", &admin).await.json();
            if wanted(&node["census"]["handover"]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("in time");
}

#[tokio::test]
async fn what_is_asked_of_a_session_that_has_moved_is_answered_with_where_it_is_m17_a07() {
    let keys = tempfile::TempDir::new().expect("a directory");
    let add = |config: &mut Config| with_peer(config, keys.path(), "blue", nowhere(keys.path()));
    let green = Host::start(StoreKind::Memory, add).await;
    let blue = blue_beside(&green, keys.path()).await;
    let token = blue.token();
    let key = [("idempotency-key".to_owned(), "once".to_owned())];
    let open = json!({ "title": "moves" });
    let opened = blue
        .request_with("POST", "/v1/sessions", Some(&token), &key, Some(&open))
        .await;
    assert_eq!(opened.status, 201, "{opened:?}");
    let session = opened.json()["session"].as_str().expect("an id").to_owned();
    drain(&blue, 1_000).await;
    until_handover(&blue, |told| told["moved"] == 1).await;

    let path = format!("/v1/sessions/{session}");
    let (commands, end) = (format!("{path}/commands"), format!("{path}/end"));
    let say = json!({ "name": "say", "data": { "text": "hi" } });
    let title = json!({ "title": "other" });
    let bound = blue.token_with(|claims| claims.session = Some(session.parse().expect("an id")));
    let asked = [
        ("POST", "/v1/sessions", &token, &open),
        ("POST", "/v1/sessions", &bound, &open),
        ("POST", &commands, &token, &say),
        ("POST", &end, &token, &json!({})),
        ("PATCH", &path, &token, &title),
    ];
    let target = format!("ws://{}", green.address());
    for (method, path, token, body) in asked {
        let answer = blue
            .request_with(method, path, Some(token), &key, Some(body))
            .await;
        assert_eq!(answer.status, 421, "{method} {path}: {answer:?}");
        let fault = answer.json();
        assert_eq!(fault["code"], "session_moved", "{fault}");
        assert_eq!(fault["detail"]["target"], json!(target));
    }
    // Whose it is not learns nothing of it.
    let eve = blue.token_with(|claims| claims.sub = "eve".to_owned());
    for (path, body) in [(&commands, &say), (&end, &json!({}))] {
        let answer = blue
            .request_with("POST", path, Some(&eve), &key, Some(body))
            .await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    // And there it is.
    let there = green
        .request_with("POST", &commands, Some(&token), &key, Some(&say))
        .await;
    assert_eq!(there.status, 200, "{there:?}");
    blue.close().await;
    green.close().await;
}

/// The store keeps what it was to accept, and the first answer is lost.
struct AnswerLost(Arc<AtomicU32>);

impl Moment for AnswerLost {
    fn accept(
        &self,
        store: &Arc<dyn Store>,
        offer: Offer,
    ) -> BoxFuture<Result<Option<Head>, StoreError>> {
        let accepted = store.accept(offer);
        let calls = Arc::clone(&self.0);
        Box::pin(async move {
            let accepted = accepted.await;
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err(StoreError::new(StoreErrorKind::Io, "lost")),
                _ => accepted,
            }
        })
    }
}

#[tokio::test]
async fn a_server_that_learns_late_that_it_has_a_session_runs_it_though_nobody_comes_m17() {
    let keys = tempfile::TempDir::new().expect("a directory");
    let calls = Arc::new(AtomicU32::new(0));
    let add = |config: &mut Config| with_peer(config, keys.path(), "blue", nowhere(keys.path()));
    let (server, _, dir) = aside::server(add, AnswerLost(Arc::clone(&calls))).await;
    let green = aside::started(server, dir);
    let blue = blue_beside(&green, keys.path()).await;
    let token = blue.token();
    let mut wire = blue.dial().await;
    let mut hello = hello(&token);
    hello["busy"] = json!({ "policy": "queue", "max": 4 });
    wire.send(hello).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await;
    let session = welcome.last().expect("one")["session"].clone();
    let session = session.as_str().expect("an id").to_owned();
    wire.say(1, "!pace_ms=10 count=1000").await;
    wire.until(|frame| frame["kind"] == "text").await;
    wire.say(2, "waits").await;
    wire.until(|frame| frame["type"] == "receipt" && frame["n"] == 2)
        .await;
    drop(wire);
    drain(&blue, 0).await;
    until_handover(&blue, |told| told["moved"] == 1).await;
    assert_eq!(
        calls.load(Ordering::SeqCst),
        1,
        "it was asked, not given again"
    );
    // Read by nobody but this: what waited has run there.
    let path = format!("/v1/sessions/{session}/transcript");
    let admin = green.admin();
    let ran = async {
        loop {
            let node = green.get("/v1/node", &admin).await.json();
            if node["census"]["runs"] == 0 && node["census"]["sessions"] != 0 {
                let told = green.get(&path, &token).await.json();
                let turns = told["turns"].as_array().expect("turns").clone();
                if turns.last().is_some_and(|turn| turn["text"] == "waits") {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ran).await.expect("in time");
    blue.close().await;
    green.close().await;
}
