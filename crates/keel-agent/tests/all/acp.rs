//! The `acp` provider against an agent that does what it is told, well or badly.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each looks for one kind of output, and a new one is no such"
)]

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

/// The steps of a cancel, as they were told.
fn steps(heard: &Heard) -> Vec<&'static str> {
    let step = |output: &Output| match output {
        Output::Cancelling { step } => Some(match step {
            CancelStep::Asked => "asked",
            CancelStep::Terminating => "terminating",
            CancelStep::Killing => "killing",
        }),
        _ => None,
    };
    heard.outputs.iter().filter_map(step).collect()
}

/// A request of a session with these params.
fn with_params(prompt: &str, params: Value) -> Request {
    Request {
        params,
        ..request(prompt)
    }
}

/// What the agent calls the conversation.
fn bound(heard: &Heard) -> Option<String> {
    heard.outputs.iter().find_map(|output| match output {
        Output::Bound { id } => Some(id.clone()),
        _ => None,
    })
}

/// A request of a session that has a name with the agent.
fn resuming(prompt: &str, bound: Option<String>) -> Request {
    Request {
        bound,
        ..request(prompt)
    }
}

fn done(heard: &Heard, reason: &str) {
    let stop_reason = Some(reason.to_owned());
    assert_eq!(
        heard.outcome.ending,
        Ending::Done { stop_reason },
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_turn_is_told_with_all_that_the_agent_tells_of_it() {
    let agent = Agent::with(&["--modes"]);
    let heard = agent
        .turn("!thought=hm text=one_ tool plan mode=plan usage commands unknown text=two")
        .await;
    done(&heard, "end_turn");
    assert_eq!(heard.text(), "one two");
    assert!(matches!(heard.outputs[0], Output::Started { pid: Some(_) }));
    let first = |kind: &str| heard.items(kind)[0].clone();
    // Each but the unknown one is of a shape that everybody knows.
    for output in &heard.outputs {
        if let Output::Item(item) = output
            && item["type"] != "acp_update"
        {
            let read = serde_json::from_value::<keel_wire::item::ItemData>(item.clone());
            assert_eq!(read.expect("it is known").into_value(), *item);
        }
    }
    assert_eq!(first("thought")["text"], "hm");
    assert_eq!(first("tool_call")["input"], json!({"command": "ls"}));
    let update =
        json!({"type": "tool_update", "id": "call-1", "status": "done", "output": "a.txt"});
    assert_eq!(first("tool_update"), update);
    assert_eq!(first("plan")["entries"][0]["status"], "done");
    let modes: Vec<&Value> = heard
        .items("mode")
        .iter()
        .map(|item| &item["mode"])
        .collect();
    assert_eq!(modes, ["code", "plan"]);
    assert_eq!(first("usage")["context_used"], 10);
    assert_eq!(first("commands")["names"], json!(["init"]));
    assert_eq!(
        first("acp_update")["update"]["sessionUpdate"],
        "from_the_future"
    );
    agent.close().await;
}

#[tokio::test]
async fn an_agent_is_kept_for_the_next_turn_of_its_session() {
    let agent = Agent::with(&[]);
    let one = agent.turn("!session").await;
    let two = agent.turn("!session").await;
    assert_eq!((one.pid(), one.text()), (two.pid(), two.text()));
    let mut other = request("!session");
    other.session = "s-2".parse().unwrap();
    let other = agent.start(other).finish().await;
    assert_ne!(one.pid(), other.pid());
    assert_eq!(left_of(&agent.owner).len(), 2);
    agent.close().await;
}

#[tokio::test]
async fn an_agent_that_nobody_wants_any_more_ends() {
    let mut config = agent(&[]);
    config.idle = Duration::from_millis(50);
    let agent = Agent::new(config);
    agent.turn("hello").await;
    until(|| left_of(&agent.owner).is_empty()).await;
    agent.turn("hello").await.assert_done();
    agent.close().await;
}

#[tokio::test]
async fn a_session_that_is_over_leaves_no_agent_i11() {
    let agent = Agent::with(&["--ignore-term"]);
    let session = request("").session;
    agent.turn("!orphans=2").await.assert_done();
    assert_eq!(left_of(&agent.owner).len(), 3);
    agent.provider.release(&session);
    until(|| left_of(&agent.owner).is_empty()).await;
    // One that is released in mid-turn is not kept either.
    let mut driven = agent.start(request("!text=one permit"));
    driven
        .until(|output| matches!(output, Output::NeedsAction(_)))
        .await;
    agent.provider.release(&session);
    let Some(Output::NeedsAction(action)) = driven.outputs.last() else {
        panic!("it was the last");
    };
    let answer = Answer {
        action: action.id.clone(),
        answer: json!("yes"),
    };
    assert!(driven.running.answer(answer));
    driven.finish().await.assert_done();
    until(|| left_of(&agent.owner).is_empty()).await;
    agent.close().await;
}

#[tokio::test]
async fn a_provider_that_is_dropped_leaves_no_agent_i11() {
    let agent = Agent::with(&[]);
    agent.turn("!orphans=1").await.assert_done();
    let Agent { provider, owner } = agent;
    drop(provider);
    until(|| left_of(&owner).is_empty()).await;
}

#[tokio::test]
async fn an_agent_that_dies_between_turns_is_replaced_c04() {
    let agent = Agent::with(&[]);
    let one = agent.turn("!pid").await;
    slay(one.pid()).await;
    until(|| left_of(&agent.owner).is_empty()).await;
    let two = agent.turn("!pid").await;
    two.assert_done();
    assert_ne!(one.text(), two.text());
    agent.close().await;
}

#[tokio::test]
async fn a_death_at_any_point_is_one_failure_m21_c02_c04() {
    for at in ["start", "initialize", "session/new", "session/prompt"] {
        let agent = Agent::with(&[&format!("--crash-at={at}")]);
        let heard = agent.turn("hello").await;
        assert_eq!(heard.failure(), &Failure::Signal { signal: 11 }, "{at}");
        assert_eq!(heard.outcome.exit, Some(Exit::Signal(11)));
        agent.close().await;
    }
    let rows = [
        ("!text=one exit=3", "exited"),
        ("!text=one exit=0", "no_result"),
        ("!text=one half", "truncated_line"),
        ("!text=one signal=9", "signal"),
    ];
    let agent = Agent::with(&[]);
    for (prompt, cause) in rows {
        let heard = agent.turn(prompt).await;
        assert_eq!(
            (heard.failure().cause(), heard.text().as_str()),
            (cause, "one")
        );
        agent.turn("hello").await.assert_done();
    }
    agent.close().await;
}

#[tokio::test]
async fn an_error_fails_the_turn_and_keeps_the_agent_and_the_text_i13_a67() {
    let agent = Agent::with(&[]);
    let heard = agent
        .turn("!text=one error=-32603:sk-canary-0123456789")
        .await;
    assert_eq!(heard.text(), "one");
    let fault = heard.outcome.fault("f-1".parse().unwrap(), 7).unwrap();
    let told = serde_json::to_string(&fault).unwrap();
    assert!(!told.contains("canary"), "{told}");
    assert!(
        told.contains("overloaded") && told.contains("[redacted]"),
        "{told}"
    );
    let again = agent.turn("hello").await;
    again.assert_done();
    assert_eq!(heard.pid(), again.pid());
    agent.close().await;
}

#[tokio::test]
async fn a_stop_reason_is_told_as_it_is() {
    let agent = Agent::with(&[]);
    for reason in [
        "max_tokens",
        "max_turn_requests",
        "refusal",
        "cancelled",
        "from_the_future",
    ] {
        let heard = agent.turn(&format!("!text=one stop={reason}")).await;
        done(&heard, reason);
    }
    agent.close().await;
}

#[tokio::test]
async fn garbage_is_skipped_and_counted_until_it_is_too_much_c11_c15_c20() {
    let agent = Agent::with(&["--banner"]);
    let heard = agent.turn("!text=one_ garbage=3 deep two-ends").await;
    done(&heard, "end_turn");
    assert_eq!(
        (heard.text().as_str(), heard.outcome.noise_lines),
        ("one ", 6)
    );
    let told = |output: &Output| match output {
        Output::Noise { lines } => *lines,
        _ => 0,
    };
    assert_eq!(heard.outputs.iter().map(told).sum::<u32>(), 6);
    let heard = agent.turn("!text=one garbage=1001 hang").await;
    assert_eq!(heard.failure().cause(), "garbage");
    agent.turn("hello").await.assert_done();
    agent.close().await;
}

#[tokio::test]
async fn a_line_without_an_end_ends_the_turn_c13() {
    let agent = Agent::with(&[]);
    let heard = agent.turn("!text=one huge=67108864").await;
    let bytes_max = 1024 * 1024;
    assert_eq!(heard.failure(), &Failure::LineTooLong { bytes_max });
    assert_eq!(heard.text(), "one");
    agent.close().await;
}

#[tokio::test]
async fn a_closed_output_and_a_stderr_flood_hold_nothing_up_c10_c16() {
    let agent = Agent::with(&[]);
    let heard = agent.turn("!text=one complain=10000000 text=two").await;
    heard.assert_done();
    assert!(heard.outcome.stderr_dropped > 9_000_000);
    let heard = agent.turn("!text=one close-stdout hang").await;
    assert_eq!(heard.failure().cause(), "stdout_closed");
    agent.close().await;
}

#[tokio::test]
async fn a_flood_of_tiny_pieces_is_told_in_few_c19() {
    let agent = Agent::with(&[]);
    let heard = agent.turn("!count=20000").await;
    heard.assert_done();
    assert_eq!(heard.text().len(), 20_000 * 6);
    // One each would be 20,000; how many fall together is the scheduler's.
    assert!(heard.outputs.len() < 15_000, "{}", heard.outputs.len());
    agent.close().await;
}

#[tokio::test]
async fn text_that_an_agent_says_again_supersedes_itself_c21() {
    let agent = Agent::with(&[]);
    let heard = agent
        .turn("!id=a:one_ id=a:two_ id=b:one_ id=b:two_ id=b:three")
        .await;
    heard.assert_done();
    let anew = |output: &Output| matches!(output, Output::NewAttempt { .. });
    let at = heard.outputs.iter().rposition(anew).expect("it began anew");
    let after = heard.outputs[at..]
        .iter()
        .filter_map(|output| match output {
            Output::Text(text) => Some(text.as_str()),
            _ => None,
        });
    assert_eq!(after.collect::<String>(), "one two three");
    agent.close().await;
}

#[tokio::test]
async fn an_old_version_is_incompatible_c24() {
    let agent = Agent::with(&["--protocol=2"]);
    let heard = agent.turn("hello").await;
    assert_eq!(heard.failure().cause(), "incompatible");
    agent.close().await;
}

#[tokio::test]
async fn a_login_that_is_wanted_says_what_to_do_a67() {
    let mut config = agent(&["--auth-always"]);
    config.login = Some("run `fake login`".to_owned());
    let agent = Agent::new(config);
    let heard = agent.turn("hello").await;
    let Failure::Auth { message, methods } = heard.failure() else {
        panic!("{heard:?}")
    };
    assert!(
        message.contains("run `fake login`") && !message.contains("canary"),
        "{message}"
    );
    assert_eq!(methods, &["Log in with a browser", "Use what is there"]);
    agent.close().await;
}

#[tokio::test]
async fn a_key_that_an_agent_says_is_not_told_a67() {
    let mut config = agent(&[]);
    let key = ("MODEL_API_KEY".to_owned(), "canary-0123456789".to_owned());
    config.process.env.set.push(key);
    let agent = Agent::new(config.clone());
    let heard = agent
        .turn("!text=bad_key:_canary-0123456789 thought=canary-0123456789")
        .await;
    assert_eq!(heard.text(), "bad key: [redacted]");
    assert_eq!(heard.items("thought")[0]["text"], "[redacted]");
    // In pieces, with a thought between them; what only begins like it is told when nothing follows.
    let heard = agent
        .turn("!text=no_can text=ary-01 thought=canary-0 thought=123456789, text=23456789. text=_can thought=can tool text=ary-0")
        .await;
    assert_eq!(heard.text(), "no [redacted]. canary-0");
    let thoughts: Vec<_> = heard
        .items("thought")
        .iter()
        .map(|it| it["text"].clone())
        .collect();
    assert_eq!(thoughts, ["[redacted],", "can"]);
    agent.close().await;
    config.process.owner = super::harness::owner();
    let prompt = "!permit=canary-0123456789";
    let (heard, asked) = answered(config, prompt, &[json!("yes")]).await;
    assert_eq!(asked[0].prompt, "[redacted] something");
    assert!(!format!("{heard:?}").contains("canary"), "{heard:?}");
}

#[tokio::test]
async fn of_what_is_too_long_to_be_told_again_the_end_is() {
    let agent = Agent::with(&[]);
    let mut request = request("!echo");
    request.history[0].text = format!("begin {} end", "\u{e9}".repeat(50_000));
    let heard = agent.start(request).finish().await;
    let text = heard.text();
    assert!(text.contains("\n\n[…]\u{e9}") && !text.contains("begin"));
    assert!(text.ends_with("\u{e9} end\n\n!echo"));
    agent.close().await;
}

#[tokio::test]
async fn a_login_that_asks_nobody_is_made() {
    let mut config = agent(&["--auth"]);
    config.auth_method = Some("silent".to_owned());
    let agent = Agent::new(config);
    agent.turn("hello").await.assert_done();
    agent.close().await;
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

#[tokio::test]
async fn a_permission_is_asked_for_and_answered_once_a65_c23() {
    let (heard, asked) = answered(agent(&[]), "!permit", &[json!("yes")]).await;
    assert_eq!(heard.text(), r#"{"optionId":"yes","outcome":"selected"}"#);
    assert_eq!(asked[0].options, ["yes", "always", "no"]);
    assert_eq!(asked[0].prompt, "execute something");
    assert_eq!(asked[0].tool_call.as_deref(), Some("call-1"));
    assert_eq!(asked[0].choices[1].label, "Always allow");
    // Nobody answered in time.
    let (heard, _) = answered(agent(&[]), "!permit", &[Value::Null]).await;
    assert_eq!(heard.text(), r#"{"optionId":"no","outcome":"selected"}"#);
}

#[tokio::test]
async fn two_permissions_are_asked_for_one_after_the_other_a65() {
    let answers = [json!("yes"), json!("no")];
    let (heard, asked) = answered(agent(&[]), "!permit2", &answers).await;
    assert_ne!(asked[0].id, asked[1].id);
    let want = r#"{"optionId":"yes","outcome":"selected"}{"optionId":"no","outcome":"selected"}"#;
    assert_eq!(heard.text(), want);
}

#[tokio::test]
async fn a_policy_decides_where_nobody_is_asked() {
    let said = async |policy: Permissions, params: Value, prompt: &str| {
        let mut config = agent(&[]);
        config.permissions = policy;
        let agent = Agent::new(config);
        let mut request = request(prompt);
        request.params = params;
        let heard = agent.start(request).finish().await;
        agent.close().await;
        let asked = |output: &Output| matches!(output, Output::NeedsAction(_));
        assert!(!heard.outputs.iter().any(asked));
        heard.text()
    };
    let (yes, no) = (r#""optionId":"yes""#, r#""optionId":"no""#);
    let allow = Permissions::Allow(["read".to_owned()].into());
    assert!(
        said(allow.clone(), Value::Null, "!permit=read")
            .await
            .contains(yes)
    );
    assert!(
        said(Permissions::Deny, Value::Null, "!permit=read")
            .await
            .contains(no)
    );
    let deny = json!({"permissions": "deny"});
    assert!(said(allow, deny, "!permit=read").await.contains(no));
    // What a session wishes beyond its backend's policy is asked for.
    let mut config = agent(&[]);
    config.permissions = Permissions::Allow(["read".to_owned()].into());
    let (heard, _) = answered(config, "!permit=execute", &[json!("no")]).await;
    assert!(heard.text().contains(no));
}

#[tokio::test]
async fn a_cancel_is_asked_for_and_keeps_the_agent_i8() {
    let agent = Agent::with(&[]);
    for prompt in ["!text=one hang", "!text=one permit2"] {
        let mut driven = agent.start(request(prompt));
        let waits = |output: &Output| match prompt.contains("permit") {
            true => matches!(output, Output::NeedsAction(_)),
            false => matches!(output, Output::Text(_)),
        };
        driven.until(waits).await;
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
        assert_eq!(steps(&heard), ["asked"]);
        assert!(heard.took < Duration::from_secs(2), "{:?}", heard.took);
        let again = agent.turn("hello").await;
        again.assert_done();
        assert_eq!(heard.pid(), again.pid());
    }
    agent.close().await;
}

#[tokio::test]
async fn a_cancel_that_is_ignored_goes_down_the_ladder_c08_c09_i8() {
    let cancel = async |args: &[&str], prompt: &str, terminate_ms| {
        let mut config = agent(args);
        config.ask = Duration::from_millis(300);
        config.process.clocks.terminate = Duration::from_millis(terminate_ms);
        let agent = Agent::new(config);
        let mut driven = agent.start(request(prompt));
        driven
            .until(|output| matches!(output, Output::Text(_)))
            .await;
        let began = Instant::now();
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(
            left_of(&agent.owner),
            Vec::<String>::new(),
            "at the outcome"
        );
        agent.close().await;
        (heard, began.elapsed())
    };
    let forced = Ending::Cancelled { forced: true };
    let (heard, took) = cancel(&["--ignore-cancel"], "!text=one hang", 5_000).await;
    assert_eq!(heard.outcome.ending, forced);
    assert!((300..3_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(heard.outcome.exit, Some(Exit::Signal(15)));
    assert_eq!(steps(&heard), ["asked", "terminating"]);
    let args = ["--ignore-cancel", "--ignore-term"];
    let (heard, took) = cancel(&args, "!orphans=2 text=one hang", 200).await;
    assert_eq!(heard.outcome.ending, forced);
    assert!((500..3_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(heard.outcome.exit, Some(Exit::Signal(9)));
    assert_eq!(steps(&heard), ["asked", "terminating", "killing"]);
}

#[tokio::test]
async fn a_cancel_before_the_prompt_ends_the_agent_i8() {
    for at in ["initialize", "session/new"] {
        let agent = Agent::with(&[&format!("--hang-at={at}")]);
        let mut driven = agent.start(request("hello"));
        driven
            .until(|output| matches!(output, Output::Started { .. }))
            .await;
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
        assert!(heard.took < Duration::from_secs(2), "{:?}", heard.took);
        agent.close().await;
    }
}

#[tokio::test]
async fn an_agent_that_is_being_ended_is_asked_for_nothing_more_i8() {
    let place = Place::new("ended");
    let witness = place.0.join("asked");
    let answer = json!({"jsonrpc": "2.0", "id": 1,
        "result": {"protocolVersion": 1, "agentCapabilities": {}}});
    let script = format!(
        "trap '' TERM; read -r one; sleep 0.2; echo '{answer}'; read -r two && echo $two >{}",
        witness.display()
    );
    let mut config = agent(&[]);
    config.process.program = "/bin/sh".into();
    config.process.args = vec!["-c".to_owned(), script];
    config.process.clocks.terminate = Duration::from_millis(600);
    let agent = Agent::new(config);
    let mut driven = agent.start(request("hello"));
    driven
        .until(|output| matches!(output, Output::Started { .. }))
        .await;
    // So that it is there to ignore it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    driven.running.cancel();
    let heard = driven.finish().await;
    assert!(
        matches!(heard.outcome.ending, Ending::Cancelled { .. }),
        "{heard:?}"
    );
    assert!(!witness.exists());
    agent.close().await;
}

#[tokio::test]
async fn an_answer_that_a_cancel_cut_is_not_done_i8() {
    let agent = Agent::with(&[]);
    let bytes = keel_agent::limits::CREDIT_BYTES as usize * 3 / 2;
    let driven = agent.start(request(&format!("!big={bytes}")));
    // It has ended, and nobody has consumed what it said.
    tokio::time::sleep(Duration::from_millis(500)).await;
    driven.running.cancel();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let heard = driven.finish().await;
    assert!(heard.text().len() < bytes, "{}", heard.text().len());
    assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
    agent.close().await;
}

#[tokio::test]
async fn what_is_asked_for_after_the_end_is_refused_and_holds_nothing_up() {
    let place = Place::new("after-the-end");
    let mut config = agent(&[]);
    config.process.cwd = Some(place.0.clone());
    config.files = true;
    let agent = Agent::new(config);
    let path = place.0.join("a.txt");
    let prompt = format!("!text=one end=end_turn write={}:hello", path.display());
    for _ in 0..3 {
        let heard = agent.turn(&prompt).await;
        done(&heard, "end_turn");
        // It does not take a prompt before it has its answer.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!path.exists());
        let again = agent.turn("hello").await;
        again.assert_done();
        assert_eq!(again.pid(), heard.pid());
    }
    agent.close().await;
}

#[tokio::test]
async fn an_environment_is_the_list_and_nothing_else_a58() {
    let agent = Agent::with(&[]);
    let heard = agent.turn("!env").await;
    let text = heard.text();
    let allowed = [
        "EVENKEEL_NODE",
        "EVENKEEL_RUN",
        "HOME",
        "LANG",
        "PATH",
        "TZ",
    ];
    assert!(text.lines().all(|name| allowed.contains(&name)), "{text}");
    agent.close().await;
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

#[tokio::test]
async fn files_are_served_beneath_the_directory_and_only_if_switched_on_a57() {
    let place = Place::new("files");
    let path = format!("{}/a.txt", place.0.display());
    let mut config = agent(&[]);
    config.process.cwd = Some(place.0.clone());
    let prompt = format!("!write={path}:hello read={path} read=/etc/passwd cwd");
    let off = Agent::new(config.clone());
    let heard = off.turn(&prompt).await;
    assert_eq!(heard.text().matches("refused").count(), 3, "{heard:?}");
    off.close().await;
    config.process.owner = super::harness::owner();
    config.files = true;
    let on = Agent::new(config);
    let heard = on.turn(&prompt).await;
    heard.assert_done();
    let text = heard.text();
    assert!(
        text.starts_with(r#"{}{"content":"hello"}refused: "not beneath"#),
        "{text}"
    );
    let place = place.0.display();
    assert!(text.ends_with(&format!("{place} {place}")), "{text}");
    on.close().await;
}

#[tokio::test]
async fn terminals_run_in_the_directory_and_end_with_the_agent_c09_i11() {
    let place = Place::new("terminals");
    let mut config = agent(&[]);
    config.process.cwd = Some(place.0.clone());
    config.terminals = true;
    let agent = Agent::new(config);
    // Nobody writes to one that reads.
    let heard = agent.turn("!run=cat").await;
    assert!(heard.text().contains(r#""exitCode":0"#), "{heard:?}");
    let heard = agent.turn("!run=pwd run=sh:-c:exit_3").await;
    let text = heard.text();
    let want = format!(r#""output":"{}\n""#, place.0.display());
    assert!(text.contains(&want), "{text}");
    assert!(text.contains(r#""exitCode":0"#), "{text}");
    // One that is still running when the turn is cancelled stays with the agent, and goes with it.
    let mut driven = agent.start(request("!text=one run=sleep:1000"));
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    until(|| left_of(&agent.owner).len() == 2).await;
    driven.running.cancel();
    assert!(matches!(
        driven.finish().await.outcome.ending,
        Ending::Cancelled { .. }
    ));
    agent.close().await;
}

#[tokio::test]
async fn what_ends_a_program_is_done_while_as_much_as_may_be_waits_for_its_end_i11() {
    let mut config = agent(&[]);
    config.terminals = true;
    let agent = Agent::new(config);
    let most = keel_agent::limits::SERVICES_MAX;
    let heard = agent.turn(&format!("!waits={most}:sleep:1000")).await;
    done(&heard, "end_turn");
    let text = heard.text();
    let told: Vec<&str> = text.lines().collect();
    let [one_more, output, kill, ended, release] = told[..] else {
        panic!("{text}")
    };
    assert_eq!(
        one_more,
        r#"wait_for_exit: refused: "too much at once; ask again later""#
    );
    assert!(output.starts_with(r#"output: {""#), "{output}");
    assert!(output.contains(r#""exitStatus":null"#), "it runs: {output}");
    assert_eq!(kill, "kill: {}");
    assert_eq!(ended, format!("ended: {most}"));
    assert_eq!(release, "release: {}");
    // What was refused may be asked for again, now that there is room.
    let heard = agent.turn("!run=pwd").await;
    assert!(heard.text().contains(r#""exitCode":0"#), "{heard:?}");
    agent.close().await;
}

#[tokio::test]
async fn of_a_session_that_left_and_came_back_only_the_new_agent_is_kept_i11() {
    let agent = Agent::with(&["--ignore-term"]);
    let session = request("").session;
    let mut old = agent.start(request("!orphans=2 text=one permit"));
    old.until(|output| matches!(output, Output::NeedsAction(_)))
        .await;
    agent.provider.release(&session);
    let new = agent.turn("!pid").await;
    assert_eq!(left_of(&agent.owner).len(), 4);
    let Some(Output::NeedsAction(action)) = old.outputs.last() else {
        panic!("it was the last");
    };
    let answer = Answer {
        action: action.id.clone(),
        answer: json!("yes"),
    };
    assert!(old.running.answer(answer));
    old.finish().await.assert_done();
    // Nothing of the old one is left when its turn is over, and nothing is wrong with the new one.
    assert_eq!(left_of(&agent.owner).len(), 1);
    let again = agent.turn("!pid").await;
    assert_eq!(again.text(), new.text());
    agent.close().await;
}

/// An agent that knows what others like it have made in `place`.
fn remembering(place: &Place, args: &[&str]) -> Config {
    let state = format!("--state={}", place.0.display());
    let witness = format!("--witness={}", place.0.join("witness").display());
    let args: Vec<&str> = args.iter().copied().chain([&*state, &*witness]).collect();
    agent(&args)
}

fn witnessed(place: &Place) -> Vec<String> {
    let told = std::fs::read_to_string(place.0.join("witness")).expect("it was told");
    std::fs::remove_file(place.0.join("witness")).expect("its own file");
    told.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_conversation_goes_on_in_a_new_process_m21_c04() {
    for (args, method) in [
        (&["--resume", "--load"][..], "session/resume"),
        (&["--load", "--replay=3"][..], "session/load"),
        (
            &["--load", "--replay=3", "--replay-late"][..],
            "session/load",
        ),
    ] {
        let place = Place::new(&format!("again-{}-{}", args.len(), method.len()));
        let agent = Agent::new(remembering(&place, args));
        let one = agent.turn("!session").await;
        let id = bound(&one);
        assert_eq!(id.as_deref(), Some(one.text().as_str()));
        agent.turn("!text=one signal=9").await.failure();
        witnessed(&place);
        let two = agent.start(resuming("!session", id.clone())).finish().await;
        two.assert_done();
        assert_eq!((two.text(), bound(&two)), (one.text(), None), "told once");
        assert_eq!(witnessed(&place), ["initialize", method, "session/prompt"]);
        assert!(two.items("notice").is_empty());
        // The process is kept, whether it was named or not.
        let three = agent.start(resuming("!session", id)).finish().await;
        assert_eq!(three.pid(), two.pid());
        agent.close().await;
    }
}

#[tokio::test]
async fn a_conversation_that_an_agent_has_lost_is_told_to_it_again_c26() {
    let lost = Some("made-elsewhere".to_owned());
    for args in [&["--resume"][..], &["--load"][..], &[][..]] {
        let place = Place::new(&format!("lost{}", args.len()));
        let agent = Agent::new(remembering(&place, args));
        let heard = agent.start(resuming("!echo", lost.clone())).finish().await;
        heard.assert_done();
        assert_ne!(bound(&heard), lost);
        assert!(bound(&heard).is_some());
        let text = heard.text();
        assert!(
            text.contains("User: before\n\nAssistant: yes") && text.ends_with("!echo"),
            "{text}"
        );
        assert_eq!(heard.items("notice")[0]["level"], "warning");
        // Once is enough.
        assert_eq!(agent.turn("!echo").await.text(), "!echo");
        agent.close().await;
    }
    let place = Place::new("lost-for-good");
    let mut config = remembering(&place, &["--resume"]);
    config.forgotten = Forgotten::Fail;
    let agent = Agent::new(config);
    let heard = agent.start(resuming("!echo", lost)).finish().await;
    assert_eq!(heard.failure().cause(), "resume");
    agent.close().await;
}

#[tokio::test]
async fn each_preset_tells_a_crash_new_and_resumed_m21_e10() {
    let crashes = [
        "--crash-at=initialize",
        "--crash-at=open",
        "--crash-at=session/prompt",
    ];
    for preset in PRESETS {
        for resumed in [false, true] {
            for crash in crashes {
                let method = if resumed {
                    "session/resume"
                } else {
                    "session/new"
                };
                let crash = crash.replace("open", method);
                let place = Place::new(&format!("{}-{resumed}", preset.name));
                let mut config = remembering(&place, &["--resume", &crash]);
                // As it is configured, but for the program that is behind the name.
                let own = config.process.args.clone();
                config
                    .process
                    .env
                    .pass
                    .extend(preset.env_pass.iter().map(|it| (*it).to_owned()));
                let set = preset.env_set.iter();
                let set = set.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                config.process.env.set.extend(set);
                let words = preset.command[1..]
                    .iter()
                    .filter(|word| !own.contains(&(**word).to_owned()));
                config
                    .process
                    .args
                    .extend(words.map(|word| format!("--ignored={word}")));
                config.login = Some(preset.login.to_owned());
                let agent = Agent::new(config);
                std::fs::write(place.0.join("known"), "").expect("a file");
                let known = resumed.then(|| "known".to_owned());
                let heard = agent.start(resuming("hello", known)).finish().await;
                let what = format!("{} {crash} {resumed}", preset.name);
                assert_eq!(heard.failure(), &Failure::Signal { signal: 11 }, "{what}");
                let fault = heard.outcome.fault("f-1".parse().unwrap(), 7).unwrap();
                assert_eq!(fault.code, keel_wire::Code::ProviderCrashed, "{what}");
                agent.close().await;
            }
        }
    }
}

#[tokio::test]
async fn a_directory_of_the_session_is_where_its_agent_runs() {
    let place = Place::new("cwd");
    let agent = Agent::with(&[]);
    let one = agent.turn("!pid").await;
    let there = Request {
        cwd: Some(place.0.clone()),
        ..request("!cwd pid")
    };
    let two = agent.start(there).finish().await;
    let path = place.0.display();
    assert!(
        two.text().starts_with(&format!("{path} {path}")),
        "{}",
        two.text()
    );
    assert_ne!(one.pid(), two.pid());
    let gone = Request {
        cwd: Some(place.0.join("gone")),
        ..request("hello")
    };
    let heard = agent.start(gone).finish().await;
    assert_eq!(heard.failure().cause(), "spawn");
    agent.close().await;
}

#[tokio::test]
async fn what_a_session_chooses_is_in_force_before_its_agent_is_asked() {
    for way in ["--modes", "--options"] {
        let mut config = agent(&[way, "--resume", "chosen"]);
        config.modes = vec!["plan".to_owned(), "code".to_owned()];
        config.models = vec!["large".to_owned()];
        let agent = Agent::new(config);
        let chosen = async |params: Value| {
            let heard = agent.start(with_params("hello", params)).finish().await;
            heard.assert_done();
            (heard.text(), heard.items("mode").len(), heard.pid())
        };
        let (text, told, pid) = chosen(json!({})).await;
        assert_eq!((text.as_str(), told), ("code small ", 1), "{way}");
        // Told to the agent that waits; once.
        let both = json!({"mode": "plan", "model": "large"});
        assert_eq!(
            chosen(both.clone()).await,
            ("plan large ".to_owned(), 1, pid),
            "{way}"
        );
        assert_eq!(
            chosen(both.clone()).await,
            ("plan large ".to_owned(), 0, pid),
            "{way}"
        );
        // What is not said any more is as it was.
        let one = json!({"mode": "plan", "model": null});
        assert_eq!(
            chosen(one).await,
            ("plan small ".to_owned(), 0, pid),
            "{way}"
        );
        // To one that died in between, before it is asked.
        slay(pid).await;
        let (text, ..) = chosen(both).await;
        assert_eq!(text, "plan large ", "{way}");
        agent.close().await;
    }
}

#[tokio::test]
async fn what_a_session_may_not_choose_is_a_fault_and_nothing_is_asked_a65() {
    let rows = [
        (json!({"mode": "plan"}), "mode", "plan"),
        (json!({"mode": "yolo"}), "mode", "yolo"),
        (json!({"mode": 7}), "mode", "7"),
        (json!({"model": "huge"}), "model", "huge"),
        (
            json!({"mode": "code", "model": "x".repeat(500)}),
            "model",
            "xxx",
        ),
    ];
    let mut config = agent(&["--options"]);
    // One that the agent does not have is none that can be chosen.
    config.modes = ["code", "yolo"].map(str::to_owned).into();
    config.models = ["small", "gone"].map(str::to_owned).into();
    let agent = Agent::new(config.clone());
    let mut pids = Vec::new();
    for (params, param, value) in rows {
        let heard = agent.start(with_params("hello", params)).finish().await;
        assert_eq!(heard.text(), "");
        let fault = heard.outcome.fault("f-1".parse().unwrap(), 7).unwrap();
        assert_eq!(fault.code, keel_wire::Code::ProviderRefused);
        let fact = |key: &str| fault.detail[key].clone();
        assert_eq!(
            (fact("cause"), fact("param")),
            (json!("choice"), json!(param))
        );
        assert!(
            fact("value")
                .as_str()
                .is_some_and(|it| it.starts_with(value) && it.len() <= 128)
        );
        let offered = if param == "mode" {
            json!(["code"])
        } else {
            json!(["small"])
        };
        assert_eq!(fact("offered"), offered);
        pids.push(heard.pid());
    }
    let heard = agent.turn("hello").await;
    heard.assert_done();
    assert!(
        pids.iter().all(|pid| *pid == heard.pid()),
        "it is the same agent: {pids:?}"
    );
    agent.close().await;

    // An agent that offers it and does not take it; one that offers nothing.
    for (flags, modes) in [
        (&["--modes", "--refuse-choices"][..], ["plan"]),
        (&[], ["plan"]),
    ] {
        let mut config = super::harness::agent(flags);
        config.modes = modes.map(str::to_owned).into();
        let agent = Agent::new(config);
        let heard = agent
            .start(with_params("hello", json!({"mode": "plan"})))
            .finish()
            .await;
        assert_eq!(heard.failure().cause(), "choice", "{flags:?}");
        agent.turn("hello").await.assert_done();
        agent.close().await;
    }
}
