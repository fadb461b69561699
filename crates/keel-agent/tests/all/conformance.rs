//! What every registered provider must do, whatever it stands for. The suite runs over [`KINDS`]: a
//! kind that cannot be made to behave fails it, and what a kind cannot do is said in one table
//! ([`kinds::CANNOT`]) with the reason.
//!
//! Of each attempt: exactly one outcome and nothing after it, its cause, its bound, and that nothing
//! of it is left.

mod acp;
mod chain;
mod echo;
mod endpoints;
mod kinds;
mod process;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use keel_agent::{Answer, Budgets, Ending, Failure, KINDS, Output, Told};
use keel_wire::Code;
use serde_json::json;

use super::harness::{self, Driven, Heard};
use kinds::{Behaviour, CANNOT, EXIT_CODES, HUGE_BYTES, SIGNALS, all_that};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Of what ends by itself at once, on a machine that does other things as well.
const SOON: Duration = s(5);

/// The fault that an attempt's failure is told as.
fn code_of(heard: &Heard) -> Code {
    let fault = heard.outcome.fault("f-1".parse().expect("an id"), 7);
    let fault = fault.unwrap_or_else(|| panic!("no failure: {heard:?}"));
    assert_eq!(fault.detail["cause"], heard.failure().cause());
    let code = heard.failure().code();
    assert_eq!(fault.code, code);
    code
}

/// Why it failed; of a chain, why the last one did.
fn own_failure(heard: &Heard) -> &Failure {
    let mut failure = heard.failure();
    while let Failure::Fallback { causes } = failure {
        failure = &causes.last().expect("somebody failed").1;
    }
    failure
}

/// Bytes of what was told beside the answer.
fn besides(heard: &Heard) -> u64 {
    let bytes = |output: &Output| match output {
        Output::NewAttempt { failure } => failure.to_string().len() as u64,
        Output::Item(item) => keel_wire::json_len(item) as u64,
        Output::Text(_)
        | Output::Bound { .. }
        | Output::Started { .. }
        | Output::Retrying { .. }
        | Output::Cancelling { .. }
        | Output::NeedsAction(_)
        | Output::ModelCall
        | Output::Noise { .. } => 0,
    };
    heard.outputs.iter().map(bytes).sum()
}

fn is_text(output: &Output) -> bool {
    matches!(output, Output::Text(_))
}

#[test]
fn every_kind_is_registered_m21() {
    let tested: BTreeSet<&str> = kinds::names().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(tested, KINDS.iter().copied().collect());
    for (kind, name) in kinds::names() {
        assert!(name.starts_with(kind), "{name} is a {kind}");
    }
    for subject in all_that(Behaviour::Speak) {
        assert!(KINDS.contains(&subject.provider.name()), "{}", subject.name);
    }
}

/// Every variant does every behaviour, or the table says why not.
#[test]
fn what_a_kind_cannot_do_is_said_and_nothing_is_skipped_m21() {
    for behaviour in Behaviour::ALL {
        drop(all_that(behaviour));
    }
    let names: Vec<&str> = kinds::names().iter().map(|(_, name)| *name).collect();
    for (name, behaviours, why) in CANNOT {
        assert!(names.contains(name), "{name} is no variant");
        assert!(!behaviours.is_empty() && why.len() > 20, "{name}: {why}");
    }
}

#[tokio::test]
async fn an_answer_comes_whole_and_once_i3() {
    for subject in all_that(Behaviour::Speak) {
        let heard = subject.run_within(SOON).await;
        heard.assert_done();
        assert_eq!(heard.text(), "one two three ", "{}", subject.name);
        assert_eq!(
            heard.outcome.bytes,
            14 + besides(&heard),
            "{}",
            subject.name
        );
        assert!(matches!(heard.outputs[0], Output::Started { .. }));
    }
    for subject in all_that(Behaviour::Mute) {
        let heard = subject.run_within(SOON).await;
        heard.assert_done();
        assert_eq!(heard.text(), "", "{}", subject.name);
        assert_eq!(heard.outcome.bytes, besides(&heard), "{}", subject.name);
    }
}

