//! Commands: each once, each answered, by whoever may.

use keel_wire::{Code, Event, Receipt, ReceiptBody, Role, Seq, ServerFrame, Strategy};
use serde_json::json;

use crate::world::{StoreMood, Tab, World, seq};

fn code(receipt: &Receipt) -> Option<Code> {
    match &receipt.body {
        ReceiptBody::Ok { .. } => None,
        ReceiptBody::Fault(fault) => match fault.code {
            keel_wire::FaultCode::Known(code) => Some(code),
            keel_wire::FaultCode::Unknown(_) => panic!("ours are known"),
        },
    }
}

#[test]
fn the_same_command_twice_is_run_once_and_answered_twice_i2_p07_n19() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.say(conn, 1, "hello");
    let receipts = world.receipts(conn);
    assert_eq!(receipts.len(), 2);
    assert_eq!(receipts[0], receipts[1]);
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn a_command_whose_receipt_was_lost_is_answered_from_record_e12() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.mood = StoreMood::Holds;
    world.say(conn, 1, "hello");
    world.reset(conn);
    world.release();
    let mut back = tab.again(&welcome, 0);
    back.hello.stream.next = seq(2);
    let conn = world.connect(&back);
    assert_eq!(world.welcome(conn).consumed, seq(1));
    assert_eq!(world.receipts(conn).len(), 1);
    world.say(conn, 1, "hello");
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn a_command_lost_with_the_server_is_run_when_it_comes_again_e12() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.mood = StoreMood::Holds;
    world.say(conn, 1, "hello");
    world.mood = StoreMood::Well;
    world.crash();
    let conn = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.welcome(conn).consumed, Seq::ZERO);
    world.say(conn, 1, "hello");
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn a_number_that_was_passed_over_is_said_not_to_have_run() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "first");
    world.say(conn, 2, "refused as busy");
    world.command(conn, 3, keel_wire::Send { data: json!(1) });
    world.reset(conn);
    let conn = world.connect(&tab.again(&welcome, 0));
    let told: Vec<_> = world
        .receipts(conn)
        .iter()
        .map(|r| (r.n.get(), code(r)))
        .collect();
    assert_eq!(told, [(1, None), (2, Some(Code::Expired)), (3, None)]);
    world.say(conn, 2, "refused as busy");
    assert_eq!(
        code(world.receipts(conn).last().unwrap()),
        Some(Code::Expired)
    );
    assert_eq!(world.runs.len(), 1);
}

#[test]
fn an_expired_stream_runs_nothing_that_was_sent_on_it() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    let viewer = world.connect(&Tab::new(2).of(&welcome.session));
    world.say(conn, 1, "hello");
    world.done();
    world.send(conn, keel_wire::Detach {});
    let mut back = tab.again(&welcome, 0);
    back.hello.stream.next = seq(3);
    back.hello.resume.as_mut().unwrap().strategy = Strategy::Rejoin;
    let conn = world.connect(&back);
    assert_eq!(world.welcome(conn).consumed, seq(2));
    world.say(conn, 1, "hello");
    world.say(conn, 2, "sent, and perhaps run");
    world.say(conn, 3, "new");
    assert_eq!(world.runs.len(), 2, "the first and the new one");
    assert_eq!(world.lines[&viewer].closed, None);
}

#[test]
fn viewers_look_and_owners_end_a38() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    let viewer = world.connect(&Tab::new(2).of(&session).role(Role::Viewer));
    world.say(viewer, 1, "hello");
    world.command(
        viewer,
        2,
        keel_wire::SetParams {
            patch: json!({"a": 1}),
        },
    );
    world.command(viewer, 3, keel_wire::EndSession {});
    let told: Vec<_> = world.receipts(viewer).iter().map(code).collect();
    assert_eq!(told, [Some(Code::PermissionDenied); 3]);
    world.command(conn, 1, keel_wire::EndSession {});
    for line in [conn, viewer] {
        assert!(matches!(
            world.lines[&line].frames.last(),
            Some(ServerFrame::Ended(_))
        ));
        assert_eq!(
            world.lines[&line].closed,
            Some(keel_wire::CloseCode::NORMAL)
        );
    }
}

