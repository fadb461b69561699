//! How a program is made to behave: by what the fake agent is told to do.

use std::sync::Arc;

use keel_agent::process::{Config, Process, Stdin, Stdout};

use super::kinds::{Behaviour, EXIT_CODES, SIGNALS, Subject};
use crate::all::harness::fake;

pub(super) fn lines_that(behaviour: Behaviour) -> Vec<Subject> {
    let name = "process/lines";
    let one = |ops: &[&str]| vec![subject(name, fake(Stdout::Lines, ops))];
    match behaviour {
        Behaviour::Speak => one(&["say=one two three "]),
        Behaviour::Mute => one(&["read"]),
        Behaviour::Huge => one(&["fill=4194304"]),
        Behaviour::SayBack => one(&["echo"]),
        Behaviour::Slow => one(&["say=one ", "sleep-ms=300", "say=two three "]),
        Behaviour::Flood => one(&["complain=4194304", "say=one two three "]),
        Behaviour::CrashAtOnce => one(&["exit=3"]),
        Behaviour::CrashMidway => one(&["say=one ", "signal=11"]),
        Behaviour::HangAtOnce => one(&["hang"]),
        Behaviour::Hang => one(&["say=one ", "hang"]),
        Behaviour::Stubborn => one(&["ignore-term", "say=one ", "hang"]),
        Behaviour::Endless => one(&[r"endless=again\n"]),
        Behaviour::ExitCodes | Behaviour::Signals => many(name, Stdout::Lines, behaviour),
        Behaviour::CrashAfter | Behaviour::Garbage | Behaviour::Truncated | Behaviour::Ask => {
            Vec::new()
        }
    }
}

pub(super) fn json_lines_that(behaviour: Behaviour) -> Vec<Subject> {
    let name = "process/json_lines";
    let one = |ops: &[&str]| vec![subject(name, fake(Stdout::JsonLines, ops))];
    match behaviour {
        Behaviour::Speak => one(&["text=one two three ", "done"]),
        Behaviour::Mute => one(&["done"]),
        Behaviour::Huge => {
            let said = "x".repeat(256);
            let line = format!(r#"repeat=4096:{{"type":"text","text":"{said}"}}\n"#);
            one(&[&line, "done"])
        }
        Behaviour::SayBack => one(&["tell-line", "done"]),
        Behaviour::Slow => one(&["text=one ", "sleep-ms=300", "text=two three ", "done"]),
        Behaviour::Flood => one(&["complain=4194304", "text=one two three ", "done"]),
        Behaviour::CrashAtOnce => one(&["exit=3"]),
        Behaviour::CrashMidway => one(&["text=one ", "signal=11"]),
        Behaviour::CrashAfter => one(&["text=one two three ", "done", "signal=11"]),
        Behaviour::HangAtOnce => one(&["hang"]),
        Behaviour::Hang => one(&["text=one ", "hang"]),
        Behaviour::Stubborn => one(&["ignore-term", "text=one ", "hang"]),
        Behaviour::Garbage => one(&[r"repeat=1001:npm \x1b[31mwarn\n"]),
        Behaviour::Truncated => one(&["text=one ", r#"say={"type":"te"#]),
        Behaviour::Ask => {
            let question = r#"say={"type":"needs_action","id":"a-echo","prompt":"well?"}\n"#;
            let ops = ["read-line", question, "tell-line", "done"];
            let mut config = fake(Stdout::JsonLines, &ops);
            config.stdin = Stdin::Dialogue;
            vec![subject(name, config)]
        }
        Behaviour::Endless => one(&[r#"endless={"type":"text","text":"again "}\n"#]),
        Behaviour::ExitCodes | Behaviour::Signals => many(name, Stdout::JsonLines, behaviour),
    }
}

/// One subject for each way to end badly.
fn many(name: &str, stdout: Stdout, behaviour: Behaviour) -> Vec<Subject> {
    let (op, numbers) = if behaviour == Behaviour::ExitCodes {
        ("exit", EXIT_CODES)
    } else {
        ("signal", SIGNALS)
    };
    let each = |number: i32| {
        let op = format!("{op}={number}");
        let mut subject = subject(name, fake(stdout, &[&op]));
        subject.name = format!("{name} {op}");
        subject
    };
    numbers.map(each).into_iter().collect()
}

fn subject(name: &str, config: Config) -> Subject {
    let owner = config.owner.clone();
    let provider = Arc::new(Process::new(config));
    Subject {
        owner: Some(owner),
        ..Subject::new(name, provider, "what it was asked")
    }
}
