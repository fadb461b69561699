//! Servers that know each other, and those who only say so.

use std::{fs, path::Path};

use keel_server::{
    Config,
    config::{Peer, StoreKind},
};
use serde_json::json;

use crate::support::Host;

fn peer(dir: &Path, url: &str) -> Peer {
    fs::create_dir_all(dir).expect("a directory");
    let key = dir.join("peer.key");
    fs::write(&key, "ab".repeat(32)).expect("written");
    Peer {
        url: url.to_owned(),
        key,
        address: None,
        ca: None,
    }
}

async fn with_a_peer() -> Host {
    let add = |config: &mut Config| {
        let peer = peer(&config.store.path.clone(), "http://127.0.0.1:1");
        config.peers.insert("green".to_owned(), peer);
    };
    Host::start(StoreKind::Memory, add).await
}

const PATHS: [&str; 2] = ["/v1/peer/hello", "/v1/peer/sessions/s-1"];

#[tokio::test]
async fn without_peers_there_is_nothing_for_them_m17() {
    let host = Host::memory().await;
    for path in PATHS {
        let answer = host.request("POST", path, None, Some(&json!({}))).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    host.close().await;
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_told_nothing_m17() {
    let host = with_a_peer().await;
    let seals = [
        String::new(),
        "1.00".to_owned(),
        format!("{}.{}", u64::MAX, "00".repeat(32)),
        format!("{}.{}", 0, "zz".repeat(32)),
    ];
    for path in PATHS {
        for token in [None, Some(host.admin())] {
            let body = json!({ "keys": [], "revoked": [["t", 1]] });
            let plain = host.request("POST", path, token.as_deref(), Some(&body));
            assert_eq!(plain.await.status, 404, "an administrator is no peer");
            for seal in &seals {
                let headers = [("evenkeel-seal".to_owned(), seal.clone())];
                let sealed =
                    host.request_with("POST", path, token.as_deref(), &headers, Some(&body));
                assert_eq!(sealed.await.status, 404, "{path} {seal}");
            }
        }
    }
    host.close().await;
}

#[tokio::test]
async fn only_administrators_send_sessions_away_and_only_to_peers_m17() {
    let host = with_a_peer().await;
    let path = "/v1/node/drain";
    let ask = async |token: &str, body: serde_json::Value| {
        let answer = host.request("POST", path, Some(token), Some(&body)).await;
        answer.status
    };
    let (owner, admin) = (host.token(), host.admin());
    assert_eq!(ask(&owner, json!({ "target": "green" })).await, 403);
    assert_eq!(ask(&admin, json!({ "target": "http://evil" })).await, 400);
    assert_eq!(ask(&admin, json!({})).await, 400, "no target is configured");
    let long = json!({ "target": "green", "within_ms": 4_000_000 });
    assert_eq!(ask(&admin, long).await, 400);
    // It does not answer: nothing has changed here.
    assert_eq!(ask(&admin, json!({ "target": "green" })).await, 502);
    let node = host.get("/v1/node", &admin).await.json();
    assert!(node["census"]["handover"].is_null(), "{node}");
    let ready = host.get("/readyz", &owner).await;
    assert_eq!(ready.status, 200);
    host.close().await;
}

#[tokio::test]
async fn a_server_that_does_not_know_the_tokens_of_clients_is_sent_none_m17() {
    let green = with_a_peer().await;
    let url = format!("http://{}", green.address());
    let add = |config: &mut Config| {
        let peer = peer(&config.store.path.clone(), &url);
        config.peers.insert("green".to_owned(), peer);
    };
    let blue = Host::start(StoreKind::Memory, add).await;
    let body = json!({ "target": "green" });
    let refused = blue
        .request("POST", "/v1/node/drain", Some(&blue.admin()), Some(&body))
        .await;
    assert_eq!(refused.status, 409);
    let why = refused.json()["message"].to_string();
    assert!(why.contains("local"), "{why}");
    blue.close().await;
    green.close().await;
}
