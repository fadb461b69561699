//! Admission through the wire: told at once, fair, and kept over a restart.

use std::time::Duration;

use keel_core::node::{Backend, Capacity, SlotKind};
use keel_wire::{Admission, Code, ServerFrame, record::SlotRow};
use serde_json::json;

use crate::world::{Tab, World};

fn limited(kind: SlotKind, slots: usize) -> World {
    World::with(|config| {
        let capacity = Some(Capacity {
            kind,
            slots,
            queue: 10,
        });
        config.backends.insert(
            "echo".into(),
            Backend {
                capacity,
                ..Backend::default()
            },
        );
    })
}

fn waits(n: u128) -> Tab {
    let mut tab = Tab::new(n);
    tab.hello.admission = Admission::Wait { max_ms: None };
    tab
}

fn positions(world: &World, conn: keel_core::node::ConnId) -> Vec<(u32, u32)> {
    let frames = world.lines[&conn].frames.iter();
    frames
        .filter_map(|frame| match frame {
            ServerFrame::Queued(queued) => Some((queued.position, queued.of)),
            _ => None,
        })
        .collect()
}

#[test]
fn capacity_is_one_fault_on_one_connection_s16_e1() {
    let mut world = limited(SlotKind::Session, 1);
    world.connect(&Tab::new(1));
    let second = world.connect(&Tab::new(2));
    let faults = world.faults(second);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].code, Code::AtCapacity);
    assert_eq!(
        (&faults[0].detail["limit"], &faults[0].detail["active"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(world.lines[&second].closed, Code::AtCapacity.close());
}

#[test]
fn a_place_in_line_is_told_moves_and_becomes_a_welcome_m9() {
    let mut world = limited(SlotKind::Session, 1);
    let first = world.connect(&Tab::new(1));
    let second = world.connect(&waits(2));
    let third = world.connect(&waits(3));
    assert_eq!(positions(&world, second), [(1, 1)]);
    assert_eq!(positions(&world, third), [(2, 2)]);
    world.command(first, 1, keel_wire::EndSession {});
    world.welcome(second);
    assert_eq!(positions(&world, third).last(), Some(&(1, 1)));
}

#[test]
fn a_line_survives_a_restart_in_its_order_e14() {
    let mut world = limited(SlotKind::Session, 1);
    let first_tab = Tab::new(1);
    let first = world.connect(&first_tab);
    let welcome = world.welcome(first);
    let second_tab = waits(2);
    let second = world.connect(&second_tab);
    let queued = world.lines[&second]
        .frames
        .iter()
        .find_map(|frame| match frame {
            ServerFrame::Queued(queued) => Some(queued.clone()),
            _ => None,
        });
    let queued = queued.unwrap();
    world.crash();
    let newcomer = world.connect(&Tab::new(3));
    assert_eq!(
        world.faults(newcomer)[0].code,
        Code::AtCapacity,
        "the slot is kept"
    );
    let mut back = second_tab.clone();
    back.hello.attempt = 2;
    back.hello.session = Some(queued.session);
    back.hello.resume = Some(keel_wire::Resume {
        participant: queued.participant,
        key: queued.resume_key,
        cursor: keel_wire::Cursor::default(),
        strategy: keel_wire::Strategy::Fast,
    });
    let second = world.connect(&back);
    assert_eq!(positions(&world, second), [(1, 1)]);
    let first = world.connect(&first_tab.again(&welcome, 0));
    world.command(first, 1, keel_wire::EndSession {});
    world.welcome(second);
}

#[test]
fn a_crashed_holders_slot_returns_after_its_window_e14() {
    let mut world = limited(SlotKind::Session, 1);
    let first = world.connect(&Tab::new(1));
    world.reset(first);
    let second = world.connect(&waits(2));
    for _ in 0..130 {
        world.pass(Duration::from_secs(1));
        world.send(
            second,
            keel_wire::Ack {
                seq: keel_wire::Seq::ZERO,
            },
        );
    }
    world.welcome(second);
}

#[test]
fn turns_take_slots_only_while_they_run() {
    let mut world = limited(SlotKind::Turn, 1);
    let first = world.connect(&Tab::new(1));
    let second = world.connect(&Tab::new(2));
    world.say(first, 1, "a");
    world.say(second, 1, "b");
    assert_eq!(world.runs.len(), 1);
    world.done();
    assert_eq!(world.runs.len(), 2);
    assert_eq!(world.runs[1].1.prompt, "b");
    world.done();
    world.say(first, 2, "c");
    assert_eq!(world.runs.len(), 3);
}

#[test]
fn draining_moves_everyone_and_stops_s14_n16() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.text("x");
    let within = Duration::from_secs(5);
    world.input(keel_core::node::Input::Drain {
        within,
        target: None,
    });
    assert!(
        world.lines[&conn]
            .frames
            .iter()
            .any(|f| matches!(f, ServerFrame::Goaway(_)))
    );
    let newcomer = world.connect(&Tab::new(2));
    assert_eq!(world.faults(newcomer)[0].code, Code::ServerShutdown);
    assert!(!world.drained, "the turn may finish");
    world.done();
    assert!(world.drained);
    assert_eq!(world.lines[&conn].closed, Code::ServerShutdown.close());
}

#[test]
fn a_turn_that_cannot_even_wait_is_refused_and_one_that_was_accepted_runs() {
    let mut world = World::with(|config| {
        let capacity = Some(Capacity {
            kind: SlotKind::Turn,
            slots: 1,
            queue: 0,
        });
        config.backends.insert(
            "echo".into(),
            Backend {
                capacity,
                ..Backend::default()
            },
        );
    });
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(keel_wire::BusyPolicy::Queue { max: 2 });
    let first = world.connect(&tab);
    let second = world.connect(&Tab::new(2));
    world.say(first, 1, "a");
    world.say(first, 2, "b");
    world.say(second, 1, "c");
    let keel_wire::ReceiptBody::Fault(fault) = &world.receipts(second)[0].body else {
        panic!("there is no slot and no line")
    };
    assert_eq!(fault.code, Code::AtCapacity);
    world.done();
    assert_eq!(
        world.runs.last().unwrap().1.prompt,
        "b",
        "accepted, so it runs"
    );
    world.done();
    world.say(second, 2, "d");
    assert_eq!(world.runs.last().unwrap().1.prompt, "d");
}

#[test]
fn a_turn_cancelled_in_line_leaves_no_slot_behind() {
    let mut world = limited(SlotKind::Turn, 1);
    let [first, second, third] = [1, 2, 3].map(|n| world.connect(&Tab::new(n)));
    world.say(first, 1, "a");
    world.say(second, 1, "b");
    world.command(second, 2, keel_wire::CancelTurn { turn: None });
    world.done();
    world.say(third, 1, "c");
    assert_eq!(world.runs.last().unwrap().1.prompt, "c");
}

#[test]
fn who_stands_in_line_hears_of_the_line_and_of_nothing_else() {
    let mut world = limited(SlotKind::Session, 1);
    world.connect(&Tab::new(1));
    world.grant.expires = world.now.wall + 30_000;
    let waiting = world.connect(&waits(2));
    let session = world.lines[&waiting]
        .frames
        .iter()
        .find_map(|frame| match frame {
            ServerFrame::Queued(queued) => Some(queued.session.clone()),
            _ => None,
        });
    let mut other = waits(3);
    other.hello.session = session;
    world.connect(&other);
    for _ in 0..5 {
        world.pass(Duration::from_secs(1));
        world.send(
            waiting,
            keel_wire::Ack {
                seq: keel_wire::Seq::ZERO,
            },
        );
    }
    let alien = world.lines[&waiting]
        .frames
        .iter()
        .find(|f| !matches!(f, ServerFrame::Queued(_) | ServerFrame::Beat(_)));
    assert_eq!(alien, None);
}

/// Found by `keel-sim` (seed 8044, everything settles): it hibernated over the running turn.
#[test]
fn a_turn_that_runs_with_nobody_there_keeps_its_session_in_memory() {
    let mut world = limited(SlotKind::Turn, 1);
    let first = world.connect(&Tab::new(1));
    world.say(first, 1, "holds the slot");
    let second = world.connect(&Tab::new(2));
    let session = world.welcome(second).session;
    world.say(second, 1, "waits for it");
    world.crash();
    assert_eq!(world.runs.len(), 1, "it has it now");
    world.pass(Duration::from_secs(45));
    world.done();
    let ended = |event: &keel_wire::Event| match event {
        keel_wire::Event::TurnEnded(ended) => Some(ended.end),
        _ => None,
    };
    let ends: Vec<_> = world.log(&session).iter().filter_map(ended).collect();
    assert_eq!(ends, [keel_wire::TurnEnd::Done]);
}

/// Lets time pass for connections that answer.
fn live_on(world: &mut World, conns: &[keel_core::node::ConnId], s: u64) {
    for _ in 0..s {
        world.pass(Duration::from_secs(1));
        for conn in conns {
            let seq = keel_wire::Seq::ZERO;
            world.send(*conn, keel_wire::Ack { seq });
        }
    }
}

#[test]
fn who_waits_in_line_keeps_the_place_for_longer_than_a_resume_window_e14() {
    let mut world = limited(SlotKind::Session, 1);
    let first = world.connect(&Tab::new(1));
    let second = world.connect(&waits(2));
    live_on(&mut world, &[first, second], 200);
    world.command(first, 1, keel_wire::EndSession {});
    world.welcome(second);
}

#[test]
fn a_slot_kept_over_a_restart_is_claimed_by_coming_back_e14() {
    let mut world = limited(SlotKind::Session, 1);
    let tab = Tab::new(1);
    let first = world.connect(&tab);
    let welcome = world.welcome(first);
    world.crash();
    let back = world.connect(&tab.again(&welcome, 0));
    live_on(&mut world, &[back], 200);
    assert_eq!(world.faults(back), []);
    assert_eq!(world.lines[&back].closed, None);
}

#[test]
fn a_slot_that_is_free_at_a_restart_is_granted_to_who_waits_e14() {
    let mut world = limited(SlotKind::Session, 1);
    world.connect(&Tab::new(1));
    let tab = waits(2);
    let second = world.connect(&tab);
    let queued = world.lines[&second]
        .frames
        .iter()
        .find_map(|frame| match frame {
            ServerFrame::Queued(queued) => Some(queued.clone()),
            _ => None,
        });
    let queued = queued.unwrap();
    let backend = world.config.backends.get_mut("echo").unwrap();
    backend.capacity.as_mut().unwrap().slots = 2;
    world.crash();
    let mut back = tab;
    back.hello.attempt = 2;
    back.hello.session = Some(queued.session);
    back.hello.resume = Some(keel_wire::Resume {
        participant: queued.participant,
        key: queued.resume_key,
        cursor: keel_wire::Cursor::default(),
        strategy: keel_wire::Strategy::Fast,
    });
    let second = world.connect(&back);
    world.welcome(second);
    live_on(&mut world, &[second], 20);
    assert_eq!(world.faults(second), []);
}

#[test]
fn what_waits_in_a_session_is_not_begun_once_the_server_stops_s14() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(keel_wire::BusyPolicy::Queue { max: 2 });
    let conn = world.connect(&tab);
    world.say(conn, 1, "a");
    world.say(conn, 2, "b");
    world.input(keel_core::node::Input::Drain {
        within: Duration::from_secs(5),
        target: None,
    });
    world.pass(Duration::from_secs(3));
    world.send(
        conn,
        keel_wire::Ack {
            seq: keel_wire::Seq::ZERO,
        },
    );
    world.pass(Duration::from_secs(3));
    assert_eq!(world.runs.len(), 1);
    assert!(world.drained);
    world.crash();
    assert_eq!(
        world.runs[0].1.prompt, "b",
        "it waits on, and is run by the next server"
    );
}

