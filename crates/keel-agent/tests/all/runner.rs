//! The runner against providers that break every rule of the trait.

use std::{future::pending, sync::Arc, time::Duration};

use keel_agent::{
    Answer, Ask, Attempt, Budgets, Control, Ending, Failure, Outcome, Output, Provider, Request,
    Sink, Told, limits::CANCEL_MAX,
};

use super::harness::{Driven, Heard};

/// What a provider may do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misdeed {
    PanicInRun,
    PanicMidway,
    IgnoreCancel,
    BlockTheThread,
    ClaimCancelled,
    IgnoreBudget,
    KeepTheSink,
    CountCalls,
}

#[derive(Debug)]
struct Bad(Misdeed);

impl Provider for Bad {
    fn name(&self) -> &str {
        "bad"
    }

    fn run(&self, _: Request, mut control: Control, mut sink: Sink) -> Attempt {
        let misdeed = self.0;
        assert!(misdeed != Misdeed::PanicInRun, "in run");
        Box::pin(async move {
            let _ = sink.send(Output::Text("said ".to_owned())).await;
            match misdeed {
                Misdeed::PanicInRun => unreachable!("it has panicked"),
                Misdeed::PanicMidway => panic!("midway"),
                Misdeed::IgnoreCancel => pending().await,
                Misdeed::BlockTheThread => {
                    while control.next().await != Ask::Cancel {}
                    std::thread::sleep(CANCEL_MAX + Duration::from_secs(1));
                    Outcome::done(None)
                }
                Misdeed::ClaimCancelled => Outcome::cancelled(false),
                Misdeed::IgnoreBudget => {
                    while sink.send(Output::Text("more ".to_owned())).await.is_ok() {}
                    pending().await
                }
                Misdeed::KeepTheSink => {
                    tokio::spawn(async move {
                        let _kept = sink;
                        pending::<()>().await
                    });
                    Outcome::done(None)
                }
                Misdeed::CountCalls => {
                    while sink.send(Output::ModelCall).await.is_ok() {}
                    Outcome::done(None)
                }
            }
        })
    }
}

fn start(misdeed: Misdeed) -> Driven {
    let budgets = Budgets {
        bytes_max: 1_000,
        lines_max: 10,
        calls_max: 3,
    };
    Driven::start(Arc::new(Bad(misdeed)), "", budgets)
}

fn panicked(heard: &Heard, message: &str) {
    let message = message.to_owned();
    assert_eq!(
        heard.outcome.ending,
        Ending::Failed(Failure::Panicked { message })
    );
}

#[tokio::test]
async fn a_panic_is_an_outcome_after_what_was_said_m21() {
    let heard = start(Misdeed::PanicMidway).finish().await;
    panicked(&heard, "midway");
    assert_eq!(heard.text(), "said ");
    let fault = heard.outcome.fault("f-1".parse().unwrap(), 0).unwrap();
    assert_eq!(fault.origin, keel_wire::Origin::Server);

    panicked(&start(Misdeed::PanicInRun).finish().await, "in run");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_ignores_a_cancel_is_cancelled() {
    let mut driven = start(Misdeed::IgnoreCancel);
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    driven.running.cancel();
    let heard = driven.finish().await;
    assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: true });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_blocks_its_thread_is_cancelled_within_the_bound() {
    let mut driven = start(Misdeed::BlockTheThread);
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    driven.running.cancel();
    let heard = driven.finish().await;
    assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: true });
    assert!(
        heard.took < CANCEL_MAX + Duration::from_millis(900),
        "{:?}",
        heard.took
    );
}

#[tokio::test]
async fn a_cancel_that_nobody_asked_for_is_a_failure() {
    let heard = start(Misdeed::ClaimCancelled).finish().await;
    assert_eq!(heard.outcome.ending, Ending::Failed(Failure::Dropped));
}

#[tokio::test(start_paused = true)]
async fn a_used_up_budget_is_named_whatever_the_provider_returns_c22() {
    let heard = start(Misdeed::IgnoreBudget).finish().await;
    assert_eq!(
        heard.failure().to_string(),
        "the budget of 1000 bytes is used up"
    );
    let heard = start(Misdeed::CountCalls).finish().await;
    assert_eq!(
        heard.failure().to_string(),
        "the budget of 3 calls is used up"
    );
    assert_eq!(
        heard
            .outputs
            .iter()
            .filter(|it| **it == Output::ModelCall)
            .count(),
        3
    );
}

#[tokio::test]
async fn an_outcome_does_not_wait_for_a_sink_that_is_kept() {
    let heard = start(Misdeed::KeepTheSink).finish().await;
    heard.assert_done();
    assert_eq!(heard.text(), "said ");
}

/// A script that asks first, so that it is still there when words come.
fn asking() -> Driven {
    let echo = Arc::new(keel_agent::echo::Echo);
    Driven::start(echo, "!ask=go?\nfirst ", Budgets::default())
}

fn go() -> Answer {
    Answer {
        action: "a-echo".parse().expect("an id"),
        answer: true.into(),
    }
}

#[tokio::test]
async fn words_are_taken_in_order_and_counted_as_they_are() {
    let mut driven = asking();
    let mut taken = driven.running.words_taken();
    driven
        .until(|output| matches!(output, Output::NeedsAction(_)))
        .await;
    for text in ["second ", "third "] {
        assert!(driven.running.steer(text.to_owned()));
    }
    assert!(driven.running.answer(go()));
    let heard = driven.finish().await;
    assert_eq!(heard.text(), "true\nfirst second third ");
    assert_eq!(*taken.borrow_and_update(), 2);
}

#[tokio::test]
async fn words_that_come_too_late_are_refused_and_count_as_not_taken() {
    let mut driven = asking();
    driven
        .until(|output| matches!(output, Output::NeedsAction(_)))
        .await;
    assert!(driven.running.answer(go()));
    while !matches!(driven.next().await, Told::Outcome(_)) {}
    assert!(!driven.running.steer("late".to_owned()));
    assert_eq!(*driven.running.words_taken().borrow(), 0);
}