#[tokio::test]
async fn a_huge_answer_comes_in_pieces_that_a_frame_can_carry() {
    for subject in all_that(Behaviour::Huge) {
        let heard = subject.run(Budgets::default()).await;
        heard.assert_done();
        let length = heard.text().len();
        assert!(length >= HUGE_BYTES, "{}: {length}", subject.name);
        let told = length as u64 + besides(&heard);
        assert_eq!(heard.outcome.bytes, told, "{}", subject.name);
        let largest = heard.outputs.iter().map(Output::cost).max().unwrap();
        assert!(largest <= 32 * 1024 + 64, "{}: {largest}", subject.name);
    }
}

#[tokio::test]
async fn what_takes_its_time_is_waited_for_and_told_as_it_comes() {
    for subject in all_that(Behaviour::Slow) {
        let mut driven = subject.start(Budgets::default());
        driven.until(is_text).await;
        let heard = driven.finish().await;
        heard.assert_done();
        assert_eq!(heard.text(), "one two three ", "{}", subject.name);
        assert!(heard.took >= Duration::from_millis(200), "{}", subject.name);
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_flood_of_what_is_no_answer_blocks_none_c16() {
    for subject in all_that(Behaviour::Flood) {
        let heard = subject.run_within(s(20)).await;
        heard.assert_done();
        assert_eq!(heard.text(), "one two three ", "{}", subject.name);
    }
}

#[tokio::test]
async fn a_crash_is_one_failure_with_its_cause_c02_c04_e10() {
    for (behaviour, said) in [
        (Behaviour::CrashAtOnce, ""),
        (Behaviour::CrashMidway, "one "),
    ] {
        for subject in all_that(behaviour) {
            let heard = subject.run_within(SOON).await;
            let cause = own_failure(&heard).cause();
            let causes = ["exited", "signal", "cut", "http", "upstream", "reported"];
            assert!(causes.contains(&cause), "{}: {cause}", subject.name);
            let codes = [Code::ProviderCrashed, Code::ProviderUnavailable];
            assert!(codes.contains(&code_of(&heard)), "{}", subject.name);
            // What was said before is kept.
            assert_eq!(heard.text(), said, "{}", subject.name);
        }
    }
}

#[tokio::test]
async fn a_crash_after_the_end_does_not_undo_it_c05_e10() {
    for subject in all_that(Behaviour::CrashAfter) {
        let heard = subject.run_within(SOON).await;
        heard.assert_done();
        assert_eq!(heard.text(), "one two three ", "{}", subject.name);
    }
}

#[tokio::test]
async fn every_exit_code_and_signal_is_named_c02_c04() {
    for (n, subject) in all_that(Behaviour::ExitCodes).into_iter().enumerate() {
        let heard = subject.run_within(SOON).await;
        let code = EXIT_CODES[n % EXIT_CODES.len()];
        assert_eq!(own_failure(&heard), &Failure::Exited { code });
        assert_eq!(code_of(&heard), Code::ProviderCrashed, "{}", subject.name);
    }
    for (n, subject) in all_that(Behaviour::Signals).into_iter().enumerate() {
        let heard = subject.run_within(SOON).await;
        let signal = SIGNALS[n % SIGNALS.len()];
        assert_eq!(own_failure(&heard), &Failure::Signal { signal });
        assert_eq!(code_of(&heard), Code::ProviderCrashed, "{}", subject.name);
    }
}

#[tokio::test]
async fn what_nobody_understands_is_a_failure_c11() {
    for subject in all_that(Behaviour::Garbage) {
        let heard = subject.run_within(SOON).await;
        let cause = own_failure(&heard).cause();
        assert!(
            ["garbage", "sse"].contains(&cause),
            "{}: {cause}",
            subject.name
        );
        assert_eq!(code_of(&heard), Code::ProviderProtocol, "{}", subject.name);
    }
}

#[tokio::test]
async fn what_ends_in_the_middle_is_a_failure_and_what_was_said_is_kept_c12_i13() {
    for subject in all_that(Behaviour::Truncated) {
        let heard = subject.run_within(SOON).await;
        let cause = own_failure(&heard).cause();
        let causes = ["truncated_line", "no_finish"];
        assert!(causes.contains(&cause), "{}: {cause}", subject.name);
        assert_eq!(code_of(&heard), Code::ProviderProtocol, "{}", subject.name);
        assert_eq!(heard.text(), "one ", "{}", subject.name);
    }
}

#[tokio::test]
async fn a_cancel_ends_an_attempt_that_hangs_c07() {
    for subject in all_that(Behaviour::Hang) {
        let mut driven = subject.start(Budgets::default());
        driven.until(is_text).await;
        driven.running.cancel();
        driven.running.cancel();
        let heard = driven.finish().await;
        assert!(
            matches!(heard.outcome.ending, Ending::Cancelled { .. }),
            "{}: {heard:?}",
            subject.name
        );
        assert!(heard.took < CANCELLED, "{}: {:?}", subject.name, heard.took);
        subject.check_nothing_left().await;
    }
}

/// Whatever an attempt does, nothing of it is left so long after a cancel.
const CANCELLED: Duration = Duration::from_secs(8);

#[tokio::test]
async fn a_cancel_ends_what_can_be_stopped_by_force_only_c08_i8() {
    for subject in all_that(Behaviour::Stubborn) {
        let mut driven = subject.start(Budgets::default());
        driven.until(is_text).await;
        let cancelled_at = std::time::Instant::now();
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(
            heard.outcome.ending,
            Ending::Cancelled { forced: true },
            "{}",
            subject.name
        );
        let took = cancelled_at.elapsed();
        assert!(took < CANCELLED, "{}: {took:?}", subject.name);
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_cancel_before_the_first_word_ends_it() {
    for behaviour in [Behaviour::HangAtOnce, Behaviour::Hang] {
        for subject in all_that(behaviour) {
            let driven = subject.start(Budgets::default());
            driven.running.cancel();
            let heard = driven.finish().await;
            assert!(
                matches!(heard.outcome.ending, Ending::Cancelled { .. }),
                "{}: {heard:?}",
                subject.name
            );
            assert!(heard.took < CANCELLED, "{}: {:?}", subject.name, heard.took);
            subject.check_nothing_left().await;
        }
    }
}

#[tokio::test]
async fn a_cancel_after_the_end_changes_nothing() {
    for subject in all_that(Behaviour::Speak) {
        let (running, mut stream) = keel_agent::spawn(
            Arc::clone(&subject.provider),
            harness::request(&subject.prompt),
            Budgets::default(),
        );
        let outcome = loop {
            match stream.next().await.unwrap() {
                Told::Output(_) => {}
                Told::Outcome(outcome) => break outcome,
            }
        };
        running.cancel();
        assert!(
            matches!(outcome.ending, Ending::Done { .. }),
            "{}",
            subject.name
        );
        assert_eq!(stream.next().await, None);
        subject.check_nothing_left().await;
    }
}

/// Two sessions ask one provider at once: each gets its own answer.
#[tokio::test]
async fn two_prompts_at_once_do_not_mix_m25() {
    for subject in all_that(Behaviour::SayBack) {
        let ask = |session: &str, word: &str| {
            let prompt = format!("{} {word}", subject.prompt);
            let mut request = harness::request(&prompt);
            request.session = session.parse().unwrap();
            Driven::start_with(Arc::clone(&subject.provider), request, Budgets::default())
        };
        let [_, first, second] = kinds::SESSIONS;
        let (one, two) = (ask(first, "alpha"), ask(second, "omega"));
        let (one, two) = tokio::join!(one.finish(), two.finish());
        for (heard, own, foreign) in [(&one, "alpha", "omega"), (&two, "omega", "alpha")] {
            heard.assert_done();
            let text = heard.text();
            assert!(text.contains(own), "{}: {text:?}", subject.name);
            assert!(!text.contains(foreign), "{}: {text:?}", subject.name);
        }
        subject.check_nothing_left().await;
    }
}

/// Whoever stands first in a chain and says nothing is followed by the next one, and that is told.
#[tokio::test]
async fn whoever_crashes_at_once_is_followed_by_the_next_of_its_chain_m22_e10() {
    for subject in all_that(Behaviour::CrashAtOnce) {
        let heard = ask_chain(&subject).await;
        heard.assert_done();
        assert_eq!(heard.text(), "one two three ", "{}", subject.name);
        let told = heard.outputs.iter().filter(|output| {
            matches!(output, Output::NewAttempt { failure } if failure.code() != Code::Internal)
        });
        assert!(told.count() >= 1, "{}: {heard:?}", subject.name);
        subject.check_nothing_left().await;
    }
}

/// What was said is kept: nobody says it again in other words.
#[tokio::test]
async fn whoever_crashes_after_a_word_is_followed_by_nobody_e10_i13() {
    for subject in all_that(Behaviour::CrashMidway) {
        let heard = ask_chain(&subject).await;
        let failure = heard.failure();
        assert_ne!(failure.cause(), "no_result", "{}", subject.name);
        assert_eq!(heard.text(), "one ", "{}", subject.name);
        subject.check_nothing_left().await;
    }
}

/// Asks a chain of `subject`, and of one that speaks whatever it is asked.
async fn ask_chain(subject: &kinds::Subject) -> Heard {
    let second = process::json_lines_that(Behaviour::Speak).remove(0);
    let chain = chain::of([
        ("first", Arc::clone(&subject.provider)),
        ("second", Arc::clone(&second.provider)),
    ]);
    let driven = Driven::start(chain, &subject.prompt, Budgets::default());
    let heard = driven.finish().await;
    second.check_nothing_left().await;
    heard
}

#[tokio::test]
async fn an_answer_to_a_question_is_heard_c23() {
    for subject in all_that(Behaviour::Ask) {
        let mut driven = subject.start(Budgets::default());
        driven
            .until(|output| matches!(output, Output::NeedsAction(_)))
            .await;
        let action = driven.action().expect("a question");
        let answer = match action.options.first() {
            Some(option) => json!(option),
            None => json!({"yes": 1}),
        };
        let action = action.id.clone();
        assert!(driven.running.answer(Answer {
            action,
            answer: answer.clone()
        }));
        let heard = driven.finish().await;
        heard.assert_done();
        let said = heard.text();
        let word = answer
            .as_str()
            .map_or_else(|| answer.to_string(), str::to_owned);
        assert!(said.contains(&word), "{}: {said:?}", subject.name);
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_budget_ends_what_has_no_end_c22() {
    let budgets = Budgets {
        bytes_max: 1_000_000,
        ..Budgets::default()
    };
    for subject in all_that(Behaviour::Endless) {
        let heard = subject.run(budgets).await;
        assert_eq!(own_failure(&heard).cause(), "budget", "{}", subject.name);
        assert_eq!(code_of(&heard), Code::ProviderBudget, "{}", subject.name);
        assert!(heard.outcome.bytes <= budgets.bytes_max);
    }
}

#[tokio::test]
async fn nobody_who_consumes_means_nobody_who_reads() {
    for subject in all_that(Behaviour::Endless) {
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
            assert!(told <= 256 * 1024, "{}: {told}", subject.name);
        }
        assert!(told > 200 * 1024, "{}: {told}", subject.name);
        let cancelled_at = std::time::Instant::now();
        driven.running.cancel();
        let heard = driven.finish().await;
        assert!(
            matches!(heard.outcome.ending, Ending::Cancelled { .. }),
            "{heard:?}"
        );
        assert!(cancelled_at.elapsed() < CANCELLED, "{}", subject.name);
        subject.check_nothing_left().await;
    }
}

#[tokio::test]
async fn a_dropped_handle_kills_everything_m21() {
    for subject in all_that(Behaviour::Hang) {
        let mut driven = subject.start(Budgets::default());
        driven.until(is_text).await;
        let Driven {
            running,
            mut stream,
            ..
        } = driven;
        drop(running);
        let told = stream.next().await;
        let Some(Told::Outcome(outcome)) = told else {
            panic!("{}: {told:?}", subject.name)
        };
        assert_eq!(outcome.ending, Ending::Failed(Failure::Dropped));
        subject.check_nothing_left().await;
    }
}
