//! What a session gives back: its place in memory, and what its provider keeps for it.

use std::time::Duration;

use keel_core::node::{Input, Load, RunEnd, RunOutput};
use keel_wire::{BusyPolicy, CancelTurn, Detach, EndSession, SessionId, journal::Fact};

use crate::world::{StoreMood, Tab, World};

fn load(world: &mut World, memory_percent: u64) {
    world.input(Input::Load(Load {
        waited: Duration::ZERO,
        memory: Some((memory_percent, 100)),
    }));
}

fn hibernated(world: &World) -> usize {
    let facts = world.facts.iter();
    facts
        .filter(|fact| matches!(fact, Fact::Hibernated))
        .count()
}

#[test]
fn sessions_with_nothing_to_do_leave_a_pressed_server_at_once_s04_s15() {
    let mut world = World::new();
    let mut sessions: Vec<SessionId> = Vec::new();
    let idle = keel_core::limits::SHED_AT_ONCE as u128 + 10;
    for n in 0..idle {
        let conn = world.connect(&Tab::new(n + 1));
        sessions.push(world.welcome(conn).session);
        world.send(conn, Detach {});
    }
    // Somebody is in one, and in another nobody, but a turn runs.
    let here = world.connect(&Tab::new(1_000));
    let busy = world.connect(&Tab::new(1_001));
    world.say(busy, 1, "hello");
    world.reset(busy);
    load(&mut world, 79);
    assert_eq!(hibernated(&world), 0);
    load(&mut world, 81);
    let first = hibernated(&world);
    assert!(first >= keel_core::limits::SHED_AT_ONCE - 2, "{first}");
    load(&mut world, 81);
    assert_eq!(hibernated(&world), usize::try_from(idle).unwrap());
    // They are read back for whoever comes, and nobody else has noticed.
    let loads = world.loads;
    let conn = world.connect(&Tab::new(2_000).of(&sessions[0]));
    assert_eq!(world.welcome(conn).session, sessions[0]);
    assert_eq!(world.loads, loads + 1);
    world.say(here, 1, "still here");
    assert_eq!(world.runs.len(), 2);
}

#[test]
fn what_a_provider_keeps_is_released_with_the_session_and_not_with_its_memory_i11() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    world.done();
    world.reset(conn);
    world.pass(Duration::from_secs(200));
    assert!(hibernated(&world) > 0);
    assert_eq!(world.released, [], "it may go on");
    let conn = world.connect(&Tab::new(2).of(&welcome.session));
    world.say(conn, 1, "again");
    world.command(conn, 2, EndSession {});
    let run = world.runs.last().unwrap().0;
    assert_eq!(world.stopped.last(), Some(&(run, true)));
    assert_eq!(world.released, [(welcome.session, "echo".to_owned())]);
}

#[test]
fn a_turn_that_had_to_be_killed_while_the_store_refuses_says_so_when_it_is_kept_i8() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 1 });
    let conn = world.connect(&tab);
    world.say(conn, 1, "hello");
    world.command(conn, 2, CancelTurn { turn: None });
    // The store refuses while it ends: its end is told when it is kept.
    world.mood = StoreMood::Refuses;
    world.finish(RunEnd::Cancelled { forced: true });
    let run = world.runs[0].0;
    let output = RunOutput::Text("late".into());
    world.input(Input::RunOutput { run, output });
    assert_eq!(world.heard(conn), "");
    world.mood = StoreMood::Well;
    world.pass(Duration::from_secs(3));
    let log = world.log(&world.sessions()[0]);
    let forced = log.iter().find_map(|event| match event {
        keel_wire::Event::TurnEnded(ended) => Some(ended.forced),
        _ => None,
    });
    assert_eq!(forced, Some(true));
}
