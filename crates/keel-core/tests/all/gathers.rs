//! Text of a session whose store is slow: put together within a bound, in order, and nothing else waits.

use std::time::Duration;

use keel_core::{
    limits::{TEXT_GATHERED_BYTES_MAX, TEXT_GATHERED_PIECES_MAX, TEXT_STEP_MAX},
    node::ConnId,
};
use keel_wire::Event;
use serde_json::json;

use crate::world::{StoreMood, Tab, World};

/// What a commit of a slow store takes.
const SLOW: Duration = Duration::from_millis(50);

/// Lets every commit so far take so long, and those to come as well.
fn answer_after(world: &mut World, span: Duration) {
    world.pass(span);
    world.release();
    world.mood = StoreMood::Holds;
}

/// A turn whose commits of text have all taken so long.
fn streams(commit: Duration) -> (World, ConnId) {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.mood = StoreMood::Holds;
    // Enough for the average, and over before anybody answers a beat.
    for _ in 0..8 {
        world.text("a");
        answer_after(&mut world, commit);
        world.pass(TEXT_STEP_MAX);
    }
    (world, conn)
}

fn texts(world: &World, conn: ConnId) -> usize {
    let events = world.events(conn);
    let is_text = |event: &Event| matches!(event, Event::Text(_));
    events.iter().filter(|(_, event)| is_text(event)).count()
}

#[test]
fn words_that_follow_each_other_are_one_commit_where_commits_are_slow() {
    let (mut world, conn) = streams(SLOW);
    let before = texts(&world, conn);
    world.text("b");
    answer_after(&mut world, Duration::from_millis(1));
    assert_eq!(texts(&world, conn), before + 1, "the first goes at once");
    for _ in 0..9 {
        world.text("c");
        answer_after(&mut world, Duration::from_millis(10));
    }
    assert_eq!(texts(&world, conn), before + 1, "the others wait");
    answer_after(&mut world, Duration::from_millis(9));
    assert_eq!(texts(&world, conn), before + 2, "no longer than the bound");
    assert!(world.heard(conn).ends_with("bccccccccc"));
}

#[test]
fn where_commits_are_quick_no_word_waits_for_another() {
    let (mut world, conn) = streams(Duration::ZERO);
    let before = texts(&world, conn);
    for _ in 0..9 {
        world.text("b");
        answer_after(&mut world, Duration::ZERO);
        world.pass(Duration::from_millis(1));
    }
    assert_eq!(texts(&world, conn), before + 9);
}

#[test]
fn what_else_happens_takes_the_text_along_at_once() {
    let (mut world, conn) = streams(SLOW);
    world.text("b");
    answer_after(&mut world, Duration::ZERO);
    world.text("c");
    world.command(
        conn,
        2,
        keel_wire::SetParams {
            patch: json!({ "voice": "low" }),
        },
    );
    answer_after(&mut world, Duration::ZERO);
    assert!(world.heard(conn).ends_with("bc"));
    assert_eq!(world.receipts(conn).len(), 2);
    world.text("d");
    world.done();
    answer_after(&mut world, Duration::ZERO);
    answer_after(&mut world, Duration::ZERO);
    assert!(world.heard(conn).ends_with("bcd"));
    let last = world.events(conn).pop().map(|(_, event)| event);
    assert!(matches!(last, Some(Event::TurnEnded(_))));
}

#[test]
fn much_text_and_many_pieces_of_it_do_not_wait() {
    let (mut world, conn) = streams(SLOW);
    world.text("b");
    answer_after(&mut world, Duration::ZERO);
    world.text(&"c".repeat(TEXT_GATHERED_BYTES_MAX));
    answer_after(&mut world, Duration::ZERO);
    assert!(world.heard(conn).ends_with("ccc"));
    for _ in 0..TEXT_GATHERED_PIECES_MAX {
        world.text("d");
    }
    answer_after(&mut world, Duration::ZERO);
    assert!(
        world
            .heard(conn)
            .ends_with(&"d".repeat(TEXT_GATHERED_PIECES_MAX))
    );
}

#[test]
fn the_provider_is_given_its_credit_for_text_that_waited() {
    let (mut world, conn) = streams(SLOW);
    let run = world.runs.last().unwrap().0;
    let before = world.credit[&run];
    world.text("b");
    answer_after(&mut world, Duration::ZERO);
    for _ in 0..5 {
        world.text("cc");
    }
    answer_after(&mut world, TEXT_STEP_MAX);
    answer_after(&mut world, Duration::ZERO);
    assert_eq!(world.credit[&run], before + 11);
    assert!(world.heard(conn).ends_with("bcccccccccc"));
}
