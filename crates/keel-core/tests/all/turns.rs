//! Turns: told only once committed, ended exactly once, one after the other.

use std::time::Duration;

use keel_core::node::{Ask, AskId, Input, RunEnd, RunFailure, RunOutput};
use keel_wire::{
    Action, ActionId, BusyPolicy, Code, Event, Injection, Receipt, ReceiptBody, TurnEnd,
    journal::Fact,
};
use serde_json::{Map, json};

use crate::world::{StoreMood, Tab, World};

pub(crate) fn ends(world: &World, session: &keel_wire::SessionId) -> Vec<TurnEnd> {
    let log = world.log(session);
    log.iter()
        .filter_map(|event| match event {
            Event::TurnEnded(ended) => Some(ended.end),
            _ => None,
        })
        .collect()
}

pub(crate) fn crash(code: Code) -> RunEnd {
    RunEnd::Failed(RunFailure {
        code,
        message: "exit 1".into(),
        detail: Map::new(),
        retry: None,
        causes: Vec::new(),
    })
}

#[test]
fn a_turn_streams_and_ends_once_i3() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    assert!(matches!(
        world.receipts(conn)[..],
        [Receipt {
            body: ReceiptBody::Ok {
                position: Some(0),
                ..
            },
            ..
        }]
    ));
    world.text("hel");
    world.text("lo");
    world.done();
    world.text("late output is nobody's");
    world.done();
    assert_eq!(world.heard(conn), "hello");
    let session = world.welcome(conn).session;
    assert_eq!(ends(&world, &session), [TurnEnd::Done]);
}

#[test]
fn nothing_is_told_before_it_is_committed() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.mood = StoreMood::Holds;
    let before = world.events(conn).len();
    world.say(conn, 1, "hello");
    assert_eq!(world.events(conn).len(), before, "no event");
    assert_eq!(world.receipts(conn), [], "no receipt");
    assert!(world.runs.is_empty(), "no run");
    world.release();
    assert_eq!(world.receipts(conn).len(), 1);
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn output_while_a_commit_is_in_flight_becomes_one_event() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.mood = StoreMood::Holds;
    for _ in 0..100 {
        world.text("word ");
    }
    world.release();
    world.done();
    let texts = world
        .events(conn)
        .into_iter()
        .filter(|(_, event)| matches!(event, Event::Text(_)))
        .count();
    assert_eq!(texts, 2, "the first went at once, the rest together");
    assert_eq!(world.heard(conn), "word ".repeat(100));
    let run = world.runs[0].0;
    assert_eq!(
        world.credit[&run], 500,
        "every committed byte may be followed by another"
    );
}

#[test]
fn busy_is_answered_at_once_and_disturbs_nothing_m24_i7() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "first");
    world.say(conn, 2, "second");
    let receipts = world.receipts(conn);
    let ReceiptBody::Fault(fault) = &receipts[1].body else {
        panic!("{receipts:?}")
    };
    assert_eq!(fault.code, Code::SessionBusy);
    assert!(fault.turn.is_some() && fault.detail.contains_key("since_ms"));
    assert_eq!(world.runs.len(), 1);
    world.done();
    world.say(conn, 3, "third");
    assert_eq!(world.runs.len(), 2);
}

#[test]
fn queued_turns_run_in_order_and_the_queue_has_a_bound_e11() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 2 });
    let conn = world.connect(&tab);
    for n in 1..=4 {
        world.say(conn, n, &format!("turn {n}"));
    }
    let positions: Vec<_> = world
        .receipts(conn)
        .into_iter()
        .map(|receipt| match receipt.body {
            ReceiptBody::Ok { position, .. } => position,
            ReceiptBody::Fault(fault) => {
                assert_eq!(fault.code, Code::SessionBusy);
                None
            }
        })
        .collect();
    // The fourth was refused at once, the others were committed first.
    assert_eq!(
        positions.iter().flatten().copied().collect::<Vec<_>>(),
        [0, 1, 2]
    );
    for _ in 0..3 {
        world.done();
    }
    let prompts: Vec<_> = world
        .runs
        .iter()
        .map(|(_, run)| run.prompt.clone())
        .collect();
    assert_eq!(prompts, ["turn 1", "turn 2", "turn 3"]);
}

