//! Who is sent what.

use std::time::Duration;

use keel_media::{End, Input, Output, TrackId, limits::DRAINED_AT_ONCE};

use crate::{
    client::FRAME,
    world::{Link, World, peer},
};

const CAMERA: TrackId = TrackId(1);
const S: Duration = Duration::from_secs(1);

/// A publisher whose camera is seen by itself.
pub(crate) fn passthrough(seed: u64) -> World {
    let mut world = World::new(seed);
    world.join(&[CAMERA], 1);
    world.run_until(S, is_published);
    world.subscribe(0, CAMERA);
    world.run_until(2 * S, |world| world.clients[0].frames(CAMERA).len() > 10);
    world
}

fn is_published(world: &World) -> bool {
    let mut told = world.told.iter();
    told.any(|(_, output)| matches!(output, Output::Published { track: CAMERA, .. }))
}

#[test]
fn a_camera_comes_back_within_a_second() {
    let world = passthrough(1);
    let frames = world.clients[0].frames(CAMERA);
    assert!(frames[0].is_key, "a picture begins with a keyframe");
    assert!(
        frames[0].at - world.start < S,
        "{:?}",
        frames[0].at - world.start
    );
    assert!(frames.iter().skip(1).all(|frame| frame.contiguous));
    let numbers: Vec<u32> = frames.iter().map(|frame| frame.number).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
}

#[test]
fn of_many_viewers_the_first_are_sent_a_packet_before_the_last_are_looked_after() {
    let mut world = passthrough(21);
    let viewers: Vec<usize> = (0..DRAINED_AT_ONCE + 8)
        .map(|_| {
            let viewer = world.join(&[], 1);
            world.subscribe(viewer, CAMERA);
            viewer
        })
        .collect();
    world.run_until(5 * S, |world| {
        viewers
            .iter()
            .all(|viewer| world.clients[*viewer].frames(CAMERA).len() > 10)
    });
    world.behind = 0;
    world.run(S);
    assert!(world.behind > 20, "{}", world.behind);
    for viewer in viewers {
        let frames = world.clients[viewer].frames(CAMERA);
        assert!(frames.iter().skip(1).all(|frame| frame.contiguous));
        let last = frames.last().expect("it sees something");
        assert!(world.now - last.at < 2 * FRAME, "viewer {viewer} is behind");
    }
}

#[test]
fn a_line_that_a_client_brought_needs_no_second_offer() {
    let world = passthrough(8);
    assert_eq!(world.clients[0].offers_heard, 0);
}

#[test]
fn ice_lite_connects_too() {
    let mut world = World::of(2, End::Server { lite: true });
    world.join(&[CAMERA], 1);
    world.run_until(S, is_published);
    let says_so = |output: &Output| match output {
        Output::Signal {
            signal: keel_media::Signal::Answer { sdp, .. },
            ..
        } => sdp.contains("a=ice-lite"),
        _ => false,
    };
    assert!(world.said.iter().any(says_so));
    world.subscribe(0, CAMERA);
    world.run_until(2 * S, |world| world.clients[0].frames(CAMERA).len() > 10);
}

#[test]
fn viewers_join_late_and_see_a_keyframe_at_once() {
    let mut world = passthrough(3);
    world.run(20 * S);
    let asked = world.clients[0].cameras[0].keyframes;
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    // Signaling is there first.
    world.links[viewer] = Link::DOWN;
    world.run(Duration::from_millis(200));
    world.links[viewer] = Link::default();
    world.run_until(2 * S, |world| {
        world.clients[viewer].frames(CAMERA).len() > 10
    });
    let frames = world.clients[viewer].frames(CAMERA);
    assert!(frames[0].is_key);
    let after = frames[0].at - world.clients[viewer].connected_at.unwrap();
    assert!(after < Duration::from_millis(100), "{after:?}");
    let asked = world.clients[0].cameras[0].keyframes - asked;
    assert_eq!(asked, 1, "when it can be shown, and not before");
    assert!(frames.iter().skip(1).all(|frame| frame.contiguous));
}

