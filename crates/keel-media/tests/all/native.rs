//! The client's end against the plane, over a network in virtual time: descriptions that cross, that are
//! lost, and what comes of frames.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use keel_media::{
    Codec, End, GroupId, Input, Kind, Line, Output, Path, PeerId, Plane, Protocol, Signal, TrackId,
    client::{self, Client, Frame, Source, SourceId},
};

use crate::world::{config, server};

const DELAY: Duration = Duration::from_millis(10);
const FRAME: Duration = Duration::from_millis(33);
const PEER: PeerId = PeerId(0);
const CAMERA: SourceId = SourceId(1);
const SCREEN: SourceId = SourceId(2);

/// On its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    Up(Vec<u8>),
    Down(SocketAddr, Vec<u8>),
    Said(usize),
    Heard(usize),
}

struct Pair {
    now: Instant,
    plane: Plane,
    client: Client,
    own: SocketAddr,
    flying: BinaryHeap<Reverse<(Instant, u64, Sent)>>,
    sent: u64,
    /// Every word of signaling, in order; those in flight are named by their place.
    words: Vec<Signal>,
    frames: Vec<Frame>,
    told: Vec<Output>,
    keyframes_wanted: Vec<SourceId>,
    connected: bool,
    blocked: bool,
    /// The next words each way that are lost.
    lose_said: usize,
    lose_heard: usize,
    loss_percent: u8,
    chance: fastrand::Rng,
    cameras: Vec<(SourceId, u32, Instant)>,
    codec: Codec,
}

/// A picture that is one as far as anybody looks who does not decode it. One of VP8 bears its number.
fn picture(codec: Codec, key: bool, number: u32) -> Vec<u8> {
    let mut data = match codec {
        // The uncompressed header: a frame marker, profile 0, the type, and a keyframe's sync code.
        Codec::Vp9 if key => vec![0x82, 0x49, 0x83, 0x42],
        Codec::Vp9 => vec![0x86, 0, 0, 0],
        // A sequence header where one begins, and a frame, each with its size (LEB128).
        Codec::Av1 => {
            let sequence = [0x0a, 0x04, 0x00, 0x00, 0x00, 0x20];
            let begins = if key { &sequence[..] } else { &[] };
            return [begins, &[0x32, 0xd0, 0x0f], &[7; 2_000]].concat();
        }
        Codec::Vp8 | Codec::H264 | Codec::Opus | Codec::Other => {
            let mut data = vec![u8::from(!key), 0, 0];
            data.extend(number.to_be_bytes());
            data
        }
    };
    data.resize(if key { 6_000 } else { 2_500 }, 7);
    data
}

fn video(codec: Codec) -> Source {
    Source {
        kind: Kind::Video,
        codec,
        layers: Vec::new(),
    }
}

/// The number by which the plane knows a source.
const fn track(source: SourceId) -> TrackId {
    TrackId(100 + source.0)
}

impl Pair {
    fn new(receives: usize, sources: &[SourceId], codec: Codec) -> Self {
        let now = Instant::now();
        let mut plane = Plane::new(config(End::Server { lite: false }, server()));
        plane.handle(
            now,
            Input::Open {
                peer: PEER,
                group: GroupId(1),
            },
            &mut Vec::new(),
        );
        let mut client = Client::new(now, 0, receives);
        for source in sources {
            client.publish(*source, video(codec));
        }
        Self {
            codec,
            now,
            plane,
            client,
            own: SocketAddr::from(([10, 0, 1, 1], 5_000)),
            flying: BinaryHeap::new(),
            sent: 0,
            words: Vec::new(),
            frames: Vec::new(),
            told: Vec::new(),
            keyframes_wanted: Vec::new(),
            connected: false,
            blocked: false,
            lose_said: 0,
            lose_heard: 0,
            loss_percent: 0,
            chance: fastrand::Rng::with_seed(7),
            cameras: sources.iter().map(|source| (*source, 0, now)).collect(),
        }
    }

    fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.plane.handle(self.now, input, &mut out);
        self.performed(out);
    }

    fn fly(&mut self, what: Sent) {
        let is_media = matches!(what, Sent::Up(_) | Sent::Down(..));
        if is_media && (self.blocked || self.chance.u8(..100) < self.loss_percent) {
            return;
        }
        self.sent += 1;
        self.flying
            .push(Reverse((self.now + DELAY, self.sent, what)));
    }

    fn performed(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Transmit { path, bytes } => self.fly(Sent::Down(path.local, bytes)),
                Output::Signal { signal, .. } => {
                    if self.lose_heard > 0 {
                        self.lose_heard -= 1;
                        continue;
                    }
                    self.words.push(signal);
                    self.fly(Sent::Heard(self.words.len() - 1));
                }
                told => self.told.push(told),
            }
        }
    }

    fn say(&mut self, signal: Signal) {
        if self.lose_said > 0 {
            self.lose_said -= 1;
            return;
        }
        self.words.push(signal);
        self.fly(Sent::Said(self.words.len() - 1));
    }

    fn drive(&mut self) {
        let mut out = Vec::new();
        self.client.drain(self.now, &mut out);
        for output in out {
            match output {
                client::Output::Transmit { bytes, .. } => self.fly(Sent::Up(bytes)),
                client::Output::Offer { sdp, lines } => {
                    let line = |(mid, source): (String, SourceId)| Line {
                        mid,
                        track: track(source),
                    };
                    let lines = lines.into_iter().map(line).collect();
                    self.say(Signal::Offer { sdp, lines });
                }
                client::Output::Answer { sdp } => {
                    let lines = Vec::new();
                    self.say(Signal::Answer { sdp, lines });
                }
                client::Output::Reach { remote } => {
                    assert_eq!(remote, server());
                    self.client.reach_from(self.now, self.own);
                }
                client::Output::Connected => self.connected = true,
                client::Output::Reachable(_) => {}
                client::Output::KeyframeWanted { source, .. } => {
                    self.keyframes_wanted.push(source);
                }
                client::Output::Frame(frame) => self.frames.push(frame),
                client::Output::Over => panic!("the transport is over"),
            }
        }
    }

    /// A frame of each source whose time has come.
    fn shoot(&mut self) {
        for nth in 0..self.cameras.len() {
            let (source, number, due) = self.cameras[nth];
            if due > self.now {
                continue;
            }
            self.cameras[nth] = (source, number + 1, due + FRAME);
            let wanted = self.keyframes_wanted.len();
            self.keyframes_wanted.retain(|of| *of != source);
            let key = number == 0 || wanted > self.keyframes_wanted.len();
            let data = picture(self.codec, key, number);
            let time = u64::from(number) * 2_970;
            let _ = self.client.write(self.now, source, 0, time, data.into());
        }
    }

    fn run_until(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) {
        let until = self.now + within;
        while !holds(self) {
            assert!(self.now < until, "not within {within:?}: {:?}", self.words);
            self.shoot();
            self.drive();
            let flying = self.flying.peek().map(|Reverse((at, ..))| *at);
            let plane = self.plane.deadline().map(|deadline| deadline.at);
            let cameras = self.cameras.iter().map(|(_, _, due)| *due);
            let wakes = [Some(self.client.deadline()), flying, plane];
            let next = wakes.into_iter().flatten().chain(cameras).min();
            let next = next.unwrap_or(until).min(until);
            self.now = next.max(self.now + Duration::from_micros(50));
            self.arrive();
            self.tell(Input::Tick);
        }
    }

    fn run(&mut self, span: Duration) {
        let until = self.now + span;
        self.run_until(span + FRAME, |pair| pair.now >= until);
    }

    fn arrive(&mut self) {
        while let Some(Reverse((at, _, what))) = self.flying.pop() {
            if at > self.now {
                self.flying.push(Reverse((at, 0, what)));
                return;
            }
            match what {
                Sent::Up(bytes) => {
                    let path = Path {
                        protocol: Protocol::Udp,
                        local: server(),
                        remote: self.own,
                    };
                    let mut out = Vec::new();
                    let arrived = [(path, bytes.as_slice())];
                    self.plane.datagrams(self.now, arrived, &mut out);
                    self.performed(out);
                }
                Sent::Down(from, bytes) => {
                    let path = Path {
                        protocol: Protocol::Udp,
                        local: self.own,
                        remote: from,
                    };
                    self.client.datagram(self.now, path, &bytes);
                }
                Sent::Said(nth) => {
                    let signal = self.words[nth].clone();
                    let peer = PEER;
                    self.tell(Input::Signal { peer, signal });
                }
                Sent::Heard(nth) => match self.words[nth].clone() {
                    Signal::Offer { sdp, .. } => {
                        self.client.hear_offer(self.now, &sdp).unwrap();
                    }
                    Signal::Answer { sdp, .. } => {
                        self.client.hear_answer(self.now, &sdp).unwrap();
                    }
                    Signal::Candidate { candidate } => {
                        self.client.hear_candidate(self.now, &candidate).unwrap();
                    }
                    Signal::Lines { .. } => {}
                },
            }
        }
    }

    /// Its tracks come back to it.
    fn subscribe(&mut self, source: SourceId) {
        let (peer, track, max) = (PEER, track(source), None);
        self.tell(Input::Subscribe { peer, track, max });
    }

    fn is_published(&self, source: SourceId) -> bool {
        let of = track(source);
        let is_of = |told: &Output| matches!(told, Output::Published { track, .. } if *track == of);
        self.told.iter().any(is_of)
    }

    /// The numbers of the frames that came since.
    fn numbers(&self, from: usize) -> Vec<u32> {
        let number = |frame: &Frame| u32::from_be_bytes(frame.data[3..7].try_into().unwrap());
        self.frames[from..].iter().map(number).collect()
    }
}

