//! What a turn waits for: told to everybody, answered once.

use std::time::Duration;

use keel_core::node::{ConnId, Input, RunOutput};
use keel_wire::{
    Action, ActionId, Answer, Code, Event, ReceiptBody, Role, TurnEnd, TurnId, TurnState,
    journal::Fact,
};
use serde_json::json;

use crate::world::{Tab, World};

fn action(id: u128) -> Action {
    Action {
        id: ActionId::from_bits(id),
        prompt: format!("may I {id}?"),
        options: vec!["yes".into(), "no".into()],
        choices: Vec::new(),
        tool_call: None,
    }
}

fn asks(world: &mut World, id: u128) {
    let run = world.runs.last().unwrap().0;
    let output = RunOutput::NeedsAction(action(id));
    world.input(Input::RunOutput { run, output });
}

fn turn(world: &World) -> TurnId {
    world.runs.last().unwrap().1.turn.clone()
}

fn answer(world: &World, id: u128, text: &str) -> Answer {
    Answer {
        turn: turn(world),
        action: ActionId::from_bits(id),
        answer: json!(text),
    }
}

/// Whether the last command of a connection was taken, or its code.
fn verdict(world: &World, conn: ConnId) -> Result<(), Code> {
    match world.receipts(conn).pop().unwrap().body {
        ReceiptBody::Ok { .. } => Ok(()),
        ReceiptBody::Fault(fault) => match fault.code {
            keel_wire::FaultCode::Known(code) => Err(code),
            keel_wire::FaultCode::Unknown(name) => panic!("{name}"),
        },
    }
}

/// What the log says was asked (`true`) and answered.
fn told(world: &World) -> Vec<(bool, ActionId)> {
    let log = world.log(&world.sessions()[0]);
    let told = log.into_iter().filter_map(|event| match event {
        Event::TurnWaiting(waiting) => Some((true, waiting.action.id)),
        Event::TurnAnswered(answered) => Some((false, answered.action)),
        _ => None,
    });
    told.collect()
}

#[test]
fn two_questions_are_asked_one_after_the_other_and_each_is_answered_once_e12_a65() {
    let mut world = World::new();
    let ada = world.connect(&Tab::new(1));
    let session = world.welcome(ada).session;
    let bea = world.connect(&Tab::new(2).of(&session).role(Role::Publisher));
    let carl = world.connect(&Tab::new(3).of(&session).role(Role::Viewer));
    world.say(ada, 1, "hello");
    asks(&mut world, 1);
    asks(&mut world, 2);
    let (one, two) = (ActionId::from_bits(1), ActionId::from_bits(2));
    assert_eq!(told(&world), [(true, one.clone())]);
    // Not asked yet; not allowed; the first; too late; the second.
    world.command(ada, 2, answer(&world, 2, "yes"));
    assert_eq!(verdict(&world, ada), Err(Code::InvalidRequest));
    world.command(carl, 1, answer(&world, 1, "yes"));
    assert_eq!(verdict(&world, carl), Err(Code::PermissionDenied));
    world.command(bea, 1, answer(&world, 1, "no"));
    assert_eq!(verdict(&world, bea), Ok(()));
    world.command(ada, 3, answer(&world, 1, "yes"));
    assert_eq!(verdict(&world, ada), Err(Code::InvalidRequest));
    world.command(ada, 4, answer(&world, 2, "yes"));
    assert_eq!(verdict(&world, ada), Ok(()));
    assert_eq!(
        told(&world),
        [
            (true, one.clone()),
            (false, one.clone()),
            (true, two.clone()),
            (false, two.clone())
        ]
    );
    assert_eq!(
        world.answered,
        [(one.clone(), json!("no")), (two.clone(), json!("yes"))]
    );
    let refused = world.facts.iter().filter_map(|fact| match fact {
        Fact::AnswerRefused { action, fault, .. } => Some((action.clone(), fault.code.clone())),
        _ => None,
    });
    let no: keel_wire::FaultCode = Code::InvalidRequest.into();
    assert_eq!(
        refused.collect::<Vec<_>>(),
        [(two, no.clone()), (one, no)],
        "who gave an answer that was not taken is in the journal"
    );
}

#[test]
fn answers_that_are_made_up_change_nothing_a65() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    asks(&mut world, 1);
    let mut other = answer(&world, 1, "yes");
    other.turn = TurnId::from_bits(9);
    let forged = [answer(&world, 7, "yes"), other, answer(&world, 1, "maybe")];
    for (n, forged) in (2..).zip(forged) {
        world.command(conn, n, forged);
        assert_eq!(verdict(&world, conn), Err(Code::InvalidRequest));
    }
    assert_eq!(world.answered, []);
    let facts = world.facts.iter();
    let refused = facts.filter(|fact| matches!(fact, Fact::AnswerRefused { .. }));
    assert_eq!(refused.count(), 3);
    world.done();
    world.command(conn, 5, answer(&world, 1, "yes"));
    assert_eq!(verdict(&world, conn), Err(Code::InvalidRequest));
}

#[test]
fn a_question_outlasts_connections_and_its_clock_is_the_policys_e12_c23() {
    let action_within = Duration::from_secs(90);
    let mut world = World::with(|config| {
        config.backends.get_mut("echo").unwrap().clocks.action = action_within;
    });
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    asks(&mut world, 1);
    world.reset(conn);
    world.pass(Duration::from_secs(60));
    // Somebody else comes, and is told what is waited for.
    let mut late = Tab::new(2).of(&welcome.session);
    late.hello.history = keel_wire::History::Snapshot;
    let conn = world.connect(&late);
    let fold = world.gap(conn).snapshot;
    let waits = TurnState::Waiting { action: action(1) };
    assert_eq!(fold.turns[0].state, waits);
    // What it is asked next has a clock of its own.
    asks(&mut world, 2);
    world.pass(Duration::from_secs(31));
    assert_eq!(world.answered, [(ActionId::from_bits(1), json!(null))]);
    world.pass(Duration::from_secs(60));
    let conn = world.connect(&Tab::new(3).of(&welcome.session));
    world.command(conn, 1, answer(&world, 2, "yes"));
    assert_eq!(verdict(&world, conn), Ok(()));
    assert_eq!(world.answered.len(), 2);
}

#[test]
fn a_program_that_asks_without_end_fails() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    for id in 0..keel_core::limits::ACTIONS_WAITING_MAX as u128 + 2 {
        asks(&mut world, id);
    }
    let log = world.log(&world.sessions()[0]);
    let Some(Event::TurnEnded(ended)) = log.last() else {
        panic!("{log:?}")
    };
    let code = ended.fault.as_ref().map(|fault| fault.code.clone());
    assert_eq!(
        (ended.end, code),
        (TurnEnd::Failed, Some(Code::ProviderProtocol.into()))
    );
}