#[test]
fn a_viewer_without_a_free_line_is_offered_one() {
    let mut world = passthrough(4);
    // One line, and it is taken by the first track.
    let other = world.join(&[TrackId(2)], 0);
    let viewer = world.join(&[], 1);
    world.run(S);
    world.subscribe(viewer, CAMERA);
    world.subscribe(viewer, TrackId(2));
    world.run_until(3 * S, |world| {
        let viewer = &world.clients[viewer];
        viewer.frames(CAMERA).len() > 10 && viewer.frames(TrackId(2)).len() > 10
    });
    assert_eq!(world.clients[viewer].lines.len(), 2);
    assert!(world.clients[other].cameras[0].keyframes > 0);
}

#[test]
fn a_line_that_is_declined_is_told_once_and_not_offered_again() {
    let mut world = passthrough(12);
    let viewer = world.join(&[], 1);
    world.run(S);
    world.subscribe(viewer, CAMERA);
    world.clients[viewer].declines = true;
    world.join(&[TrackId(2)], 0);
    world.run(S);
    world.subscribe(viewer, TrackId(2));
    world.run(30 * S);
    assert_eq!(world.clients[viewer].offers_heard, 1);
    let declined = Output::Unsupported {
        peer: peer(viewer),
        track: TrackId(2),
    };
    let told = world.told.iter().filter(|(_, told)| *told == declined);
    assert_eq!(told.count(), 1);
}

/// Somebody who is about to be offered a second line.
fn about_to_be_offered(seed: u64) -> (World, usize) {
    let mut world = passthrough(seed);
    world.join(&[TrackId(2)], 0);
    let viewer = world.join(&[], 1);
    world.run(S);
    world.subscribe(viewer, CAMERA);
    world.run(S);
    (world, viewer)
}

#[test]
fn an_answer_that_is_refused_is_told_and_the_offer_made_again() {
    let (mut world, viewer) = about_to_be_offered(17);
    world.clients[viewer].nonsense = 1;
    let asked = world.now;
    world.subscribe(viewer, TrackId(2));
    world.run(S);
    let is_refusal =
        |told: &Output| matches!(told, Output::Refused { peer: of, .. } if *of == peer(viewer));
    assert!(world.told_after(asked, is_refusal).is_some());
    assert_eq!(world.clients[viewer].offers_heard, 1, "not at once");
    world.run_until(15 * S, |world| {
        world.clients[viewer].frames(TrackId(2)).len() > 10
    });
    assert_eq!(world.clients[viewer].offers_heard, 2);
}

#[test]
fn an_answer_that_is_lost_with_its_connection_is_asked_for_again() {
    let (mut world, viewer) = about_to_be_offered(18);
    world.clients[viewer].loses = 1;
    world.subscribe(viewer, TrackId(2));
    world.run(S);
    assert_eq!(world.clients[viewer].frames(TrackId(2)).len(), 0);
    let peer = peer(viewer);
    world.tell(Input::Resume { peer });
    world.run_until(2 * S, |world| {
        world.clients[viewer].frames(TrackId(2)).len() > 10
    });
}

#[test]
fn a_transport_that_the_other_side_closes_is_told_once_and_at_once() {
    let mut world = passthrough(13);
    let viewer = world.join(&[], 1);
    world.run_until(S, |world| world.clients[viewer].connected_at.is_some());
    let closed = world.now;
    world.clients[viewer].rtc.close().unwrap();
    world.clients[viewer].deadline = closed;
    world.run(20 * S);
    let is_end =
        |told: &Output| matches!(told, Output::Failed { peer: of, .. } if *of == peer(viewer));
    let told = world.told.iter().filter(|(_, told)| is_end(told));
    assert_eq!(told.count(), 1);
    assert!(world.told_after(closed, is_end).unwrap() < S);
}

#[test]
fn a_line_is_used_again_without_a_seam() {
    let mut world = passthrough(5);
    world.join(&[TrackId(2)], 0);
    let viewer = world.join(&[], 1);
    world.run(S);
    world.subscribe(viewer, CAMERA);
    world.run_until(2 * S, |world| {
        world.clients[viewer].frames(CAMERA).len() > 30
    });
    let (peer, track) = (peer(viewer), CAMERA);
    world.tell(Input::Unsubscribe { peer, track });
    world.run(S);
    let before = world.clients[viewer]
        .got
        .values()
        .map(Vec::len)
        .sum::<usize>();
    world.subscribe(viewer, TrackId(2));
    world.run_until(2 * S, |world| {
        world.clients[viewer].frames(TrackId(2)).len() > before + 20
    });
    let viewer = &world.clients[viewer];
    assert_eq!(viewer.got.len(), 1, "no second line");
    let frames = &viewer.frames(TrackId(2))[before..];
    assert!(frames[0].is_key);
    assert!(
        frames.iter().all(|frame| frame.contiguous),
        "{:?}",
        frames[0]
    );
}

