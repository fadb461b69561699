//! What the simulator itself promises, and what it says about the machines.

use keel_sim::{Mutant, Options, replay, run, trace_hash};

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        assert_eq!(trace_hash(seed), trace_hash(seed), "seed {seed}");
    }
    assert_eq!(replay(7, None), replay(7, None));
    assert_eq!(replay(7, None).hash, trace_hash(7), "lines change nothing");
    assert_ne!(trace_hash(1), trace_hash(2));
}

#[test]
fn two_thousand_seeds_break_no_law() {
    let options = Options {
        seeds: 0..2_000,
        threads: 2,
        mutants: false,
    };
    let report = run(options, |_| {});
    assert!(report.violations.is_empty(), "{report}");
    assert!(
        report.cells.covered * 10 > report.cells.possible * 9,
        "{report}"
    );
}

#[test]
fn every_mutant_of_turns_is_found_soon() {
    for (mutant, law) in [
        (Mutant::WordsDoubled, "words are said once"),
        (
            Mutant::ReplacedRemembered,
            "what was replaced is not told again",
        ),
        (
            Mutant::ItemUnheard,
            "what has surfaced is not tried again by itself",
        ),
        (Mutant::MovedElsewhere, "what is told is the log"),
    ] {
        let found = mutant.found_within(0..400);
        let by = found.map(|violation| violation.law);
        assert_eq!(by.as_deref(), Some(law), "{mutant:?}");
    }
}

#[test]
fn every_mutant_of_media_is_found_soon() {
    for mutant in [
        Mutant::MediaLossHidden,
        Mutant::MediaFalseUp,
        Mutant::MediaNoVerdict,
        Mutant::TransportLeft,
        Mutant::TransportStale,
        Mutant::MediaBackTooEarly,
    ] {
        let found = mutant.found_within(0..400);
        let law = found.map(|violation| violation.law);
        assert!(law.is_some(), "{mutant:?} lives on");
        let laws = ["media", "transport", "nothing is left"];
        let media = law
            .as_deref()
            .is_some_and(|law| laws.iter().any(|of| law.contains(of)));
        assert!(media, "{mutant:?} is found by {law:?}");
    }
}

#[test]
fn every_mutant_is_found() {
    for mutant in Mutant::ALL {
        assert!(
            mutant.found_within(0..10_000).is_some(),
            "{mutant:?} lives on"
        );
    }
}

#[test]
fn results_have_the_shape_that_machines_read() {
    let options = Options {
        seeds: 0..3,
        threads: 1,
        mutants: false,
    };
    let report = run(options, |_| {});
    let json = serde_json::to_value(&report).expect("a report is JSON");
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "cells",
            "mutants",
            "seeds",
            "steps",
            "version",
            "violations"
        ]
    );
    assert_eq!((&json["version"], &json["seeds"]), (&1.into(), &3.into()));
    assert!(json["cells"]["possible"].is_u64() && json["cells"]["covered"].is_u64());
    assert!(json["mutants"]["planted"].is_u64() && json["mutants"]["found"].is_u64());
}
