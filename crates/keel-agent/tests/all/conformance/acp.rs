//! How an agent that speaks ACP is made to behave: by what the fake one is told to do.

use std::sync::Arc;

use keel_agent::acp::Acp;

use super::kinds::{Behaviour, EXIT_CODES, SIGNALS, Subject};
use crate::all::harness::agent;

pub(super) fn that(behaviour: Behaviour) -> Vec<Subject> {
    let one = |ops: &[&str]| vec![subject("acp", ops)];
    match behaviour {
        Behaviour::Speak => one(&["text=one two three "]),
        Behaviour::Mute => one(&["stop=end_turn"]),
        Behaviour::Huge => one(&["big=4194304"]),
        Behaviour::SayBack => one(&["echo"]),
        Behaviour::Slow => one(&["text=one ", "sleep-ms=300", "text=two three "]),
        Behaviour::Flood => one(&["complain=4194304", "text=one two three "]),
        Behaviour::CrashAtOnce => one(&["exit=3"]),
        Behaviour::CrashMidway => one(&["text=one ", "signal=11"]),
        Behaviour::CrashAfter => one(&["text=one two three ", "end=end_turn", "signal=11"]),
        Behaviour::ExitCodes => many("exit", EXIT_CODES),
        Behaviour::Signals => many("signal", SIGNALS),
        Behaviour::HangAtOnce => one(&["hang"]),
        Behaviour::Hang => one(&["text=one ", "hang"]),
        Behaviour::Stubborn => one(&["ignore-term", "ignore-cancel", "text=one ", "hang"]),
        Behaviour::Garbage => one(&["garbage=1001", "hang"]),
        Behaviour::Truncated => one(&["text=one ", "half", "exit=0"]),
        Behaviour::Ask => one(&["permit"]),
        Behaviour::Endless => one(&["endless"]),
    }
}

/// One subject for each way to end badly.
fn many(op: &str, numbers: [i32; 6]) -> Vec<Subject> {
    let each = |number: i32| {
        let op = format!("{op}={number}");
        let mut subject = subject("acp", &[&op]);
        subject.name = format!("acp {op}");
        subject
    };
    numbers.map(each).into_iter().collect()
}

fn subject(name: &str, ops: &[&str]) -> Subject {
    let config = agent(ops);
    let owner = config.process.owner.clone();
    Subject {
        owner: Some(owner),
        ..Subject::new(name, Arc::new(Acp::new(config)), "what it was asked")
    }
}
