//! Chains of providers: the next is asked when one fails before it has said anything.

use std::{sync::Arc, time::Duration};

use keel_agent::{
    Budgets, Ending, Failure, Output, Provider, Request,
    echo::Echo,
    fallback::{Fallback, Link},
    process::{Process, Stdout},
};
use keel_wire::{Code, Retry};

use super::{
    harness::{Agent, Driven, Heard, assert_nothing_left, fake, request},
    model::{Dialect, Model},
};

fn chain(providers: Vec<Arc<dyn Provider>>) -> Arc<dyn Provider> {
    let names = ["a", "b", "c", "d"];
    let link = |(name, provider): (&str, Arc<dyn Provider>)| Link {
        name: name.to_owned(),
        provider,
    };
    Arc::new(Fallback::new(
        names.into_iter().zip(providers).map(link).collect(),
    ))
}

fn program(ops: &[&str]) -> (Arc<dyn Provider>, String) {
    let config = fake(Stdout::Lines, ops);
    let owner = config.owner.clone();
    (Arc::new(Process::new(config)), owner)
}

async fn ask(providers: Vec<Arc<dyn Provider>>, prompt: &str) -> Heard {
    Driven::start(chain(providers), prompt, Budgets::default())
        .finish()
        .await
}

fn steps(heard: &Heard) -> Vec<&'static str> {
    let step = |output: &Output| {
        let Output::NewAttempt { failure } = output else {
            return None;
        };
        Some(failure.cause())
    };
    heard.outputs.iter().filter_map(step).collect()
}

/// A model's server that does what `mode` says, whatever it is asked.
fn asks(model: &Model, mode: &str) -> Arc<dyn Provider> {
    let mut config = model.config();
    let header = keel_agent::endpoint::Secret::new(mode.to_owned());
    config.headers = vec![("x-fake".to_owned(), header)];
    config.tries = 1;
    Dialect::Chat.provider(config)
}

#[tokio::test]
async fn the_next_is_asked_and_each_step_is_told_once_m22() {
    let model = Model::start(&[]);
    let (crashes, owner) = program(&["exit=3"]);
    let mut nowhere = fake(Stdout::Lines, &[]);
    nowhere.program = "/nowhere/at/all".into();
    let nowhere = Arc::new(Process::new(nowhere));
    let heard = ask(
        vec![nowhere, crashes, asks(&model, "401"), Arc::new(Echo)],
        "it is said",
    )
    .await;
    heard.assert_done();
    assert_eq!(heard.text(), "it is said");
    assert_eq!(steps(&heard), ["spawn", "exited", "http"]);
    assert_nothing_left(&owner);
}

#[tokio::test]
async fn when_all_fail_it_is_one_failure_with_all_causes_m22_e10() {
    let model = Model::start(&[]);
    let providers = vec![
        asks(&model, "503"),
        Arc::new(Echo) as _,
        asks(&model, "429:7"),
    ];
    let heard = ask(providers, "!fail=panic").await;
    assert_eq!(
        steps(&heard),
        ["http", "panicked"],
        "the last is the outcome's"
    );
    let Failure::Fallback { causes } = heard.failure() else {
        panic!("{heard:?}")
    };
    let told: Vec<_> = causes
        .iter()
        .map(|(name, it)| (name.as_str(), it.code()))
        .collect();
    assert_eq!(
        told,
        [
            ("a", Code::ProviderUnavailable),
            ("b", Code::ProviderCrashed),
            ("c", Code::ProviderRateLimited),
        ]
    );
    let fault = heard.outcome.fault("f-1".parse().unwrap(), 0).unwrap();
    assert_eq!(fault.code, Code::ProviderRateLimited);
    assert_eq!(fault.retry, Retry::After { ms: 100 }, "as far as we wait");
    assert_eq!(fault.cause.len(), 3);
    assert_eq!(fault.cause[0].detail["provider"], "a");
}

#[tokio::test]
async fn what_was_said_is_kept_and_nobody_else_is_asked() {
    let (stops, owner) = program(&["say=one ", "signal=11"]);
    let heard = ask(vec![stops, Arc::new(Echo)], "two").await;
    assert_eq!(heard.text(), "one ");
    assert_eq!(*heard.failure(), Failure::Signal { signal: 11 });
    assert_eq!(steps(&heard), Vec::<&str>::new());
    assert_nothing_left(&owner);
}

#[tokio::test]
async fn a_cancel_reaches_who_works_and_ends_the_chain() {
    let (crashes, _) = program(&["exit=3"]);
    let (hangs, owner) = program(&["say=one ", "hang"]);
    let provider = chain(vec![crashes, hangs, Arc::new(Echo)]);
    let mut driven = Driven::start(provider, "two", Budgets::default());
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    driven.running.cancel();
    let heard = driven.finish().await;
    assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
    assert_eq!(heard.text(), "one ");
    assert!(heard.took < Duration::from_secs(5));
    assert_nothing_left(&owner);
}

#[tokio::test]
async fn the_budget_is_the_chain_s() {
    let model = Model::start(&[]);
    let budgets = Budgets {
        calls_max: 1,
        ..Budgets::default()
    };
    let providers = vec![asks(&model, "500"), asks(&model, "ok"), Arc::new(Echo) as _];
    let heard = Driven::start(chain(providers), "hello", budgets)
        .finish()
        .await;
    assert_eq!(heard.failure().cause(), "budget");
    assert_eq!(heard.text(), "");
}

/// Whose the conversation is, as it was told.
fn bound(heard: &Heard) -> Vec<&str> {
    let mut bound = Vec::new();
    for output in &heard.outputs {
        if let Output::Bound { id } = output {
            bound.push(id.as_str());
        }
    }
    bound
}

#[tokio::test]
async fn what_an_agent_tells_of_itself_is_no_answer_and_binds_nobody() {
    let agent = Agent::with(&["--modes", "--crash-at=session/prompt"]);
    let heard = ask(
        vec![Arc::clone(&agent.provider) as _, Arc::new(Echo)],
        "it is said",
    )
    .await;
    heard.assert_done();
    assert_eq!(heard.items("mode").len(), 1);
    assert_eq!(
        (heard.text().as_str(), steps(&heard)),
        ("it is said", vec!["signal"])
    );
    let bound = bound(&heard);
    assert!(bound[0].starts_with("a/fake-"), "{bound:?}");
    assert_eq!(bound[1..], ["b/"], "the agent has not heard the answer");
    agent.close().await;
}

#[tokio::test]
async fn an_agent_that_has_not_heard_what_others_said_begins_anew() {
    let agent = Agent::with(&[]);
    let provider = chain(vec![Arc::clone(&agent.provider) as _, Arc::new(Echo)]);
    let turn = async |bound: Option<String>| {
        let request = Request {
            bound,
            ..request("!echo")
        };
        Driven::start_with(Arc::clone(&provider), request, Budgets::default())
            .finish()
            .await
    };
    let one = turn(None).await;
    let id = bound(&one)[0].to_owned();
    let two = turn(Some(id)).await;
    assert_eq!((one.pid(), two.text().as_str()), (two.pid(), "!echo"));
    let three = turn(Some("b/".to_owned())).await;
    assert_ne!(three.pid(), two.pid());
    assert!(three.text().contains("User: before"), "{}", three.text());
    assert!(bound(&three)[0].starts_with("a/fake-"));
    agent.close().await;
}