fn queued(world: &World, conn: keel_core::node::ConnId) -> keel_wire::Queued {
    let frames = world.lines[&conn].frames.iter();
    let mut found = frames.filter_map(|frame| match frame {
        ServerFrame::Queued(queued) => Some(queued.clone()),
        _ => None,
    });
    found.next_back().unwrap()
}

/// A session that was used and then left until it gave its slot back.
fn left_alone(world: &mut World) -> (Tab, keel_wire::Welcome) {
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    world.done();
    world.reset(conn);
    world.pass(Duration::from_secs(200));
    assert_eq!(world.row(&welcome.session).slot, None, "given back");
    (tab, welcome)
}

#[test]
fn a_session_that_gave_its_slot_back_is_admitted_again_s16_m8() {
    let mut world = limited(SlotKind::Session, 1);
    let (_, old) = left_alone(&mut world);
    let owner = world.connect(&Tab::new(2));
    let refused = world.connect(&Tab::new(3).of(&old.session));
    assert_eq!(world.faults(refused)[0].code, Code::AtCapacity);
    let asks = |world: &mut World, n| {
        let question = keel_core::node::Ask::Command {
            session: old.session.clone(),
            grant: world.grant.clone(),
            key: format!("key {n}"),
            command: keel_wire::Say { text: "x".into() }.into(),
        };
        let ask = keel_core::node::AskId(n);
        world.input(keel_core::node::Input::Ask { ask, question });
        match world.replies.last() {
            Some(keel_core::node::Answer::Receipt(body)) => body.clone(),
            other => panic!("{other:?}"),
        }
    };
    let runs = world.runs.len();
    let keel_wire::ReceiptBody::Fault(fault) = asks(&mut world, 1) else {
        panic!("there is no slot for it")
    };
    assert_eq!(
        (fault.code, world.runs.len()),
        (Code::AtCapacity.known(), runs)
    );
    world.command(owner, 1, keel_wire::EndSession {});
    let ok = |body| matches!(body, keel_wire::ReceiptBody::Ok { .. });
    assert!(ok(asks(&mut world, 2)));
    assert_eq!(world.row(&old.session).slot, Some(SlotRow::Held));
    let newcomer = world.connect(&Tab::new(4));
    assert_eq!(
        world.faults(newcomer)[0].code,
        Code::AtCapacity,
        "and holds it"
    );
}

