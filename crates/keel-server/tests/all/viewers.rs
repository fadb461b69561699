//! Tokens for those who watch: for one session, for a while, to look and nothing else.

use std::net::SocketAddr;

use keel_server::config::{Backend, BackendKind, StoreKind};
use serde_json::{Value, json};

use crate::support::{Host, Wire, hello};

async fn host() -> Host {
    Host::start(StoreKind::Memory, |config| {
        config.media.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config
            .backends
            .insert("room".to_owned(), Backend::of(BackendKind::Room));
        config.session.default_backend = Some("room".to_owned());
    })
    .await
}

/// A token made by the API, as the server of a page makes it.
async fn minted(host: &Host, session: &str, ttl_s: u64) -> Value {
    let body = json!({ "subject": "bob", "role": "viewer", "session": session, "ttl_s": ttl_s });
    let minted = host
        .request("POST", "/v1/tokens", Some(&host.admin()), Some(&body))
        .await;
    assert_eq!(minted.status, 201, "{minted:?}");
    minted.json()
}

async fn joined(host: &Host, token: &str, session: Option<&str>, role: &str) -> (Wire, Value) {
    let mut wire = host.dial().await;
    let mut first = hello(token);
    first["role"] = json!(role);
    first["instance"] = json!(format!("i-{role}"));
    first["stream"]["id"] = json!(format!("c-{role}"));
    if let Some(session) = session {
        first["session"] = json!(session);
    }
    wire.send(first).await;
    let frames = wire
        .until(|frame| frame["type"] == "welcome" || frame["type"] == "closed")
        .await;
    let last = frames.last().expect("one").clone();
    (wire, last)
}

async fn command(wire: &mut Wire, n: u64, name: &str, data: Value) -> Value {
    wire.send(json!({ "type": "command", "n": n, "name": name, "data": data }))
        .await;
    let frames = wire
        .until(|frame| frame["type"] == "receipt" && frame["n"] == n)
        .await;
    frames.last().expect("one").clone()
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing_m4() {
    let host = host().await;
    let (mut owner, welcome) = joined(&host, &host.token(), None, "owner").await;
    let session = welcome["session"].as_str().expect("an id").to_owned();
    let camera = json!({ "track": "camera", "kind": "video" });
    let receipt = command(&mut owner, 1, "track.publish", camera.clone()).await;
    assert!(receipt["ok"].is_object(), "{receipt}");

    let token = minted(&host, &session, 600).await["token"].clone();
    let token = token.as_str().expect("a token");
    let (_, refused) = joined(&host, token, Some(&session), "publisher").await;
    assert_eq!(refused["code"], 4403, "its role is the highest: {refused}");
    let (_, refused) = joined(&host, token, Some("s-other"), "viewer").await;
    assert_eq!(refused["code"], 4404, "its session is the only: {refused}");
    let (mut viewer, welcome) = joined(&host, token, Some(&session), "viewer").await;
    assert_eq!(welcome["role"], "viewer");
    let mute = json!({ "track": "camera", "muted": true });
    let unpublish = json!({ "track": "camera" });
    let tried = [
        ("track.publish", camera),
        ("track.mute", mute),
        ("track.unpublish", unpublish),
        ("session.end", json!({})),
    ];
    for (n, (name, data)) in (1..).zip(tried) {
        let receipt = command(&mut viewer, n, name, data).await;
        assert_eq!(
            receipt["fault"]["code"], "permission_denied",
            "{name}: {receipt}"
        );
    }
    let line = json!({ "mid": "0", "track": "camera" });
    let offer = json!({ "type": "offer", "peer": 1, "sdp": "v=0\r\n", "lines": [line] });
    viewer.send(offer).await;
    let frames = viewer.until(|frame| frame["type"] == "fault").await;
    let fault = &frames.last().expect("one")["fault"];
    assert_eq!(fault["code"], "media_refused", "{fault}");
    // It is told what everybody is told.
    let receipt = command(
        &mut owner,
        2,
        "track.mute",
        json!({ "track": "camera", "muted": true }),
    )
    .await;
    assert!(receipt["ok"].is_object(), "{receipt}");
    viewer.until(|frame| frame["kind"] == "track.muted").await;
    host.close().await;
}

#[tokio::test]
async fn a_viewers_token_ends_in_band_when_it_expires_or_is_revoked_a09_p11_p12() {
    let host = host().await;
    let (_owner, welcome) = joined(&host, &host.token(), None, "owner").await;
    let session = welcome["session"].as_str().expect("an id").to_owned();
    let short = minted(&host, &session, 2).await;
    let token = short["token"].as_str().expect("a token");
    let (mut viewer, _) = joined(&host, token, Some(&session), "viewer").await;
    let (code, frames) = viewer.closed().await;
    let fault = frames.iter().find(|frame| frame["type"] == "fault");
    let fault = &fault.expect("told before it is closed")["fault"];
    assert_eq!((code, &fault["code"]), (4402, &json!("token_expired")));

    let long = minted(&host, &session, 600).await;
    let token = long["token"].as_str().expect("a token");
    let (mut viewer, _) = joined(&host, token, Some(&session), "viewer").await;
    let body = json!({ "token_id": long["token_id"] });
    let admin = host.admin();
    let revoked = host
        .request("POST", "/v1/tokens/revoke", Some(&admin), Some(&body))
        .await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let began = tokio::time::Instant::now();
    let (code, _) = viewer.closed().await;
    assert_eq!(code, 4401);
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
    let (_, refused) = joined(&host, token, Some(&session), "viewer").await;
    assert_eq!(refused["code"], 4401, "{refused}");
    host.close().await;
}