/// A pair whose camera comes back to it.
fn flowing() -> Pair {
    flowing_of(Codec::Vp8)
}

fn flowing_of(codec: Codec) -> Pair {
    let mut pair = Pair::new(1, &[CAMERA], codec);
    pair.run_until(Duration::from_secs(1), |pair| {
        pair.connected && pair.is_published(CAMERA)
    });
    pair.subscribe(CAMERA);
    pair.run_until(Duration::from_secs(1), |pair| pair.frames.len() > 10);
    assert!(pair.frames[0].key, "it begins with a keyframe");
    pair
}

fn assert_consecutive(numbers: &[u32]) {
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
}

#[test]
fn frames_go_in_whole_and_come_out_whole_and_in_order() {
    let mut pair = flowing();
    pair.run(Duration::from_secs(2));
    assert_consecutive(&pair.numbers(0));
    let samples = pair.client.samples();
    let sample = samples.iter().find(|sample| sample.frames > 0).unwrap();
    assert_eq!(sample.lost, 0, "{sample:?}");
    assert_eq!(sample.shown, Some(sample.frames), "{sample:?}");
    assert!(sample.packets > 2 * sample.frames, "{sample:?}");
}

#[test]
fn vp9_and_av1_pass_through_and_a_late_viewer_begins_with_a_keyframe() {
    for codec in [Codec::Vp9, Codec::Av1] {
        let mut pair = flowing_of(codec);
        pair.run(Duration::from_secs(2));
        assert!(pair.frames.iter().all(|frame| frame.codec == codec));
        let samples = pair.client.samples();
        let sample = samples.iter().find(|sample| sample.frames > 0).unwrap();
        assert_eq!(sample.lost, 0, "{codec:?}: {sample:?}");
        assert_eq!(sample.shown, Some(sample.frames), "{codec:?}: {sample:?}");
        assert!(sample.frames > 50, "{codec:?}: {sample:?}");
        // A viewer that comes to a picture that has run for long is sent nothing before a keyframe.
        let (peer, track, max) = (PEER, track(CAMERA), None);
        pair.tell(Input::Unsubscribe { peer, track });
        pair.run(Duration::from_secs(1));
        let from = pair.frames.len();
        pair.tell(Input::Subscribe { peer, track, max });
        pair.run_until(Duration::from_secs(1), |pair| pair.frames.len() > from);
        assert!(pair.frames[from].key, "{codec:?}");
    }
}

