//! What becomes of a `say` while a turn runs: steered, replaced, queued, promoted.

use std::time::Duration;

use keel_core::node::{Input, RunEnd, RunOutput};
use keel_wire::{
    BusyPolicy, CancelStep, CancelTurn, Code, Event, PromoteTurn, ReceiptBody, SessionId, Snapshot,
    TurnEnd, TurnEnded, TurnId,
};

use crate::world::{StoreMood, Tab, World};

fn tab(busy: BusyPolicy) -> Tab {
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(busy);
    tab
}

/// A world whose programs take words while they work.
fn steering() -> World {
    World::with(|config| config.backends.get_mut("echo").unwrap().steers = true)
}

fn session(world: &World) -> SessionId {
    world.sessions().remove(0)
}

fn ended(world: &World) -> Vec<TurnEnded> {
    let log = world.log(&session(world));
    let ended = log.into_iter().filter_map(|event| match event {
        Event::TurnEnded(ended) => Some(ended),
        _ => None,
    });
    ended.collect()
}

fn fold(world: &World) -> Snapshot {
    let mut fold = Snapshot::default();
    for event in world.log(&session(world)) {
        fold.apply(&event);
    }
    fold
}

/// Prompts of the turns that are open, in order.
fn line(world: &World) -> Vec<String> {
    let open = fold(world).turns.into_iter().filter(|view| view.is_open());
    open.map(|view| view.prompt).collect()
}

fn turn_of(world: &World, prompt: &str) -> TurnId {
    let fold = fold(world);
    let view = fold.turns.iter().find(|view| view.prompt == prompt);
    view.unwrap_or_else(|| panic!("{:?}", fold.turns))
        .turn
        .clone()
}

fn prompts(world: &World) -> Vec<&str> {
    let runs = world.runs.iter();
    runs.map(|(_, run)| run.prompt.as_str()).collect()
}

fn cancelled() -> RunEnd {
    RunEnd::Cancelled { forced: false }
}

fn takes_words(world: &mut World) {
    let run = world.runs.last().unwrap().0;
    let output = RunOutput::WordsTaken;
    world.input(Input::RunOutput { run, output });
}

// Steer, into a program that takes words.

#[test]
fn words_are_said_into_the_turn_that_runs_once_they_are_committed_m24() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.mood = StoreMood::Holds;
    world.say(conn, 2, "in blue");
    assert_eq!(world.steered, [], "nothing before its commit");
    world.release();
    let run = world.runs[0].0;
    assert_eq!(world.steered, [(run, "in blue".to_owned())]);
    let turn = turn_of(&world, "draw a boat");
    let ReceiptBody::Ok { turn: told, .. } = world.receipts(conn)[1].body.clone() else {
        panic!("{:?}", world.receipts(conn))
    };
    assert_eq!(told, Some(turn.clone()));
    let log = world.log(&session(&world));
    let said = log.iter().filter_map(|event| match event {
        Event::TurnSteered(steered) => Some((&steered.turn, steered.text.as_str())),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(&turn, "in blue")]);
    takes_words(&mut world);
    world.done();
    assert_eq!(world.runs.len(), 1, "what was taken is part of that turn");
}

#[test]
fn words_that_a_turn_did_not_take_before_its_end_become_turns_in_order_m24() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "in blue");
    takes_words(&mut world);
    world.say(conn, 3, "with sails");
    world.mood = StoreMood::Holds;
    world.say(conn, 4, "and a crew");
    // It is done at the same moment.
    world.done();
    world.release();
    assert_eq!(prompts(&world), ["draw a boat", "with sails"]);
    world.done();
    assert_eq!(prompts(&world)[2..], ["and a crew"]);
    world.done();
    assert_eq!(
        ended(&world)
            .iter()
            .map(|ended| ended.end)
            .collect::<Vec<_>>(),
        [TurnEnd::Done; 3]
    );
    assert_eq!(
        world.steered.len(),
        2,
        "nobody is told words of a turn that is over"
    );
}

#[test]
fn words_end_with_a_turn_that_somebody_stops() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "in blue");
    world.command(conn, 3, CancelTurn { turn: None });
    world.finish(cancelled());
    assert_eq!(world.runs.len(), 1);
    // While a turn is being stopped there is nothing to steer: what is said is next.
    world.say(conn, 4, "a car");
    world.command(conn, 5, CancelTurn { turn: None });
    world.say(conn, 6, "a house");
    world.finish(cancelled());
    assert_eq!(prompts(&world), ["draw a boat", "a car", "a house"]);
}