#[test]
fn a_crash_is_one_typed_end_and_the_session_goes_on_m21_c02() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.text("partial");
    world.finish(crash(Code::ProviderCrashed));
    let session = world.welcome(conn).session;
    let log = world.log(&session);
    let Some(Event::TurnEnded(ended)) = log.last() else {
        panic!("{log:?}")
    };
    assert_eq!((ended.end, ended.bytes), (TurnEnd::Failed, 7));
    assert_eq!(ended.fault.as_ref().unwrap().code, Code::ProviderCrashed);
    world.say(conn, 2, "again");
    assert_eq!(world.runs.len(), 2);
}

#[test]
fn a_silent_crash_is_tried_again_where_that_is_allowed_c02() {
    let mut world = World::with(|config| {
        config.backends.get_mut("echo").unwrap().attempts = 2;
    });
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.finish(crash(Code::ProviderCrashed));
    assert_eq!(world.runs.last().unwrap().1.attempt, 2);
    world.finish(crash(Code::ProviderCrashed));
    let session = world.welcome(conn).session;
    assert_eq!(ends(&world, &session), [TurnEnd::Failed]);
}

#[test]
fn a_new_attempt_supersedes_what_was_said_c21() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.text("wrong");
    let run = world.runs[0].0;
    let failure = RunFailure {
        code: Code::ProviderCrashed,
        message: "cut".into(),
        detail: Map::new(),
        retry: None,
        causes: Vec::new(),
    };
    world.input(Input::RunOutput {
        run,
        output: RunOutput::NewAttempt { failure },
    });
    world.text("right");
    world.done();
    let session = world.welcome(conn).session;
    let mut fold = keel_wire::Snapshot::default();
    for event in world.log(&session) {
        fold.apply(&event);
    }
    assert_eq!(
        (fold.turns[0].tail.as_str(), fold.turns[0].attempt),
        ("right", 2)
    );
}

#[test]
fn a_turn_waits_for_an_answer_and_silence_refuses_c23_a65() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.say(conn, 1, "hello");
    let action = Action {
        id: ActionId::from_bits(1),
        prompt: "may I?".into(),
        options: vec!["yes".into()],
        choices: Vec::new(),
        tool_call: None,
    };
    let run = world.runs[0].0;
    let turn = world.runs[0].1.turn.clone();
    let output = RunOutput::NeedsAction(action);
    world.input(Input::RunOutput {
        run,
        output: output.clone(),
    });
    let answer = |id: u128, text: &str| keel_wire::Answer {
        turn: turn.clone(),
        action: ActionId::from_bits(id),
        answer: json!(text),
    };
    world.command(conn, 2, answer(2, "yes"));
    world.command(conn, 3, answer(1, "maybe"));
    world.command(conn, 4, answer(1, "yes"));
    world.command(conn, 5, answer(1, "yes"));
    let ok: Vec<bool> = world
        .receipts(conn)
        .iter()
        .map(|receipt| matches!(receipt.body, ReceiptBody::Ok { .. }))
        .collect();
    assert_eq!(ok, [true, false, false, true, false]);
    world.input(Input::RunOutput { run, output });
    world.pass(Duration::from_secs(601));
    let answered: Vec<_> = world
        .log(&session)
        .into_iter()
        .filter_map(|event| match event {
            Event::TurnAnswered(answered) => Some(answered.by.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(answered, [true, false], "nobody answered the second");
}

#[test]
fn after_a_crash_what_had_begun_is_interrupted_and_what_had_not_runs_i9_s01() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 2 });
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "first");
    world.say(conn, 2, "second");
    world.text("part");
    world.crash();
    assert!(world.node.is_ready());
    assert_eq!(ends(&world, &welcome.session), [TurnEnd::Interrupted]);
    let prompts: Vec<_> = world
        .runs
        .iter()
        .map(|(_, run)| run.prompt.clone())
        .collect();
    assert_eq!(prompts, ["second"], "never begun, so it is");
    let conn = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.heard(conn), "part", "what was told stands");
}

