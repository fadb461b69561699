//! What goes wrong with an agent, and what is told of it.

use super::*;

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
async fn a_login_that_asks_nobody_is_made() {
    let mut config = agent(&["--auth"]);
    config.auth_method = Some("silent".to_owned());
    let agent = Agent::new(config);
    agent.turn("hello").await.assert_done();
    agent.close().await;
}
