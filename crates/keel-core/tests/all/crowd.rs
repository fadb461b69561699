//! A session with many viewers: told in steps, and nothing is lost by it.

use std::time::Duration;

use keel_core::limits::{CROWD_MIN, CROWD_STEP};
use keel_wire::{Event, Role};

use crate::world::{Tab, World};

#[test]
fn a_crowd_is_told_in_steps_and_whoever_takes_part_at_once() {
    let mut world = World::new();
    let owner = world.connect(&Tab::new(1));
    let session = world.welcome(owner).session;
    let mut viewers = Vec::new();
    let mut more = |world: &mut World, count: usize| {
        for _ in 0..count {
            let n = u128::try_from(viewers.len()).unwrap() + 2;
            let tab = Tab::new(n).of(&session).role(Role::Viewer);
            viewers.push(world.connect(&tab));
        }
        viewers.clone()
    };
    let few = more(&mut world, CROWD_MIN - 2);
    world.say(owner, 1, "hello");
    world.text("one ");
    assert_eq!(world.heard(few[0]), "one ", "a few are told at once");

    let many = more(&mut world, 2);
    let (first, last) = (many[0], many[many.len() - 1]);
    // The last step of their coming in is over.
    world.pass(CROWD_STEP * 2);
    world.text("two ");
    assert_eq!(
        world.heard(first),
        "one two ",
        "the first of a step goes at once"
    );
    for text in ["three ", "four "] {
        // Words that come at once are one event.
        world.pass(Duration::from_millis(1));
        world.text(text);
    }
    assert_eq!(world.heard(owner), "one two three four ");
    assert_eq!(
        world.heard(first),
        "one two ",
        "the others wait for the next"
    );
    world.pass(CROWD_STEP);
    world.done();
    world.pass(CROWD_STEP);
    for conn in [first, last] {
        let events = world.events(conn);
        assert!(matches!(events.last().unwrap().1, Event::TurnEnded(_)));
        let follow = events.windows(2).all(|pair| pair[0].0.next() == pair[1].0);
        assert!(follow, "nothing is left out");
    }
    assert_eq!(world.heard(first), world.heard(owner));
}