#[test]
fn offers_that_cross_come_through_both_v13() {
    let mut pair = flowing();
    for round in 0..5_u64 {
        // The server has something for which there is no line, and at the same moment so has the client.
        let source = SourceId(10 + round);
        pair.run(4 * DELAY);
        pair.client.publish(source, video(Codec::Vp8));
        pair.cameras.push((source, 0, pair.now));
        if round == 0 {
            pair.run_until(Duration::from_secs(1), |pair| pair.is_published(source));
            continue;
        }
        let words = pair.words.len();
        pair.subscribe(SourceId(10 + round - 1));
        pair.run_until(Duration::from_secs(2), |pair| {
            pair.is_published(source) && pair.client.carries(source)
        });
        let offers = pair.words[words..].iter();
        let offers = offers.filter(|word| matches!(word, Signal::Offer { .. }));
        assert!(offers.count() >= 3, "both, and one again");
    }
    let before = pair.frames.len();
    pair.run(Duration::from_secs(1));
    let mids: std::collections::BTreeSet<_> =
        pair.frames[before..].iter().map(|of| &of.mid).collect();
    assert_eq!(mids.len(), 5, "the camera and four that were asked for");
}

#[test]
fn what_was_said_into_a_lost_connection_is_said_again() {
    for (said, heard) in [(1, 0), (0, 1)] {
        let mut pair = flowing();
        (pair.lose_said, pair.lose_heard) = (said, heard);
        pair.client.publish(SCREEN, video(Codec::Vp8));
        pair.cameras.push((SCREEN, 0, pair.now));
        pair.run(Duration::from_millis(500));
        assert!(!pair.client.carries(SCREEN), "its answer did not come");
        pair.tell(Input::Resume { peer: PEER });
        pair.client.resume(pair.now);
        pair.run_until(Duration::from_secs(1), |pair| {
            pair.is_published(SCREEN) && pair.client.carries(SCREEN)
        });
        pair.subscribe(SCREEN);
        let mids = |pair: &Pair| {
            let mids = pair.frames.iter().map(|frame| frame.mid.clone());
            mids.collect::<std::collections::BTreeSet<_>>().len()
        };
        pair.run_until(Duration::from_secs(2), |pair| mids(pair) == 2);
    }
}

#[test]
fn an_offer_that_nobody_answers_is_said_again() {
    for (said, heard) in [(1, 0), (0, 1)] {
        let mut pair = flowing();
        (pair.lose_said, pair.lose_heard) = (said, heard);
        pair.client.publish(SCREEN, video(Codec::Vp8));
        pair.cameras.push((SCREEN, 0, pair.now));
        pair.run_until(Duration::from_secs(6), |pair| pair.client.carries(SCREEN));
    }
}

#[test]
fn an_offer_that_was_said_twice_is_answered_twice_and_nothing_breaks() {
    let mut pair = flowing();
    pair.client.publish(SCREEN, video(Codec::Vp8));
    pair.drive();
    pair.client.resume(pair.now);
    let answers = |pair: &Pair| {
        let words = pair.words.iter();
        words
            .filter(|word| matches!(word, Signal::Answer { .. }))
            .count()
    };
    let before = answers(&pair);
    pair.run(Duration::from_millis(500));
    assert_eq!(answers(&pair), before + 2);
    assert!(pair.client.carries(SCREEN));
}

#[test]
fn a_restart_of_ice_in_an_outage_is_answered_after_it_v02() {
    let mut pair = flowing();
    pair.blocked = true;
    pair.run(Duration::from_secs(3));
    pair.client.restart();
    pair.run(Duration::from_secs(7));
    pair.blocked = false;
    let before = pair.frames.len();
    let healed = pair.now;
    pair.run_until(Duration::from_millis(1_500), |pair| {
        pair.frames.len() > before
    });
    assert!(pair.frames[before].at >= healed);
    // Until the way that was agreed on anew is taken.
    pair.run(Duration::from_secs(1));
    let from = pair.frames.len();
    pair.run(Duration::from_secs(1));
    assert_consecutive(&pair.numbers(from));
}

