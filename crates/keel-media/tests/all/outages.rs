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

/// Requests on the old way were lost, and the next of them is seconds away.
#[test]
fn a_keyframe_is_asked_for_anew_on_a_new_way_v08_m36() {
    let mut world = passthrough(17);
    world.run(2 * S);
    world.links[0] = Link::DOWN;
    world.tell(Input::Keyframe { track: CAMERA });
    world.run(Duration::from_millis(3_300));
    world.links[0] = Link::default();
    world.seen_at.insert(0, ([10, 9, 9, 9], 777).into());
    let healed = world.now;
    world.run(6 * S);
    let frames = world.clients[0].frames(CAMERA);
    let mut after = frames.iter().filter(|frame| frame.at > healed);
    let first = after.next().expect("a frame came back");
    let key = after.find(|frame| frame.is_key).expect("a keyframe came");
    let later = key.at - first.at;
    assert!(
        later <= Duration::from_millis(700),
        "a keyframe {later:?} after the first frame"
    );
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

fn refresh(world: &mut World, viewer: usize, anew: bool) {
    let mids = world.clients[viewer].lines.keys().cloned().collect();
    let peer = peer(viewer);
    world.tell(Input::Refresh { peer, mids, anew });
}

fn viewed(seed: u64) -> (World, usize) {
    let mut world = passthrough(seed);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run_until(2 * S, |world| {
        world.clients[viewer].frames(CAMERA).len() > 10
    });
    world.run(2 * S);
    (world, viewer)
}

/// Over a way that loses a tenth of everything.
#[test]
fn a_picture_that_cannot_be_shown_begins_with_the_next_keyframe_v11_a50() {
    let (mut world, viewer) = viewed(17);
    for link in &mut world.links {
        link.loss_percent = 10;
    }
    let asked = world.clients[0].cameras[0].keyframes;
    let since = world.now;
    for _ in 0..100 {
        refresh(&mut world, viewer, false);
        world.run(Duration::from_millis(10));
    }
    world.run(S);
    let frames = world.clients[viewer].frames(CAMERA);
    assert!(frames.iter().any(|frame| frame.at > since && frame.is_key));
    let made = world.clients[0].cameras[0].keyframes - asked;
    assert!(
        (1..=4).contains(&made),
        "{made} keyframes for a second of asking"
    );
}

#[test]
fn a_line_that_begins_anew_goes_on_behind_what_was_sent_v11() {
    let (mut world, viewer) = viewed(18);
    let last = world.clients[viewer].frames(CAMERA).len();
    refresh(&mut world, viewer, true);
    world.run(S);
    let frames = world.clients[viewer].frames(CAMERA);
    let since: Vec<_> = frames[last..].iter().collect();
    assert!(since.len() > 20, "{} frames", since.len());
    // What was on its way comes, then the keyframe that it begins with, and nothing is missing before it
    // as far as a decoder can see.
    let key = since
        .iter()
        .position(|frame| frame.is_key)
        .expect("a keyframe");
    assert!(since[key..].iter().all(|frame| frame.contiguous));
    let others = world.clients[0].frames(CAMERA).iter();
    assert!(
        others.skip(1).all(|frame| frame.contiguous),
        "nobody else is disturbed"
    );
}

#[test]
fn lines_that_carry_nothing_are_passed_over() {
    let (mut world, viewer) = viewed(19);
    let asked = world.clients[0].cameras[0].keyframes;
    let mids = [
        "nothing",
        "",
        "a-mid-that-is-longer-than-any-that-was-agreed-on",
    ];
    for peer in [peer(viewer), peer(99)] {
        let (mids, anew) = (mids.map(str::to_owned).into(), true);
        world.tell(Input::Refresh { peer, mids, anew });
    }
    world.run(S);
    assert_eq!(world.clients[0].cameras[0].keyframes, asked);
}
