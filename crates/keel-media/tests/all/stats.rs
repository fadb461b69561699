//! How transports are doing, as whoever asks is told.

use std::time::Duration;

use keel_media::{Kind, Layer, Protocol, TrackId, limits::STATS_EVERY};

use crate::{
    routing::passthrough,
    world::{Link, peer},
};

const CAMERA: TrackId = TrackId(1);
const S: Duration = Duration::from_secs(1);

#[test]
fn what_passes_is_counted_where_it_comes_from_and_where_it_goes() {
    let mut world = passthrough(41);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run(2 * STATS_EVERY);
    let all = world.plane.stats(world.now, &[peer(0), peer(viewer)]);
    let stats = |of: usize| {
        let found = all.iter().find(|stats| stats.peer == peer(of));
        found.expect("it is there").clone()
    };

    let publisher = stats(0);
    assert!(publisher.reachable && publisher.protocol == Some(Protocol::Udp));
    let [track] = publisher.publishes.as_slice() else {
        panic!("{publisher:?}")
    };
    assert_eq!(
        (track.track, track.kind, track.audience),
        (CAMERA, Kind::Video, 2)
    );
    let [layer] = track.layers.as_slice() else {
        panic!("{track:?}")
    };
    assert_eq!(layer.layer, Layer(0));
    assert!(layer.keyframes >= 1 && layer.bps.is_some_and(|bps| bps > 0));

    let watching = stats(viewer);
    assert!(watching.publishes.is_empty());
    let [sent] = watching.receives.as_slice() else {
        panic!("{watching:?}")
    };
    assert_eq!((sent.track, sent.layer), (CAMERA, Some(Layer(0))));
    // It came later, and was sent nothing before its keyframe.
    assert!(sent.counted.packets > 100 && sent.counted.packets < layer.counted.packets);
    assert!(sent.counted.bytes > 10 * sent.counted.packets);
    let own = publisher.receives[0].counted;
    assert!(own.packets <= layer.counted.packets && own.packets > sent.counted.packets);
    for way in [publisher.round_trip, watching.round_trip] {
        let way = way.expect("it was measured");
        assert!(way < Duration::from_millis(100), "{way:?}");
    }
    assert_eq!(world.plane.stats(world.now, &[peer(99)]), []);
}

#[test]
fn what_a_way_loses_is_told_and_is_no_more_once_it_is_whole() {
    let mut world = passthrough(42);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run(3 * S);
    world.links[viewer].loss_percent = 20;
    world.run(3 * STATS_EVERY);
    let missed = |world: &crate::world::World| {
        let stats = world.plane.stats(world.now, &[peer(viewer)]);
        stats.first().expect("it is there").missed
    };
    let lost = missed(&world).expect("it reports");
    assert!((0.05..0.5).contains(&lost), "{lost} of a fifth");
    world.links[viewer] = Link::default();
    world.run(3 * STATS_EVERY);
    let whole = missed(&world).expect("it reports");
    assert!(whole < 0.02, "{whole}");
}