#[test]
fn loss_on_the_way_is_repaired_or_told_v05() {
    let mut pair = flowing();
    pair.loss_percent = 5;
    let from = pair.frames.len();
    pair.run(Duration::from_secs(10));
    pair.loss_percent = 0;
    pair.run(Duration::from_secs(1));
    let numbers = pair.numbers(from);
    let span = usize::try_from(numbers.last().unwrap() - numbers[0] + 1).unwrap();
    assert!(
        numbers.len() * 100 > span * 90,
        "{} of {span}",
        numbers.len()
    );
    let frames = &pair.frames[from..];
    for (nth, pair_of) in numbers.windows(2).enumerate() {
        let missing = pair_of[1] != pair_of[0] + 1;
        assert!(
            !missing || !frames[nth + 1].contiguous || frames[nth + 1].key,
            "a hole that is not told: {pair_of:?}"
        );
    }
    let samples = pair.client.samples();
    assert!(samples.iter().any(|sample| sample.lost > 0), "{samples:?}");
}

/// A fifth of what is sent again is lost, too, and of what is asked for: what a way may be given beyond the
/// first time is enough for that, at both ends.
#[test]
fn of_a_way_that_loses_a_fifth_most_pictures_are_shown_v05() {
    let shown_of = |pair: &Pair| {
        let samples = pair.client.samples();
        samples
            .iter()
            .filter_map(|sample| sample.shown)
            .sum::<u64>()
    };
    let (mut shown, mut made) = (0, 0);
    for seed in 0..8 {
        let mut pair = flowing();
        pair.chance = fastrand::Rng::with_seed(seed);
        pair.loss_percent = 20;
        let before = (shown_of(&pair), pair.cameras[0].1);
        pair.run(Duration::from_secs(8));
        shown += shown_of(&pair) - before.0;
        made += u64::from(pair.cameras[0].1 - before.1);
    }
    assert!(shown * 100 > made * 75, "{shown} of {made}");
}

#[test]
fn a_line_is_used_again_by_the_next_of_its_kind() {
    let mut pair = flowing();
    let lines = |pair: &Pair| {
        let offers = pair.words.iter().rev().find_map(|word| match word {
            Signal::Offer { sdp, .. } => Some(sdp.matches("\nm=").count()),
            _ => None,
        });
        offers.unwrap()
    };
    let first = lines(&pair);
    for round in 0..3 {
        let source = SourceId(20 + round);
        pair.client.publish(source, video(Codec::Vp8));
        pair.run_until(Duration::from_secs(1), |pair| pair.is_published(source));
        pair.client.unpublish(source);
        let of = track(source);
        pair.run_until(Duration::from_secs(1), |pair| {
            let told = pair.told.iter();
            told.clone()
                .any(|told| matches!(told, Output::Unpublished { track } if *track == of))
        });
    }
    assert_eq!(lines(&pair), first + 1);
}

#[test]
fn descriptions_that_make_no_sense_are_refused_and_nothing_changes_a52() {
    let mut pair = flowing();
    let now = pair.now;
    let huge = "x".repeat(keel_media::limits::SDP_BYTES_MAX + 1);
    for sdp in ["", "v=0", "nonsense", &huge] {
        assert!(pair.client.hear_offer(now, sdp).is_err());
        assert!(pair.client.hear_answer(now, sdp).is_err());
    }
    assert!(
        pair.client
            .hear_candidate(now, "candidate:nonsense")
            .is_err()
    );
    let aimed = "candidate:1 1 udp 1 224.0.0.1 9 typ host";
    assert!(pair.client.hear_candidate(now, aimed).is_err(), "nobody");
    let from = pair.frames.len();
    pair.run(Duration::from_secs(1));
    assert_consecutive(&pair.numbers(from));
}
