//! A thing that a provider does wrong, and what must come of it: what the tables of rows have in
//! common, and the row that each line of them is.

use anyhow::Result;

use super::{Spec, lives::rest_of_cancel};
use crate::{
    heart::unix_ms,
    ledger::{Line, Seen},
    mutant::Mutant,
    rig::{Rig, Via, Who, marked, span, wait},
};

/// What a provider does, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case<D> {
    /// Begins with the catalogue's id.
    pub(super) id: &'static str,
    /// The same in words.
    pub(super) fault: &'static str,
    /// What it does.
    pub(super) does: D,
    /// More of its configuration.
    pub(super) more: &'static str,
    /// How the turn must end: done, or failed with this code.
    pub(super) code: Option<&'static str>,
    /// What must be told of it: all of it where it is done.
    pub(super) text: Option<&'static str>,
    /// Retries that must be told, each with its cause.
    pub(super) retries: Option<usize>,
    /// Told within this, in milliseconds.
    pub(super) within_ms: f64,
    /// What must turn the row red.
    pub(super) mutant: Mutant,
}

impl<D: Copy> Case<D> {
    /// One that is done within 2 s, whatever it says.
    pub(super) const fn of(does: D) -> Self {
        Self {
            id: "",
            fault: "",
            does,
            more: "",
            code: None,
            text: None,
            retries: None,
            within_ms: 2_000.,
            mutant: Mutant::CrashIsDone,
        }
    }

    /// The row `id`, whose backend `bad` is in `toml`.
    pub(super) fn row(&self, id: &str, toml: &str) -> Spec {
        let expected = Expected {
            code: self.code,
            text: self.text,
            retries: self.retries,
        };
        let spec = Spec::new(id, self.fault, self.mutant, move |rig| {
            Box::pin(misbehaves(rig, expected))
        })
        .told_within(self.within_ms)
        .config(format!("{toml}{}\n", self.more));
        match self.code {
            Some(code) => spec.fails().cause(code),
            None => spec,
        }
    }
}

/// What must come of a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// How it ends: done, or failed with this code.
    pub(super) code: Option<&'static str>,
    /// What is told of it.
    pub(super) text: Option<&'static str>,
    /// How many retries are told.
    pub(super) retries: Option<usize>,
}

/// A turn of a provider that does something wrong, and another; the session must go on.
pub(super) async fn misbehaves(rig: &mut Rig, expected: Expected) -> Result<()> {
    let Expected {
        code,
        text,
        retries,
    } = expected;
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.join(Who::Viewer, Via::Proxy, &[]).await?;
    rig.strike();
    rig.losses = Some(0);
    for key in ["k1", "k2"] {
        if code.is_some() {
            rig.ends.insert(key.to_owned(), "failed");
        }
        let said_at = unix_ms();
        rig.tell(&format!("say {key}")).await?;
        let turn = rig.over(key).await?;
        let took = span(said_at, turn.ended_at);
        rig.row.told_ms = Some(rig.row.told_ms.unwrap_or(took).max(took));
        rig.row.cause.clone_from(&turn.end_code);
        let told = retries_told(rig)?;
        if retries.is_some_and(|each| told != each * if key == "k1" { 1 } else { 2 }) {
            rig.wrong(format!("{told} retries were told by the end of {key}"));
        }
        if text.is_some_and(|text| turn.text != text.as_bytes()) {
            let told = String::from_utf8_lossy(&turn.text[..turn.text.len().min(80)]).into_owned();
            rig.wrong(format!("{key} said {told:?}"));
        }
    }
    let outcome = if rig.row.cause.is_some() {
        "failed"
    } else {
        "recovered"
    };
    rig.row.outcome = Some(outcome.to_owned());
    Ok(())
}

fn retries_told(rig: &Rig) -> Result<usize> {
    let lines = rig.client(Who::Owner)?.lines();
    let is_retry =
        |line: &&Line| matches!(&line.what, Seen::Event { kind, .. } if kind == "turn.retrying");
    Ok(lines.iter().filter(is_retry).count())
}

/// A cancel that is ignored: asked, then told, then killed, and each step is told. After that nothing is
/// left of the turn, within the time that a cancel has.
pub(super) async fn ignores(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.ends.insert("k1".to_owned(), "cancelled");
    rig.flow("k1", "").await?;
    rig.strike();
    rig.tell("cancel").await?;
    let turn = rig.over("k1").await?;
    rig.row.told_ms = Some(span(rig.struck_at, turn.ended_at));
    let gone = || marked(&rig.dir).is_ok_and(|left| left.is_empty());
    wait("nothing of the turn lives on", rest_of_cancel(rig), gone).await?;
    let lines = rig.client(Who::Owner)?.lines();
    let steps = lines.iter().filter_map(|line| match &line.what {
        Seen::Event { kind, data, .. } if kind == "turn.cancelling" => {
            data["step"].as_str().map(str::to_owned)
        }
        _ => None,
    });
    let steps: Vec<String> = steps.collect();
    if steps != ["asked", "terminating", "killing"] {
        rig.wrong(format!("the steps that were told are {steps:?}"));
    }
    rig.recovered();
    Ok(())
}
