//! Whose voice is heard.

use std::time::Duration;

use keel_media::{GroupId, Input, Output, TrackId};

use crate::world::{World, peer};

const ANN: TrackId = TrackId(1);
const BEN: TrackId = TrackId(2);
const S: Duration = Duration::from_secs(1);

fn speakers(world: &World) -> Vec<Option<TrackId>> {
    let told = world.told.iter();
    let told = told.filter_map(|(_, told)| match told {
        Output::Speaking { group, track } => {
            assert_eq!(*group, GroupId(1));
            Some(*track)
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn who_speaks_is_told_by_the_level_of_the_voices() {
    let mut world = World::new(41);
    let ann = world.join_speaking(ANN);
    let ben = world.join_speaking(BEN);
    world.run(2 * S);
    assert_eq!(speakers(&world), [], "nobody has said anything");
    let level = |world: &mut World, who: usize, level| {
        world.clients[who].microphone.as_mut().unwrap().level = level;
    };
    let spoke = world.now;
    level(&mut world, ann, -20);
    world.run(2 * S);
    assert_eq!(speakers(&world), [Some(ANN)]);
    let after = world.told_after(spoke, |told| matches!(told, Output::Speaking { .. }));
    assert!(after.unwrap() < S, "{after:?}");
    level(&mut world, ann, -127);
    level(&mut world, ben, -20);
    world.run(2 * S);
    assert_eq!(speakers(&world), [Some(ANN), Some(BEN)]);
    // Who leaves in the middle of a word is heard no longer.
    world.tell(Input::Close { peer: peer(ben) });
    world.run(S);
    assert_eq!(speakers(&world), [Some(ANN), Some(BEN), None]);
    world.tell(Input::Close { peer: peer(ann) });
    world.run(S);
    assert_eq!(world.plane.deadline(), None, "nothing is left behind");
}
