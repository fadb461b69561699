//! P04, P07, P08, P13, P14, N19: what a client does that no SDK would, by hand.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Spec, Witness};
use crate::{
    heart::unix_ms,
    mutant::Mutant,
    raw::Raw,
    rig::{Rig, Via, Who, span},
};

/// A program that says 12 MiB, as fast as it is read.
const FLOOD: &str = r#"
[backends.flood]
kind = "process"
command = ["/bin/sh", "-c", "read -r l; echo begun; sleep 1; yes $(printf '%0255d' 7) | head -c 12582912; echo"]
"#;
const FLOOD_BYTES: usize = 12_582_912 + 7;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "P04/mid-turn/viewer",
            "a viewer that does not read",
            Mutant::JournalLost,
            |rig| Box::pin(slow(rig)),
        )
        .cause("slow_consumer")
        .config(FLOOD),
        Spec::new(
            "P07/mid-turn/owner",
            "a command is sent three times",
            Mutant::SaysTwice,
            |rig| Box::pin(twice(rig)),
        ),
        Spec::new(
            "P08/mid-turn/owner",
            "another instance takes the place",
            Mutant::CauseChanged,
            |rig| Box::pin(two_tabs(rig)),
        )
        .fails()
        .cause("superseded")
        .told_within(1_000.)
        .witness(Witness::Journal),
        Spec::new(
            "P13/mid-turn/owner/unknown",
            "frames and members from the future",
            Mutant::EndlessRun,
            |rig| Box::pin(from_the_future(rig)),
        ),
        Spec::new(
            "P13/upgrade/owner/version",
            "a protocol that nobody speaks",
            Mutant::LogMute,
            |rig| Box::pin(wrong_protocol(rig)),
        )
        .fails()
        .cause("unsupported_version")
        .told_within(1_000.)
        .witness(Witness::Node),
        Spec::new(
            "P14/mid-turn/owner/flood",
            "a client floods",
            Mutant::CauseChanged,
            |rig| Box::pin(flood(rig)),
        )
        .fails()
        .cause("rate_limited")
        .told_within(2_000.),
        Spec::new(
            "P14/mid-turn/owner/garbage",
            "a client sends what is no frame",
            Mutant::LogMute,
            |rig| Box::pin(garbage(rig)),
        )
        .cause("protocol_error")
        .told_within(1_000.),
        Spec::new(
            "P14/mid-turn/owner/future",
            "a client resumes from beyond the log's end",
            Mutant::CauseChanged,
            |rig| Box::pin(beyond_the_end(rig)),
        )
        .cause("log_rewound")
        .told_within(1_000.),
        Spec::new(
            "N19/mid-turn/owner",
            "a command is sent again on a new connection",
            Mutant::SaysTwice,
            |rig| Box::pin(again_on_a_new_connection(rig)),
        ),
    ]
}

fn say(n: u64, text: &str) -> Value {
    json!({ "type": "command", "n": n, "name": "say", "data": { "text": text } })
}

/// A session by hand, with a running turn `k1`.
async fn with_a_turn(rig: &mut Rig, more: &Value) -> Result<(Raw, Value, Value)> {
    let mut hello = json!({ "backend": "drill" });
    if let (Some(hello), Some(more)) = (hello.as_object_mut(), more.as_object()) {
        hello.extend(more.clone());
    }
    let (mut raw, welcome) = rig.by_hand(&hello).await?;
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

async fn slow(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "flood"])
        .await?;
    rig.tell("say k1").await?;
    let hello = json!({ "session": rig.session, "role": "viewer" });
    let (mut raw, _) = rig.by_hand(&hello).await?;
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
    if turn.text.len() != FLOOD_BYTES {
        rig.wrong(format!("{} bytes for the owner", turn.text.len()));
    }
    // It reads again, and is told what it was passed over.
    let told = raw.find("a gap", |frame| frame["type"] == "gap").await;
    match told {
        Ok(gap) if gap["fault"]["code"] == "slow_consumer" => {}
        Ok(gap) => rig.wrong(format!("the gap's fault: {}", gap["fault"])),
        Err(error) => rig.wrong(format!("{error:#}")),
    }
    if rig.row.wrong.is_empty() {
        rig.row.cause = Some("slow_consumer".to_owned());
        rig.recovered();
    }
    Ok(())
}

