//! The `acp` provider against an agent that does what it is told, well or badly.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each looks for one kind of output, and a new one is no such"
)]

mod asking;
mod cancelling;
mod directory;
mod failing;
mod keeping;
mod telling;

use std::time::{Duration, Instant};

use keel_agent::{
    Answer, Ending, Exit, Failure, Output, Provider, Request,
    acp::{Config, Forgotten, PRESETS, Permissions},
};
use keel_wire::CancelStep;
use serde_json::{Value, json};

use super::harness::{Agent, Heard, agent, left_of, request};

const NEVER: Duration = Duration::from_secs(10);

/// Waits until `holds`.
async fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < NEVER, "it does not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_there(pid: rustix::process::Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

/// Kills an agent, and waits until its provider has seen it die. Its memory and its first thread go before: a
/// turn that begins in between meets an agent that dies.
async fn slay(pid: Option<u32>) {
    let pid = rustix::process::Pid::from_raw(pid.expect("it has one").cast_signed());
    let pid = pid.expect("it is none of a group");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is ours");
    until(|| !is_there(pid)).await;
}

fn done(heard: &Heard, reason: &str) {
    let stop_reason = Some(reason.to_owned());
    assert_eq!(
        heard.outcome.ending,
        Ending::Done { stop_reason },
        "{heard:?}"
    );
}

/// A turn that asks, answered with `answers` as it does; what was asked, too.
async fn answered(
    config: Config,
    prompt: &str,
    answers: &[Value],
) -> (Heard, Vec<keel_wire::Action>) {
    let agent = Agent::new(config);
    let mut driven = agent.start(request(prompt));
    let mut asked = Vec::new();
    for answer in answers {
        driven
            .until(|output| matches!(output, Output::NeedsAction(_)))
            .await;
        let Some(Output::NeedsAction(action)) = driven.outputs.last().cloned() else {
            panic!("it was the last");
        };
        let give = |action: &str, answer: Value| {
            let action = action.parse().expect("an id");
            driven.running.answer(Answer { action, answer })
        };
        // Forged, of a kind that was not offered, and given twice: none has an effect.
        assert!(give("a-forged", json!("always")));
        assert!(give(action.id.as_str(), json!("never offered")));
        assert!(give(action.id.as_str(), json!({"option": "always"})));
        assert!(give(action.id.as_str(), answer.clone()));
        assert!(give(action.id.as_str(), json!("always")));
        asked.push(action);
    }
    let heard = driven.finish().await;
    agent.close().await;
    (heard, asked)
}

/// A directory that goes with the test.
struct Place(std::path::PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("keel-acp-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path.canonicalize().expect("it is there"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
