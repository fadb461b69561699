//! Clients that take no offers, as those of WHIP and WHEP.

use std::time::Duration;

use keel_media::{Input, TrackId};

use crate::world::{World, peer};

const FIRST: TrackId = TrackId(1);
const SECOND: TrackId = TrackId(2);

#[test]
fn what_finds_no_line_waits_for_one_and_nothing_is_offered() {
    let mut world = World::new(30);
    world.join(&[FIRST], 0);
    world.join(&[SECOND], 0);
    let watcher = world.join(&[], 1);
    world.tell(Input::Settle {
        peer: peer(watcher),
    });
    world.run(Duration::from_secs(1));
    world.subscribe(watcher, FIRST);
    world.subscribe(watcher, SECOND);
    world.tell(Input::Restart {
        peer: peer(watcher),
    });
    world.run(Duration::from_secs(2));
    assert!(world.clients[watcher].frames(FIRST).len() > 30);
    assert!(world.clients[watcher].frames(SECOND).is_empty());
    let shown: usize = world.clients[watcher].got.values().map(Vec::len).sum();
    world.tell(Input::Close { peer: peer(0) });
    world.run(Duration::from_secs(2));
    let after: usize = world.clients[watcher].got.values().map(Vec::len).sum();
    assert!(
        after > shown + 30,
        "the line is the other's: {shown} {after}"
    );
    let named: Vec<TrackId> = world.clients[watcher].lines.values().copied().collect();
    assert_eq!(named, [SECOND]);
    assert_eq!(world.clients[watcher].offers_heard, 0);
}