async fn twice(rig: &mut Rig) -> Result<()> {
    let (mut raw, _, _) = with_a_turn(rig, &json!({})).await?;
    rig.strike();
    raw.send(&say(1, "k1 lines=100 pace_ms=20")).await?;
    raw.send(&say(1, "k1 lines=100 pace_ms=20")).await?;
    read_back(rig).await?;
    raw.find("the receipt again", |f| {
        f["type"] == "receipt" && f["n"] == 1
    })
    .await?;
    rig.recovered();
    Ok(())
}

async fn two_tabs(rig: &mut Rig) -> Result<()> {
    let (mut first, welcome, text) = with_a_turn(rig, &json!({})).await?;
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
    let (_second, _) = rig.by_hand(&hello).await?;
    rig.row.cause = first.closed().await?;
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    rig.row.outcome = Some("failed".to_owned());
    read_back(rig).await
}

async fn from_the_future(rig: &mut Rig) -> Result<()> {
    let (mut raw, _, _) = with_a_turn(rig, &json!({ "shoe_size": 43 })).await?;
    rig.strike();
    raw.send(&json!({ "type": "hologram", "depth": 3 })).await?;
    // Told, and nothing else comes of it.
    raw.find("a fault", |f| f["fault"]["code"] == "protocol_error")
        .await?;
    raw.send(&json!({ "type": "command", "n": 2, "name": "levitate", "data": {} }))
        .await?;
    raw.find("an answer", |f| f["type"] == "receipt" && f["n"] == 2)
        .await?;
    raw.find("the end of k1", |frame| frame["kind"] == "turn.ended")
        .await?;
    read_back(rig).await?;
    rig.recovered();
    Ok(())
}

async fn wrong_protocol(rig: &mut Rig) -> Result<()> {
    rig.strike();
    match Raw::connect(rig.server.addr(), "evenkeel.v9.json").await {
        Ok(mut raw) => rig.row.cause = raw.closed().await?,
        Err(error) => {
            let text = error.to_string();
            rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
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
    let (mut raw, _, _) = with_a_turn(rig, &json!({})).await?;
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
    let (mut raw, _, _) = with_a_turn(rig, &json!({})).await?;
    rig.strike();
    raw.send_text("{\"type\":\"command\",").await?;
    let fault = raw
        .find("a fault", |frame| frame["type"] == "fault")
        .await?;
    rig.row.cause = fault["fault"]["code"].as_str().map(str::to_owned);
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    raw.find("the end of k1", |frame| frame["kind"] == "turn.ended")
        .await?;
    read_back(rig).await?;
    rig.recovered();
    Ok(())
}

async fn beyond_the_end(rig: &mut Rig) -> Result<()> {
    let (first, welcome, _) = with_a_turn(rig, &json!({})).await?;
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
    let (mut raw, _) = rig.by_hand(&hello).await?;
    let gap = raw.until("gap").await?;
    rig.row.cause = gap["fault"]["code"].as_str().map(str::to_owned);
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    drop(raw);
    read_back(rig).await?;
    rig.recovered();
    Ok(())
}

async fn again_on_a_new_connection(rig: &mut Rig) -> Result<()> {
    let hello = json!({ "backend": "drill" });
    let (mut raw, welcome) = rig.by_hand(&hello).await?;
    rig.session = welcome["session"].as_str().unwrap_or_default().to_owned();
    let say = json!({
        "type": "command", "n": 1, "name": "say", "data": { "text": "k1 lines=100 pace_ms=20" }
    });
    raw.send(&say).await?;
    let text = raw.find("text", |frame| frame["kind"] == "text").await?;
    rig.strike();
    drop(raw);
    let resume = json!({
        "session": rig.session, "attempt": 2,
        "stream": { "id": "c-drill", "next": 2, "receipts_ack": 0 },
        "resume": {
            "participant": welcome["participant"], "key": welcome["resume_key"],
            "cursor": { "epoch": welcome["cursor"]["epoch"], "seq": text["to"] },
            "strategy": "fast"
        }
    });
    let (mut raw, _) = rig.by_hand(&resume).await?;
    raw.send(&say).await?;
    let receipt = raw
        .find("a receipt", |f| f["type"] == "receipt" && f["n"] == 1)
        .await?;
    if receipt.get("ok").is_none() && receipt["outcome"] != "ok" {
        rig.wrong(format!("the receipt: {receipt}"));
    }
    raw.find("the end of k1", |frame| frame["kind"] == "turn.ended")
        .await?;
    drop(raw);
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.over("k1").await?;
    rig.recovered();
    Ok(())
}
