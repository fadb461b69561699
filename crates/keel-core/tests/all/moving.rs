//! Sessions that are to go to another server, and what happens to them or to it meanwhile.

use std::time::Duration;

use keel_core::node::{
    Ask, AskId, Backend, Capacity, Config, Delivered, Giving, Input, RunEnd, SlotKind, Strike,
};
use keel_wire::{Admission, BusyPolicy, Detach, Injection, SessionId, TurnEnd, record::SlotRow};

use super::{
    handover::{answer, ends, green, hand_over, migrates},
    world::{Tab, World},
};

fn one_slot(config: &mut Config) {
    slots(config, 1);
}

fn slots(config: &mut Config, slots: usize) {
    let capacity = Some(Capacity {
        kind: SlotKind::Session,
        slots,
        queue: 10,
    });
    let echo = Backend {
        capacity,
        ..Backend::default()
    };
    config.backends.insert("echo".to_owned(), echo);
}

/// What the node wants to give, all of it.
fn givings(world: &mut World) -> Vec<Giving> {
    std::mem::take(&mut world.givings)
}

fn prompts(world: &World) -> Vec<&str> {
    let runs = world.runs.iter();
    runs.map(|(_, run)| run.prompt.as_str()).collect()
}

fn strike(world: &mut World, session: &SessionId) {
    let question = Ask::Inject(Strike {
        session: session.clone(),
        participant: None,
        injection: Injection::Panic { times: 1 },
        for_ms: None,
        seed: None,
    });
    let ask = AskId(1);
    world.input(Input::Ask { ask, question });
}

#[test]
fn who_waited_in_another_servers_line_is_granted_what_is_free_here_at_once_m17_m9() {
    let (mut blue, mut green) = (
        World::with(one_slot),
        World::with(|config| {
            config.secret = [9; 32];
            slots(config, 2);
        }),
    );
    // Another life, so that it does not mint the same ids.
    green.crash();
    let first = blue.connect(&Tab::new(1));
    let held = blue.welcome(first).session;
    let mut tab = Tab::new(2);
    tab.hello.admission = Admission::Wait { max_ms: None };
    blue.connect(&tab);
    let mut sessions = blue.sessions();
    sessions.retain(|session| *session != held);
    let waits = sessions.remove(0);
    assert!(matches!(
        blue.row(&waits).slot,
        Some(SlotRow::Waiting { .. })
    ));
    hand_over(&mut blue, 10);
    // Both are under way before either has arrived.
    let all = givings(&mut blue);
    assert_eq!(all.len(), 2);
    for giving in &all {
        assert_eq!(green.receive(&blue, giving), Delivered::Accepted);
    }
    assert_eq!(green.row(&held).slot, Some(SlotRow::Held));
    assert_eq!(
        green.row(&waits).slot,
        Some(SlotRow::Held),
        "though nobody has come yet"
    );
    // And one more than there are waits for those two.
    let mut third = Tab::new(3);
    third.hello.admission = Admission::Wait { max_ms: None };
    let conn = green.connect(&third);
    let session = green.sessions();
    let third = session.iter().find(|id| **id != held && **id != waits);
    assert!(matches!(
        green.row(third.unwrap()).slot,
        Some(SlotRow::Waiting { .. })
    ));
    assert!(green.lines[&conn].closed.is_none());
}

#[test]
fn a_server_that_is_told_twice_that_it_has_a_session_takes_no_slot_for_it_twice_m17() {
    let (mut blue, mut green) = (
        World::with(one_slot),
        World::with(|config| {
            config.secret = [9; 32];
            slots(config, 1);
        }),
    );
    // Another life, so that it does not mint the same ids.
    green.crash();
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    hand_over(&mut blue, 10);
    let giving = givings(&mut blue).remove(0);
    assert_eq!(green.receive(&blue, &giving), Delivered::Accepted);
    let row = Box::new(green.row(&welcome.session));
    let there = green.connect(&migrates(&tab, &welcome, 2));
    let back = green.welcome(there);
    assert_eq!(back.participant, welcome.participant);
    green.send(there, Detach {});
    assert_eq!(green.row(&welcome.session).slot, None);
    // The answer to whether it was accepted: it has been read before its client left.
    green.input(Input::TookOver { row });
    let newcomer = green.connect(&Tab::new(2));
    assert_ne!(green.welcome(newcomer).session, welcome.session);
}

#[test]
fn a_session_that_is_rebuilt_while_it_leaves_begins_nothing_and_leaves_m17_s02() {
    let (mut blue, mut green) = (World::new(), green());
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 4 });
    let conn = blue.connect(&tab);
    let session = blue.welcome(conn).session;
    blue.say(conn, 1, "first");
    blue.say(conn, 2, "second");
    blue.text("half");
    hand_over(&mut blue, 10);
    blue.kills_slowly = true;
    strike(&mut blue, &session);
    assert!(blue.lines[&conn].closed.is_some(), "it panicked");
    assert_eq!(givings(&mut blue), [], "what ran is still being killed");
    blue.finish(RunEnd::Cancelled { forced: true });
    assert_eq!(prompts(&blue), ["first"], "nothing more is begun here");
    let giving = givings(&mut blue).remove(0);
    let outcome = green.receive(&blue, &giving);
    answer(&mut blue, &giving, outcome);
    assert_eq!(ends(&green, &session), [TurnEnd::Interrupted]);
    assert_eq!(prompts(&green), ["second"]);
    assert_eq!(blue.sessions(), []);
    blue.pass(Duration::from_secs(1));
    assert_eq!(blue.handed_over.map(|progress| progress.moved), Some(1));
}