fn say_within(world: &mut World, conn: keel_core::node::ConnId, text: &str, ttl_ms: u64) {
    let say = keel_wire::Command::from(keel_wire::Say { text: text.into() });
    let frame = keel_wire::CommandFrame {
        n: crate::world::seq(2),
        name: say.name().into(),
        ttl_ms: Some(ttl_ms),
        receipts_ack: keel_wire::Seq::ZERO,
        data: keel_wire::RawData::trusted(say.encode_data()),
    };
    world.send(conn, frame);
}

#[test]
fn a_ttl_counts_while_no_server_is_there_i9_s01() {
    // With the accepted turn in the events that are read back, and behind a stored snapshot.
    for texts in [1, 1_100] {
        for (away_s, is_run) in [(5, true), (20, false)] {
            let mut world = World::new();
            let mut tab = Tab::new(1);
            tab.hello.busy = Some(BusyPolicy::Queue { max: 2 });
            let conn = world.connect(&tab);
            let session = world.welcome(conn).session;
            world.say(conn, 1, "first");
            say_within(&mut world, conn, "second", 10_000);
            for _ in 0..texts {
                world.text("x");
            }
            world.now.mono = world.now.mono + Duration::from_secs(away_s);
            world.now.wall += away_s * 1_000;
            world.crash();
            assert_eq!(world.runs.len(), usize::from(is_run), "{texts}, {away_s}");
            world.pass(Duration::from_secs(10));
            let late = |event: &Event| match event {
                Event::TurnEnded(ended) => ended.fault.clone().filter(|f| f.code == Code::Expired),
                _ => None,
            };
            let expired = world.log(&session).iter().find_map(late);
            assert_eq!(expired.is_some(), !is_run, "{texts}, {away_s}");
        }
    }
}

#[test]
fn a_ttl_that_is_over_keeps_a_queued_turn_from_beginning() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 2 });
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    world.say(conn, 1, "first");
    say_within(&mut world, conn, "second", 1_000);
    world.pass(Duration::from_millis(1_100));
    let log = world.log(&session);
    let Some(Event::TurnEnded(ended)) = log.last() else {
        panic!("{log:?}")
    };
    assert_eq!(ended.fault.as_ref().unwrap().code, Code::Expired);
}

/// Found by `keel-sim` (seed 26, everything settles): what was never begun has no end to wait for.
#[test]
fn a_run_that_was_never_begun_keeps_no_server_from_stopping() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.mood = StoreMood::Refuses;
    world.say(conn, 1, "accepted, but not kept");
    let question = Ask::Inject(keel_core::node::Strike {
        session,
        participant: None,
        injection: Injection::Panic { times: 1 },
        for_ms: None,
        seed: None,
    });
    let ask = AskId(1);
    world.input(Input::Ask { ask, question });
    world.mood = StoreMood::Well;
    assert_eq!(world.runs, []);
    world.input(Input::Drain {
        within: Duration::from_secs(1),
        target: None,
    });
    assert!(world.drained);
}

#[test]
fn a_turn_whose_start_is_being_written_may_finish_while_the_server_drains() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.mood = StoreMood::Holds;
    world.say(conn, 1, "go");
    world.input(Input::Drain {
        within: Duration::from_secs(10),
        target: None,
    });
    world.release();
    world.done();
    assert_eq!(ends(&world, &session), [TurnEnd::Done]);
    assert!(world.drained);
}

/// Found by `keel-sim` (seed 66, nothing is left).
#[test]
fn a_session_that_ended_over_a_run_leaves_memory_once_that_is_gone() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "go");
    world.text("part");
    world.kills_slowly = true;
    world.command(conn, 2, keel_wire::EndSession {});
    world.pass(Duration::from_secs(1));
    world.finish(RunEnd::Cancelled { forced: false });
    world.pass(Duration::from_secs(31));
    assert!(world.facts.contains(&Fact::Hibernated));
}

/// Found by `keel-sim` (seed 6260, programs have the params in force).
#[test]
fn a_program_is_told_no_params_that_are_not_kept() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.mood = StoreMood::Holds;
    world.say(conn, 1, "go");
    let patch = json!({ "prompt": "not kept yet" });
    world.command(conn, 2, keel_wire::SetParams { patch });
    world.release_one();
    assert_eq!(world.runs[0].1.params, json!(null));
    world.release();
    world.done();
    world.say(conn, 3, "again");
    assert_eq!(world.runs[1].1.params, json!({ "prompt": "not kept yet" }));
}