#[test]
fn many_viewers_are_one_keyframe_request() {
    let mut world = passthrough(6);
    let before = world.clients[0].cameras[0].keyframes;
    let viewers: Vec<usize> = (0..20).map(|_| world.join(&[], 1)).collect();
    for viewer in &viewers {
        world.subscribe(*viewer, CAMERA);
    }
    world.run_until(3 * S, move |world| {
        let mut seen = viewers.iter();
        seen.all(|viewer| world.clients[*viewer].frames(CAMERA).len() > 5)
    });
    let keyframes = world.clients[0].cameras[0].keyframes - before;
    assert!(
        keyframes <= 4,
        "{keyframes} keyframes for twenty viewers at once"
    );
}

#[test]
fn loss_reordering_and_doubles_are_repaired_v05_v06() {
    let mut world = passthrough(7);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    for client in [0, viewer] {
        world.links[client].loss_percent = 5;
        world.links[client].twice_percent = 5;
        world.links[client].jitter = Duration::from_millis(20);
    }
    world.run(20 * S);
    for client in [0, viewer] {
        world.links[client] = Link::default();
    }
    world.run(2 * S);
    let frames = world.clients[viewer].frames(CAMERA);
    let numbers: Vec<u32> = frames.iter().map(|frame| frame.number).collect();
    let ordered = numbers.windows(2).all(|pair| pair[1] > pair[0]);
    assert!(ordered, "frames are neither doubled nor reordered");
    let expected = (20 * S).as_millis() / FRAME.as_millis();
    let share = frames.len() * 100 / usize::try_from(expected).unwrap();
    assert!(
        share >= 80,
        "{share} % of the frames came through 10 % loss"
    );
}

#[test]
fn who_was_sent_a_track_is_told_when_it_is_no_more() {
    let mut world = passthrough(21);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run_until(2 * S, |world| {
        world.clients[viewer].frames(CAMERA).len() > 10
    });
    assert_eq!(world.clients[viewer].lines.len(), 1);
    world.tell(Input::Close { peer: peer(0) });
    assert_eq!(world.clients[viewer].lines.len(), 0);
}

/// Frames that the camera has taken and a viewer has not seen.
fn behind(world: &World, viewer: usize) -> u32 {
    let frames = world.clients[viewer].frames(CAMERA);
    world.clients[0].cameras[0].next - frames.last().unwrap().number
}

#[test]
fn a_viewer_without_congestion_control_is_not_held_back() {
    let mut world = passthrough(19);
    let viewer = world.join_plain();
    world.subscribe(viewer, CAMERA);
    // More than a way is believed to carry before anything was measured.
    world.clients[0].cameras[0].bytes = 12_000;
    world.run(20 * S);
    let behind = behind(&world, viewer);
    assert!(behind <= 5, "{behind} frames behind");
}

#[test]
fn a_picture_is_passed_on_when_it_comes_and_not_held_to_an_estimate() {
    let mut world = passthrough(22);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    // From the first frame on it is more than a way is believed to carry, and keyframes are large.
    world.clients[0].cameras[0].bytes = 12_000;
    world.run_until(S, |world| !world.clients[viewer].frames(CAMERA).is_empty());
    for _ in 0..60 {
        world.run(Duration::from_millis(100));
        let behind = behind(&world, viewer);
        assert!(behind <= 2, "{behind} frames behind");
    }
}

/// A large picture's packets come at once, and each that goes out has its transport look at the next.
#[test]
fn what_a_peer_has_to_send_at_once_goes_out_in_the_step_that_brought_it() {
    let mut world = passthrough(28);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.clients[0].cameras[0].bytes = 12_000;
    world.run_until(S, |world| world.clients[viewer].frames(CAMERA).len() > 5);
    let before = world.due_again;
    world.run(S);
    let again = world.due_again - before;
    assert_eq!(again, 0, "steps that left something for at once");
}