#[test]
fn params_merge_and_are_in_force_at_the_next_run_e8_m32() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.params = Some(json!({"strength": 1, "style": "plain"}));
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    world.command(
        conn,
        1,
        keel_wire::SetParams {
            patch: json!({"style": null, "seed": 7}),
        },
    );
    world.command(conn, 2, keel_wire::SetParams { patch: json!([1]) });
    assert_eq!(code(&world.receipts(conn)[1]), Some(Code::InvalidRequest));
    world.say(conn, 3, "go");
    assert_eq!(world.runs[0].1.params, json!({"strength": 1, "seed": 7}));
    let applied = world
        .log(&session)
        .iter()
        .any(|event| matches!(event, Event::ParamsApplied(applied) if applied.version == seq(2)));
    assert!(applied);
    world.crash();
    let conn = world.connect(&Tab::new(2).of(&session));
    assert_eq!(
        world.welcome(conn).params,
        json!({"strength": 1, "seed": 7})
    );
}

#[test]
fn unknown_commands_and_bad_data_are_refused_and_the_connection_lives_a35() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    for (n, (name, data)) in [
        ("fly", "{}"),
        ("say", "{}"),
        ("say", "[]"),
        ("params.set", "7"),
    ]
    .iter()
    .enumerate()
    {
        world.send(
            conn,
            keel_wire::CommandFrame {
                n: seq(n as u64 + 1),
                name: (*name).into(),
                ttl_ms: None,
                receipts_ack: Seq::ZERO,
                data: keel_wire::RawData::trusted((*data).into()),
            },
        );
    }
    let told: Vec<_> = world.receipts(conn).iter().map(code).collect();
    assert_eq!(told, [Some(Code::InvalidRequest); 4]);
    assert_eq!(world.lines[&conn].closed, None);
}

#[test]
fn fault_injection_that_is_off_is_like_no_command_at_all_m39_a23() {
    let inject = |world: &mut World| {
        let conn = world.connect(&Tab::new(1));
        let fault = keel_wire::Injection::DropConnection;
        world.command(
            conn,
            1,
            keel_wire::InjectFault {
                fault,
                for_ms: None,
                seed: None,
            },
        );
        world.receipts(conn).first().cloned()
    };
    let mut off = World::with(|config| config.faults = false);
    let refused = inject(&mut off).unwrap();
    let conn = off.connect(&Tab::new(2));
    off.send(
        conn,
        keel_wire::CommandFrame {
            n: seq(1),
            name: "fly".into(),
            ttl_ms: None,
            receipts_ack: Seq::ZERO,
            data: keel_wire::RawData::trusted("{}".into()),
        },
    );
    let (ReceiptBody::Fault(a), ReceiptBody::Fault(b)) =
        (&refused.body, &off.receipts(conn)[0].body)
    else {
        panic!("both are refused")
    };
    assert_eq!((&a.code, &a.message), (&b.code, &b.message));
    let mut denied = World::new();
    denied.grant.may_inject = false;
    assert_eq!(
        code(&inject(&mut denied).unwrap()),
        Some(Code::InvalidRequest)
    );
    let mut on = World::new();
    inject(&mut on);
    assert!(
        on.facts
            .iter()
            .any(|f| matches!(f, keel_wire::journal::Fact::ConnectionLost { .. }))
    );
}

#[test]
fn a_wide_session_forgets_no_stream_of_who_is_about_to_be_welcomed() {
    let mut world = World::new();
    let first = world.connect(&Tab::new(1));
    let session = world.welcome(first).session;
    for n in 2..=130 {
        world.connect(&Tab::new(n).of(&session));
    }
    world.mood = StoreMood::Holds;
    let conns = [131, 132, 133].map(|n| world.connect(&Tab::new(n).of(&session)));
    world.release();
    for conn in conns {
        world.say(conn, 1, "hello");
        assert_eq!(world.receipts(conn).len(), 1);
    }
}

