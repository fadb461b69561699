//! What an agent may reach: its environment, files and programs.

use super::*;

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
    config.process.owner = super::super::harness::owner();
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
