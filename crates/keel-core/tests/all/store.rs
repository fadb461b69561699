//! The store refuses, forgets, does not know: never told what is not kept, and healed by itself.

use std::time::Duration;

use keel_wire::{Code, ReceiptBody, ServerFrame, State, journal::Fact};

use crate::world::{StoreMood, Tab, World, seq};

fn states(world: &World, conn: keel_core::node::ConnId) -> Vec<State> {
    let frames = world.lines[&conn].frames.iter();
    frames
        .filter_map(|frame| match frame {
            ServerFrame::Status(status) => Some(status.status.state.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_full_disk_is_told_refuses_and_heals_s07() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.mood = StoreMood::Refuses;
    world.text("held back");
    assert_eq!(world.heard(conn), "", "not kept, not told");
    assert_eq!(states(&world, conn), [State::Degraded]);
    assert_eq!(world.faults(conn).last().unwrap().code, Code::StoreFailed);
    world.say(conn, 2, "refused");
    let receipts = world.receipts(conn);
    let ReceiptBody::Fault(fault) = &receipts.last().unwrap().body else {
        panic!()
    };
    assert_eq!(fault.code, Code::StoreFailed);
    world.done();
    world.mood = StoreMood::Well;
    world.pass(Duration::from_secs(3));
    assert_eq!(world.heard(conn), "held back");
    assert_eq!(states(&world, conn), [State::Degraded, State::Live]);
    assert!(
        world
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::StoreHealed { .. }))
    );
}

#[test]
fn an_unknown_commit_is_looked_up_and_neither_lost_nor_doubled_s13() {
    for mood in [StoreMood::WritesUnknown, StoreMood::LosesUnknown] {
        let mut world = World::new();
        let conn = world.connect(&Tab::new(1));
        let session = world.welcome(conn).session;
        world.say(conn, 1, "hello");
        world.mood = mood;
        world.text("once");
        world.mood = StoreMood::Well;
        world.pass(Duration::from_millis(500));
        world.done();
        assert_eq!(world.heard(conn), "once", "{mood:?}");
        let texts = world.log(&session);
        assert_eq!(
            texts
                .iter()
                .filter(|e| matches!(e, keel_wire::Event::Text(_)))
                .count(),
            1
        );
    }
}

#[test]
fn a_slow_disk_is_told_and_beats_do_not_wait_for_it_s09() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.mood = StoreMood::Holds;
    world.say(conn, 1, "hello");
    for _ in 0..3 {
        world.pass(Duration::from_millis(1_050));
        world.send(
            conn,
            keel_wire::Ack {
                seq: keel_wire::Seq::ZERO,
            },
        );
    }
    assert_eq!(states(&world, conn), [State::Degraded]);
    assert!(
        world.lines[&conn]
            .frames
            .iter()
            .any(|f| matches!(f, ServerFrame::Beat(_)))
    );
    world.release();
    assert_eq!(states(&world, conn), [State::Degraded, State::Live]);
    assert_eq!(world.receipts(conn).len(), 1);
}

#[test]
fn resuming_does_not_wait_for_the_store() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.mood = StoreMood::Refuses;
    world.reset(conn);
    let conn = world.connect(&tab.again(&welcome, 2));
    assert_eq!(world.welcome(conn).how, keel_wire::Joined::Resumed);
}

#[test]
fn a_provider_is_not_read_while_its_output_cannot_be_kept() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.mood = StoreMood::Holds;
    let piece = "x".repeat(30_000);
    for _ in 0..10 {
        world.text(&piece);
    }
    let run = world.runs[0].0;
    assert_eq!(world.credit.get(&run), None, "no credit before the commit");
    world.pass(Duration::from_secs(400));
    world.release();
    world.done();
    assert_eq!(world.credit[&run], 300_000);
    let session = world.welcome(conn).session;
    let log = world.log(&session);
    let Some(keel_wire::Event::TurnEnded(ended)) = log.last() else {
        panic!()
    };
    assert_eq!(ended.end, keel_wire::TurnEnd::Done, "the silence was ours");
}