#[test]
fn commands_over_http_take_no_stream_from_who_is_away_and_each_is_answered() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    world.reset(conn);
    world.mood = StoreMood::Holds;
    for n in 0..300 {
        let data = json!(1);
        let question = keel_core::node::Ask::Command {
            session: welcome.session.clone(),
            grant: world.grant.clone(),
            key: format!("key {n}"),
            command: keel_wire::Send { data }.into(),
        };
        let ask = keel_core::node::AskId(n);
        world.input(keel_core::node::Input::Ask { ask, question });
    }
    world.release();
    assert_eq!(world.replies.len(), 300);
    let mut again = tab.again(&welcome, 0);
    again.hello.stream.next = seq(2);
    let back = world.connect(&again);
    let ok = |receipt: &Receipt| matches!(receipt.body, ReceiptBody::Ok { .. });
    assert!(world.receipts(back).iter().all(ok));
}

#[test]
fn a_key_is_remembered_while_many_watch_and_over_a_restart_e12() {
    let mut world = World::new();
    let first = world.connect(&Tab::new(1));
    let session = world.welcome(first).session;
    for n in 2..=140 {
        world.connect(&Tab::new(n).of(&session));
    }
    let mut asks = 0;
    let mut ask = |world: &mut World, key: u64| {
        asks += 1;
        let question = keel_core::node::Ask::Command {
            session: session.clone(),
            grant: world.grant.clone(),
            key: format!("key {key}"),
            command: keel_wire::Send { data: json!(key) }.into(),
        };
        let ask = keel_core::node::AskId(asks);
        world.input(keel_core::node::Input::Ask { ask, question });
        let log = world.log(&session);
        let messages = log.iter().filter(|event| event.name() == "message");
        messages.count() as u64
    };
    let keys = u64::try_from(keel_core::limits::IDEMPOTENCY_KEYS_MAX).expect("small");
    for key in 1..=keys {
        assert_eq!(ask(&mut world, key), key);
    }
    assert_eq!(ask(&mut world, 1), keys, "the first is still known");
    world.crash();
    assert_eq!(ask(&mut world, 1), keys, "and by the next server");
    assert_eq!(ask(&mut world, keys + 1), keys + 1);
    assert_eq!(
        ask(&mut world, keys + 1),
        keys + 1,
        "an older one was forgotten"
    );
}

#[test]
fn what_became_of_commands_on_a_forgotten_stream_is_said_to_be_unknown_e12() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "run, and its receipt is lost");
    world.reset(conn);
    for n in 2..=140 {
        world.connect(&Tab::new(n).of(&welcome.session));
    }
    let mut back = tab.again(&welcome, 0);
    back.hello.stream.next = seq(3);
    let told = |world: &World, conn| -> Vec<_> {
        let receipts = world.receipts(conn);
        receipts.iter().map(|r| (r.n.get(), code(r))).collect()
    };
    let unknown = Some(Code::OutcomeUnknown);
    let conn = world.connect(&back);
    assert_eq!(told(&world, conn), [(1, unknown), (2, unknown)]);
    world.say(conn, 1, "sent again all the same");
    world.command(conn, 4, keel_wire::Send { data: json!(1) });
    assert_eq!(told(&world, conn)[2..], [(1, unknown), (4, None)]);
    assert_eq!(world.runs.len(), 1, "nothing of it is run again");
    world.crash();
    back.hello.attempt += 1;
    back.hello.stream.next = seq(5);
    let conn = world.connect(&back);
    let passed_over = Some(Code::Expired);
    assert_eq!(
        told(&world, conn),
        [(1, unknown), (2, unknown), (3, passed_over), (4, None)],
        "a restart makes nothing known, and nothing unknown"
    );
}

/// Found by `keel-sim` (nothing is told that is not kept).
#[test]
fn a_welcome_tells_no_params_that_are_not_kept() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.mood = StoreMood::Holds;
    let patch = json!({"a": 1});
    world.command(conn, 1, keel_wire::SetParams { patch });
    let back = world.connect(&tab.again(&welcome, 0));
    let told = world.welcome(back);
    assert_eq!((told.params, told.params_version), (json!(null), Seq::ZERO));
    world.release();
    let changed = |(_, event): &(Seq, Event)| matches!(event, Event::ParamsChanged(_));
    assert!(world.events(back).iter().any(changed));
}
