//! Faults on purpose: each has an id, a seed and an end, and what comes of it says so.

use std::time::Duration;

use keel_core::node::{ConnId, RunEnd, RunFailure};
use keel_wire::{
    Code, Event, InjectFault, Injected, Injection, Send, ServerFrame, TurnEnd, journal::Fact,
};
use serde_json::Value;

use crate::world::{StoreMood, Tab, World};

fn inject(world: &mut World, conn: ConnId, n: u64, fault: Injection) -> Injected {
    let for_ms = Some(3_000);
    let seed = Some(7);
    world.facts.clear();
    world.command(
        conn,
        n,
        InjectFault {
            fault: fault.clone(),
            for_ms,
            seed,
        },
    );
    let found = world.facts.iter().find_map(|fact| match fact {
        Fact::Injected { injected } => Some(injected.clone()),
        _ => None,
    });
    let injected = found.unwrap_or_else(|| panic!("{fault:?} is journaled"));
    assert_eq!((&injected.fault, injected.seed), (&fault, 7));
    injected
}

/// The ids that a status push named last, and those that faults named.
fn named(world: &World, conn: ConnId) -> (Vec<String>, Vec<String>) {
    let (mut status, mut faults) = (Vec::new(), Vec::new());
    for frame in &world.lines[&conn].frames {
        match frame {
            ServerFrame::Status(told) => {
                let ids = told.status.injected.iter().map(|one| one.id.to_string());
                status = ids.collect();
            }
            ServerFrame::Fault(told) => {
                let id = told.fault.detail.get("injected").and_then(Value::as_str);
                faults.extend(id.map(str::to_owned));
            }
            _ => {}
        }
    }
    (status, faults)
}

#[test]
fn a_fault_on_purpose_is_in_status_while_it_lasts_and_named_by_what_it_does_m39() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let injected = inject(&mut world, conn, 1, Injection::FailStore);
    let id = injected.id.to_string();
    assert_eq!(injected.until, world.now.wall + 3_000);
    assert_eq!(named(&world, conn).0, std::slice::from_ref(&id));
    world.mood = StoreMood::Refuses;
    world.command(conn, 2, Send { data: 1.into() });
    assert_eq!(named(&world, conn).1, [id]);
    world.mood = StoreMood::Well;
    world.pass(Duration::from_secs(3));
    assert_eq!(
        named(&world, conn).0,
        Vec::<String>::new(),
        "its time is over"
    );
}

#[test]
fn losses_and_ends_of_turns_name_what_caused_them_on_purpose_m39() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    let killed = inject(&mut world, conn, 2, Injection::KillProvider).id;
    let session = world.welcome(conn).session;
    let Some(Event::TurnEnded(ended)) = world.log(&session).pop() else {
        panic!("the turn has ended")
    };
    // Here who is killed says that it was cancelled; with a fault it is the same way.
    assert_eq!(ended.end, TurnEnd::Cancelled);
    world.kills_slowly = true;
    world.say(conn, 3, "again");
    let stopped = inject(&mut world, conn, 4, Injection::KillProvider).id;
    assert_ne!(killed, stopped);
    world.finish(RunEnd::Failed(RunFailure {
        code: Code::ProviderCrashed,
        message: "killed".into(),
        detail: serde_json::Map::new(),
        retry: None,
        causes: Vec::new(),
    }));
    let Some(Event::TurnEnded(ended)) = world.log(&session).pop() else {
        panic!("the turn has ended")
    };
    assert_eq!(ended.fault.unwrap().detail["injected"], stopped.as_str());

    let dropped = inject(&mut world, conn, 5, Injection::DropConnection).id;
    let lost = world.facts.iter().find_map(|fact| match fact {
        Fact::ConnectionLost { fault, .. } => Some(fault.detail["injected"].clone()),
        _ => None,
    });
    assert_eq!(lost, Some(dropped.as_str().into()));
    // It is not in the status: it is over.
    let back = world.connect(&tab.again(&welcome, 0));
    assert_eq!(named(&world, back).0, Vec::<String>::new());
    let expired = inject(&mut world, back, 6, Injection::ExpireToken).id;
    assert_eq!(named(&world, back).1, [expired.to_string()]);
}