#[test]
fn words_that_nobody_takes_have_a_bound() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    let bound = keel_core::limits::WORDS_WAITING_MAX as u64;
    for n in 1..=bound + 2 {
        world.say(conn, n, "more");
    }
    let receipts = world.receipts(conn);
    let ReceiptBody::Fault(fault) = &receipts.last().unwrap().body else {
        panic!("{receipts:?}")
    };
    assert_eq!(fault.code, Code::SessionBusy);
    assert_eq!(world.steered.len() as u64, bound);
    // Until it has surfaced another attempt may have to be told, so they are kept.
    takes_words(&mut world);
    world.say(conn, bound + 3, "more");
    assert_eq!(world.steered.len() as u64, bound);
    world.text("a hull");
    world.say(conn, bound + 4, "more");
    assert_eq!(world.steered.len() as u64, bound + 1);
}

#[test]
fn words_that_would_not_fit_in_the_line_are_refused_and_those_that_were_taken_are_run_m24() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.command(conn, 2, CancelTurn { turn: None });
    // While it is being stopped, what is said stands in line.
    let waiting: Vec<String> = (0..11).map(|n| format!("turn {n}")).collect();
    for (n, prompt) in (3..).zip(&waiting) {
        world.say(conn, n, prompt);
    }
    world.finish(cancelled());
    assert_eq!(line(&world), waiting, "the first of them runs");
    let room = keel_core::limits::TURNS_QUEUED_MAX as usize - 10;
    let words: Vec<String> = (0..room + 2).map(|n| format!("words {n}")).collect();
    for (n, text) in (14..).zip(&words) {
        world.say(conn, n, text);
    }
    let receipts = world.receipts(conn);
    assert_eq!(receipts.len(), 13 + words.len(), "each has its answer");
    let refused: Vec<u64> = receipts
        .iter()
        .filter_map(|receipt| match &receipt.body {
            ReceiptBody::Fault(fault) if fault.code == Code::SessionBusy => Some(receipt.n.get()),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [14 + room as u64, 15 + room as u64]);
    let told: Vec<&str> = world
        .steered
        .iter()
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(told, words[..room]);
    // None of them was taken: each is a turn, and all have room.
    world.done();
    let rest = [&waiting[1..], &words[..room]].concat();
    assert_eq!(line(&world), rest);
    for _ in &rest {
        world.done();
    }
    assert_eq!(prompts(&world)[2..], rest);
}

#[test]
fn words_that_a_server_which_stops_had_acknowledged_are_run_where_the_session_goes_on_m24_s14() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "in blue");
    takes_words(&mut world);
    world.say(conn, 3, "with sails");
    stop(&mut world);
    assert!(world.drained);
    let end = ended(&world).remove(0);
    assert_eq!(end.end, TurnEnd::Interrupted);
    assert_eq!(end.fault.unwrap().code, Code::ServerShutdown);
    assert_eq!(
        line(&world),
        ["with sails"],
        "what was taken is over with it"
    );
    // It is the same command that was said into the turn.
    let log = world.log(&session(&world));
    let commands: Vec<_> = log
        .iter()
        .filter_map(|event| match event {
            Event::TurnSteered(said) if said.text == "with sails" => Some(said.command.clone()),
            Event::TurnAccepted(said) if said.text == "with sails" => Some(said.command.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(commands.len(), 2);
    assert_eq!(commands[0], commands[1]);
    assert_eq!(prompts(&world), ["draw a boat"], "nothing is begun here");
    world.crash();
    assert_eq!(prompts(&world), ["with sails"]);
}

#[test]
fn words_of_a_turn_that_somebody_stopped_end_with_it_when_the_server_stops_too() {
    let mut world = steering();
    world.kills_slowly = true;
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "in blue");
    world.command(conn, 3, CancelTurn { turn: None });
    stop(&mut world);
    world.finish(cancelled());
    assert!(world.drained);
    assert_eq!(ended(&world)[0].end, TurnEnd::Interrupted);
    assert_eq!(line(&world), [] as [&str; 0]);
    world.crash();
    assert_eq!(world.runs, []);
}

/// The server stops, and what runs does not end in time.
fn stop(world: &mut World) {
    let within = Duration::from_secs(1);
    world.input(Input::Drain {
        within,
        target: None,
    });
    world.pass(within);
}

#[test]
fn another_attempt_is_told_what_the_one_before_was_told() {
    let mut world = World::with(|config| {
        let echo = config.backends.get_mut("echo").unwrap();
        (echo.steers, echo.attempts) = (true, 2);
    });
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "in blue");
    takes_words(&mut world);
    world.say(conn, 3, "with sails");
    world.finish(RunEnd::Failed(crate::retries::crashed()));
    let again = world.runs[1].0;
    let told = world.steered.iter().filter(|(run, _)| *run == again);
    let told: Vec<&str> = told.map(|(_, text)| text.as_str()).collect();
    assert_eq!(told, ["in blue", "with sails"]);
}