#[test]
fn a_success_after_a_retry_shows_the_retry_and_its_cause_m22_m47() {
    let mut world = World::with(|config| {
        config.backends.get_mut("echo").unwrap().attempts = 2;
    });
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.say(conn, 1, "hello");
    world.finish(crash(Code::ProviderSpawn));
    world.text("hi");
    world.done();
    let causes: Vec<_> = world
        .log(&session)
        .into_iter()
        .filter_map(|event| match event {
            Event::TurnStarted(started) => Some(started.fault.map(|fault| fault.code)),
            _ => None,
        })
        .collect();
    assert_eq!(causes, [None, Some(Code::ProviderSpawn.known())]);
    assert_eq!(ends(&world, &session), [TurnEnd::Done]);
    let counted = world
        .facts
        .iter()
        .filter(|fact| matches!(fact, Fact::AttemptFailed { attempt: 1, .. }));
    assert_eq!(counted.count(), 1);
}

#[test]
fn closing_a_tab_cancels_nothing_i12() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    let end = keel_core::node::ConnEnd::Close {
        code: keel_wire::CloseCode(1001),
        reason: String::new(),
    };
    world.input(Input::Lost { conn, end });
    world.text("said to nobody");
    world.done();
    assert_eq!(world.stopped, []);
    assert_eq!(ends(&world, &welcome.session), [TurnEnd::Done]);
    let conn = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.heard(conn), "said to nobody");
}

#[test]
fn two_viewers_see_identical_logs_i16() {
    let mut world = World::new();
    let owner = world.connect(&Tab::new(1));
    let session = world.welcome(owner).session;
    let early = world.connect(&Tab::new(2).of(&session).role(keel_wire::Role::Viewer));
    world.say(owner, 1, "hello");
    for n in 0..50 {
        world.text(&format!("{n} "));
    }
    world.done();
    let late = world.connect(&Tab::new(3).of(&session).role(keel_wire::Role::Viewer));
    let (seen, replayed) = (world.events(early), world.events(late));
    assert_eq!(seen, replayed);
    assert_eq!(seen.len() as u64, world.row(&session).head.get());
}

#[test]
fn whatever_ends_badly_names_its_cause_and_whether_to_come_back_i15() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    world.say(conn, 1, "fails");
    world.finish(crash(Code::ProviderProtocol));
    world.say(conn, 2, "is cut off");
    world.crash();
    let bad: Vec<_> = world
        .log(&session)
        .into_iter()
        .filter_map(|event| match event {
            Event::TurnEnded(ended) => Some(ended.fault.expect("a cause")),
            _ => None,
        })
        .collect();
    assert_eq!(bad.len(), 2);
    for fault in bad {
        assert!(!fault.message.is_empty() && fault.turn.is_some());
        assert_ne!(
            fault.retry,
            keel_wire::Retry::Now,
            "a turn is never run again by itself"
        );
    }
}

#[test]
fn an_answer_begun_anew_takes_its_question_back() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    let run = world.runs[0].0;
    let id = ActionId::from_bits(1);
    let action = Action {
        id: id.clone(),
        prompt: "may I?".into(),
        options: Vec::new(),
        choices: Vec::new(),
        tool_call: None,
    };
    let failure = RunFailure {
        code: Code::ProviderCrashed,
        message: String::new(),
        detail: Map::new(),
        retry: None,
        causes: Vec::new(),
    };
    for output in [
        RunOutput::NeedsAction(action),
        RunOutput::NewAttempt { failure },
    ] {
        world.input(Input::RunOutput { run, output });
    }
    let answer = keel_wire::Answer {
        turn: world.runs[0].1.turn.clone(),
        action: id,
        answer: json!("yes"),
    };
    world.command(conn, 2, answer);
    assert!(matches!(
        world.receipts(conn)[1].body,
        ReceiptBody::Fault(_)
    ));
}
