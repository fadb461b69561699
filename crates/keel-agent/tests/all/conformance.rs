//! What every registered provider must do, whatever it stands for. A kind that is not in
//! [`registered`] fails the suite, and one that is there is tested by all that is here.

use std::{sync::Arc, time::Duration};

use keel_agent::{
    Answer, Budgets, Ending, KINDS, Output, Provider, Told,
    acp::{self, Acp},
    anthropic,
    echo::{self, Echo},
    fallback::{self, Fallback, Link},
    openai,
    process::{self, Process, Stdin, Stdout},
};
use serde_json::json;

use super::{
    harness::{Driven, Heard, agent, assert_nothing_left, fake},
    model::{Dialect, Model},
};

/// How a provider can be made to behave.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    /// Says "one two three " and is done.
    Speak,
    /// Is done without a word.
    Mute,
    /// Says 4 MiB.
    Huge,
    /// Crashes before it says anything.
    CrashAtOnce,
    /// Crashes after it has said something.
    CrashMidway,
    /// Says a word, then nothing for ever.
    Hang,
    /// Says what nobody understands.
    Garbage,
    /// Asks, and says the answer.
    Ask,
    /// Never ends.
    Endless,
}

struct Subject {
    kind: &'static str,
    provider: Arc<dyn Provider>,
    prompt: String,
    owner: Option<String>,
    /// The server that it asks.
    model: Option<Model>,
}

impl Subject {
    async fn run(self, budgets: Budgets) -> Heard {
        let heard = self.start(budgets).finish().await;
        self.check_nothing_left().await;
        heard
    }

    fn start(&self, budgets: Budgets) -> Driven {
        Driven::start(Arc::clone(&self.provider), &self.prompt, budgets)
    }

    async fn check_nothing_left(&self) {
        self.provider.close().await;
        if let Some(owner) = &self.owner {
            assert_nothing_left(owner);
        }
        if let Some(model) = &self.model {
            // It hears that nobody listens any more.
            let heard = tokio::time::timeout(Duration::from_secs(5), model.aborted());
            heard.await.expect("a request is left");
        }
    }

    /// Names of the causes that a crash of it has.
    fn crashes(&self) -> &'static [&'static str] {
        match &self.model {
            Some(_) => &["cut"],
            None => &["exited", "signal", "fallback"],
        }
    }
}

const HUGE_BYTES: usize = 4 * 1024 * 1024;

fn registered(behaviour: Behaviour) -> Vec<Subject> {
    let mut subjects = vec![echo_that(behaviour), acp_that(behaviour)];
    subjects
        .extend([Stdout::Lines, Stdout::JsonLines].map(|stdout| process_that(behaviour, stdout)));
    if !matches!(behaviour, Behaviour::Ask) {
        // A model's server asks nothing.
        subjects.extend(Dialect::ALL.map(|dialect| endpoint_that(behaviour, dialect)));
    }
    subjects.push(fallback_that(behaviour));
    subjects
}

fn endpoint_that(behaviour: Behaviour, dialect: Dialect) -> Subject {
    let prompt = match behaviour {
        Behaviour::Speak => "!ok text=one_two_three_",
        Behaviour::Mute => "!empty",
        Behaviour::Huge => "!ok count=4096 bytes=1024",
        Behaviour::CrashAtOnce => "!cut0",
        Behaviour::CrashMidway => "!cutrst",
        Behaviour::Hang => "!hangmid after=1",
        Behaviour::Garbage => "!badsse",
        Behaviour::Endless => "!endless bytes=1024",
        Behaviour::Ask => unreachable!("it does not ask"),
    };
    let model = Model::start(&[]);
    let kind = match dialect {
        Dialect::Chat | Dialect::Responses => openai::KIND,
        Dialect::Messages => anthropic::KIND,
    };
    Subject {
        kind,
        provider: dialect.provider(model.config()),
        prompt: prompt.to_owned(),
        owner: None,
        model: Some(model),
    }
}

/// A chain of a program that fails at once, and one that behaves.
fn fallback_that(behaviour: Behaviour) -> Subject {
    let behaves = process_that(behaviour, Stdout::JsonLines);
    let mut fails = fake(Stdout::Lines, &["exit=3"]);
    fails.owner = behaves.owner.clone().expect("a process has one");
    let link = |name: &str, provider: Arc<dyn Provider>| Link {
        name: name.to_owned(),
        provider,
    };
    let chain = vec![
        link("first", Arc::new(Process::new(fails))),
        link("second", Arc::clone(&behaves.provider)),
    ];
    Subject {
        kind: fallback::KIND,
        provider: Arc::new(Fallback::new(chain)),
        ..behaves
    }
}

fn echo_that(behaviour: Behaviour) -> Subject {
    let prompt = match behaviour {
        Behaviour::Speak => "one two three ",
        Behaviour::Mute => "",
        Behaviour::Huge => "!count=4096 bytes=1024",
        Behaviour::CrashAtOnce => "!fail=crash",
        Behaviour::CrashMidway => "!count=10 fail=crash",
        Behaviour::Hang => "!count=2 fail=hang",
        Behaviour::Garbage => "!fail=garbage",
        Behaviour::Ask => "!ask=well?",
        Behaviour::Endless => "!count=4096 bytes=1024",
    };
    let prompt = prompt.to_owned();
    Subject {
        kind: echo::NAME,
        provider: Arc::new(Echo),
        prompt,
        owner: None,
        model: None,
    }
}

