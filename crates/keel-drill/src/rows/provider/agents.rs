//! C: an agent that speaks the Agent Client Protocol, and everything that it does wrong.

use std::fs;

use anyhow::{Result, ensure};

use super::{
    S, Spec,
    case::{Case, Expected, ignores, misbehaves},
    kinds::agent,
    lives::CANCELLED_MS,
};
use crate::{
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    rig::{Rig, Via, Who, span},
};

/// What the fake agent does at each prompt, or how it is from its start.
type Ops = &'static [&'static str];

const CASE: Case<Ops> = Case {
    retries: Some(0),
    ..Case::of(&[] as Ops)
};

/// What the fake agent says of a terminal's end, output and release.
const CAT_ENDED: &str = r#"{"exitCode":0,"signal":null}{"exitStatus":{"exitCode":0,"signal":null},"output":"","truncated":false}{}"#;

const CASES: &[Case<Ops>] = &[
    Case {
        id: "C02",
        fault: "exits with 3 before it says anything",
        does: &["exit=3"],
        code: Some("provider_crashed"),
        text: Some(""),
        ..CASE
    },
    Case {
        id: "C03",
        fault: "exits with 0 and never says that it is done",
        does: &["text=half", "exit=0"],
        code: Some("provider_crashed"),
        text: Some("half"),
        ..CASE
    },
    Case {
        id: "C04",
        fault: "is killed by a signal in mid-turn",
        does: &["text=begun", "sleep-ms=500", "signal=11"],
        code: Some("provider_crashed"),
        text: Some("begun"),
        within_ms: 3_000.,
        ..CASE
    },
    Case {
        id: "C05",
        fault: "says that it failed, and lives on",
        does: &["error=-32603:no"],
        code: Some("provider_unavailable"),
        text: Some(""),
        mutant: Mutant::ToldLate,
        ..CASE
    },
    Case {
        id: "C06",
        fault: "hangs before it says hello",
        does: &["--hang-at=initialize"],
        more: "clocks = { spawn_ms = 1500, first_output_ms = 1500 }",
        code: Some("provider_timeout"),
        text: Some(""),
        within_ms: 14_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C07",
        fault: "hangs in mid-turn",
        does: &["text=begun", "hang"],
        more: "clocks = { idle_ms = 1500 }",
        code: Some("provider_timeout"),
        text: Some("begun"),
        within_ms: 5_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C09",
        fault: "leaves children in sessions of their own",
        does: &["text=begun", "orphans=2"],
        text: Some("begun"),
        within_ms: 5_000.,
        mutant: Mutant::ChildLeft,
        ..CASE
    },
    Case {
        id: "C10",
        fault: "closes its output and lives on",
        does: &["text=begun", "close-stdout", "hang"],
        code: Some("provider_protocol"),
        text: Some("begun"),
        within_ms: 6_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "C11",
        fault: "prints a banner before it speaks",
        does: &["--banner", "garbage=20", "text=fine"],
        text: Some("fine"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C12",
        fault: "ends in the middle of a line",
        does: &["text=begun", "half", "exit=0"],
        code: Some("provider_protocol"),
        text: Some("begun"),
        ..CASE
    },
    Case {
        id: "C13",
        fault: "writes a line of 3 MiB",
        does: &["huge=3145728", "hang"],
        code: Some("provider_protocol"),
        within_ms: 6_000.,
        mutant: Mutant::LogMute,
        ..CASE
    },
    Case {
        id: "C14",
        fault: "writes what is no UTF-8, and half a surrogate",
        does: &["broken"],
        text: Some("a\u{fffd}b\u{fffd}c"),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C15",
        fault: "writes JSON of many levels",
        does: &["deep", "text=fine"],
        text: Some("fine"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C16",
        fault: "floods stderr with 64 MiB",
        does: &["complain=67108864", "text=ended"],
        text: Some("ended"),
        within_ms: 20_000.,
        mutant: Mutant::EndlessRun,
        ..CASE
    },
    Case {
        id: "C17",
        fault: "waits for the end of its input, which does not come while it is kept",
        does: &["text=begun", "until-eof"],
        more: "clocks = { idle_ms = 1500 }",
        code: Some("provider_timeout"),
        text: Some("begun"),
        within_ms: 5_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C17/terminal",
        fault: "has us run what waits for the end of its input",
        does: &["run=cat"],
        more: "terminals = true",
        text: Some(CAT_ENDED),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C19",
        fault: "20,000 words at once",
        does: &["count=20000"],
        within_ms: 30_000.,
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C20",
        fault: "answers a prompt twice",
        does: &["text=fine", "two-ends"],
        text: Some("fine"),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C21",
        fault: "begins anew and says the same again",
        does: &[
            "id=a:one ",
            "id=a:two ",
            "id=b:one ",
            "id=b:two ",
            "id=b:three",
        ],
        text: Some("one two three"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C22",
        fault: "talks for ever",
        does: &["endless"],
        more: "bytes_max = 100000",
        code: Some("provider_budget"),
        within_ms: 10_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C24",
        fault: "speaks another version of the protocol",
        does: &["--protocol=99"],
        code: Some("provider_protocol"),
        text: Some(""),
        within_ms: 6_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
];

pub(super) fn rows() -> Vec<Spec> {
    let mut rows: Vec<Spec> = CASES.iter().map(row).collect();
    rows.push(missing());
    rows.push(deaf());
    rows.extend([false, true].map(lost));
    rows.push(
        Spec::new(
            "C08/mid-turn/owner/acp",
            "ignores a cancel, and SIGTERM, and has left children",
            Mutant::ChildLeft,
            |rig| Box::pin(ignores(rig)),
        )
        .told_within(CANCELLED_MS)
        .config(agent(&[
            "ignore-term",
            "ignore-cancel",
            "orphans=2",
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

fn row(case: &'static Case<Ops>) -> Spec {
    let (fault, how) = case.id.split_once('/').unwrap_or((case.id, ""));
    let how = if how.is_empty() {
        String::new()
    } else {
        format!("{how}/")
    };
    let id = format!("{fault}/mid-turn/owner/{how}acp");
    case.row(&id, &agent(case.does)).backend("acp")
}

const MISSING: &str = r#"
[backends.bad]
kind = "acp"
command = ["/nonexistent/agent"]
"#;

fn missing() -> Spec {
    let case = Case {
        fault: "the program is not there",
        code: Some("provider_spawn"),
        text: Some(""),
        within_ms: 1_000.,
        ..CASE
    };
    case.row("C01/mid-turn/owner/acp", MISSING).backend("acp")
}

/// So much is not taken by a pipe.
const LONG_BYTES: usize = 256 * 1024;

fn deaf() -> Spec {
    let expected = Expected {
        code: Some("provider_timeout"),
        text: Some("begun"),
        retries: Some(0),
    };
    Spec::new(
        "C18/mid-turn/owner/acp",
        "asks for a file and reads no more: its pipe is full",
        Mutant::CrashIsDone,
        move |rig| {
            Box::pin(async move {
                fs::write(rig.dir.join("long"), "x".repeat(LONG_BYTES))?;
                misbehaves(rig, expected).await
            })
        },
    )
    .fails()
    .cause("provider_timeout")
    .told_within(12_000.)
    .config(agent(&["text=begun", "deaf", "read={dir}/long"]) + "files = true\ncwd = \"{dir}\"\n")
    .backend("acp")
}

/// An agent that is killed in mid-turn, and whose home is empty when it is there again.
fn lost(for_good: bool) -> Spec {
    let config = agent(&["--resume", "--state={dir}/home", "echo", "sleep-ms=1500"]);
    if for_good {
        return Spec::new(
            "C26/mid-turn/owner/fail/acp",
            "does not know its conversation any more, and is not to be told it again",
            Mutant::CrashIsDone,
            |rig| Box::pin(forgets(rig, true)),
        )
        .fails()
        .cause("provider_protocol")
        .told_within(2_000.)
        .config(config + "forgotten = \"fail\"\n")
        .backend("acp");
    }
    Spec::new(
        "C26/mid-turn/owner/acp",
        "does not know its conversation any more",
        Mutant::TextDropped,
        |rig| Box::pin(forgets(rig, false)),
    )
    .told_within(2_000.)
    .config(config)
    .backend("acp")
}

/// What was said is told it again, and that is told; or the turn fails by that name.
async fn forgets(rig: &mut Rig, for_good: bool) -> Result<()> {
    let home = rig.dir.join("home");
    fs::create_dir(&home)?;
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.ends.insert("k1".to_owned(), "failed");
    rig.flow("k1", "the first words").await?;
    rig.strike();
    rig.kill_what_serves().await?;
    rig.over("k1").await?;
    fs::remove_dir_all(&home)?;
    fs::create_dir(&home)?;
    let said_at = unix_ms();
    if for_good {
        rig.ends.insert("k2".to_owned(), "failed");
    }
    rig.tell("say k2").await?;
    if for_good {
        let turn = rig.over("k2").await?;
        rig.row.told_ms = Some(span(said_at, turn.ended_at));
        rig.row.cause.clone_from(&turn.end_code);
        rig.row.outcome = Some("failed".to_owned());
        return Ok(());
    }
    let noticed = rig.sees(S(10), "told that it was told again", |line| {
        match &line.what {
            Seen::Event { kind, data, .. } if kind == "item" => {
                (data["data"]["type"] == "notice").then_some(())
            }
            _ => None,
        }
    });
    let ((), noticed_at) = noticed.await?;
    rig.row.told_ms = Some(span(said_at, noticed_at));
    let turn = rig.over("k2").await?;
    let told = String::from_utf8_lossy(&turn.text).into_owned();
    if !told.contains("User: k1 the first words") || !told.trim_end().ends_with("k2") {
        rig.wrong(format!("it was told {told:?}"));
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
