//! Cancels, step by step.

use super::*;

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
