//! The clocks of a turn, and what was put aside after it crashed its program.

use std::time::Duration;

use keel_core::node::{Backend, Input, RunEnd, RunFailure, RunOutput, TurnClocks};
use keel_wire::{BusyPolicy, Code, Event, Injection, ReceiptBody, ServerFrame, TurnEnd};
use serde_json::json;

use crate::{
    turns::{crash, ends},
    world::{Tab, World},
};

#[test]
fn every_clock_of_a_turn_ends_it_c06_c07() {
    let short = TurnClocks {
        spawn: Duration::from_secs(1),
        first_output: Duration::from_secs(2),
        idle: Duration::from_secs(3),
        whole: Duration::from_secs(20),
        action: Duration::from_secs(4),
    };
    type Act = fn(&mut World);
    let cases: [(&str, Act, u64); 4] = [
        ("spawn", |_| {}, 1),
        (
            "first output",
            |world| {
                let run = world.runs[0].0;
                let output = RunOutput::Started;
                world.input(Input::RunOutput { run, output });
            },
            2,
        ),
        ("idle", |world| world.text("x"), 3),
        (
            "whole turn",
            |world| {
                for _ in 0..19 {
                    world.text("x");
                    world.pass(Duration::from_secs(1));
                }
                world.text("x");
            },
            1,
        ),
    ];
    for (clock, act, after) in cases {
        let backend = Backend {
            clocks: short,
            ..Backend::default()
        };
        let mut world = World::with(|config| {
            config.backends.insert("echo".into(), backend);
        });
        let conn = world.connect(&Tab::new(1));
        let session = world.welcome(conn).session;
        world.say(conn, 1, "hello");
        act(&mut world);
        world.pass(Duration::from_millis(after * 1_000 - 10));
        assert_eq!(ends(&world, &session), [], "{clock} is not due");
        world.pass(Duration::from_millis(20));
        assert_eq!(ends(&world, &session), [TurnEnd::Failed], "{clock}");
        let log = world.log(&session);
        let Some(Event::TurnEnded(ended)) = log.last() else {
            panic!("{log:?}")
        };
        let fault = ended.fault.as_ref().unwrap();
        assert_eq!(fault.code, Code::ProviderTimeout);
        assert_eq!(fault.detail["clock"], json!(clock));
        assert!(world.stopped.contains(&(world.runs[0].0, true)), "killed");
    }
}

#[test]
fn a_stalled_turn_is_told_before_anything_is_done_about_it_c07() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.text("x");
    let beats = Duration::from_millis(500);
    for _ in 0..12 {
        world.pass(beats);
        world.send(
            conn,
            keel_wire::Ack {
                seq: keel_wire::Seq::ZERO,
            },
        );
    }
    let stalled = world.lines[&conn]
        .frames
        .iter()
        .filter(|frame| matches!(frame, ServerFrame::Ephemeral(e) if e.kind == "turn.stalled"))
        .count();
    assert_eq!(stalled, 1);
    let degraded = world.lines[&conn].frames.iter().any(|frame| {
        matches!(frame, ServerFrame::Status(s) if s.status.state == keel_wire::State::Degraded)
    });
    assert!(degraded, "status shows it");
    world.text("y");
    let live = world.lines[&conn]
        .frames
        .iter()
        .rev()
        .find_map(|frame| match frame {
            ServerFrame::Status(s) => Some(s.status.state.clone()),
            _ => None,
        });
    assert_eq!(live, Some(keel_wire::State::Live));
}

#[test]
fn cancel_ends_once_whatever_the_provider_does_p10_i8() {
    for obeys in [true, false] {
        let mut world = World::new();
        let conn = world.connect(&Tab::new(1));
        let session = world.welcome(conn).session;
        world.say(conn, 1, "hello");
        world.text("some");
        world.command(conn, 2, keel_wire::CancelTurn { turn: None });
        world.command(conn, 3, keel_wire::CancelTurn { turn: None });
        assert_eq!(world.stopped.len(), 1, "asked once");
        if obeys {
            world.finish(RunEnd::Cancelled { forced: false });
        } else {
            world.pass(keel_core::limits::CANCEL_WITHIN);
        }
        assert_eq!(ends(&world, &session), [TurnEnd::Cancelled]);
        world.done();
        assert_eq!(
            ends(&world, &session),
            [TurnEnd::Cancelled],
            "cancel after the end"
        );
    }
}

