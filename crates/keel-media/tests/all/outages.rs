//! What is lost and comes back: told within a second, repaired without a click.

use std::time::{Duration, Instant};

use keel_media::{Finding, Input, Output, TrackId};

use crate::{
    routing::passthrough,
    world::{Link, World, peer},
};

const CAMERA: TrackId = TrackId(1);
const S: Duration = Duration::from_secs(1);

fn is_stalled(output: &Output) -> bool {
    matches!(
        output,
        Output::Cadence {
            track: CAMERA,
            finding: Finding::Stalled
        }
    )
}

/// The first frame that a client got after a moment.
fn first_frame_after(world: &World, since: Instant) -> Duration {
    let frames = world.clients[0].frames(CAMERA);
    let frame = frames.iter().find(|frame| frame.at > since);
    frame.expect("a frame came back").at - since
}

#[test]
fn a_blocked_path_is_told_within_a_second_and_heals_by_itself_v02_v04() {
    let mut world = passthrough(11);
    world.run(2 * S);
    let cut = world.now;
    world.links[0] = Link::DOWN;
    world.run(3 * S);
    let told = world.told_after(cut, is_stalled).expect("it was told");
    assert!(told <= S, "told after {told:?}");
    world.links[0] = Link::default();
    let healed = world.now;
    world.run(3 * S);
    let back = first_frame_after(&world, healed);
    assert!(
        back <= Duration::from_millis(500),
        "a picture after {back:?}"
    );
}

#[test]
fn a_long_outage_heals_by_a_restart_of_ice_v02() {
    let mut world = passthrough(12);
    world.run(2 * S);
    world.links[0] = Link::DOWN;
    world.run(40 * S);
    world.links[0] = Link::default();
    let healed = world.now;
    let now = world.now;
    world.clients[0].restart(now, &[CAMERA]);
    world.run(5 * S);
    let back = first_frame_after(&world, healed);
    assert!(
        back <= Duration::from_millis(1_500),
        "a picture after {back:?}"
    );
}

#[test]
fn the_server_restarts_ice_too_v02() {
    let mut world = passthrough(13);
    world.run(2 * S);
    world.links[0] = Link::DOWN;
    world.run(40 * S);
    world.links[0] = Link::default();
    let healed = world.now;
    world.tell(Input::Restart { peer: peer(0) });
    world.run(5 * S);
    let back = first_frame_after(&world, healed);
    assert!(
        back <= Duration::from_millis(1_500),
        "a picture after {back:?}"
    );
}

#[test]
fn a_new_address_of_a_client_goes_on_without_negotiation_v08() {
    let mut world = passthrough(14);
    world.run(2 * S);
    let moved = world.now;
    world.seen_at.insert(0, ([10, 9, 9, 9], 777).into());
    world.run(6 * S);
    let back = first_frame_after(&world, moved + Duration::from_millis(100));
    assert!(back <= 2 * S, "a picture after {back:?}");
    let negotiated = world.told_after(moved, |told| matches!(told, Output::Unreachable { .. }));
    assert_eq!(negotiated, None);
}

#[test]
fn a_frozen_camera_is_told_and_a_muted_one_is_not_v11_m36() {
    let mut world = passthrough(15);
    world.run(2 * S);
    world.tell(Input::Mute {
        track: CAMERA,
        muted: true,
    });
    let muted = world.now;
    world.clients[0].cameras[0].stopped = true;
    world.run(10 * S);
    assert_eq!(world.told_after(muted, is_stalled), None);
    world.tell(Input::Mute {
        track: CAMERA,
        muted: false,
    });
    world.clients[0].cameras[0].stopped = false;
    world.run(2 * S);
    let frozen = world.now;
    world.clients[0].cameras[0].stopped = true;
    world.run(2 * S);
    let told = world.told_after(frozen, is_stalled).expect("it was told");
    assert!(told <= S, "told after {told:?}");
}

#[test]
fn who_leaves_takes_everything_along() {
    let mut world = passthrough(16);
    let present = world.join(&[], 1);
    world.subscribe(present, CAMERA);
    world.run(S);
    assert_eq!(world.clients[present].lines.len(), 1);
    world.tell(Input::Close { peer: peer(0) });
    assert_eq!(world.plane.peers(), 1);
    assert!(
        world.clients[present].lines.is_empty(),
        "it is told that its line is free"
    );
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run(2 * S);
    assert!(world.clients[viewer].got.is_empty());
}