#[test]
fn a_network_without_udp_is_served_over_tcp_v01() {
    let mut world = World::new(20);
    world.join_tcp(&[CAMERA], 1);
    world.run_until(S, is_published);
    world.subscribe(0, CAMERA);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run_until(3 * S, |world| {
        let seen = |nth: usize| world.clients[nth].frames(CAMERA).len() > 10;
        seen(0) && seen(viewer)
    });
}

#[test]
fn a_large_picture_is_not_held_back_by_what_nobody_has_measured_yet() {
    let mut world = passthrough(27);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.clients[0].cameras[0].bytes = 12_000;
    world.run(20 * S);
    let behind = behind(&world, viewer);
    assert!(behind <= 5, "{behind} frames behind");
}

#[test]
fn a_transport_has_its_time_from_its_first_description_and_not_from_before() {
    let mut world = World::new(23);
    // What was said of it first was refused, say.
    let late = world.join(&[], 0);
    world.run(20 * S);
    let now = world.now;
    world.clients[late].offer(now, &[CAMERA], 0);
    world.run_until(S, |world| world.clients[late].connected_at.is_some());
    assert!(is_published(&world));
}

#[test]
fn a_track_that_is_on_another_line_is_asked_for_keyframes_there() {
    const OTHER: TrackId = TrackId(2);
    let mut world = World::new(24);
    world.join(&[CAMERA, OTHER], 0);
    world.run(2 * S);
    let now = world.now;
    world.clients[0].restart(now, &[OTHER, CAMERA]);
    world.run(2 * S);
    let asked = |world: &World| [0, 1].map(|nth| world.clients[0].cameras[nth].keyframes);
    let before = asked(&world);
    world.tell(Input::Keyframe { track: CAMERA });
    world.run(Duration::from_millis(500));
    let after = asked(&world);
    assert_eq!(after[0], before[0], "it is not there any more");
    assert!(after[1] > before[1], "{before:?} {after:?}");
}

#[test]
fn a_line_that_is_turned_off_is_sent_nothing_and_begins_anew_when_it_is_on() {
    use str0m::media::Direction;
    let mut world = passthrough(25);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    let seen = |world: &World| world.clients[viewer].frames(CAMERA).len();
    world.run_until(2 * S, |world| seen(world) > 10);
    let now = world.now;
    world.clients[viewer].turn(now, Direction::Inactive);
    world.run(S);
    let sent = world.sent_to(viewer);
    world.run(5 * S);
    let sent = world.sent_to(viewer) - sent;
    assert!(sent < 50_000, "{sent} bytes in five seconds of nothing");
    let before = seen(&world);
    let now = world.now;
    world.clients[viewer].turn(now, Direction::RecvOnly);
    world.run_until(2 * S, |world| seen(world) > before + 10);
    let frames = &world.clients[viewer].frames(CAMERA)[before..];
    assert!(frames[0].is_key, "{:?}", frames[0]);
    let after = frames[0].at - now;
    assert!(after < Duration::from_millis(600), "{after:?}");
}

#[test]
fn who_has_no_room_for_another_line_is_told_so() {
    const CAMERAS: u64 = 70;
    let mut world = World::new(26);
    let cameras: Vec<TrackId> = (1..=CAMERAS).map(TrackId).collect();
    for some in cameras.chunks(8) {
        let nth = world.join(some, 0);
        for camera in &mut world.clients[nth].cameras {
            camera.stopped = true;
        }
    }
    world.run(S);
    let viewer = world.join(&[], 1);
    world.run(S);
    for camera in &cameras {
        world.subscribe(viewer, *camera);
    }
    world.run(5 * S);
    let untold = |world: &World| {
        let told = world.told.iter().filter(
            |(_, told)| matches!(told, Output::Unsupported { peer: of, .. } if *of == peer(viewer)),
        );
        cameras.len() - told.count() - world.clients[viewer].lines.len()
    };
    assert_eq!(untold(&world), 0);
    // One that becomes free takes one that waits.
    let lines = world.clients[viewer].lines.len();
    let peer = peer(viewer);
    let track = *world.clients[viewer].lines.values().next().unwrap();
    world.tell(Input::Unsubscribe { peer, track });
    assert_eq!(world.clients[viewer].lines.len(), lines);
}
