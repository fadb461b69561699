//! What a client that is let in may still try: roles of ICE, checks out of season, data channels.

use std::time::Duration;

use keel_media::{Input, Output, Path, Protocol, Signal, TrackId};
use str0m::ice::{IceCreds, StunMessage, TransId};

use crate::{
    routing::passthrough,
    world::{World, peer, server},
};

const CAMERA: TrackId = TrackId(1);

/// The server's credentials: those of the answer to a restart.
fn theirs(world: &mut World) -> IceCreds {
    let now = world.now;
    world.clients[0].restart(now, &[CAMERA]);
    let signal = world.clients[0].said.pop().unwrap();
    let mut out = Vec::new();
    let peer = peer(0);
    world
        .plane
        .handle(now, Input::Signal { peer, signal }, &mut out);
    let sdp = out.iter().find_map(|output| match output {
        Output::Signal {
            signal: Signal::Answer { sdp, .. },
            ..
        } => Some(sdp.clone()),
        _ => None,
    });
    world.perform(out);
    let sdp = sdp.unwrap();
    let value = |name: &str| {
        let mut lines = sdp.lines();
        lines.find_map(|line| line.strip_prefix(name)).unwrap()
    };
    IceCreds {
        ufrag: value("a=ice-ufrag:").to_owned(),
        pass: value("a=ice-pwd:").to_owned(),
    }
}

#[derive(Clone, Copy)]
struct Check<'a> {
    username: &'a str,
    password: &'a str,
    controlling: bool,
    tie_breaker: u64,
    nominates: bool,
}

fn check(of: &Check<'_>) -> Vec<u8> {
    let crypto = str0m::crypto::from_feature_flags();
    let message = StunMessage::binding_request(
        of.username,
        TransId::new(),
        of.controlling,
        of.tie_breaker,
        u32::MAX,
        of.nominates,
    );
    let mut bytes = vec![0; 512];
    let mac = |key: &[u8], parts: &[&[u8]]| crypto.sha1_hmac_provider.sha1_hmac(key, parts);
    let length = message
        .to_bytes(Some(of.password.as_bytes()), &mut bytes, mac)
        .unwrap();
    bytes.truncate(length);
    bytes
}

/// Bytes of answers to checks that went to an address because of these.
fn answered(world: &mut World, path: Path, bytes: &[u8]) -> usize {
    let mut out = Vec::new();
    let now = world.now;
    world.plane.datagrams(now, [(path, bytes)], &mut out);
    let sent = out.iter().filter_map(|output| match output {
        // A response of STUN, good or bad (RFC 8489 §5).
        Output::Transmit { path: to, bytes } if to.remote == path.remote && bytes[0] == 1 => {
            Some(bytes.len())
        }
        _ => None,
    });
    sent.sum()
}

#[test]
fn conflicts_of_roles_and_checks_out_of_season_change_nothing_a46() {
    let mut world = passthrough(46);
    let mut chance = fastrand::Rng::with_seed(46);
    let theirs = theirs(&mut world);
    let ours = world.clients[0].rtc.direct_api().local_ice_credentials();
    world.run(Duration::from_secs(1));
    let username = format!("{}:{}", theirs.ufrag, ours.ufrag);
    let known = Path {
        protocol: Protocol::Udp,
        local: server(),
        remote: world.clients[0].addr,
    };
    let stranger = Path {
        remote: ([10, 66, 6, 6], 6_666).into(),
        ..known
    };
    let before = world.clients[0].frames(CAMERA).len();
    for _ in 0..100 {
        for _ in 0..10 {
            let mut bytes = check(&Check {
                username: &username,
                password: &theirs.pass,
                controlling: chance.bool(),
                tie_breaker: [0, u64::MAX, chance.u64(..)][chance.usize(..3)],
                nominates: false,
            });
            // Some as an indication, which wants no answer and gets none.
            let indicates = chance.bool();
            if indicates {
                (bytes[0], bytes[1]) = (0, 0x11);
            }
            let answer = answered(&mut world, known, &bytes);
            assert!(!indicates || answer == 0, "{answer} bytes");
            // Without the password nobody is answered, whatever the role.
            let forged = check(&Check {
                username: &username,
                password: "not the password of it",
                controlling: chance.bool(),
                tie_breaker: chance.u64(..),
                nominates: true,
            });
            assert_eq!(answered(&mut world, stranger, &forged), 0);
        }
        world.run(Duration::from_millis(20));
    }
    world.run(Duration::from_secs(2));
    let frames = world.clients[0].frames(CAMERA).len() - before;
    assert!(frames > 90, "{frames} frames");
    // Of a transport that is gone: nobody's.
    world.tell(Input::Close { peer: peer(0) });
    let late = check(&Check {
        username: &username,
        password: &theirs.pass,
        controlling: true,
        tie_breaker: 1,
        nominates: true,
    });
    assert_eq!(answered(&mut world, known, &late), 0);
}

