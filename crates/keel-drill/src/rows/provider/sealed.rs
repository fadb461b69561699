//! C25: an agent that is let out to no network: it lives in a network namespace of its own, where not
//! even loopback is up. It says so and gives up, or waits for a network for ever, as codex does. Its words
//! are told; and lines that are not of its protocol are no sign that it gets on.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::{
    Spec,
    case::{Expected, misbehaves},
    lives::{PATIENT, STALLED_MS, falls_silent},
};
use crate::{
    ledger::Seen,
    mutant::Mutant,
    rig::{MARK, Rig, Via, Who},
};

/// What it says of the model's server that it cannot reach.
const UNREACHABLE: &str = "Network is unreachable (os error 101)";
/// What it says when it gives up.
const LAST_WORDS: &str = "no network, so no answer";

/// How the sealed agent speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    JsonLines,
    Acp,
}

impl Speech {
    const ALL: [Self; 2] = [Self::JsonLines, Self::Acp];

    const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "json-lines",
            Self::Acp => "acp",
        }
    }

    /// What giving up is told as.
    const fn code(self) -> &'static str {
        match self {
            Self::JsonLines => "provider_crashed",
            Self::Acp => "provider_unavailable",
        }
    }

    /// What the fake agent does to say its last words.
    const fn gives_up(self) -> [&'static str; 2] {
        match self {
            Self::JsonLines => [
                "say=waiting for network\\n",
                "error=no network, so no answer",
            ],
            Self::Acp => ["garbage=1", "error=-32603:no network, so no answer"],
        }
    }

    /// A backend named `bad` that tries to reach the model's server, and then does `ops`.
    fn sealed(self, ops: &[&str]) -> String {
        let (kind, own): (_, &[&str]) = match self {
            Self::JsonLines => (
                "kind = \"process\"\noutput = \"json_lines\"",
                &["read-line"],
            ),
            Self::Acp => ("kind = \"acp\"", &["acp"]),
        };
        let program = ["unshare", "--map-root-user", "--net", "{agent}"];
        let words = program
            .iter()
            .chain(own)
            .chain(&["reach={model}"])
            .chain(ops);
        let words: Vec<String> = words.map(|word| format!("{word:?}")).collect();
        format!(
            "[backends.bad]\n{kind}\ncommand = [{}]\nenv = {{ {MARK} = \"{{dir}}\" }}\n",
            words.join(", ")
        )
    }
}

pub(super) fn rows() -> Vec<Spec> {
    let lacking = lacks_namespaces();
    let rows = Speech::ALL
        .into_iter()
        .flat_map(|speech| [gives_up(speech), waits(speech)]);
    rows.map(|row| row.model("ok").needs(lacking.clone()))
        .collect()
}

fn gives_up(speech: Speech) -> Spec {
    let expected = Expected {
        code: Some(speech.code()),
        text: Some(UNREACHABLE),
        retries: Some(0),
    };
    Spec::new(
        &format!("C25/mid-turn/owner/{}", speech.name()),
        "is let out to no network, says so and gives up",
        Mutant::CauseChanged,
        move |rig| Box::pin(is_heard(rig, expected)),
    )
    .fails()
    .cause(speech.code())
    .told_within(2_000.)
    .config(speech.sealed(&speech.gives_up()))
    .backend(speech.name())
}

fn waits(speech: Speech) -> Spec {
    Spec::new(
        &format!("C25/mid-turn/owner/waits/{}", speech.name()),
        "is let out to no network, and mutters that it waits for one for ever",
        Mutant::CauseChanged,
        |rig| Box::pin(mutters(rig)),
    )
    .fails()
    .cause("provider_timeout")
    .told_within(STALLED_MS)
    .config(format!("{}{PATIENT}\n", speech.sealed(&["mutter=500"])))
    .backend(speech.name())
}

/// Its words are in the fault that the turn ends with, and how many of its lines made no sense.
async fn is_heard(rig: &mut Rig, expected: Expected) -> Result<()> {
    misbehaves(rig, expected).await?;
    let lines = rig.client(Who::Owner)?.lines();
    let ended = lines.iter().find_map(|line| match &line.what {
        Seen::Event { kind, data, .. } if kind == "turn.ended" => Some(data.clone()),
        _ => None,
    });
    let fault = &ended.unwrap_or_default()["fault"];
    let said = fault["message"].as_str().unwrap_or_default();
    if !said.contains(LAST_WORDS) || fault["detail"]["noise_lines"].as_u64() != Some(1) {
        rig.wrong(format!("its words are not in {fault}"));
    }
    sealed_off(rig).await
}

async fn mutters(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.join(Who::Viewer, Via::Proxy, &[]).await?;
    falls_silent(rig, "").await?;
    sealed_off(rig).await
}

/// The model's server was there all the while, and nobody came.
async fn sealed_off(rig: &mut Rig) -> Result<()> {
    let counts = rig.model()?.counts().await?;
    ensure!(counts["total"] == 0, "it got out: {counts}");
    Ok(())
}

/// What the host lacks to shut a program off from the network.
fn lacks_namespaces() -> Option<String> {
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--net", "true"])
        .stderr(Stdio::null())
        .status();
    let works = tried.is_ok_and(|status| status.success());
    (!works).then(|| "network namespaces of its own (unshare)".to_owned())
}
