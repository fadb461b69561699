//! P: the peer at the other end, and what it does to itself and others.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Spec;
use crate::{
    heart::unix_ms,
    raw::Raw,
    rig::{Rig, Via, Who, span},
    server,
};

const S: fn(u64) -> Duration = Duration::from_secs;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        peer(
            "P01/mid-turn/viewer",
            "the owner's process is killed (-9)",
            |rig| Box::pin(killed(rig)),
        )
        .cause("connection_closed")
        .told_within(1_000.),
        peer(
            "P02/mid-turn/viewer",
            "the viewer is stopped for 6 s",
            |rig| Box::pin(stopped(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(1_000.)
        .back_within(2_000.),
        peer(
            "P04/mid-turn/viewer",
            "a viewer that does not read",
            |rig| Box::pin(slow(rig)),
        )
        .cause("slow_consumer")
        .config(FLOOD),
        peer("P07/mid-turn/owner", "a command is sent twice", |rig| {
            Box::pin(twice(rig))
        }),
        peer(
            "P08/mid-turn/owner",
            "another instance takes the place",
            |rig| Box::pin(two_tabs(rig)),
        )
        .fails()
        .cause("superseded")
        .told_within(1_000.),
        peer("P10/mid-turn/owner/once", "a turn is cancelled", |rig| {
            Box::pin(cancel(rig, 1))
        })
        .told_within(2_000.),
        peer(
            "P10/mid-turn/owner/twice",
            "a turn is cancelled twice",
            |rig| Box::pin(cancel(rig, 2)),
        )
        .told_within(2_000.),
        peer("P10/idle/owner/after", "cancelled after its end", |rig| {
            Box::pin(cancel_late(rig))
        }),
        peer("P11/mid-turn/owner", "the token expires", |rig| {
            Box::pin(expires(rig))
        })
        .fails()
        .cause("token_expired")
        .told_within(2_000.),
        peer("P12/mid-turn/owner", "the token is revoked", |rig| {
            Box::pin(revoked(rig))
        })
        .fails()
        .cause("unauthenticated")
        .told_within(1_000.),
        peer(
            "P13/mid-turn/owner/unknown",
            "frames and members from the future",
            |rig| Box::pin(from_the_future(rig)),
        ),
        peer(
            "P13/upgrade/owner/version",
            "a protocol that nobody speaks",
            |rig| Box::pin(wrong_protocol(rig)),
        )
        .fails()
        .cause("unsupported_version"),
        peer("P14/mid-turn/owner/flood", "a client floods", |rig| {
            Box::pin(flood(rig))
        })
        .fails()
        .cause("rate_limited")
        .told_within(2_000.),
        peer(
            "P14/mid-turn/owner/garbage",
            "a client sends what is no frame",
            |rig| Box::pin(garbage(rig)),
        )
        .cause("protocol_error")
        .told_within(1_000.),
        peer(
            "P14/mid-turn/owner/future",
            "a client resumes from beyond the log's end",
            |rig| Box::pin(beyond_the_end(rig)),
        )
        .cause("log_rewound")
        .told_within(1_000.),
    ]
}

/// A program that says 32 MiB, as fast as it is read.
const FLOOD: &str = r#"
[backends.flood]
kind = "process"
command = ["/bin/sh", "-c", "read -r l; echo begun; sleep 1; yes $(printf '%0255d' 7) | head -c 33554432; echo"]
"#;

fn peer(
    id: &str,
    fault: &str,
    work: impl for<'a> Fn(&'a mut Rig) -> super::Work<'a> + 'static,
) -> Spec {
    Spec::new(id, "peer", fault, work)
}

fn recovered(rig: &mut Rig) {
    rig.row.outcome = Some("recovered".to_owned());
}