/// Who is known may send what is no check of its own, or none at all: no answer is larger than what it answers.
#[test]
fn checks_that_are_not_good_are_answered_by_less_or_not_at_all_a45() {
    let mut world = passthrough(45);
    let theirs = theirs(&mut world);
    let ours = world.clients[0].rtc.direct_api().local_ice_credentials();
    world.run(Duration::from_secs(1));
    let known = Path {
        protocol: Protocol::Udp,
        local: server(),
        remote: world.clients[0].addr,
    };
    let username = format!("{}:{}", theirs.ufrag, ours.ufrag);
    let good = Check {
        username: &username,
        password: &theirs.pass,
        controlling: true,
        tie_breaker: 7,
        nominates: false,
    };
    assert!(answered(&mut world, known, &check(&good)) > 0, "a good one");
    let forged = Check {
        password: "not the password of it",
        ..good
    };
    let unknown = Check {
        username: "nobody:nobody",
        ..good
    };
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = check(&good);
        change(&mut bytes);
        bytes
    };
    let bad = [
        check(&forged),
        check(&unknown),
        // The last of its FINGERPRINT, a length that is not its own, a cookie that is none.
        broken(|bytes| *bytes.last_mut().unwrap() ^= 1),
        broken(|bytes| bytes[3] ^= 4),
        broken(|bytes| bytes[4] ^= 1),
        broken(|bytes| bytes.truncate(24)),
        // An attribute that has to be understood and is not, in place of USERNAME.
        broken(|bytes| (bytes[20], bytes[21]) = (0x7f, 0x7f)),
        broken(|bytes| bytes.resize(1_400, 0)),
    ];
    for (nth, bytes) in bad.iter().enumerate() {
        for _ in 0..20 {
            let answer = answered(&mut world, known, bytes);
            assert!(answer <= bytes.len(), "{nth}: {answer} for {}", bytes.len());
            assert!(nth > 1 || answer == 0, "{nth}: it proves nothing");
        }
    }
    let before = world.clients[0].frames(CAMERA).len();
    world.run(Duration::from_secs(1));
    assert!(world.clients[0].frames(CAMERA).len() > before + 25);
}

#[test]
fn what_is_sent_on_data_channels_is_dropped_and_harms_nobody_a51() {
    let mut world = passthrough(51);
    let now = world.now;
    let watcher = world.join(&[], 1);
    world.subscribe(watcher, CAMERA);
    let channel = world.clients[0].open_channel(now);
    let said = std::mem::take(&mut world.clients[0].said);
    assert!(!said.is_empty());
    for signal in said {
        let signal = name_camera(&world, signal);
        world.tell(Input::Signal {
            peer: peer(0),
            signal,
        });
    }
    let mut sent = 0_usize;
    for _ in 0..200 {
        let message = vec![7; 60_000];
        if let Some(mut channel) = world.clients[0].rtc.channel(channel)
            && channel.write(true, &message).unwrap_or(false)
        {
            sent += message.len();
        }
        world.run(Duration::from_millis(20));
    }
    let before = world.clients[watcher].frames(CAMERA).len();
    world.run(Duration::from_secs(2));
    let frames = world.clients[watcher].frames(CAMERA).len() - before;
    assert!(sent > 500_000, "{sent} bytes");
    assert!(frames > 40, "{frames} frames, {sent} bytes flooded");
    let failed =
        |output: &Output| matches!(output, Output::Failed { peer: of, .. } if *of == peer(watcher));
    assert!(!world.told.iter().any(|(_, output)| failed(output)));
}

/// The same offer, which says again what the camera's line carries.
fn name_camera(world: &World, signal: Signal) -> Signal {
    match signal {
        Signal::Offer { sdp, .. } => {
            let mid = world.clients[0].cameras[0].mid.to_string();
            let track = CAMERA;
            let lines = vec![keel_media::Line { mid, track }];
            Signal::Offer { sdp, lines }
        }
        other => other,
    }
}
