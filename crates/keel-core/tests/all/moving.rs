//! Sessions that are to go to another server, and what happens to them or to it meanwhile.

use std::time::Duration;

use keel_core::limits::{HANDOVER_STUCK_AFTER, HANDOVERS_AT_ONCE};
use keel_core::node::{
    Ask, AskId, Backend, Capacity, Config, Delivered, Giving, Input, RunEnd, SlotKind, Strike,
};
use keel_wire::{
    Admission, BusyPolicy, Code, Detach, Injection, SessionId, TurnEnd, record::SlotRow,
};

use super::{
    handover::{answer, ends, green, hand_over, migrates, unknown, wait},
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

// A server that stops answering.

/// So many sessions, and as many that are being offered as may be at once.
fn crowded(world: &mut World, more: usize) -> Vec<SessionId> {
    let all = HANDOVERS_AT_ONCE + more;
    let conns: Vec<_> = (1..=all as u128)
        .map(|n| world.connect(&Tab::new(n)))
        .collect();
    for conn in &conns {
        world.reset(*conn);
    }
    let sessions = conns.iter().map(|conn| world.welcome(*conn).session);
    sessions.collect()
}

/// The other server takes what is offered, and none of its answers comes.
fn are_not_answered(blue: &mut World, green: &mut World) -> Vec<Giving> {
    let all = givings(blue);
    for giving in &all {
        green.receive(blue, giving);
        answer(blue, giving, unknown());
    }
    all
}

#[test]
fn offers_that_nobody_answers_keep_no_other_session_from_leaving_m17() {
    let (mut blue, mut green) = (World::new(), green());
    crowded(&mut blue, 3);
    hand_over(&mut blue, 600);
    let stuck = are_not_answered(&mut blue, &mut green);
    assert_eq!(stuck.len(), HANDOVERS_AT_ONCE);
    blue.pass(HANDOVER_STUCK_AFTER - Duration::from_millis(1));
    let asked = givings(&mut blue);
    assert!(asked.iter().all(|giving| giving.settle), "{asked:?}");
    blue.pass(Duration::from_secs(1));
    let mut rest = givings(&mut blue);
    rest.retain(|giving| !giving.settle);
    assert_eq!(rest.len(), 3);
    for giving in &rest {
        let outcome = green.receive(&blue, giving);
        answer(&mut blue, giving, outcome);
    }
    assert_eq!(green.sessions().len(), HANDOVERS_AT_ONCE + 3);
    assert_eq!(
        blue.sessions().len(),
        HANDOVERS_AT_ONCE,
        "still offered, and served by nobody here"
    );
    // Asked for as ever, and gone once that is answered.
    for giving in &asked {
        let outcome = green.receive(&blue, giving);
        assert_eq!(outcome, Delivered::Accepted);
        answer(&mut blue, giving, outcome);
    }
    assert_eq!(blue.sessions(), []);
    let progress = blue.handed_over.expect("done");
    assert_eq!((progress.moved, progress.stayed), (19, 0));
}

#[test]
fn what_cannot_be_offered_in_time_goes_on_here_and_what_was_offered_never_does_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let offered = crowded(&mut blue, 0);
    let mut tab = Tab::new(100);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 4 });
    let conn = blue.connect(&tab);
    let session = blue.welcome(conn).session;
    blue.say(conn, 1, "first");
    let within = HANDOVER_STUCK_AFTER;
    hand_over(&mut blue, within.as_secs());
    are_not_answered(&mut blue, &mut green);
    blue.say(conn, 2, "second");
    wait(&mut blue, conn, within.as_secs() - 1);
    blue.text("a ");
    assert_eq!(blue.node.deadline().map(|at| at.why), Some("handover"));
    wait(&mut blue, conn, 2);
    assert_eq!(blue.stopped, [], "it need not end for a move that is none");
    blue.text("b");
    blue.done();
    assert_eq!(prompts(&blue), ["first", "second"]);
    blue.done();
    assert_eq!(blue.heard(conn), "a b");
    assert_eq!(ends(&blue, &session), [TurnEnd::Done, TurnEnd::Done]);
    let given = givings(&mut blue);
    assert!(
        given.iter().all(|giving| giving.offer.session != session),
        "{given:?}"
    );
    // Whoever comes back to it is let in, and to one that may be there not.
    let back = blue.connect(&Tab::new(101).of(&session));
    assert_eq!(blue.welcome(back).session, session);
    let late = blue.connect(&Tab::new(102).of(&offered[0]));
    let refused = blue.faults(late).remove(0);
    assert_eq!(refused.code, Code::ServerShutdown);
    assert!(green.sessions().iter().all(|there| *there != session));
    assert_eq!(blue.handed_over, None, "not before those are known of");
    for giving in given {
        let outcome = green.receive(&blue, &giving);
        answer(&mut blue, &giving, outcome);
    }
    let progress = blue.handed_over.expect("done");
    assert_eq!((progress.moved, progress.stayed), (16, 1));
    // Another try is another offer.
    hand_over(&mut blue, 10);
    let again = givings(&mut blue);
    assert!(again.iter().any(|giving| giving.offer.session == session));
}

#[test]
fn sessions_that_were_not_read_yet_stay_unread_when_the_other_server_takes_none_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let asleep = crowded(&mut blue, HANDOVERS_AT_ONCE).len();
    blue.pass(Duration::from_secs(300));
    for n in 1..=HANDOVERS_AT_ONCE as u128 {
        blue.connect(&Tab::new(1_000 + n));
    }
    let loads = blue.loads;
    blue.holds_loads = true;
    hand_over(&mut blue, 1);
    are_not_answered(&mut blue, &mut green);
    blue.pass(HANDOVER_STUCK_AFTER);
    blue.release_pages();
    assert_eq!(blue.loads, loads + HANDOVERS_AT_ONCE, "no more are read");
    let given = givings(&mut blue);
    assert_eq!(given.len(), HANDOVERS_AT_ONCE);
    for giving in given {
        assert!(giving.settle, "none of those is offered any more");
        let outcome = green.receive(&blue, &giving);
        answer(&mut blue, &giving, outcome);
    }
    assert_eq!(blue.sessions().len(), asleep);
    blue.pass(Duration::from_secs(20));
    let progress = blue.handed_over.expect("done");
    let wanted = (HANDOVERS_AT_ONCE as u64, asleep as u64);
    assert_eq!((progress.moved, progress.stayed), wanted);
}

#[test]
fn a_server_that_takes_sessions_is_given_them_after_the_time_as_well_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let all = crowded(&mut blue, 4).len();
    hand_over(&mut blue, 5);
    // One of them is stuck, and the others go one after the other, slowly.
    let mut given = givings(&mut blue);
    let stuck = given.pop().unwrap();
    answer(&mut blue, &stuck, unknown());
    while !given.is_empty() {
        blue.pass(HANDOVER_STUCK_AFTER / 2);
        let giving = given.remove(0);
        let outcome = green.receive(&blue, &giving);
        answer(&mut blue, &giving, outcome);
        given.extend(givings(&mut blue));
        given.retain(|giving| giving.offer.session != stuck.offer.session);
    }
    assert_eq!(green.sessions().len(), all - 1);
    assert_eq!(blue.sessions(), [stuck.offer.session]);
}
