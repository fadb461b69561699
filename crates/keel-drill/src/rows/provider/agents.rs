//! C: an agent that speaks the Agent Client Protocol, and everything that it does wrong.

use anyhow::{Result, ensure};

use super::{
    S, Spec,
    kinds::agent,
    programs::{Expected, misbehaves},
};
use crate::{
    ledger::Seen,
    mutant::Mutant,
    rig::{Rig, Via, Who, span},
};

/// What an agent does, and what must come of it.
#[derive(Clone, Copy)]
struct Case {
    id: &'static str,
    fault: &'static str,
    /// For the fake agent, as it says what they do.
    args: &'static [&'static str],
    more: &'static str,
    /// How the turn must end: done, or failed with this code.
    code: Option<&'static str>,
    /// What must be told of it.
    text: Option<&'static str>,
    within_ms: f64,
    mutant: Mutant,
}

const CASE: Case = Case {
    id: "",
    fault: "",
    args: &[],
    more: "",
    code: None,
    text: None,
    within_ms: 2_000.,
    mutant: Mutant::CrashIsDone,
};

const CASES: &[Case] = &[
    Case {
        id: "C02",
        fault: "exits with 3 before it says anything",
        args: &["exit=3"],
        code: Some("provider_crashed"),
        text: Some(""),
        ..CASE
    },
    Case {
        id: "C03",
        fault: "exits with 0 and never says that it is done",
        args: &["text=half", "exit=0"],
        code: Some("provider_crashed"),
        text: Some("half"),
        ..CASE
    },
    Case {
        id: "C04",
        fault: "is killed by a signal in mid-turn",
        args: &["text=begun", "sleep-ms=500", "signal=11"],
        code: Some("provider_crashed"),
        text: Some("begun"),
        within_ms: 3_000.,
        ..CASE
    },
    Case {
        id: "C05",
        fault: "says that it failed, and lives on",
        args: &["error=-32603:no"],
        code: Some("provider_unavailable"),
        text: Some(""),
        mutant: Mutant::ToldLate,
        ..CASE
    },
    Case {
        id: "C06",
        fault: "hangs before it says hello",
        args: &["--hang-at=initialize"],
        more: "clocks = { spawn_ms = 1500, first_output_ms = 1500 }",
        code: Some("provider_timeout"),
        text: Some(""),
        within_ms: 14_000.,
        mutant: Mutant::CauseChanged,
    },
    Case {
        id: "C09",
        fault: "leaves children in sessions of their own",
        args: &["text=begun", "orphans=2"],
        text: Some("begun"),
        within_ms: 5_000.,
        mutant: Mutant::ChildLeft,
        ..CASE
    },
    Case {
        id: "C10",
        fault: "closes its output and lives on",
        args: &["text=begun", "close-stdout", "hang"],
        code: Some("provider_protocol"),
        text: Some("begun"),
        within_ms: 6_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "C11",
        fault: "prints a banner before it speaks",
        args: &["--banner", "garbage=20", "text=fine"],
        text: Some("fine"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C12",
        fault: "ends in the middle of a line",
        args: &["text=begun", "half", "exit=0"],
        code: Some("provider_protocol"),
        text: Some("begun"),
        ..CASE
    },
    Case {
        id: "C13",
        fault: "writes a line of 3 MiB",
        args: &["huge=3145728", "hang"],
        code: Some("provider_protocol"),
        within_ms: 6_000.,
        mutant: Mutant::LogMute,
        ..CASE
    },
    Case {
        id: "C15",
        fault: "writes JSON of many levels",
        args: &["deep", "text=fine"],
        text: Some("fine"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C16",
        fault: "floods stderr with 64 MiB",
        args: &["complain=67108864", "text=ended"],
        text: Some("ended"),
        within_ms: 20_000.,
        mutant: Mutant::EndlessRun,
        ..CASE
    },
    Case {
        id: "C19",
        fault: "20,000 words at once",
        args: &["count=20000"],
        within_ms: 30_000.,
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C20",
        fault: "answers a prompt twice",
        args: &["text=fine", "two-ends"],
        text: Some("fine"),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C22",
        fault: "talks for ever",
        args: &["endless"],
        more: "bytes_max = 100000",
        code: Some("provider_budget"),
        within_ms: 10_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C24",
        fault: "speaks another version of the protocol",
        args: &["--protocol=99"],
        code: Some("provider_protocol"),
        text: Some(""),
        within_ms: 6_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
];

pub(super) fn rows() -> Vec<Spec> {
    let mut rows: Vec<Spec> = CASES.iter().map(|case| row(*case)).collect();
    rows.push(
        Spec::new(
            "C08/mid-turn/owner/acp",
            "ignores a cancel, and SIGTERM",
            Mutant::ChildLeft,
            |rig| Box::pin(ignores(rig)),
        )
        .told_within(8_500.)
        .config(agent(&[
            "ignore-term",
            "ignore-cancel",
            "text=begun",
            "hang",
        ]))
        .backend("acp"),
    );
    rows.push(
        Spec::new(
            "C23/mid-turn/owner/acp",
            "asks for permission, and nobody answers",
            Mutant::TextDoubled,
            |rig| Box::pin(asks(rig)),
        )
        .told_within(2_000.)
        .config(agent(&["text=begun", "permit"]) + "clocks = { action_ms = 1500 }\n")
        .backend("acp"),
    );
    rows
}

fn row(case: Case) -> Spec {
    let expected = Expected {
        code: case.code,
        text: case.text,
        retries: Some(0),
    };
    let spec = Spec::new(
        &format!("{}/mid-turn/owner/acp", case.id),
        case.fault,
        case.mutant,
        move |rig| Box::pin(misbehaves(rig, expected)),
    )
    .told_within(case.within_ms)
    .config(format!("{}{}\n", agent(case.args), case.more))
    .backend("acp");
    match case.code {
        Some(code) => spec.fails().cause(code),
        None => spec,
    }
}

/// Asked, then told, then killed: each step is told, and after 8 s nothing is left.
async fn ignores(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.ends.insert("k1".to_owned(), "cancelled");
    rig.flow("k1", "").await?;
    rig.strike();
    rig.tell("cancel").await?;
    let turn = rig.over("k1").await?;
    rig.row.told_ms = Some(span(rig.struck_at, turn.ended_at));
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

/// The question is told at once with its choices; silence refuses it, and the agent is told so.
async fn asks(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.strike();
    rig.tell("say k1").await?;
    let asked = rig.sees(S(10), "told of the question", |line| match &line.what {
        Seen::Event { kind, data, .. } if kind == "turn.waiting" => Some(data.clone()),
        _ => None,
    });
    let (asked, at) = asked.await?;
    rig.row.told_ms = Some(span(rig.struck_at, at));
    let choices = asked["action"]["choices"].as_array();
    ensure!(choices.is_some_and(|all| !all.is_empty()), "{asked}");
    let turn = rig.over("k1").await?;
    let told = String::from_utf8_lossy(&turn.text).into_owned();
    if !told.contains("\"no\"") {
        rig.wrong(format!("silence was told the agent as {told:?}"));
    }
    rig.recovered();
    Ok(())
}
