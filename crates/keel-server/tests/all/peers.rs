//! Servers that know each other, and those who only say so.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, Mac};
use keel_server::{
    Config,
    config::{Peer, StoreKind},
};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::Host;

/// Another server at `url`; its secret is in `dir`.
pub(crate) fn peer(dir: &Path, url: &str) -> Peer {
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
                let headers = [
                    ("evenkeel-seal".to_owned(), seal.clone()),
                    ("evenkeel-digest".to_owned(), digest(&body.to_string())),
                ];
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

fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digits = bytes.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

fn digest(body: &str) -> String {
    hex(Sha256::digest(body))
}

/// The head of a request of a peer's with that secret, to `to`, sealed for `whom`, about that body.
fn head(whom: &str, to: &str, path: &str, body: &str, more: &str) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH);
    let at = at.expect("after 1970").as_millis();
    let (digest, length) = (digest(body), body.len());
    let mut mac = Hmac::<Sha256>::new_from_slice(&[0xab; 32]).expect("a key");
    mac.update(format!("evenkeel peer\nPOST\n{whom}\n{path}\n{at}\n{digest}").as_bytes());
    let tag = hex(mac.finalize().into_bytes());
    format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\
         content-length: {length}\r\nevenkeel-seal: {at}.{tag}\r\nevenkeel-digest: {digest}\r\n\
         {more}\r\n"
    )
}

const GREETING: &str = r#"{"keys":[],"revoked":[]}"#;

#[tokio::test]
async fn a_seal_that_is_not_good_is_refused_with_nothing_of_the_body_read_m17_a72() {
    let host = with_a_peer().await;
    let name = host.address().to_string();
    let ask = async |request: String| {
        let bytes = host.raw(request.as_bytes()).await;
        String::from_utf8(bytes).expect("text")
    };
    // Whoever begins to read a body that was announced so says so.
    let expect = "expect: 100-continue\r\n";
    let good = head(&name, &name, "/v1/peer/hello", GREETING, expect);
    let told = ask(good.clone() + GREETING).await;
    assert!(told.starts_with("HTTP/1.1 100 "), "{told}");
    assert!(told.contains("HTTP/1.1 200 "), "{told}");
    let first = |name: &str| {
        let at = good.find(name).expect("a header") + name.len();
        let digit = &good[at + 20..at + 21];
        let other = if digit == "0" { "1" } else { "0" };
        format!("{}{other}{}", &good[..at + 20], &good[at + 21..])
    };
    let bad = [
        first("evenkeel-seal: "),
        first("evenkeel-digest: "),
        good.replace("/v1/peer/hello", "/v1/peer/sessions/s-1"),
        good.replace("evenkeel-digest", "evenkeel-other"),
        good.replace("evenkeel-seal", "evenkeel-other"),
    ];
    for request in bad {
        // The body never comes: it is not waited for.
        let told = ask(request.clone()).await;
        assert!(told.starts_with("HTTP/1.1 404 "), "{request}{told}");
    }
    host.close().await;
}

#[tokio::test]
async fn a_body_that_is_not_the_one_that_was_sealed_does_nothing_m17_a72() {
    let host = with_a_peer().await;
    let name = host.address().to_string();
    let token = host.token_with(|claims| claims.jti = Some("mine".to_owned()));
    let good = head(&name, &name, "/v1/peer/hello", GREETING, "");
    let length = format!("content-length: {}", GREETING.len());
    // Of the same length, and longer.
    let revoking = r#"{"keys":[],"revoked":[["mine",99999999999999]]}"#;
    for body in [&GREETING.replace("keys", "kexs"), revoking] {
        let request = good.replace(&length, &format!("content-length: {}", body.len()));
        let told = host.raw((request + body).as_bytes()).await;
        let told = String::from_utf8(told).expect("text");
        assert!(told.starts_with("HTTP/1.1 404 "), "{told}");
    }
    assert_eq!(host.get("/v1/sessions", &token).await.status, 200);
    let good = head(&name, &name, "/v1/peer/hello", revoking, "");
    let told = host.raw((good + revoking).as_bytes()).await;
    assert!(told.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(host.get("/v1/sessions", &token).await.status, 401);
    host.close().await;
}

#[tokio::test]
async fn a_request_that_was_sealed_for_another_server_is_refused_m17_a72() {
    // Both know the same secret, as servers do that are peers of a third.
    let (green, red) = (with_a_peer().await, with_a_peer().await);
    let names = [green.address().to_string(), red.address().to_string()];
    let [green_name, red_name] = &names;
    for path in PATHS {
        let sent = head(green_name, green_name, path, GREETING, "") + GREETING;
        let status = async |host: &Host, request: &str| {
            let answer = crate::support::Answer::parse(&host.raw(request.as_bytes()).await);
            answer.status
        };
        // What it is good for, so that the rest is refused for no other reason.
        let known = if path == PATHS[0] { 200 } else { 400 };
        assert_eq!(status(&green, &sent).await, known, "{path}");
        // Replayed as it is, and with the other's name.
        assert_eq!(status(&red, &sent).await, 421, "{path}");
        let renamed = sent.replace(green_name, red_name);
        assert_eq!(status(&red, &renamed).await, 404, "{path}");
    }
    green.close().await;
    red.close().await;
}
