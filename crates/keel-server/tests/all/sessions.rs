//! Whole sessions over the wire.

use keel_server::config::StoreKind;
use serde_json::json;

use crate::support::{Host, hello, is_turn_end, text_of};

async fn a_turn_is_answered(kind: StoreKind) {
    let host = Host::start(kind, |_| ()).await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await;
    assert_eq!(
        welcome.last().expect("one")["how"],
        "created",
        "{welcome:#?}"
    );

    wire.say(1, "one two three").await;
    let frames = wire.until(is_turn_end).await;

    assert_eq!(text_of(&frames), "one two three");
    assert_eq!(
        frames.last().expect("one")["data"]["end"],
        "done",
        "{frames:#?}"
    );
    host.close().await;
}

#[tokio::test]
async fn a_turn_is_answered_over_memory() {
    a_turn_is_answered(StoreKind::Memory).await;
}

#[tokio::test]
async fn a_turn_is_answered_over_sqlite() {
    a_turn_is_answered(StoreKind::Sqlite).await;
}

/// Everything that was said while nobody was connected is there after the resume, once.
#[tokio::test]
async fn a_lost_connection_is_resumed_by_cursor_without_loss_or_repetition() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");
    wire.say(1, "!count=40 pace_ms=10").await;
    let mut seen = wire.until(|frame| frame["kind"] == "text").await;
    let last = seen
        .iter()
        .filter_map(|frame| frame["to"].as_u64())
        .max()
        .expect("events");
    drop(wire);

    let mut wire = host.dial().await;
    let mut again = hello(&host.token());
    again["attempt"] = json!(2);
    again["session"] = welcome["session"].clone();
    again["stream"]["next"] = json!(2);
    again["resume"] = json!({
        "participant": welcome["participant"], "key": welcome["resume_key"], "strategy": "fast",
        "cursor": { "epoch": welcome["cursor"]["epoch"], "seq": last },
    });
    again["evidence"] =
        json!({ "code": "transport_error", "silent_ms": 5, "lost_ms": 20, "attempts": 1 });
    wire.send(again).await;
    let rest = wire.until(is_turn_end).await;

    let resumed = rest
        .iter()
        .find(|frame| frame["type"] == "welcome")
        .expect("a welcome");
    assert_eq!(resumed["how"], "resumed");
    let mut next = last + 1;
    for event in rest.iter().filter(|frame| frame["type"] == "event") {
        assert_eq!(event["from"], next, "a hole or a repetition");
        next = event["to"].as_u64().expect("a position") + 1;
    }
    seen.extend(rest);
    let steps = keel_agent::echo::script("!count=40 pace_ms=10", &json!({}));
    assert_eq!(text_of(&seen), keel_agent::echo::said(&steps, &json!(null)));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let metrics = host.get("/metrics", &host.admin()).await.body;
    let recovered = "evenkeel_recovery_seconds_count{strategy=\"fast\",cause=\"transport_error\",\
                     outcome=\"resumed\"} 1";
    assert!(metrics.contains(recovered), "{metrics}");
    host.close().await;
}

/// S14: told, turns finished, closed with the fault's own code, nothing left.
#[tokio::test]
async fn a_drain_lets_the_turn_end_and_tells_everybody_s14() {
    let host = Host::memory().await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, "!count=20 pace_ms=20").await;
    wire.until(|frame| frame["kind"] == "text").await;

    let (_, (code, frames)) = tokio::join!(host.running.drain(None), wire.closed());

    assert!(
        frames.iter().any(|frame| frame["type"] == "goaway"),
        "{frames:#?}"
    );
    assert!(frames.iter().any(is_turn_end), "{frames:#?}");
    assert!(
        frames
            .iter()
            .any(|frame| frame["fault"]["code"] == "server_shutdown")
    );
    assert_eq!(code, 4010);
    host.close().await;
}

/// A server that is closed in the middle of everything leaves no task behind.
#[tokio::test]
async fn closing_leaves_no_task_behind() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let mut wires = Vec::new();
    for n in 0..8 {
        let mut wire = host.dial().await;
        let mut first = hello(&host.token());
        first["instance"] = json!(format!("i-{n}"));
        wire.send(first).await;
        wire.until(|frame| frame["type"] == "welcome").await;
        wire.say(1, "!count=500 pace_ms=50").await;
        wires.push(wire);
    }
    assert!(host.running.tasks() > 8);
    host.close().await;
    for mut wire in wires {
        assert_eq!(wire.closed().await.0, 1001);
    }
}