#[test]
fn a_panic_ends_neither_the_session_nor_its_neighbours_s02() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    let bystander = world.connect(&Tab::new(2));
    world.say(conn, 1, "hello");
    world.text("kept");
    let panic = |times| keel_wire::InjectFault {
        fault: keel_wire::Injection::Panic { times },
        for_ms: None,
        seed: None,
    };
    world.command(conn, 2, panic(1));
    assert!(world.lines[&conn].closed.is_some());
    assert_eq!(world.lines[&bystander].closed, None);
    let mut back = tab.again(&welcome, 0);
    let mut conn = world.connect(&back);
    assert_eq!(world.heard(conn), "kept");
    world.say(conn, 3, "goes on");
    assert_eq!(world.runs.len(), 2);
    for attempt in [8, 9] {
        world.command(conn, 4, panic(2));
        back.hello.attempt = attempt;
        conn = world.connect(&back);
    }
    let told = world
        .faults(conn)
        .iter()
        .any(|fault| fault.code == Code::Internal);
    assert!(
        told,
        "the second panic on the same command ends the session: {:?}",
        world.lines[&conn].frames
    );
}

/// Found by `keel-sim` (seed 790, no loss without a cause): clients took the silence for a loss.
#[test]
fn a_page_that_is_late_is_told_s09() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.crash();
    world.holds_pages = true;
    let conn = world.connect(&tab.again(&welcome, 0));
    world.pass(Duration::from_millis(1_100));
    assert_eq!(states(&world, conn), [State::Degraded]);
    world.release_pages();
    assert_eq!(states(&world, conn), [State::Degraded, State::Live]);
    assert_eq!(world.events(conn).len(), 2);
}

fn asked(world: &mut World, n: u64, question: keel_core::node::Ask) {
    let ask = keel_core::node::AskId(n);
    world.input(keel_core::node::Input::Ask { ask, question });
}

fn asks_to_end(world: &World, session: &keel_wire::SessionId) -> keel_core::node::Ask {
    keel_core::node::Ask::End {
        session: session.clone(),
        grant: world.grant.clone(),
    }
}

fn panics(session: &keel_wire::SessionId) -> keel_core::node::Ask {
    keel_core::node::Ask::Inject(keel_core::node::Strike {
        session: session.clone(),
        participant: None,
        injection: keel_wire::Injection::Panic { times: 1 },
        for_ms: None,
        seed: None,
    })
}

#[test]
fn an_end_over_http_is_told_when_it_is_committed_and_to_newcomers_too() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.mood = StoreMood::Holds;
    let question = asks_to_end(&world, &session);
    asked(&mut world, 1, question);
    let late = world.connect(&Tab::new(2).of(&session));
    assert_eq!(world.replies, []);
    assert!(world.lines[&late].frames.is_empty());
    world.release();
    let ok = keel_core::node::Answer::Receipt(ReceiptBody::ok());
    assert_eq!(world.replies, [ok]);
    assert!(world.row(&session).ended);
    for conn in [conn, late] {
        assert!(world.lines[&conn].closed.is_some());
    }
}

#[test]
fn a_session_that_panics_while_it_is_written_is_read_back_with_that() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.mood = StoreMood::Holds;
    world.command(conn, 1, keel_wire::Send { data: 1.into() });
    asked(&mut world, 1, panics(&welcome.session));
    world.release();
    let back = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.welcome(back).consumed, seq(1));
    world.command(back, 2, keel_wire::Send { data: 2.into() });
    assert_eq!(world.lines[&back].closed, None);
    assert_eq!(
        world.row(&welcome.session).head,
        world.welcome(back).cursor.seq.next()
    );
}

#[test]
fn who_asked_over_http_is_answered_when_the_session_panics() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.mood = StoreMood::Holds;
    let question = asks_to_end(&world, &session);
    asked(&mut world, 1, question);
    asked(&mut world, 2, panics(&session));
    assert_eq!(world.replies.len(), 2);
    let keel_core::node::Answer::Receipt(ReceiptBody::Fault(fault)) = &world.replies[0] else {
        panic!("{:?}", world.replies)
    };
    assert_eq!(fault.code, Code::Internal);
}

#[test]
fn there_is_nothing_to_panic_in_a_session_that_is_not_in_memory() {
    let mut world = World::new();
    asked(&mut world, 1, panics(&keel_wire::SessionId::from_bits(9)));
    assert_eq!(
        world.replies,
        [keel_core::node::Answer::Struck {
            count: 0,
            injected: None
        }]
    );
}

fn panic_once() -> keel_wire::InjectFault {
    let fault = keel_wire::Injection::Panic { times: 1 };
    keel_wire::InjectFault {
        fault,
        for_ms: None,
        seed: None,
    }
}

