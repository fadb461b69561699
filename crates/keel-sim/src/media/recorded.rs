//! The model of a plane tells what real ones tell, in the same order (`recorded/planes.txt`, which is held
//! to real peers by `keel-media`).

use std::fmt::Write;

use keel_core::node::{
    MediaFact, MediaOrder,
    media::{GroupId, Line, PeerId, Signal, StreamId},
};

use super::{Plane, STEP};
use crate::mix::SECOND;

const CAMERA: StreamId = StreamId(1);

/// A plane, and peers that answer checks while nothing blocks them.
struct Bench {
    now: u64,
    plane: Plane,
    peers: Vec<PeerId>,
    up: bool,
    camera: bool,
    said: Vec<MediaFact>,
}

impl Bench {
    fn new() -> Self {
        Self {
            now: SECOND,
            plane: Plane::new(1),
            peers: Vec::new(),
            up: true,
            camera: true,
            said: Vec::new(),
        }
    }

    fn order(&mut self, order: MediaOrder) {
        let facts = self.plane.take(self.now, order);
        self.said.extend(facts);
    }

    fn offer(&mut self, peer: PeerId, round: u32) {
        let lines = if peer.0 == 0 {
            vec![Line {
                mid: "c0".into(),
                stream: CAMERA,
            }]
        } else {
            Vec::new()
        };
        let sdp = format!("0 1 {round}");
        let signal = Signal::Offer { sdp, lines };
        self.order(MediaOrder::Signal { peer, signal });
    }

    fn join(&mut self) -> PeerId {
        let peer = PeerId(u64::try_from(self.peers.len()).expect("few"));
        self.peers.push(peer);
        let group = GroupId(1);
        self.order(MediaOrder::Open { peer, group });
        peer
    }

    fn subscribe(&mut self, peer: PeerId) {
        let stream = CAMERA;
        let max = None;
        self.order(MediaOrder::Subscribe { peer, stream, max });
    }

    fn run(&mut self, span: u64) {
        let until = self.now + span;
        while self.now < until {
            self.now += STEP;
            for peer in self.peers.iter().filter(|_| self.up) {
                let camera = self.camera && peer.0 == 0;
                self.plane.heard(self.now, *peer, true, camera);
            }
            self.said.extend(self.plane.step(self.now));
        }
    }

    fn joined() -> Self {
        let mut bench = Self::new();
        let peer = bench.join();
        bench.offer(peer, 0);
        bench.run(SECOND);
        bench.subscribe(peer);
        bench.run(SECOND);
        bench
    }
}

fn name(fact: &MediaFact) -> Option<String> {
    Some(match fact {
        MediaFact::Signal { peer, signal } => {
            let signal = match signal {
                Signal::Offer { .. } => "offer",
                Signal::Answer { .. } => "answer",
                Signal::Lines { .. } => "lines",
                Signal::Candidate { .. } => return None,
            };
            format!("{signal} {}", peer.0)
        }
        MediaFact::Connected { peer, .. } => format!("connected {}", peer.0),
        MediaFact::Reachable { peer, reachable } => {
            let what = if *reachable {
                "reachable"
            } else {
                "unreachable"
            };
            format!("{what} {}", peer.0)
        }
        MediaFact::Failed { peer, .. } => format!("failed {}", peer.0),
        MediaFact::Published { stream, .. } => format!("published {}", stream.0),
        MediaFact::Flow { stream, flows, .. } => {
            let what = if *flows { "flows" } else { "stalled" };
            format!("{what} {}", stream.0)
        }
        MediaFact::Unpublished { stream } => format!("unpublished {}", stream.0),
        MediaFact::Refused { .. } | MediaFact::Unsupported { .. } | MediaFact::Speaking { .. } => {
            return None;
        }
    })
}

fn scenarios() -> Vec<(&'static str, Bench)> {
    let mut all = vec![("join", Bench::joined())];
    let mut bench = Bench::joined();
    bench.up = false;
    bench.run(3 * SECOND);
    bench.up = true;
    bench.run(3 * SECOND);
    all.push(("a short outage", bench));

    let mut bench = Bench::joined();
    bench.up = false;
    bench.run(20 * SECOND);
    bench.offer(PeerId(0), 1);
    bench.up = true;
    bench.run(5 * SECOND);
    all.push(("a long outage and a restart", bench));

    let mut bench = Bench::joined();
    bench.camera = false;
    bench.run(3 * SECOND);
    bench.camera = true;
    bench.run(2 * SECOND);
    all.push(("a camera that stops", bench));

    let mut bench = Bench::new();
    let peer = bench.join();
    bench.offer(peer, 0);
    bench.up = false;
    bench.run(20 * SECOND);
    all.push(("never connected", bench));

    let mut bench = Bench::joined();
    let viewer = bench.join();
    bench.subscribe(viewer);
    bench.offer(viewer, 0);
    bench.run(2 * SECOND);
    bench.order(MediaOrder::Close { peer: PeerId(0) });
    bench.run(SECOND);
    all.push(("a publisher that leaves", bench));
    all
}

#[test]
fn the_model_tells_what_real_planes_tell() {
    let mut text = String::new();
    for (scenario, bench) in scenarios() {
        writeln!(text, "# {scenario}").expect("writing to memory");
        for line in bench.said.iter().filter_map(name) {
            writeln!(text, "{line}").expect("writing to memory");
        }
    }
    assert_eq!(text, include_str!("../../recorded/planes.txt"));
}
