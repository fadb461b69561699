//! Agents and conversations that outlive a turn, and those that must not.

use super::*;

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