#[test]
fn words_wait_for_a_store_that_refuses_and_are_refused_while_it_does() {
    let mut world = steering();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.mood = StoreMood::Refuses;
    world.say(conn, 2, "in blue");
    world.say(conn, 3, "with sails");
    assert_eq!(world.steered, []);
    let refused = world.receipts(conn).pop().unwrap();
    let ReceiptBody::Fault(fault) = refused.body else {
        panic!("{refused:?}")
    };
    assert_eq!((refused.n.get(), fault.code), (3, Code::StoreFailed.into()));
    world.mood = StoreMood::Well;
    world.pass(Duration::from_secs(3));
    assert_eq!(world.steered.len(), 1);
}

// Steer, with a program that does not.

#[test]
fn a_program_that_takes_no_words_is_stopped_and_the_new_turn_is_next_m24() {
    let mut world = World::new();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    world.text("a hull");
    world.say(conn, 2, "in blue");
    assert_eq!(world.stopped, [(world.runs[0].0, false)]);
    assert_eq!(world.runs.len(), 1, "one after the other");
    // A second one while the first is carried out waits behind it.
    world.say(conn, 3, "with sails");
    assert_eq!(line(&world), ["draw a boat", "in blue", "with sails"]);
    world.finish(cancelled());
    let first = &ended(&world)[0];
    assert_eq!(
        (first.end, first.stop_reason.as_deref(), first.bytes),
        (TurnEnd::Cancelled, Some("steered"), 6)
    );
    assert_eq!(prompts(&world)[1..], ["in blue"]);
    let request = &world.runs[1].1;
    assert_eq!(request.forget, [], "what was said so far is remembered");
    assert!(request.history_to >= first_end_position(&world));
    world.done();
    assert_eq!(prompts(&world)[2..], ["with sails"]);
}

fn first_end_position(world: &World) -> keel_wire::Seq {
    let log = world.log(&session(world));
    let at = log
        .iter()
        .position(|event| matches!(event, Event::TurnEnded(_)));
    crate::world::seq(at.unwrap() as u64 + 1)
}

#[test]
fn who_steered_is_told_with_each_step_of_the_stop_once() {
    let mut world = World::new();
    let conn = world.connect(&tab(BusyPolicy::Steer));
    world.say(conn, 1, "draw a boat");
    let run = world.runs[0].0;
    world.say(conn, 2, "in blue");
    for step in [
        CancelStep::Asked,
        CancelStep::Terminating,
        CancelStep::Terminating,
        CancelStep::Killing,
        CancelStep::Asked,
    ] {
        let output = RunOutput::Cancelling(step);
        world.input(Input::RunOutput { run, output });
    }
    world.input(Input::RunEnded {
        run,
        end: RunEnd::Cancelled { forced: true },
    });
    let log = world.log(&session(&world));
    let me = world.welcome(conn).participant;
    let steps = log.iter().filter_map(|event| match event {
        Event::TurnCancelling(step) => Some((step.step, step.by.clone())),
        _ => None,
    });
    assert_eq!(
        steps.collect::<Vec<_>>(),
        [
            (CancelStep::Asked, Some(me)),
            (CancelStep::Terminating, None),
            (CancelStep::Killing, None)
        ]
    );
    assert!(ended(&world)[0].forced);
}

#[test]
fn a_program_that_ignores_the_stop_is_killed_and_the_new_turn_runs_i8() {
    let mut world = World::new();
    world.kills_slowly = true;
    let conn = world.connect(&tab(BusyPolicy::Replace));
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "draw a car");
    world.pass(keel_core::limits::CANCEL_WITHIN);
    let run = world.runs[0].0;
    assert_eq!(world.stopped, [(run, false), (run, true)]);
    let first = ended(&world).remove(0);
    assert_eq!(
        (first.end, first.forced, first.stop_reason.as_deref()),
        (TurnEnd::Cancelled, true, Some("replaced"))
    );
    assert_eq!(world.runs.len(), 1, "not before the other is gone");
    let end = RunEnd::Cancelled { forced: true };
    world.input(Input::RunEnded { run, end });
    assert_eq!(prompts(&world)[1..], ["draw a car"]);
}

