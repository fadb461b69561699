//! What a plane tells in a few scenarios, recorded for the simulator's model of it.
//!
//! `crates/keel-sim/recorded/planes.txt` is checked here against real peers, and by `keel-sim` against its
//! model: `EVENKEEL_WRITE_RECORDED=1` writes it anew. Only the order counts, and not every step of a
//! negotiation.

use std::{fmt::Write, fs, path::PathBuf, time::Duration};

use keel_media::{Finding, Input, Output, Signal, TrackId};

use crate::world::{Link, World, peer};

const CAMERA: TrackId = TrackId(1);
const S: Duration = Duration::from_secs(1);

fn name(output: &Output) -> Option<String> {
    Some(match output {
        Output::Signal { peer, signal } => {
            let signal = match signal {
                Signal::Offer { .. } => "offer",
                Signal::Answer { .. } => "answer",
                Signal::Lines { .. } => "lines",
                Signal::Candidate { .. } => return None,
            };
            format!("{signal} {}", peer.0)
        }
        Output::Connected { peer, .. } => format!("connected {}", peer.0),
        Output::Unreachable { peer } => format!("unreachable {}", peer.0),
        Output::Reachable { peer } => format!("reachable {}", peer.0),
        Output::Failed { peer, .. } => format!("failed {}", peer.0),
        Output::Published { track, .. } => format!("published {}", track.0),
        Output::Unpublished { track } => format!("unpublished {}", track.0),
        Output::Cadence { track, finding } => match finding {
            Finding::Stalled => format!("stalled {}", track.0),
            Finding::Flowing { .. } => format!("flows {}", track.0),
        },
        Output::Transmit { .. }
        | Output::Refused { .. }
        | Output::PassedOver { .. }
        | Output::Moved { .. }
        | Output::Speaking { .. }
        | Output::Unsupported { .. } => return None,
    })
}

/// A publisher that is sent its own camera.
fn joined(seed: u64) -> World {
    let mut world = World::new(seed);
    world.join(&[CAMERA], 1);
    world.run(S);
    world.subscribe(0, CAMERA);
    world.run(S);
    world
}

fn scenarios() -> Vec<(&'static str, World)> {
    let mut all = vec![("join", joined(101))];
    let mut world = joined(102);
    world.links[0] = Link::DOWN;
    world.run(3 * S);
    world.links[0] = Link::default();
    world.run(3 * S);
    all.push(("a short outage", world));

    let mut world = joined(103);
    world.links[0] = Link::DOWN;
    world.run(20 * S);
    world.links[0] = Link::default();
    let now = world.now;
    world.clients[0].restart(now, &[CAMERA]);
    world.run(5 * S);
    all.push(("a long outage and a restart", world));

    let mut world = joined(104);
    world.clients[0].cameras[0].stopped = true;
    world.run(3 * S);
    world.clients[0].cameras[0].stopped = false;
    world.run(2 * S);
    all.push(("a camera that stops", world));

    let mut world = World::new(105);
    world.join(&[CAMERA], 1);
    world.links[0] = Link::DOWN;
    world.run(20 * S);
    all.push(("never connected", world));

    let mut world = joined(106);
    let viewer = world.join(&[], 1);
    world.subscribe(viewer, CAMERA);
    world.run(2 * S);
    world.tell(Input::Close { peer: peer(0) });
    world.run(S);
    all.push(("a publisher that leaves", world));
    all
}

#[test]
fn what_planes_tell_is_as_recorded() {
    let mut text = String::new();
    for (scenario, world) in scenarios() {
        writeln!(text, "# {scenario}").expect("writing to memory");
        for line in world.said.iter().filter_map(name) {
            writeln!(text, "{line}").expect("writing to memory");
        }
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../keel-sim/recorded/planes.txt"
    );
    let path = PathBuf::from(path);
    if std::env::var_os("EVENKEEL_WRITE_RECORDED").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be written");
        return fs::write(&path, text).expect("it can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        there, text,
        "EVENKEEL_WRITE_RECORDED=1 cargo test -p keel-media recorded"
    );
}
