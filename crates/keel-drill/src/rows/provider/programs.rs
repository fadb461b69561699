//! C: the program behind a session, and everything that it does wrong.

use anyhow::Result;
use serde_json::json;

use super::{
    S, Spec,
    case::{Case, Expected, ignores, misbehaves},
    kinds::program,
};
use crate::{
    heart::unix_ms,
    mutant::Mutant,
    rig::{Rig, Via, Who, span, wait},
};

/// A script for `/bin/sh -c`, and how its output is read; `{dir}` is the row's folder.
#[derive(Debug, Clone, Copy)]
struct Script {
    text: &'static str,
    output: &'static str,
}

const fn lines(text: &'static str) -> Script {
    Script {
        text,
        output: "lines",
    }
}

const fn json(text: &'static str) -> Script {
    Script {
        text,
        output: "json_lines",
    }
}

const CASE: Case<Script> = Case::of(lines(""));

const CASES: &[Case<Script>] = &[
    Case {
        id: "C02",
        fault: "exits with 3 before its first line",
        does: lines("read -r l; exit 3"),
        code: Some("provider_crashed"),
        text: Some(""),
        ..CASE
    },
    Case {
        id: "C03",
        fault: "exits with 0 and never says that it is done",
        does: json(r#"read -r l; echo "{\"type\":\"text\",\"text\":\"half\"}""#),
        code: Some("provider_crashed"),
        text: Some("half"),
        ..CASE
    },
    Case {
        id: "C04",
        fault: "is killed by a signal in mid-turn",
        does: lines("read -r l; echo begun; sleep 1; kill -SEGV $$"),
        code: Some("provider_crashed"),
        text: Some("begun\n"),
        within_ms: 3_000.,
        ..CASE
    },
    Case {
        id: "C05",
        fault: "says that it failed, and exits with 0",
        does: json(r#"read -r l; echo "{\"type\":\"error\",\"message\":\"no\"}""#),
        code: Some("provider_crashed"),
        text: Some(""),
        mutant: Mutant::ToldLate,
        ..CASE
    },
    Case {
        id: "C06",
        fault: "hangs before its first line",
        does: lines("read -r l; exec sleep 600"),
        more: "clocks = { spawn_ms = 1500, first_output_ms = 1500 }",
        code: Some("provider_timeout"),
        text: Some(""),
        within_ms: 5_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C07",
        fault: "hangs in mid-turn",
        does: lines("read -r l; echo begun; exec sleep 600"),
        more: "clocks = { idle_ms = 1500 }",
        code: Some("provider_timeout"),
        text: Some("begun\n"),
        within_ms: 5_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C09",
        fault: "leaves a child in a session of its own",
        does: lines(
            r#"read -r l; echo begun; setsid /bin/sh -c "sleep 600; : drill-agent {dir}" & sleep 1; echo ended"#,
        ),
        text: Some("begun\nended\n"),
        within_ms: 5_000.,
        mutant: Mutant::ChildLeft,
        ..CASE
    },
    Case {
        id: "C10",
        fault: "closes its output and lives on",
        does: lines("read -r l; echo begun; exec sleep 600 >&-"),
        code: Some("provider_protocol"),
        text: Some("begun\n"),
        within_ms: 5_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "C11",
        fault: "writes a banner between its JSON lines",
        does: json(
            r#"read -r l; echo "npm WARN old"; printf "\033[31mred\033[0m\n"; echo "{\"type\":\"text\",\"text\":\"fine\"}"; echo "{\"type\":\"done\"}""#,
        ),
        text: Some("fine"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C12",
        fault: "ends in the middle of a line",
        does: json(r#"read -r l; printf "{\"type\":\"text\""; exit 0"#),
        code: Some("provider_protocol"),
        ..CASE
    },
    Case {
        id: "C13",
        fault: "writes a line of 3 MiB",
        does: json(
            r#"read -r l; printf "{\"type\":\"text\",\"text\":\""; head -c 3145728 /dev/zero | tr "\0" x; echo "\"}"; echo "{\"type\":\"done\"}""#,
        ),
        code: Some("provider_protocol"),
        within_ms: 5_000.,
        mutant: Mutant::LogMute,
        ..CASE
    },
    Case {
        id: "C14",
        fault: "writes what is no UTF-8",
        does: lines(r#"read -r l; printf "a\377b\r\n""#),
        text: Some("a\u{fffd}b\r\n"),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C15",
        fault: "writes JSON of 10,000 levels",
        does: json(
            r#"read -r l; head -c 10000 /dev/zero | tr "\0" "["; echo; echo "{\"type\":\"text\",\"text\":\"fine\"}"; echo "{\"type\":\"done\"}""#,
        ),
        text: Some("fine"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C16",
        fault: "floods stderr with 256 MiB",
        does: lines("read -r l; head -c 268435456 /dev/zero >&2; echo ended"),
        text: Some("ended\n"),
        within_ms: 20_000.,
        mutant: Mutant::EndlessRun,
        ..CASE
    },
    Case {
        id: "C17",
        fault: "waits for the end of its input",
        does: lines("cat >/dev/null; echo ended"),
        text: Some("ended\n"),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "C20",
        fault: "goes on after it is done, twice",
        does: json(
            r#"read -r l; for x in "{\"type\":\"future\"}" "{\"type\":\"text\",\"text\":\"fine\"}" "{\"type\":\"done\"}" "{\"type\":\"text\",\"text\":\"late\"}" "{\"type\":\"error\",\"message\":\"late\"}"; do echo "$x"; done"#,
        ),
        text: Some("fine"),
        mutant: Mutant::EndlessRun,
        ..CASE
    },
    Case {
        id: "C21",
        fault: "begins anew and says the same again",
        does: json(
            r#"read -r l; for x in "{\"type\":\"text\",\"text\":\"one two\"}" "{\"type\":\"new_attempt\"}" "{\"type\":\"text\",\"text\":\"one two three\"}" "{\"type\":\"done\"}"; do echo "$x"; done"#,
        ),
        text: Some("one two three"),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "C22",
        fault: "calls its model for ever",
        does: json(r#"read -r l; while :; do echo "{\"type\":\"model_call\"}"; done"#),
        more: "calls_max = 50",
        code: Some("provider_budget"),
        within_ms: 5_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "C23",
        fault: "asks, and nobody answers",
        does: json(
            r#"read -r l; echo "{\"type\":\"needs_action\",\"id\":\"a1\",\"prompt\":\"?\"}"; read -r a; echo "{\"type\":\"text\",\"text\":\"refused\"}"; echo "{\"type\":\"done\"}""#,
        ),
        more: "clocks = { action_ms = 1500 }",
        text: Some("refused"),
        within_ms: 5_000.,
        mutant: Mutant::TextDropped,
        ..CASE
    },
];

const STUBBORN: &str = r#"trap "" TERM; read -r l; echo begun; while :; do sleep 1; done"#;
const MISSING: &str = r#"
[backends.bad]
kind = "process"
command = ["/nonexistent/agent"]
"#;
const TINY: &str = r#"
[backends.bad]
kind = "process"
command = ["/bin/sh", "-c", "read -r l; yes | head -n 300000"]
"#;

const STDIN_FULL: &str = r#"
[backends.bad]
kind = "process"
output = "json_lines"
command = ["/bin/sh", "-c", """echo '{"type":"needs_action","id":"a1","prompt":"?"}'; exec sleep 600"""]
"#;

pub(super) fn rows() -> Vec<Spec> {
    let mut rows: Vec<Spec> = CASES.iter().map(row).collect();
    rows.extend([
        Spec::new(
            "C01/mid-turn/owner",
            "the program is not there",
            Mutant::CrashIsDone,
            |rig| {
                let expected = Expected {
                    code: Some("provider_spawn"),
                    text: Some(""),
                    retries: Some(0),
                };
                Box::pin(misbehaves(rig, expected))
            },
        )
        .fails()
        .cause("provider_spawn")
        .told_within(1_000.)
        .config(MISSING),
        Spec::new(
            "C08/mid-turn/owner",
            "ignores SIGTERM when cancelled",
            Mutant::ChildLeft,
            |rig| Box::pin(ignores(rig)),
        )
        .told_within(6_000.)
        .config(program("bad", "lines", STUBBORN)),
        Spec::new(
            "C18/mid-turn/owner",
            "does not read its input, and its pipe is full",
            Mutant::CrashIsDone,
            |rig| Box::pin(does_not_read(rig)),
        )
        .fails()
        .cause("provider_timeout")
        .told_within(12_000.)
        .config(STDIN_FULL),
        Spec::new(
            "C19/mid-turn/owner",
            "300,000 lines at once",
            Mutant::TextDoubled,
            |rig| Box::pin(tiny_lines(rig)),
        )
        .config(TINY),
    ]);
    rows.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    rows
}

fn row(case: &'static Case<Script>) -> Spec {
    let Script { text, output } = case.does;
    let toml = format!(
        "[backends.bad]\nkind = \"process\"\noutput = \"{output}\"\n\
         command = [\"/bin/sh\", \"-c\", '''{text}''']\n"
    );
    case.row(&format!("{}/mid-turn/owner", case.id), &toml)
}

/// The prompt alone fits into a pipe; with the answer to what was asked it does not.
async fn does_not_read(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    let long = "x".repeat(60_000);
    let (mut raw, welcome) = rig.by_hand(&json!({ "backend": "bad" })).await?;
    rig.session = welcome["session"].as_str().unwrap_or_default().to_owned();
    let text = format!("k1 {long}");
    raw.send(&json!({ "type": "command", "n": 1, "name": "say", "data": { "text": text } }))
        .await?;
    let asked = raw
        .find("the question", |frame| frame["kind"] == "turn.waiting")
        .await?;
    rig.strike();
    let answer = json!({ "turn": asked["data"]["turn"], "action": "a1", "answer": long });
    raw.send(&json!({ "type": "command", "n": 2, "name": "turn.answer", "data": answer }))
        .await?;
    let ended = raw
        .find("the end of k1", |frame| frame["kind"] == "turn.ended")
        .await?;
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    let code = ended["data"]["fault"]["code"].as_str();
    rig.row.cause = code.map(str::to_owned);
    rig.ends.insert("k1".to_owned(), "failed");
    rig.row.outcome = Some("failed".to_owned());
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.over("k1").await.map(drop)
}

async fn tiny_lines(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "bad"])
        .await?;
    rig.join(Who::Viewer, Via::Proxy, &[]).await?;
    rig.strike();
    rig.tell("say k1").await?;
    let owner = rig.client(Who::Owner)?;
    wait("the end", S(60), || {
        owner
            .account()
            .turn("k1")
            .is_some_and(|turn| turn.end.is_some())
    })
    .await?;
    let turn = rig.over("k1").await?;
    if turn.text != "y\n".repeat(300_000).as_bytes() {
        rig.wrong(format!("{} bytes instead of 600,000", turn.text.len()));
    }
    rig.recovered();
    Ok(())
}
