//! H18: a prompt of death. A program that it crashed twice is not given it a third time; a model's server
//! is no program of ours, and is asked as often as somebody wants. The session stays usable in both.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    Spec,
    kinds::{Kind, program},
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

pub(super) fn rows() -> Vec<Spec> {
    let of = |kind: &str, code: &str| {
        let id = format!("H18/mid-turn/owner/again/{kind}");
        let fault = "the same words break it each time";
        (id, fault, code.to_owned())
    };
    let models = Kind::MODELS.iter().map(|kind| {
        let (id, fault, code) = of(kind.name(), "provider_unavailable");
        let spec = Spec::new(&id, fault, Mutant::CauseChanged, |rig| {
            Box::pin(asked_again(rig))
        });
        spec.fails()
            .cause(&code)
            .told_within(4_000.)
            .config(format!("{}tries = 1\n", kind.model_at("{model}")))
            .backend(kind.name())
            .model("cutrst")
    });
    let (id, fault, code) = of("lines", "provider_crashed");
    let program = Spec::new(&id, fault, Mutant::CauseChanged, |rig| {
        Box::pin(shut_out(rig))
    })
    .fails()
    .cause(&code)
    .told_within(4_000.)
    .config(program("bad", "lines", MORTAL));
    models.chain([program]).collect()
}

async fn asked_again(rig: &mut Rig) -> Result<()> {
    let mut raw = enter(rig).await?;
    for n in 1..=3 {
        let answer = say(rig, &mut raw, n, DEATH).await?;
        ensure!(answer["data"]["end"] == "failed", "{answer}");
    }
    rig.model()?.answer("ok")?;
    let answer = say(rig, &mut raw, 4, DEATH).await?;
    ensure!(answer["data"]["end"] == "done", "not usable: {answer}");
    Ok(())
}

async fn shut_out(rig: &mut Rig) -> Result<()> {
    let mut raw = enter(rig).await?;
    for n in 1..=2 {
        let answer = say(rig, &mut raw, n, DEATH).await?;
        ensure!(answer["data"]["end"] == "failed", "{answer}");
    }
    let answer = say(rig, &mut raw, 3, DEATH).await?;
    ensure!(answer["fault"]["code"] == "prompt_quarantined", "{answer}");
    let answer = say(rig, &mut raw, 4, "other words").await?;
    ensure!(answer["data"]["end"] == "done", "not usable: {answer}");
    Ok(())
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
