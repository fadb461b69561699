//! A turn that is over, once more: always because somebody wants it.

use keel_core::node::{Input, RunEnd, RunFailure, RunOutput};
use keel_wire::{
    BusyPolicy, Code, ContinueTurn, Event, Fault, ReceiptBody, RetryTurn, SessionId, TurnAccepted,
    TurnEnd, TurnId,
};
use serde_json::{Map, json};

use crate::world::{Tab, World};

fn session(world: &World) -> SessionId {
    world.sessions().remove(0)
}

fn accepted(world: &World) -> Vec<TurnAccepted> {
    let log = world.log(&session(world));
    let accepted = log.into_iter().filter_map(|event| match event {
        Event::TurnAccepted(accepted) => Some(accepted),
        _ => None,
    });
    accepted.collect()
}

fn last_turn(world: &World) -> TurnId {
    accepted(world).pop().unwrap().turn
}

pub(crate) fn crashed() -> RunFailure {
    RunFailure {
        code: Code::ProviderCrashed,
        message: "signal 9".into(),
        detail: Map::new(),
        retry: None,
        causes: Vec::new(),
    }
}

fn crash() -> RunEnd {
    RunEnd::Failed(crashed())
}

fn refused(world: &World, conn: keel_core::node::ConnId) -> Fault {
    match world.receipts(conn).pop().unwrap().body {
        ReceiptBody::Fault(fault) => *fault,
        body @ ReceiptBody::Ok { .. } => panic!("{body:?}"),
    }
}

#[test]
fn nothing_is_tried_again_by_itself_once_it_has_surfaced() {
    for surfaced in [
        RunOutput::Text("a".into()),
        RunOutput::Item(json!({ "type": "tool_call", "id": "1" })),
    ] {
        let mut world = World::with(|config| {
            config.backends.get_mut("echo").unwrap().attempts = 3;
        });
        let conn = world.connect(&Tab::new(1));
        world.say(conn, 1, "hello");
        let run = world.runs[0].0;
        let output = surfaced;
        world.input(Input::RunOutput { run, output });
        world.finish(crash());
        assert_eq!(world.runs.len(), 1);
    }
}

#[test]
fn a_retry_is_a_new_turn_with_the_whole_prompt_and_its_try_before_is_not_remembered() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let prompt = "long ".repeat(1_000);
    world.say(conn, 1, &prompt);
    world.text("half");
    world.finish(crash());
    let first = last_turn(&world);
    // A restart keeps it whole.
    world.crash();
    let conn = world.connect(&Tab::new(2).of(&session(&world)));
    world.command(
        conn,
        1,
        RetryTurn {
            turn: first.clone(),
        },
    );
    let request = world.runs[0].1.clone();
    assert_eq!(request.prompt, prompt);
    assert_eq!(request.forget, std::slice::from_ref(&first));
    let second = accepted(&world).pop().unwrap();
    assert_eq!(second.retry_of, Some(first.clone()));
    world.finish(RunEnd::Cancelled { forced: false });
    // A try of a try: none of those before is remembered.
    let turn = second.turn.clone();
    world.command(conn, 2, RetryTurn { turn });
    assert_eq!(world.runs[1].1.forget, [second.turn.clone(), first.clone()]);
    world.done();
    world.say(conn, 3, "next");
    assert_eq!(world.runs[2].1.forget, [second.turn, first]);
}

#[test]
fn a_try_that_comes_to_nothing_takes_nothing_away() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.text("a good answer");
    world.done();
    let turn = last_turn(&world);
    world.command(conn, 2, RetryTurn { turn });
    world.finish(crash());
    world.say(conn, 3, "next");
    assert_eq!(world.runs.last().unwrap().1.forget, []);
}

#[test]
fn going_on_asks_for_the_rest_and_says_which_is_meant() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "tell a story");
    world.text("Once upon");
    world.crash();
    let conn = world.connect(&Tab::new(2).of(&session(&world)));
    let story = last_turn(&world);
    world.command(
        conn,
        1,
        ContinueTurn {
            turn: story.clone(),
        },
    );
    let request = world.runs[0].1.clone();
    assert_eq!(request.prompt, keel_core::limits::CONTINUE_PROMPT);
    assert_eq!(request.forget, [], "what was said so far is in its history");
    let second = accepted(&world).pop().unwrap();
    assert_eq!(second.continues, Some(story.clone()));
    world.done();
    // Another was begun since.
    world.command(conn, 2, ContinueTurn { turn: story });
    let prompt = &world.runs[1].1.prompt;
    assert!(prompt.starts_with(keel_core::limits::CONTINUE_PROMPT));
    assert!(prompt.ends_with("tell a story"), "{prompt}");
}

#[test]
fn what_was_replaced_is_remembered_again_by_who_goes_on_with_it() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Replace);
    let conn = world.connect(&tab);
    world.say(conn, 1, "tell a story");
    world.text("Once upon");
    let story = last_turn(&world);
    world.say(conn, 2, "sing");
    world.finish(RunEnd::Cancelled { forced: false });
    assert_eq!(world.runs[1].1.forget, std::slice::from_ref(&story));
    world.done();
    world.command(conn, 3, ContinueTurn { turn: story });
    assert_eq!(world.runs[2].1.forget, []);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 2 });
    let conn = world.connect(&tab);
    world.say(conn, 1, "hello");
    let open = last_turn(&world);
    let unknown = TurnId::from_bits(7);
    let mut n = 1;
    for turn in [open.clone(), unknown] {
        n += 1;
        world.command(conn, n, RetryTurn { turn: turn.clone() });
        assert_eq!(refused(&world, conn).code, Code::InvalidRequest);
        n += 1;
        world.command(conn, n, ContinueTurn { turn });
        assert_eq!(refused(&world, conn).code, Code::InvalidRequest);
    }
    // Never begun: there is nothing to go on with, but something to try.
    world.say(conn, n + 1, "waits");
    let waits = last_turn(&world);
    let turn = Some(waits.clone());
    world.command(conn, n + 2, keel_wire::CancelTurn { turn });
    world.done();
    n += 2;
    for turn in [open, waits.clone()] {
        n += 1;
        world.command(conn, n, ContinueTurn { turn });
        assert_eq!(refused(&world, conn).code, Code::InvalidRequest);
    }
    assert_eq!(accepted(&world).len(), 2);
    world.command(conn, n + 1, RetryTurn { turn: waits });
    assert_eq!(world.runs.last().unwrap().1.prompt, "waits");
}

#[test]
fn a_try_follows_the_policy_while_another_turn_runs() {
    for (busy, runs_then) in [
        (BusyPolicy::Reject, None),
        (BusyPolicy::Steer, None),
        (BusyPolicy::Queue { max: 1 }, Some(TurnEnd::Done)),
        (BusyPolicy::Replace, Some(TurnEnd::Done)),
    ] {
        let mut world = World::new();
        let mut tab = Tab::new(1);
        tab.hello.busy = Some(busy);
        let conn = world.connect(&tab);
        world.say(conn, 1, "first");
        world.finish(crash());
        let turn = last_turn(&world);
        world.say(conn, 2, "second");
        world.command(conn, 3, RetryTurn { turn });
        if runs_then.is_none() {
            assert_eq!(refused(&world, conn).code, Code::SessionBusy);
            continue;
        }
        world.done();
        assert_eq!(world.runs.last().unwrap().1.prompt, "first", "{busy:?}");
    }
}
