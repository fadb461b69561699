//! Bad input: a typed refusal or silence, no panic, no amplification, nothing for others to notice.

use std::time::Duration;

use keel_media::{GroupId, Input, Output, Path, Protocol, Refusal, Signal, TrackId, limits};

use crate::{
    routing::passthrough,
    world::{World, peer, server},
};

const CAMERA: TrackId = TrackId(1);

fn refusal_of(world: &mut World, sdp: &str) -> Option<Refusal> {
    let nth = world.clients.len();
    let signal = Signal::Offer {
        sdp: sdp.to_owned(),
        lines: Vec::new(),
    };
    let peer = peer(nth + 100);
    let group = GroupId(1);
    world.tell(Input::Open { peer, group });
    let from = world.told.len();
    world.tell(Input::Signal { peer, signal });
    world.tell(Input::Close { peer });
    world.told[from..]
        .iter()
        .find_map(|(_, output)| match output {
            Output::Refused { refusal, .. } => Some(refusal.clone()),
            _ => None,
        })
}

/// A description that would be accepted.
fn good() -> String {
    let now = std::time::Instant::now();
    let mut client = crate::client::Client::new(([10, 0, 1, 9], 5_000).into(), now);
    client.offer(now, &[CAMERA], 1);
    match client.said.pop() {
        Some(Signal::Offer { sdp, .. }) => sdp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn descriptions_that_make_no_sense_are_refused_and_named_a44_a52() {
    let mut world = World::new(21);
    let good = good();
    assert_eq!(refusal_of(&mut world, &good), None);
    let large = format!("{good}{}", "a=x\r\n".repeat(100_000));
    assert!(matches!(
        refusal_of(&mut world, &large),
        Some(Refusal::TooLarge { .. })
    ));
    let many = format!("{good}{}", "m=audio 9 X 0\r\n".repeat(1_000));
    assert!(matches!(
        refusal_of(&mut world, &many),
        Some(Refusal::TooLarge { .. })
    ));
    let weak = good.replace("sha-256", "sha-1");
    assert_eq!(
        refusal_of(&mut world, &weak),
        Some(Refusal::WeakFingerprint)
    );
    let bare: String = good
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("a=fingerprint"))
        .collect();
    assert_eq!(
        refusal_of(&mut world, &bare),
        Some(Refusal::WeakFingerprint)
    );
    assert!(refusal_of(&mut world, "").is_some());
}

#[test]
fn mangled_descriptions_never_panic_a52() {
    let mut world = World::new(22);
    let good = good();
    let mut chance = fastrand::Rng::with_seed(22);
    for _ in 0..3_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..chance.usize(1..8) {
            let at = chance.usize(..bytes.len());
            match chance.u8(..4) {
                0 => bytes[at] = chance.u8(32..127),
                1 => drop(bytes.drain(at..(at + chance.usize(1..40)).min(bytes.len()))),
                2 => {
                    let piece = bytes[at..(at + 60).min(bytes.len())].to_vec();
                    let to = chance.usize(..bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let _ = refusal_of(&mut world, &String::from_utf8_lossy(&bytes));
    }
    assert_eq!(world.plane.peers(), 0);
}

#[test]
fn candidates_are_bounded_and_nothing_is_sent_to_them_a47() {
    let mut world = World::new(23);
    let client = world.join(&[CAMERA], 1);
    let peer = peer(client);
    // Of what could be reached, as many as are taken are: places of others, and ports of this machine.
    let mut taken = 0;
    for n in 0..200_u16 {
        let at = ["10.66.0.1", "203.0.113.9", "198.51.100.7"][usize::from(n % 3)];
        let candidate = format!("candidate:1 1 udp 2130706431 {at} {} typ host", 22 + n);
        let signal = Signal::Candidate { candidate };
        let before = world.told.len();
        world.tell(Input::Signal { peer, signal });
        taken += usize::from(world.told.len() == before);
    }
    assert_eq!(taken, limits::CANDIDATES_MAX);
    let mut refused = 0;
    for n in 0..10_000_u32 {
        let [a, b] = u16::try_from(n % 60_000).unwrap().to_be_bytes();
        let candidate = format!("candidate:1 1 udp 2130706431 169.254.{a}.{b} 80 typ host");
        let signal = Signal::Candidate { candidate };
        let before = world.told.len();
        world.tell(Input::Signal { peer, signal });
        refused += world.told.len() - before;
    }
    assert_eq!(refused, 10_000, "all of them are of no use");
    // Every datagram goes to where something has come from: the world asserts it of each.
    world.run(Duration::from_secs(2));
    assert!(world.clients[client].connected_at.is_some());
}

#[test]
fn each_round_of_ice_has_its_own_candidates() {
    let mut world = passthrough(25);
    let peer = peer(0);
    let name_some = |world: &mut World| {
        for port in 0..15 {
            let candidate = format!(
                "candidate:1 1 udp 2130706431 10.0.1.9 {} typ host",
                9_000 + port
            );
            let signal = Signal::Candidate { candidate };
            world.tell(Input::Signal { peer, signal });
        }
    };
    for _ in 0..3 {
        name_some(&mut world);
        let now = world.now;
        world.clients[0].restart(now, &[CAMERA]);
        world.run(Duration::from_secs(1));
    }
    let refused = |(_, told): &&(_, Output)| matches!(told, Output::Refused { .. });
    assert_eq!(world.told.iter().find(refused), None);
    name_some(&mut world);
    name_some(&mut world);
    assert_eq!(
        world.told.iter().filter(refused).count(),
        10,
        "15 and 5 more of one round"
    );
}

#[test]
fn garbage_is_dropped_without_an_answer_and_harms_nobody_a42_a43_a45_a48_a49() {
    let mut world = passthrough(24);
    let mut chance = fastrand::Rng::with_seed(24);
    let before = world.clients[0].frames(CAMERA).len();
    let stranger = Path {
        protocol: Protocol::Udp,
        local: server(),
        remote: ([10, 66, 6, 6], 6_666).into(),
    };
    let known = Path {
        remote: world.clients[0].addr,
        ..stranger
    };
    for _ in 0..200 {
        let garbage: Vec<Vec<u8>> = (0..50)
            .map(|_| {
                let mut bytes = vec![0; chance.usize(0..1_400)];
                chance.fill(&mut bytes);
                if let Some(first) = bytes.first_mut() {
                    // STUN, DTLS, RTP, RTCP.
                    *first = [0, 1, 22, 128, 144, 200][chance.usize(..6)];
                }
                bytes
            })
            .collect();
        for path in [stranger, known] {
            let mut out = Vec::new();
            let now = world.now;
            let arrived = garbage.iter().map(|bytes| (path, bytes.as_slice()));
            world.plane.datagrams(now, arrived, &mut out);
            let answers = out.iter().filter(
                |output| matches!(output, Output::Transmit { path, .. } if path.remote == stranger.remote),
            );
            assert_eq!(answers.count(), 0, "a stranger is never answered");
        }
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_secs(1));
    let frames = world.clients[0].frames(CAMERA);
    assert!(
        frames.len() > before + 100,
        "{} frames",
        frames.len() - before
    );
    assert!(world.plane.take_refused().strangers >= 10_000);
}

#[test]
fn a_replayed_packet_is_not_forwarded_twice_a48() {
    let sent_in_3_s = |twice_percent| {
        let mut world = passthrough(25);
        let viewer = world.join(&[], 1);
        world.subscribe(viewer, CAMERA);
        world.run_until(Duration::from_secs(2), |world| {
            world.clients[viewer].frames(CAMERA).len() > 10
        });
        world.links[0].twice_percent = twice_percent;
        let before = world.sent_to(viewer);
        world.run(Duration::from_secs(3));
        world.sent_to(viewer) - before
    };
    let (once, replayed) = (sent_in_3_s(0), sent_in_3_s(100));
    assert!(
        replayed * 100 < once * 110,
        "{replayed} bytes where {once} are enough"
    );
}

#[test]
fn a_client_hello_from_who_proved_nothing_is_dropped_whenever_it_comes_a42_a43() {
    let hello = passthrough(43).hellos.pop().expect("a handshake");
    let mut world = World::new(44);
    let stranger = Path {
        protocol: Protocol::Udp,
        local: server(),
        remote: ([10, 66, 6, 6], 6_666).into(),
    };
    // What is sent to the stranger because of it would be sent to where nothing has come from: the world
    // asserts that nothing is.
    let try_it = |world: &mut World, times: usize| {
        let (now, mut out) = (world.now, Vec::new());
        let arrived = std::iter::repeat_n((stranger, hello.as_slice()), times);
        world.plane.datagrams(now, arrived, &mut out);
        world.perform(out);
    };
    try_it(&mut world, 100);
    let client = world.join(&[CAMERA], 1);
    let mut tries = 0;
    while world.clients[client].connected_at.is_none() {
        tries += 1;
        assert!(tries < 5_000, "it never connects");
        try_it(&mut world, 10);
        world.run(Duration::from_millis(1));
    }
    assert!(tries > 10, "all the while: {tries}");
    try_it(&mut world, 10_000);
    world.subscribe(client, CAMERA);
    world.run_until(Duration::from_secs(2), |world| {
        world.clients[client].frames(CAMERA).len() > 10
    });
    let refused = world.plane.take_refused().strangers;
    assert!(refused >= 10_100, "{refused}");
}

#[test]
fn a_certificate_that_its_description_does_not_name_is_never_connected_a44() {
    let munged = |sdp: &str, twice: bool| {
        let lines = sdp.split_inclusive("\r\n").map(|line| {
            let Some(rest) = line.strip_prefix("a=fingerprint:sha-256 ") else {
                return line.to_owned();
            };
            let other = if rest.starts_with("00") { "11" } else { "00" };
            let munged = format!("a=fingerprint:sha-256 {other}{}", &rest[2..]);
            if twice { munged.repeat(2) } else { munged }
        });
        lines.collect::<String>()
    };
    for twice in [false, true] {
        let mut world = World::new(45);
        let nth = world.join(&[], 0);
        let now = world.now;
        world.clients[nth].offer(now, &[CAMERA], 1);
        let Some(Signal::Offer { sdp, lines }) = world.clients[nth].said.pop() else {
            panic!("it offers");
        };
        let sdp = munged(&sdp, twice);
        let (peer, signal) = (peer(nth), Signal::Offer { sdp, lines });
        world.tell(Input::Signal { peer, signal });
        world.run(limits::CONNECT_WITHIN + Duration::from_secs(1));
        assert!(!world.hellos.is_empty(), "it was tried");
        let told = |is: fn(&Output) -> bool| world.told.iter().any(|(_, told)| is(told));
        assert!(!told(|told| matches!(told, Output::Connected { .. })));
        assert!(
            told(|told| matches!(told, Output::Failed { .. } | Output::Refused { .. })),
            "{:?}",
            world.told
        );
    }
}

#[test]
fn who_brings_too_much_is_cut_and_others_do_not_notice_a50() {
    const OTHER: TrackId = TrackId(9);
    let mut world = passthrough(50);
    let other = world.join(&[OTHER], 1);
    world.run(Duration::from_secs(1));
    world.subscribe(other, OTHER);
    world.run_until(Duration::from_secs(3), |world| {
        world.clients[other].frames(OTHER).len() > 10
    });
    // Half a gigabit and more.
    world.clients[0].cameras[0].bytes = 2_500_000;
    let (before, sent) = (world.clients[other].frames(OTHER).len(), world.sent_to(0));
    world.run(Duration::from_secs(2));
    let refused = world.plane.take_refused();
    assert!(refused.overrun > 10_000, "{refused:?}");
    let frames = world.clients[other].frames(OTHER).len() - before;
    assert!(frames > 50, "{frames} frames of another's");
    // A second's worth and the burst, of what comes back to it.
    let bytes = world.sent_to(0) - sent;
    assert!(bytes < 75_000_000, "{bytes} bytes");
}

#[test]
fn who_says_that_everything_is_lost_is_sent_as_much_again_and_no_more_a50() {
    let sent_in_5_s = |loss_percent| {
        let mut world = passthrough(51);
        let viewer = world.join(&[], 1);
        world.subscribe(viewer, CAMERA);
        world.run_until(Duration::from_secs(2), |world| {
            world.clients[viewer].frames(CAMERA).len() > 10
        });
        world.links[viewer].loss_percent = loss_percent;
        let before = world.sent_to(viewer);
        world.run(Duration::from_secs(5));
        world.sent_to(viewer) - before
    };
    let (clear, lossy) = (sent_in_5_s(0), sent_in_5_s(60));
    assert!(lossy < clear * 9 / 4, "{lossy} bytes, {clear} without loss");
}

#[test]
fn a_client_that_never_stops_moving_loses_its_transport_and_is_told_a47() {
    let mut world = passthrough(26);
    let ended = |world: &World| {
        let mut told = world.told.iter();
        told.any(|(_, told)| matches!(told, Output::Failed { .. }))
    };
    world.clients[0].cameras[0].stopped = true;
    let mut moves = 0_u16;
    while !ended(&world) {
        moves += 1;
        assert!(moves < 400, "it never ends");
        let [a, b] = moves.to_be_bytes();
        world.seen_at.insert(0, ([10, 9, a, b], 777).into());
        world.run(Duration::from_secs(4));
    }
    assert!(moves > 200, "after {moves} addresses");
    assert_eq!(world.plane.peers(), 0);
}