/// Its sender sends a command again that has no receipt.
#[test]
fn a_panic_that_is_asked_for_once_strikes_once_s02_m39() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.command(conn, 1, panic_once());
    assert!(world.lines[&conn].closed.is_some());
    let mut back = tab.again(&welcome, 0);
    back.hello.stream.next = seq(2);
    let conn = world.connect(&back);
    assert_eq!(world.welcome(conn).consumed, seq(1));
    assert_eq!(world.receipts(conn)[0].body, ReceiptBody::ok());
    world.command(conn, 1, panic_once());
    world.say(conn, 2, "goes on");
    assert_eq!(world.lines[&conn].closed, None);
    assert_eq!(world.runs.len(), 1);
    world.command(
        conn,
        3,
        keel_wire::InjectFault {
            fault: keel_wire::Injection::Panic { times: 3 },
            for_ms: None,
            seed: None,
        },
    );
    let receipts = world.receipts(conn);
    let ReceiptBody::Fault(fault) = &receipts.last().unwrap().body else {
        panic!("there is no third")
    };
    assert_eq!(fault.code, Code::InvalidRequest);
}

#[test]
fn a_run_that_a_panic_kept_from_beginning_holds_nothing_up_s02() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.mood = StoreMood::Holds;
    world.command(conn, 1, keel_wire::Send { data: 1.into() });
    world.say(conn, 2, "written together with the panic");
    world.command(conn, 3, panic_once());
    let question = keel_core::node::Ask::Command {
        session: welcome.session.clone(),
        grant: world.grant.clone(),
        key: "k".into(),
        command: keel_wire::Send { data: 2.into() }.into(),
    };
    asked(&mut world, 1, question);
    world.release();
    assert_eq!(world.replies.len(), 1, "it is committed, so it is answered");
    let conn = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.runs.len(), 0, "its start is kept, so it is not begun");
    world.say(conn, 4, "goes on");
    assert_eq!(world.runs.len(), 1);
}

fn busy() -> Option<keel_core::node::LoadFailure> {
    let error = "busy".to_owned();
    Some(keel_core::node::LoadFailure::Busy { error })
}

fn interrupted(world: &World, session: &keel_wire::SessionId) -> bool {
    world.log(session).iter().any(|event| match event {
        keel_wire::Event::TurnEnded(ended) => ended.end == keel_wire::TurnEnd::Interrupted,
        _ => false,
    })
}

#[test]
fn turns_without_an_owner_are_ended_once_the_store_can_be_read_i9_s09() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.say(conn, 1, "hello");
    world.text("x");
    world.load_failure = busy();
    world.crash();
    world.pass(Duration::from_secs(60));
    assert!(!world.node.is_ready() && !interrupted(&world, &session));
    assert!((20..45).contains(&world.loads), "{} tries", world.loads);
    let early = world.connect(&Tab::new(2).of(&session));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.faults(early)[0].code, Code::StoreFailed);
    world.load_failure = None;
    world.pass(Duration::from_secs(3));
    assert!(world.node.is_ready() && interrupted(&world, &session));
}

#[test]
fn a_session_that_panicked_is_read_back_though_nobody_connects_i9_s02() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.say(conn, 1, "hello");
    world.load_failure = busy();
    asked(&mut world, 1, panics(&session));
    world.pass(Duration::from_secs(3));
    world.load_failure = None;
    world.pass(Duration::from_secs(3));
    assert!(interrupted(&world, &session));
}

#[test]
fn a_broken_log_is_refused_for_good_and_holds_nobody_up_s10() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.say(conn, 1, "hello");
    let error = "torn".to_owned();
    world.load_failure = Some(keel_core::node::LoadFailure::Broken { error });
    world.crash();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.loads, 1, "no try can help");
    assert!(world.node.is_ready());
    let told = |fact: &Fact| matches!(fact, Fact::StoreFailed { .. });
    assert!(world.facts.iter().any(told));
    let conn = world.connect(&Tab::new(2).of(&session));
    let fault = &world.faults(conn)[0];
    assert_eq!(
        (&fault.code, fault.retry),
        (&Code::StoreFailed.known(), keel_wire::Retry::Never)
    );
    let bystander = world.connect(&Tab::new(3));
    world.welcome(bystander);
    world.load_failure = None;
    let conn = world.connect(&Tab::new(4).of(&session));
    world.welcome(conn);
    assert!(interrupted(&world, &session), "restored, and settled");
}