fn refusal(world: &World, conn: keel_core::node::ConnId) -> Option<keel_wire::FaultCode> {
    match &world.receipts(conn).last().unwrap().body {
        ReceiptBody::Fault(fault) => Some(fault.code.clone()),
        ReceiptBody::Ok { .. } => None,
    }
}

#[test]
fn a_prompt_that_crashed_the_program_twice_is_not_run_a_third_time_a64() {
    // With the crashes in the events that are read back, and behind a stored snapshot.
    for texts in [0, 1_100] {
        let mut world = World::new();
        let tab = Tab::new(1);
        let conn = world.connect(&tab);
        let welcome = world.welcome(conn);
        for n in [1, 2] {
            world.say(conn, n, "die");
            world.finish(crash(Code::ProviderCrashed));
        }
        world.say(conn, 3, "die");
        assert_eq!(refusal(&world, conn), Some(Code::PromptQuarantined.known()));
        world.say(conn, 4, "live");
        for _ in 0..texts {
            world.text("x");
        }
        world.done();
        assert_eq!(world.runs.len(), 3, "the session stays usable");
        world.crash();
        let conn = world.connect(&tab.again(&welcome, 0));
        world.say(conn, 5, "die");
        assert_eq!(refusal(&world, conn), Some(Code::PromptQuarantined.known()));
        world.now.wall += 600_000;
        world.say(conn, 6, "die");
        assert_eq!(
            refusal(&world, conn),
            None,
            "it may have been something else"
        );
    }
}

#[test]
fn a_prompt_that_a_models_server_broke_off_twice_is_not_run_a_third_time_h18() {
    let broken_off = || RunFailure {
        code: Code::ProviderUnavailable,
        message: "cut".into(),
        detail: [("cause".to_owned(), json!("cut"))].into_iter().collect(),
        retry: None,
        causes: Vec::new(),
    };
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "die");
    let run = world.runs[0].0;
    world.text("so far");
    for _ in 0..2 {
        let failure = broken_off();
        let output = RunOutput::NewAttempt { failure };
        world.input(Input::RunOutput { run, output });
    }
    world.finish(RunEnd::Failed(broken_off()));
    // Its tries are one failure, in the log that is read back as well.
    world.crash();
    let conn = world.connect(&tab.again(&welcome, 0));
    world.say(conn, 2, "die");
    assert_eq!(refusal(&world, conn), None);
    world.finish(RunEnd::Failed(broken_off()));
    world.say(conn, 3, "die");
    assert_eq!(refusal(&world, conn), Some(Code::PromptQuarantined.known()));
    // What it was told before breaks it just as well with the next prompt.
    world.say(conn, 4, "live");
    let (_, request) = world.runs.last().unwrap();
    assert_eq!((request.prompt.as_str(), request.forget.len()), ("live", 2));
}

#[test]
fn what_waited_with_such_a_prompt_is_refused_when_it_would_begin_a64() {
    let mut world = World::with(|config| {
        config.backends.get_mut("echo").unwrap().attempts = 9;
    });
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 4 });
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    for (n, prompt) in [(1, "die"), (2, "die"), (3, "live")] {
        world.say(conn, n, prompt);
    }
    for _ in 0..2 {
        world.finish(crash(Code::ProviderCrashed));
    }
    let prompts: Vec<_> = world
        .runs
        .iter()
        .map(|(_, run)| run.prompt.as_str())
        .collect();
    assert_eq!(prompts, ["die", "die", "live"], "two attempts of nine");
    let ended = |event: &Event| match event {
        Event::TurnEnded(ended) => ended.fault.as_ref().map(|fault| fault.code.clone()),
        _ => None,
    };
    let ends: Vec<_> = world.log(&session).iter().filter_map(ended).collect();
    let codes = [Code::ProviderCrashed, Code::PromptQuarantined];
    assert_eq!(ends, codes.map(Code::known));
}

#[test]
fn a_provider_that_is_killed_on_purpose_is_not_the_prompts_doing_m39() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    for n in [1, 3, 5] {
        world.say(conn, n, "hello");
        assert_eq!(world.runs.len() as u64, n / 2 + 1);
        world.kills_slowly = true;
        let fault = Injection::KillProvider;
        let inject = keel_wire::InjectFault {
            fault,
            for_ms: None,
            seed: None,
        };
        world.command(conn, n + 1, inject);
        world.finish(crash(Code::ProviderCrashed));
    }
    let log = world.log(&session);
    let Some(Event::TurnEnded(ended)) = log.last() else {
        panic!("{log:?}")
    };
    let detail = &ended.fault.as_ref().unwrap().detail;
    assert!(detail["injected"].is_string(), "{detail:?}");
}
