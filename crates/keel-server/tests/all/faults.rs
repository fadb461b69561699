//! Breaking things on purpose: not there unless switched on and allowed, and told when it is.

use keel_server::config::StoreKind;
use serde_json::{Value, json};

use crate::support::{Host, hello, is_turn_end};

#[tokio::test]
async fn when_off_the_path_is_like_any_unknown_one_a23() {
    let off = Host::memory().await;
    let on = Host::start(StoreKind::Memory, |config| config.faults.enabled = true).await;
    let body = json!({ "session": "s-1", "fault": { "kind": "drop_connection" } });
    for method in ["GET", "POST", "PUT"] {
        let (admin, nobody) = (off.admin(), on.token());
        let unknown = off
            .request(method, "/v1/nowhere", Some(&admin), Some(&body))
            .await;
        let switched_off = off
            .request(method, "/v1/debug/faults", Some(&admin), Some(&body))
            .await;
        let not_allowed = on
            .request(method, "/v1/debug/faults", Some(&nobody), Some(&body))
            .await;
        let no_token = on
            .request(method, "/v1/debug/faults", None, Some(&body))
            .await;
        for answer in [switched_off, not_allowed, no_token] {
            assert_eq!((answer.status, unknown.status), (404, 404), "{method}");
            assert_eq!(answer.shape(), unknown.shape(), "{method}");
            let names = |head: &str| -> Vec<String> {
                head.lines()
                    .skip(1)
                    .map(|l| l.split(':').next().unwrap_or("").to_owned())
                    .collect()
            };
            assert_eq!(names(&answer.head), names(&unknown.head), "{method}");
        }
    }
    off.close().await;
    on.close().await;
}

async fn connected(host: &Host) -> (crate::support::Wire, Value) {
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");
    (wire, welcome["session"].clone())
}

#[tokio::test]
async fn what_is_broken_on_purpose_breaks_and_is_told_a23() {
    let host = Host::start(StoreKind::Memory, |config| config.faults.enabled = true).await;
    let admin = host.admin();
    let inject = async |session: &Value, fault: Value| {
        let body = json!({ "session": session, "fault": fault });
        host.request("POST", "/v1/debug/faults", Some(&admin), Some(&body))
            .await
    };
    let (mut wire, session) = connected(&host).await;
    let struck = inject(&session, json!({ "kind": "drop_connection" })).await;
    assert_eq!((struck.status, &struck.json()["struck"]), (200, &json!(1)));
    assert_eq!(wire.closed().await.0, 1006);
    let again = inject(&session, json!({ "kind": "drop_connection" })).await;
    assert_eq!(again.status, 409, "there is nothing left to break");

    let (mut wire, session) = connected(&host).await;
    inject(
        &session,
        json!({ "kind": "close_connection", "code": 4010 }),
    )
    .await;
    assert_eq!(wire.closed().await.0, 4010);

    let (mut wire, session) = connected(&host).await;
    wire.say(1, "!count=1000 pace_ms=5").await;
    wire.until(|frame| frame["kind"] == "text").await;
    inject(&session, json!({ "kind": "kill_provider" })).await;
    let end = wire.until(is_turn_end).await.pop().expect("one");
    assert_ne!(end["data"]["end"], "done");
    assert_eq!(end["data"]["fault"]["code"], "provider_crashed", "{end:#?}");

    let (mut wire, session) = connected(&host).await;
    inject(&session, json!({ "kind": "fail_store" })).await;
    wire.say(1, "hi").await;
    wire.until(|frame| frame["fault"]["code"] == "store_failed")
        .await;
    wire.until(is_turn_end).await;
    host.close().await;
}

