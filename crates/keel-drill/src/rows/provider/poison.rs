//! H18: a prompt of death. What it broke twice is not given it a third time: a program that crashed, a
//! model's server that broke off its answer or died of it. The session stays usable.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    Spec,
    kinds::{Kind, agent, program},
    storm::is_refusal,
};
use crate::{
    heart::unix_ms,
    mutant::Mutant,
    raw::Raw,
    rig::{Rig, span},
};

/// What it dies of.
const DEATH: &str = "the words of death";
/// Dies of some words, and answers others.
const MORTAL: &str = r#"read -r l; case "$l" in *death*) kill -SEGV $$;; esac; echo fine"#;

/// How a model's server takes the words: it breaks off its answer, or is not there any more.
const BREAKS: [(&str, &str); 2] = [("again", "cutrst"), ("dies", "die")];

pub(super) fn rows() -> Vec<Spec> {
    let models = Kind::MODELS.iter().flat_map(|kind| {
        BREAKS.map(|(how, mode)| {
            row(how, kind.name(), "provider_unavailable")
                .config(kind.model_at("{model}"))
                .model(mode)
        })
    });
    let program = row("again", "lines", "provider_crashed").config(program("bad", "lines", MORTAL));
    let mortal = ["text=begun ", "crash-if=death", "text=fine"];
    let agent = row("again", "acp", "provider_crashed").config(agent(&mortal));
    models.chain([program, agent]).collect()
}

fn row(how: &str, kind: &str, code: &str) -> Spec {
    Spec::new(
        &format!("H18/mid-turn/owner/{how}/{kind}"),
        "the same words break it each time",
        Mutant::CauseChanged,
        |rig| Box::pin(shut_out(rig)),
    )
    .fails()
    .cause(code)
    .told_within(4_000.)
    .backend(kind)
}

async fn shut_out(rig: &mut Rig) -> Result<()> {
    let mut raw = enter(rig).await?;
    for n in 1..=2 {
        let answer = say(rig, &mut raw, n, DEATH).await?;
        ensure!(answer["data"]["end"] == "failed", "{answer}");
        if let Some(model) = &mut rig.model {
            // It is there again, as it was, whether it died or not.
            model.kill().await?;
            model.launch().await?;
        }
    }
    let answer = say(rig, &mut raw, 3, DEATH).await?;
    ensure!(answer["fault"]["code"] == "prompt_quarantined", "{answer}");
    if let Some(model) = &rig.model {
        let counts = model.counts().await?;
        ensure!(counts["total"] == 0, "it was asked again: {counts}");
        // It says all that it is told.
        model.answer("history")?;
    }
    let answer = say(rig, &mut raw, 4, "other words").await?;
    ensure!(answer["data"]["end"] == "done", "not usable: {answer}");
    if rig.model.is_some() {
        let log = rig.ask_session("/events?after=0&limit=200").await?;
        let told = texts(&log);
        ensure!(told.contains("other words"), "it was not told: {log}");
        ensure!(!told.contains(DEATH), "it was told them again: {told}");
    }
    Ok(())
}

/// All text of a session's log.
fn texts(log: &Value) -> String {
    let events = log["events"].as_array().into_iter().flatten();
    let texts = events.filter(|event| event["kind"] == "text");
    texts
        .filter_map(|text| text["data"]["data"].as_str())
        .collect()
}

async fn enter(rig: &mut Rig) -> Result<Raw> {
    rig.witnessed = false;
    let (raw, welcome) = rig.by_hand(&json!({ "backend": "bad" })).await?;
    rig.session = welcome["session"].as_str().unwrap_or_default().to_owned();
    rig.strike();
    rig.row.outcome = Some("failed".to_owned());
    Ok(raw)
}

/// Says something: its turn's end, or the receipt that refuses it.
async fn say(rig: &mut Rig, raw: &mut Raw, n: u64, text: &str) -> Result<Value> {
    let said_at = unix_ms();
    let data = json!({ "text": text });
    raw.send(&json!({ "type": "command", "n": n, "name": "say", "data": data }))
        .await?;
    let answer = raw
        .find("the end of a turn", |frame| {
            frame["kind"] == "turn.ended" || is_refusal(frame)
        })
        .await?;
    let took = span(said_at, unix_ms());
    rig.row.told_ms = Some(rig.row.told_ms.unwrap_or(took).max(took));
    if let Some(code) = answer["data"]["fault"]["code"].as_str() {
        rig.row.cause = Some(code.to_owned());
    }
    Ok(answer)
}