async fn killed(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=150 pace_ms=20").await?;
    rig.strike();
    rig.client(Who::Owner)?.signal(Signal::KILL)?;
    rig.dismiss(Who::Owner);
    rig.over("k1").await?;
    let until = Instant::now() + S(10);
    while rig.row.cause.is_none() && Instant::now() < until {
        let journal = rig.journal().await?;
        let entries = journal["entries"].as_array().context("entries")?;
        let lost = entries
            .iter()
            .find(|entry| entry["fact"] == "connection_lost");
        if let Some(lost) = lost {
            let at = lost["at"].as_u64().unwrap_or_default();
            rig.row.told_ms = Some(span(rig.struck_at, at));
            rig.row.cause = lost["fault"]["code"].as_str().map(str::to_owned);
            // The kernel ends it with a FIN, or a reset if something was left unread.
            if rig.row.cause.as_deref() == Some("transport_error") {
                rig.row.expected_cause.clone_from(&rig.row.cause);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    recovered(rig);
    Ok(())
}

async fn stopped(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Viewer).await?;
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    rig.client(Who::Viewer)?.signal(Signal::STOP)?;
    tokio::time::sleep(S(6)).await;
    // Nobody can be told who is stopped: the clock runs from when it goes on.
    rig.strike();
    rig.client(Who::Viewer)?.signal(Signal::CONT)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    rig.journal_names("heartbeat_timeout").await
}

async fn slow(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "flood"])
        .await?;
    rig.tell("say k1").await?;
    let addr = rig.server.addr();
    let hello = json!({ "session": rig.session, "role": "viewer" });
    let (mut raw, _) = Raw::join(addr, &rig.token, &hello).await?;
    raw.find("text", |frame| frame["kind"] == "text").await?;
    rig.strike();
    // Alive, and its buffers are full: it sends, and does not read.
    let alive = async {
        loop {
            let beat = json!({ "type": "beat", "n": 1, "seq": 0 });
            if raw.send(&beat).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let turn = tokio::select! {
        turn = rig.over("k1") => turn?,
        () = alive => return Ok(()),
    };
    if turn.text.len() != 33_554_432 + 7 {
        rig.wrong(format!("{} bytes for the owner", turn.text.len()));
    }
    // It reads again, and is told what it was passed over.
    let told = raw.find("a gap", |frame| frame["type"] == "gap").await;
    match told {
        Ok(gap) if gap["fault"]["code"] == "slow_consumer" => {}
        Ok(gap) => rig.wrong(format!("the gap's fault: {}", gap["fault"])),
        Err(error) => rig.wrong(format!("{error:#}")),
    }
    rig.journal_names("slow_consumer").await?;
    if rig.row.wrong.is_empty() {
        rig.row.cause = Some("slow_consumer".to_owned());
        recovered(rig);
    }
    Ok(())
}

fn say(n: u64, text: &str) -> Value {
    json!({ "type": "command", "n": n, "name": "say", "data": { "text": text } })
}

/// A session by hand, with a running turn `k1`.
async fn by_hand(rig: &mut Rig, more: &Value) -> Result<(Raw, Value, Value)> {
    let mut hello = json!({ "backend": "drill" });
    if let (Some(hello), Some(more)) = (hello.as_object_mut(), more.as_object()) {
        hello.extend(more.clone());
    }
    let (mut raw, welcome) = Raw::join(rig.server.addr(), &rig.token, &hello).await?;
    rig.session = welcome["session"].as_str().unwrap_or_default().to_owned();
    raw.send(&say(1, "k1 lines=100 pace_ms=20")).await?;
    let text = raw.find("text", |frame| frame["kind"] == "text").await?;
    Ok((raw, welcome, text))
}

/// What the log holds, as somebody reads it who joins.
async fn read_back(rig: &mut Rig) -> Result<()> {
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.over("k1").await?;
    Ok(())
}

async fn twice(rig: &mut Rig) -> Result<()> {
    let (mut raw, _, _) = by_hand(rig, &json!({})).await?;
    rig.strike();
    raw.send(&say(1, "k1 lines=100 pace_ms=20")).await?;
    raw.send(&say(1, "k1 lines=100 pace_ms=20")).await?;
    raw.find("the receipt again", |f| {
        f["type"] == "receipt" && f["n"] == 1
    })
    .await?;
    read_back(rig).await?;
    recovered(rig);
    Ok(())
}

async fn two_tabs(rig: &mut Rig) -> Result<()> {
    let (mut first, welcome, text) = by_hand(rig, &json!({})).await?;
    rig.strike();
    let hello = json!({
        "session": rig.session, "instance": "i-other",
        "stream": { "id": "c-other", "next": 1, "receipts_ack": 0 },
        "resume": {
            "participant": welcome["participant"], "key": welcome["resume_key"],
            "cursor": { "epoch": welcome["cursor"]["epoch"], "seq": text["to"] },
            "strategy": "fast"
        }
    });
    let (_second, _) = Raw::join(rig.server.addr(), &rig.token, &hello).await?;
    rig.row.cause = first.closed().await?;
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    rig.row.outcome = Some("failed".to_owned());
    read_back(rig).await
}

async fn cancel(rig: &mut Rig, times: u32) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.ends.insert("k1".to_owned(), "cancelled");
    rig.flow("k1", "lines=1000 pace_ms=20").await?;
    rig.strike();
    for _ in 0..times {
        rig.tell("cancel").await?;
    }
    let turn = rig.over("k1").await?;
    rig.row.told_ms = Some(span(rig.struck_at, turn.ended_at));
    rig.flow("k2", "lines=30 pace_ms=20").await?;
    rig.over("k2").await?;
    recovered(rig);
    Ok(())
}

async fn cancel_late(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=20 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.strike();
    rig.tell("cancel").await?;
    rig.receipt("cancel").await?;
    rig.flow("k2", "lines=30 pace_ms=20").await?;
    rig.over("k2").await?;
    recovered(rig);
    Ok(())
}

async fn expires(rig: &mut Rig) -> Result<()> {
    let token = rig
        .server
        .token(&["--subject", "drill", "--ttl-s", "5"])
        .await?;
    let expires_at = unix_ms() + 5_000;
    let url = rig.url(Via::Direct);
    rig.launch_as(Who::Owner, &url, &token, &[])?;
    rig.session = rig.client(Who::Owner)?.session().await?;
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    rig.struck_at = expires_at.saturating_sub(1_000);
    rig.failed(S(20)).await?;
    rig.row.told_ms = rig.row.told_ms.map(|ms| ms - 1_000.);
    rig.dismiss(Who::Owner);
    rig.over("k1").await?;
    rig.journal_names("token_expired").await
}

async fn revoked(rig: &mut Rig) -> Result<()> {
    let minted = rig.server.token(&["--subject", "drill", "--json"]).await?;
    let minted: Value = serde_json::from_str(&minted)?;
    let token = minted["token"].as_str().context("a token")?.to_owned();
    let admin = rig.server.token(&["--subject", "x", "--admin"]).await?;
    let url = rig.url(Via::Direct);
    rig.launch_as(Who::Owner, &url, &token, &[])?;
    rig.session = rig.client(Who::Owner)?.session().await?;
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.flow("k1", "lines=100 pace_ms=20").await?;
    rig.strike();
    let body = json!({ "token_id": minted["token_id"] }).to_string();
    let addr = rig.server.addr();
    server::ask(addr, "POST", "/v1/tokens/revoke", Some(&admin), &body).await?;
    rig.failed(S(10)).await?;
    rig.dismiss(Who::Owner);
    rig.over("k1").await?;
    let cause = rig.row.cause.clone().unwrap_or_default();
    rig.journal_names(&cause).await
}

async fn from_the_future(rig: &mut Rig) -> Result<()> {
    let (mut raw, _, _) = by_hand(rig, &json!({ "shoe_size": 43 })).await?;
    rig.strike();
    raw.send(&json!({ "type": "hologram", "depth": 3 })).await?;
    // Told, and nothing else comes of it.
    raw.find("a fault", |f| f["fault"]["code"] == "protocol_error")
        .await?;
    raw.send(&json!({ "type": "command", "n": 2, "name": "levitate", "data": {} }))
        .await?;
    raw.find("an answer", |f| f["type"] == "receipt" && f["n"] == 2)
        .await?;
    raw.find("the end", |frame| frame["kind"] == "turn.ended")
        .await?;
    read_back(rig).await?;
    recovered(rig);
    Ok(())
}

async fn wrong_protocol(rig: &mut Rig) -> Result<()> {
    rig.strike();
    match Raw::connect(rig.server.addr(), "evenkeel.v9.json").await {
        Ok(mut raw) => rig.row.cause = raw.closed().await?,
        Err(error) => {
            let text = error.to_string();
            if text.contains(" 426 ") || text.contains("unsupported_version") {
                rig.row.cause = Some("unsupported_version".to_owned());
            } else {
                rig.wrong(text);
            }
        }
    }
    rig.row.outcome = Some("failed".to_owned());
    Ok(())
}

async fn flood(rig: &mut Rig) -> Result<()> {
    let (mut raw, _, _) = by_hand(rig, &json!({})).await?;
    rig.strike();
    for seq in 0..5_000_u64 {
        if raw
            .send(&json!({ "type": "ack", "seq": seq % 2 }))
            .await
            .is_err()
        {
            break;
        }
    }
    rig.row.cause = raw.closed().await?;
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    rig.row.outcome = Some("failed".to_owned());
    read_back(rig).await
}

/// It is told so, and the connection goes on.
async fn garbage(rig: &mut Rig) -> Result<()> {
    let (mut raw, _, _) = by_hand(rig, &json!({})).await?;
    rig.strike();
    raw.send_text("{\"type\":\"command\",").await?;
    let fault = raw
        .find("a fault", |frame| frame["type"] == "fault")
        .await?;
    rig.row.cause = fault["fault"]["code"].as_str().map(str::to_owned);
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    raw.find("the end", |frame| frame["kind"] == "turn.ended")
        .await?;
    read_back(rig).await?;
    recovered(rig);
    Ok(())
}

async fn beyond_the_end(rig: &mut Rig) -> Result<()> {
    let (first, welcome, _) = by_hand(rig, &json!({})).await?;
    drop(first);
    rig.strike();
    let hello = json!({
        "session": rig.session, "attempt": 2,
        "stream": { "id": "c-drill", "next": 2, "receipts_ack": 0 },
        "resume": {
            "participant": welcome["participant"], "key": welcome["resume_key"],
            "cursor": { "epoch": welcome["cursor"]["epoch"], "seq": 1_000_000_000_u64 },
            "strategy": "fast"
        }
    });
    let (mut raw, _) = Raw::join(rig.server.addr(), &rig.token, &hello).await?;
    let gap = raw.until("gap").await?;
    rig.row.cause = gap["fault"]["code"].as_str().map(str::to_owned);
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    drop(raw);
    read_back(rig).await?;
    recovered(rig);
    Ok(())
}