#[tokio::test]
async fn a_panic_is_injected_where_there_is_a_session_and_its_end_is_told_for_ever_m31() {
    let change = |config: &mut keel_server::Config| {
        config.faults.enabled = true;
        config.session.hibernate_after_s = 1;
    };
    let host = Host::start(StoreKind::Memory, change).await;
    let admin = host.admin();
    let (_wire, session) = connected(&host).await;
    let body = json!({ "session": session, "fault": { "kind": "panic" } });
    let path = format!("/v1/sessions/{}", session.as_str().expect("an id"));
    for _ in 0..2 {
        let answer = host
            .request("POST", "/v1/debug/faults", Some(&admin), Some(&body))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let read = host.get(&path, &admin).await.json();
    assert_eq!(read["status"]["state"], "failed", "{read:#}");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let read = host.get(&path, &admin).await.json();
    assert_eq!(read["status"]["state"], "failed", "{read:#}");
    assert_eq!(read["status"]["fault"]["code"], "internal", "{read:#}");
    let answer = host
        .request("POST", "/v1/debug/faults", Some(&admin), Some(&body))
        .await;
    assert_eq!(answer.status, 409, "it is not in memory any more");
    host.close().await;
}

#[tokio::test]
async fn a_half_open_connection_is_closed_by_nobody_its_peer_could_hear() {
    let host = Host::start(StoreKind::Memory, |config| config.faults.enabled = true).await;
    let (mut wire, session) = connected(&host).await;
    wire.say(1, "!count=1000 pace_ms=50").await;
    wire.until(|frame| frame["kind"] == "text").await;
    let body = json!({ "session": session, "fault": { "kind": "half_open" } });
    let admin = host.admin();
    host.request("POST", "/v1/debug/faults", Some(&admin), Some(&body))
        .await;
    // The server gives it up after 2.5 s of silence.
    let silent = tokio::time::timeout(std::time::Duration::from_secs(5), wire.closed());
    assert!(silent.await.is_err());
    host.close().await;
}

#[tokio::test]
async fn what_is_broken_has_an_id_a_seed_and_an_end_and_is_in_status_until_then() {
    let host = Host::start(StoreKind::Memory, |config| config.faults.enabled = true).await;
    let (admin, (mut wire, session)) = (host.admin(), connected(&host).await);
    let body = json!({
        "session": session, "fault": { "kind": "fail_store" }, "for_ms": 1_000, "seed": 42,
    });
    let path = "/v1/debug/faults";
    let answer = host.request("POST", path, Some(&admin), Some(&body)).await;
    let broken = answer.json();
    assert_eq!(
        (&broken["seed"], &broken["fault"]["kind"]),
        (&json!(42), &json!("fail_store"))
    );
    let read = format!("/v1/sessions/{}", session.as_str().expect("an id"));
    let status = host.get(&read, &admin).await.json()["status"].take();
    assert_eq!(status["injected"][0]["id"], broken["id"], "{status:#}");
    assert_eq!(status["injected"][0]["until"], broken["until"]);
    wire.say(1, "hi").await;
    let fault = wire
        .until(|frame| frame["fault"]["code"] == "store_failed")
        .await;
    let fault = fault.last().expect("one");
    assert_eq!(
        fault["fault"]["detail"]["injected"], broken["id"],
        "{fault:#}"
    );
    // Both come, in whatever order.
    let left = std::cell::Cell::new(2);
    wire.until(|frame| {
        let status = &frame["status"];
        let whole = frame["type"] == "status" && status["injected"].is_null();
        let over = whole && status["state"] == "live" || is_turn_end(frame);
        left.set(left.get() - u32::from(over));
        left.get() == 0
    })
    .await;
    host.close().await;
}

/// Overload by a real queue: told, new sessions outside, those that are here go on, and over.
#[tokio::test]
async fn a_server_that_is_too_slow_refuses_new_sessions_until_it_is_not_s15() {
    let host = Host::start(StoreKind::Memory, |config| config.faults.enabled = true).await;
    let (admin, (mut wire, session)) = (host.admin(), connected(&host).await);
    let body = json!({
        "session": session, "fault": { "kind": "slow_server" }, "for_ms": 5_000,
    });
    let path = "/v1/debug/faults";
    let answer = host.request("POST", path, Some(&admin), Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let overloaded = async |wanted: bool| {
        let begun = std::time::Instant::now();
        loop {
            let node = host.get("/v1/node", &admin).await.json();
            if node["census"]["overloaded"] == wanted {
                break node;
            }
            assert!(begun.elapsed() < crate::support::PATIENCE, "{node:#}");
        }
    };
    let node = overloaded(true).await;
    assert!(
        node["census"]["input_wait_ms"].as_u64() > Some(200),
        "{node:#}"
    );
    let metrics = host.get("/metrics", &admin).await.body;
    assert!(metrics.contains("evenkeel_overloaded 1"), "{metrics}");
    let mut stranger = host.dial().await;
    stranger.send(hello(&host.token())).await;
    let (code, seen) = stranger.closed().await;
    assert_eq!(code, 4503, "{seen:#?}");
    let fault = &seen[0]["fault"];
    assert_eq!(fault["code"], "at_capacity");
    assert_eq!(fault["detail"]["why"], "overloaded", "{fault:#}");
    assert_eq!(fault["retry"]["when"], "after", "{fault:#}");
    wire.say(1, "goes on").await;
    wire.until(is_turn_end).await;
    overloaded(false).await;
    let _ = connected(&host).await;
    host.close().await;
}
