//! Bad input: a typed refusal or silence, no panic, no amplification, nothing for others to notice.

use std::time::Duration;

use keel_media::{GroupId, Input, Output, Path, Protocol, Refusal, Signal, TrackId};

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
    // Every datagram goes to where a check has come from: the world asserts that it has no other.
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
    assert!(world.plane.strangers() >= 10_000);
}

#[test]
fn a_replayed_packet_is_not_forwarded_twice_a48() {
    let mut world = passthrough(25);
    world.links[0].twice_percent = 100;
    world.run(Duration::from_secs(3));
    let frames = world.clients[0].frames(CAMERA);
    let numbers: Vec<u32> = frames.iter().map(|frame| frame.number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] > pair[0]));
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