#[test]
fn a_turn_that_was_done_when_it_was_to_be_stopped_is_done() {
    for (busy, end) in [
        (BusyPolicy::Steer, TurnEnd::Done),
        (BusyPolicy::Replace, TurnEnd::Done),
    ] {
        let mut world = World::new();
        let conn = world.connect(&tab(busy));
        world.say(conn, 1, "draw a boat");
        world.say(conn, 2, "in blue");
        world.done();
        assert_eq!(ended(&world)[0].end, end);
        assert_eq!(prompts(&world)[1..], ["in blue"]);
        // It was answered to its end: that is what came before.
        assert_eq!(world.runs[1].1.forget, []);
    }
}

// Replace.

#[test]
fn a_turn_that_is_replaced_is_forgotten_over_restarts_too_m24() {
    let mut world = World::new();
    let conn = world.connect(&tab(BusyPolicy::Replace));
    world.say(conn, 1, "draw a boat");
    world.text("a hull");
    let boat = turn_of(&world, "draw a boat");
    world.say(conn, 2, "draw a car");
    // The next replaces the one that waits, too: it is told so, and not run.
    world.say(conn, 3, "draw a house");
    assert_eq!(line(&world), ["draw a boat", "draw a house"]);
    world.finish(cancelled());
    assert_eq!(prompts(&world), ["draw a boat", "draw a house"]);
    let car = turn_of(&world, "draw a car");
    assert_eq!(world.runs[1].1.forget, [car.clone(), boat.clone()]);
    let reasons = ended(&world);
    let reasons: Vec<_> = reasons.iter().map(|e| e.stop_reason.as_deref()).collect();
    assert_eq!(reasons, [Some("replaced"); 2]);
    world.done();
    world.crash();
    let tab = Tab::new(2).of(&session(&world));
    let conn = world.connect(&tab);
    world.say(conn, 1, "and a tree");
    assert_eq!(world.runs[0].1.forget, [car, boat]);
}

#[test]
fn a_replacement_waits_on_over_a_restart_and_the_other_is_interrupted_and_forgotten() {
    let mut world = World::new();
    let conn = world.connect(&tab(BusyPolicy::Replace));
    world.say(conn, 1, "draw a boat");
    world.text("a hull");
    let boat = turn_of(&world, "draw a boat");
    world.say(conn, 2, "draw a car");
    world.crash();
    assert_eq!(ended(&world)[0].end, TurnEnd::Interrupted);
    assert_eq!(prompts(&world), ["draw a car"]);
    assert_eq!(world.runs[0].1.forget, [boat]);
}

#[test]
fn a_turn_whose_start_is_not_committed_is_replaced_without_having_run() {
    let mut world = World::new();
    let conn = world.connect(&tab(BusyPolicy::Replace));
    world.mood = StoreMood::Holds;
    world.say(conn, 1, "draw a boat");
    world.say(conn, 2, "draw a car");
    world.release();
    assert_eq!(prompts(&world), ["draw a car"]);
    assert_eq!(ended(&world)[0].stop_reason.as_deref(), Some("replaced"));
}

// The queue.

#[test]
fn order_under_promotions_is_stable_and_told_e11() {
    let mut world = World::new();
    let conn = world.connect(&tab(BusyPolicy::Queue { max: 8 }));
    for (n, prompt) in (1..).zip(["a", "b", "c", "d", "e"]) {
        world.say(conn, n, prompt);
    }
    let mut n = 5;
    let mut promote = |world: &mut World, prompt: &str| {
        let turn = turn_of(world, prompt);
        n += 1;
        world.command(conn, n, PromoteTurn { turn });
        world.receipts(conn).pop().unwrap().body
    };
    promote(&mut world, "d");
    assert_eq!(line(&world), ["a", "d", "b", "c", "e"]);
    promote(&mut world, "e");
    assert_eq!(line(&world), ["a", "e", "d", "b", "c"]);
    // What is next already stays there, and nothing is told.
    let before = world.log(&session(&world)).len();
    promote(&mut world, "e");
    assert_eq!(world.log(&session(&world)).len(), before);
    let refused = promote(&mut world, "a");
    assert!(matches!(refused, ReceiptBody::Fault(fault) if fault.code == Code::InvalidRequest));
    // Taken out of the line.
    let turn = Some(turn_of(&world, "d"));
    world.command(conn, 10, CancelTurn { turn });
    assert_eq!(line(&world), ["a", "e", "b", "c"]);
    // Over a restart as well: the one that ran is interrupted, the others keep their order.
    world.crash();
    for _ in 0..3 {
        world.done();
    }
    assert_eq!(prompts(&world), ["e", "b", "c"]);
}