fn process_that(behaviour: Behaviour, stdout: Stdout) -> Subject {
    let json = stdout == Stdout::JsonLines;
    let said = r#"repeat=4096:{"type":"text","text":"0123456789012345678901234567890123456789"}\n"#;
    let said = said.replace("0123456789", &"0123456789".repeat(26)[..256]);
    let ops: Vec<&str> = match (behaviour, json) {
        (Behaviour::Speak, true) => vec!["text=one two three ", "done"],
        (Behaviour::Speak, false) => vec!["say=one two three "],
        (Behaviour::Mute, true) => vec!["done"],
        (Behaviour::Mute, false) => vec![],
        (Behaviour::Huge, true) => vec![&said, "done"],
        (Behaviour::Huge, false) => vec!["fill=4194304"],
        (Behaviour::CrashAtOnce, _) => vec!["exit=3"],
        (Behaviour::CrashMidway, true) => vec!["text=one ", "signal=11"],
        (Behaviour::CrashMidway, false) => vec!["say=one ", "signal=11"],
        (Behaviour::Hang, true) => vec!["text=one ", "hang"],
        (Behaviour::Hang, false) => vec!["say=one ", "hang"],
        (Behaviour::Garbage, true) => vec![r"repeat=1001:npm \x1b[31mwarn\n"],
        // Lines know no garbage: all that is said is the answer.
        (Behaviour::Garbage, false) => vec!["exit=1"],
        (Behaviour::Ask, _) => vec![
            "read-line",
            r#"say={"type":"needs_action","id":"a-echo","prompt":"well?"}\n"#,
            "tell-line",
            "done",
        ],
        (Behaviour::Endless, true) => vec![r#"endless={"type":"text","text":"again "}\n"#],
        (Behaviour::Endless, false) => vec![r"endless=again\n"],
    };
    let mut config = fake(stdout, &ops);
    if matches!(behaviour, Behaviour::Ask) {
        (config.stdin, config.stdout) = (Stdin::Dialogue, Stdout::JsonLines);
    }
    let owner = Some(config.owner.clone());
    let provider = Arc::new(Process::new(config));
    Subject {
        kind: process::KIND,
        provider,
        prompt: "the prompt".to_owned(),
        owner,
        model: None,
    }
}

fn acp_that(behaviour: Behaviour) -> Subject {
    let ops: &[&str] = match behaviour {
        Behaviour::Speak => &["text=one two three "],
        Behaviour::Mute => &["stop=end_turn"],
        Behaviour::Huge => &["big=4194304"],
        Behaviour::CrashAtOnce => &["exit=3"],
        Behaviour::CrashMidway => &["text=one ", "signal=11"],
        Behaviour::Hang => &["text=one ", "hang"],
        Behaviour::Garbage => &["garbage=1001", "hang"],
        Behaviour::Ask => &["permit"],
        Behaviour::Endless => &["endless"],
    };
    let config = agent(ops);
    let owner = Some(config.process.owner.clone());
    Subject {
        kind: acp::KIND,
        provider: Arc::new(Acp::new(config)),
        prompt: "the prompt".to_owned(),
        owner,
        model: None,
    }
}

#[tokio::test]
async fn every_kind_is_registered_m21() {
    let subjects = registered(Behaviour::Speak);
    for kind in KINDS {
        assert!(
            subjects.iter().any(|subject| subject.kind == *kind),
            "{kind} is not tested"
        );
        assert!(
            subjects
                .iter()
                .all(|subject| KINDS.contains(&subject.provider.name()))
        );
    }
}

#[tokio::test]
async fn an_answer_comes_whole_and_once_i3() {
    for subject in registered(Behaviour::Speak) {
        let heard = subject.run(Budgets::default()).await;
        heard.assert_done();
        assert_eq!(heard.text(), "one two three ");
        let words = heard
            .outputs
            .iter()
            .map(|output| u64::from(output.cost() - 64));
        assert_eq!(heard.outcome.bytes, words.sum::<u64>());
        assert!(matches!(heard.outputs[0], Output::Started { .. }));
    }
    for subject in registered(Behaviour::Mute) {
        let heard = subject.run(Budgets::default()).await;
        heard.assert_done();
        assert_eq!(heard.text(), "");
    }
}

#[tokio::test]
async fn a_huge_answer_comes_in_pieces_that_a_frame_can_carry() {
    for subject in registered(Behaviour::Huge) {
        let heard = subject.run(Budgets::default()).await;
        heard.assert_done();
        assert!(
            heard.text().len() >= HUGE_BYTES / 4,
            "{}",
            heard.text().len()
        );
        assert!(heard.outcome.bytes >= heard.text().len() as u64);
        let largest = heard.outputs.iter().map(Output::cost).max().unwrap();
        assert!(largest <= 32 * 1024 + 64, "{largest}");
    }
}

#[tokio::test]
async fn a_crash_is_one_failure_with_its_cause_c02_c04() {
    for behaviour in [Behaviour::CrashAtOnce, Behaviour::CrashMidway] {
        for subject in registered(behaviour) {
            let (crashes, is_model) = (subject.crashes(), subject.model.is_some());
            let heard = subject.run(Budgets::default()).await;
            assert!(crashes.contains(&heard.failure().cause()), "{heard:?}");
            let fault = heard.outcome.fault("f-1".parse().unwrap(), 7).unwrap();
            let code = match is_model {
                true => keel_wire::Code::ProviderUnavailable,
                false => keel_wire::Code::ProviderCrashed,
            };
            assert_eq!(fault.code, code);
            assert_eq!(fault.detail["cause"], heard.failure().cause());
        }
    }
    for subject in registered(Behaviour::Garbage) {
        let heard = subject.run(Budgets::default()).await;
        assert!(
            ["garbage", "exited", "sse", "fallback"].contains(&heard.failure().cause()),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn a_cancel_ends_an_attempt_that_hangs_c07() {
    for subject in registered(Behaviour::Hang) {
        let mut driven = subject.start(Budgets::default());
        driven
            .until(|output| matches!(output, Output::Text(_)))
            .await;
        driven.running.cancel();
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
        assert!(heard.took < Duration::from_secs(3));
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_cancel_before_the_first_word_ends_it() {
    for subject in registered(Behaviour::Hang) {
        let driven = subject.start(Budgets::default());
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_cancel_after_the_end_changes_nothing() {
    for subject in registered(Behaviour::Speak) {
        let (running, mut stream) = keel_agent::spawn(
            Arc::clone(&subject.provider),
            super::harness::request(&subject.prompt),
            Budgets::default(),
        );
        let outcome = loop {
            match stream.next().await.unwrap() {
                Told::Output(_) => {}
                Told::Outcome(outcome) => break outcome,
            }
        };
        running.cancel();
        assert!(matches!(outcome.ending, Ending::Done { .. }));
        assert_eq!(stream.next().await, None);
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn an_answer_to_a_question_is_heard_c23() {
    for subject in registered(Behaviour::Ask) {
        let mut driven = subject.start(Budgets::default());
        driven
            .until(|output| matches!(output, Output::NeedsAction(_)))
            .await;
        let Some(Output::NeedsAction(asked)) = driven.outputs.last() else {
            panic!("it was the last");
        };
        let offered = asked.options.first().map(|option| json!(option));
        let answer = offered.unwrap_or_else(|| json!({"yes": 1}));
        assert!(driven.running.answer(Answer {
            action: asked.id.clone(),
            answer: answer.clone()
        }));
        let heard = driven.finish().await;
        heard.assert_done();
        assert!(heard.text().contains(&answer.to_string()), "{heard:?}");
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_budget_ends_what_has_no_end_c22() {
    let budgets = Budgets {
        bytes_max: 1_000_000,
        ..Budgets::default()
    };
    for subject in registered(Behaviour::Endless) {
        let heard = subject.run(budgets).await;
        assert_eq!(heard.failure().cause(), "budget");
        assert_eq!(heard.failure().code(), keel_wire::Code::ProviderBudget);
        assert!(heard.outcome.bytes <= budgets.bytes_max);
    }
}

#[tokio::test]
async fn nobody_who_consumes_means_nobody_who_reads() {
    for subject in registered(Behaviour::Endless) {
        let mut driven = subject.start(Budgets::default());
        let mut told = 0;
        let mut more = true;
        while more {
            // Nearly all of the credit comes sooner or later; beyond it nothing does.
            let within = if told < 200 * 1024 { 10_000 } else { 300 };
            let within = Duration::from_millis(within);
            more = match tokio::time::timeout(within, driven.next()).await {
                Ok(Told::Output(output)) => {
                    told += output.cost();
                    true
                }
                Ok(Told::Outcome(outcome)) => panic!("it has no end: {outcome:?}"),
                Err(_) => false,
            };
            assert!(told <= 256 * 1024, "{told}");
        }
        assert!(told > 200 * 1024, "{told}");
        driven.running.cancel();
        let heard = driven.finish().await;
        assert!(
            matches!(heard.outcome.ending, Ending::Cancelled { .. }),
            "{heard:?}"
        );
        assert!(heard.took < Duration::from_secs(5));
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_dropped_handle_kills_everything_m21() {
    for subject in registered(Behaviour::Hang) {
        let mut driven = subject.start(Budgets::default());
        driven
            .until(|output| matches!(output, Output::Text(_)))
            .await;
        let Driven {
            running,
            mut stream,
            ..
        } = driven;
        drop(running);
        let told = stream.next().await;
        let Some(Told::Outcome(outcome)) = told else {
            panic!("{told:?}")
        };
        assert_eq!(outcome.ending, Ending::Failed(keel_agent::Failure::Dropped));
        subject.check_nothing_left().await;
    }
}
