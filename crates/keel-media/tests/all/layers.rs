//! Which layer of a simulcast camera a subscriber is sent.

use std::time::{Duration, Instant};

use keel_media::{Layer, TrackId};

use crate::{client::LAYERS, world::World};

const CAMERA: TrackId = TrackId(1);
const S: Duration = Duration::from_secs(1);

/// A publisher of layers, and a viewer that is sent the largest.
fn watched(seed: u64) -> (World, usize) {
    let mut world = World::new(seed);
    world.join_simulcast(&[CAMERA]);
    world.run(S);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run_until(20 * S, |world| layer(world, viewer) == Some(2));
    (world, viewer)
}

/// Of the last frame that a viewer got.
fn layer(world: &World, viewer: usize) -> Option<u8> {
    Some(world.clients[viewer].frames(CAMERA).last()?.layer)
}

/// Bits a second that a layer is sent with.
fn bps(layer: usize) -> u64 {
    u64::try_from(LAYERS[layer].1 * 8 * 30).unwrap()
}

fn after(world: &World, since: Instant) -> Duration {
    world.now - since
}

#[test]
fn a_way_that_dips_and_comes_back_costs_a_layer_and_gives_it_back_v16() {
    let (mut world, viewer) = watched(31);
    world.run(10 * S);
    assert_eq!(layer(&world, viewer), Some(2));
    let dip = world.now;
    // Room for the layer in the middle.
    world.links[viewer].down_bps = Some(bps(1) * 3 / 2);
    world.run_until(5 * S, |world| layer(world, viewer) != Some(2));
    let down = after(&world, dip);
    world.run(20 * S);
    let before = world.clients[viewer].frames(CAMERA).len();
    world.run(10 * S);
    let frames = world.clients[viewer].frames(CAMERA)[before..].len();
    assert!(
        frames > 200,
        "{frames} frames in ten seconds of a small way"
    );
    world.links[viewer].down_bps = None;
    let healed = world.now;
    world.run_until(30 * S, |world| layer(world, viewer) == Some(2));
    let up = after(&world, healed);
    assert!(down <= 3 * S, "down after {down:?}");
    assert!(up <= 15 * S, "up after {up:?}");
    world.run(10 * S);
    let largest = world.clients[viewer].frames(CAMERA).iter().rev();
    let stays = largest.take(200).all(|frame| frame.layer == 2);
    assert!(stays, "it does not flap");
}

#[test]
fn a_line_that_is_named_again_keeps_its_layers() {
    const OTHER: TrackId = TrackId(2);
    let (mut world, viewer) = watched(32);
    // `replaceTrack`, under another name.
    let now = world.now;
    world.clients[0].restart(now, &[OTHER]);
    world.run(S);
    let peer = crate::world::peer(viewer);
    let (track, max) = (OTHER, Some(Layer(1)));
    world.tell(keel_media::Input::Subscribe { peer, track, max });
    let wanted = |world: &World| {
        let frames = world.clients[viewer].frames(OTHER);
        frames
            .last()
            .is_some_and(|frame| frame.layer == 1 && frame.at > now + S)
    };
    world.run_until(20 * S, wanted);
    let since = world.now;
    world.run(5 * S);
    let frames = world.clients[viewer].frames(OTHER).iter();
    let frames: Vec<_> = frames.filter(|frame| frame.at > since).collect();
    assert!(frames.len() > 100, "{} frames", frames.len());
    assert!(
        frames
            .iter()
            .all(|frame| frame.layer == 1 && frame.contiguous)
    );
}