#[test]
fn who_comes_back_to_such_a_session_may_wait_in_line_and_loses_nothing_m9_e14() {
    let mut world = limited(SlotKind::Session, 1);
    let (_, old) = left_alone(&mut world);
    let owner = world.connect(&Tab::new(2));
    let tab = waits(3).of(&old.session);
    let conn = world.connect(&tab);
    assert_eq!(positions(&world, conn), [(1, 1)]);
    let place = queued(&world, conn);
    world.crash();
    let mut back = tab.clone();
    back.hello.attempt = 2;
    back.hello.resume = Some(keel_wire::Resume {
        participant: place.participant,
        key: place.resume_key,
        cursor: keel_wire::Cursor::default(),
        strategy: keel_wire::Strategy::Fast,
    });
    let conn = world.connect(&back);
    assert_eq!(
        positions(&world, conn),
        [(1, 1)],
        "a restart keeps the place"
    );
    let session = world
        .kept_sessions()
        .into_iter()
        .find(|id| *id != old.session);
    let question = keel_core::node::Ask::End {
        session: session.unwrap(),
        grant: world.grant.clone(),
    };
    let ask = keel_core::node::AskId(1);
    world.input(keel_core::node::Input::Ask { ask, question });
    let _ = owner;
    assert_eq!(world.welcome(conn).session, old.session);
    assert!(world.events(conn).len() > 5, "with its whole log");
    world.say(conn, 1, "goes on");
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn a_place_that_is_given_up_ends_no_session_that_was_open_before_m9() {
    for stays in [true, false] {
        let mut world = limited(SlotKind::Session, 1);
        let (_, old) = left_alone(&mut world);
        let owner = world.connect(&Tab::new(2));
        let mut tab = Tab::new(3).of(&old.session);
        tab.hello.admission = Admission::Wait {
            max_ms: Some(20_000),
        };
        let conn = world.connect(&tab);
        if !stays {
            world.send(conn, keel_wire::Detach {});
        }
        live_on(&mut world, &[owner, conn], 30);
        if stays {
            assert_eq!(world.faults(conn)[0].code, Code::QueueExpired);
            assert!(world.lines[&conn].closed.is_some());
        }
        let row = world.row(&old.session);
        assert_eq!((row.ended, row.slot), (false, None));
        world.command(owner, 1, keel_wire::EndSession {});
        let conn = world.connect(&Tab::new(4).of(&old.session));
        world.welcome(conn);
    }
}

#[test]
fn a_session_that_was_open_before_outlives_a_slot_that_nobody_claims_e14() {
    for restart in [false, true] {
        let mut world = limited(SlotKind::Session, 1);
        let (_, old) = left_alone(&mut world);
        let owner = world.connect(&Tab::new(2));
        let mut tab = Tab::new(3).of(&old.session);
        tab.hello.admission = Admission::Wait { max_ms: None };
        let conn = world.connect(&tab);
        world.reset(conn);
        world.command(owner, 1, keel_wire::EndSession {});
        assert_eq!(world.row(&old.session).slot, Some(SlotRow::Held));
        if restart {
            world.crash();
        }
        live_on(&mut world, &[], if restart { 200 } else { 30 });
        let row = world.row(&old.session);
        assert_eq!((row.ended, row.slot), (false, None));
        let conn = world.connect(&Tab::new(4).of(&old.session));
        world.welcome(conn);
    }
}

#[test]
fn a_slot_that_nobody_claims_after_a_restart_is_given_back_and_ends_nothing_e14() {
    let mut world = limited(SlotKind::Session, 1);
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(keel_wire::BusyPolicy::Queue { max: 2 });
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    world.say(conn, 1, "interrupted");
    world.say(conn, 2, "run by the next server, with nobody there");
    world.crash();
    world.text("still at it");
    live_on(&mut world, &[], 200);
    world.done();
    assert_eq!(
        world.row(&session).slot,
        Some(SlotRow::Held),
        "a turn keeps it"
    );
    live_on(&mut world, &[], 200);
    let row = world.row(&session);
    assert_eq!((row.ended, row.slot), (false, None));
    world.crash();
    world.connect(&Tab::new(2).of(&session));
    world.crash();
    live_on(&mut world, &[], 200);
    let row = world.row(&session);
    assert_eq!((row.ended, row.slot), (false, None));
}
fn loaded(world: &mut World, waited_ms: u64, memory: Option<(u64, u64)>) {
    world.input(keel_core::node::Input::Load(keel_core::node::Load {
        waited: Duration::from_millis(waited_ms),
        memory,
    }));
}

/// New sessions wait outside; who is here resumes, joins and goes on, and it ends by itself.
#[test]
fn a_pressed_server_refuses_new_sessions_and_nobody_else_s04_s15() {
    for (memory, why) in [(None, "overloaded"), (Some((9, 10)), "memory")] {
        let mut world = World::new();
        let tab = Tab::new(1);
        let conn = world.connect(&tab);
        let welcome = world.welcome(conn);
        let waited = if memory.is_none() { 500 } else { 0 };
        for _ in 0..6 {
            loaded(&mut world, waited, memory);
            world.pass(Duration::from_millis(200));
            world.send(
                conn,
                keel_wire::Ack {
                    seq: keel_wire::Seq::ZERO,
                },
            );
        }
        let stranger = world.connect(&Tab::new(2));
        let fault = world.faults(stranger)[0].clone();
        assert_eq!(
            (&fault.code, &fault.detail["why"]),
            (&Code::AtCapacity.into(), &why.into())
        );
        let keel_wire::Retry::After { ms } = fault.retry else {
            panic!("{fault:?}")
        };
        assert!((2_000..4_000).contains(&ms), "{ms}");
        // A session of before, whoever comes to it.
        world.say(conn, 1, "hello");
        world.text("goes on");
        world.reset(conn);
        let back = world.connect(&tab.again(&welcome, 0));
        assert_eq!(world.heard(back), "goes on");
        let viewer = world.connect(
            &Tab::new(3)
                .of(&welcome.session)
                .role(keel_wire::Role::Viewer),
        );
        assert_eq!(world.welcome(viewer).how, keel_wire::Joined::Joined);
        // Both are over.
        for _ in 0..12 {
            loaded(&mut world, 0, memory.map(|_| (1, 10)));
            world.pass(Duration::from_millis(200));
        }
        let late = world.connect(&Tab::new(4));
        assert_eq!(world.welcome(late).how, keel_wire::Joined::Created);
    }
}
