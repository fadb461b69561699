//! A published track: whether it flows, how much comes of each layer, and who is sent which.

use std::{collections::BTreeMap, time::Instant};

use str0m::media::Mid;

use super::PeerId;
use crate::{
    cadence::{Cadence, Finding},
    forward::{Forward, Placed, Tail, Verdict},
    keyframes::Keyframes,
    layers::{self, Choice, Layer, Rate},
    limits,
    packet::{Kind, Packet},
    plane::TrackId,
    stats::{Counted, LayerStats, SentStats, TrackStats},
};

/// One layer, as it comes.
#[derive(Debug)]
struct Stream {
    layer: Layer,
    /// Who numbers its packets; absent before the first.
    source: Option<u32>,
    rate: Rate,
    keyframes: Keyframes,
    counted: Counted,
    keyframes_came: u64,
}

/// One peer that is sent the track.
#[derive(Debug)]
struct Subscription {
    peer: PeerId,
    /// Its line; absent until one is agreed on.
    mid: Option<Mid>,
    forward: Forward,
    choice: Choice,
    /// It does not begin anew before this.
    anew_at: Option<Instant>,
    /// It was told that it cannot be sent this.
    unsupported: bool,
    counted: Counted,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) publisher: PeerId,
    pub(super) mid: Mid,
    pub(super) kind: Kind,
    pub(super) armed: Option<Instant>,
    cadence: Cadence,
    streams: Vec<Stream>,
    subscriptions: Vec<Subscription>,
    looked: Instant,
}

impl Track {
    pub(super) const fn new(publisher: PeerId, mid: Mid, kind: Kind, now: Instant) -> Self {
        Self {
            publisher,
            mid,
            kind,
            armed: None,
            cadence: Cadence::new(now),
            streams: Vec::new(),
            subscriptions: Vec::new(),
            looked: now,
        }
    }

    pub(super) fn set_muted(&mut self, muted: bool, now: Instant) {
        self.cadence.set_muted(muted, now);
    }

    pub(super) fn subscribers(&self) -> impl Iterator<Item = PeerId> {
        self.subscriptions
            .iter()
            .map(|subscription| subscription.peer)
    }

    pub(super) fn is_sent_to(&self, peer: PeerId) -> bool {
        self.subscribers().any(|subscriber| subscriber == peer)
    }

    pub(super) fn join(&mut self, peer: PeerId, max: Option<Layer>) {
        if let Some(known) = self.subscriptions.iter_mut().find(|s| s.peer == peer) {
            return known.choice.set_max(max);
        }
        self.subscriptions.push(Subscription {
            peer,
            mid: None,
            forward: Forward::new(self.kind),
            choice: Choice::new(max),
            anew_at: None,
            unsupported: false,
            counted: Counted::default(),
        });
    }

    /// A peer is no longer sent it; what it was sent last.
    pub(super) fn leave(&mut self, peer: PeerId) -> Option<Tail> {
        let at = self.subscriptions.iter().position(|s| s.peer == peer)?;
        self.subscriptions.swap_remove(at).forward.tail()
    }

    /// Who was sent it, and what of it last.
    pub(super) fn tails(&self) -> impl Iterator<Item = (PeerId, Option<Tail>)> {
        let subscriptions = self.subscriptions.iter();
        subscriptions.map(|subscription| (subscription.peer, subscription.forward.tail()))
    }

    /// A subscriber has a line for it: what is sent begins now, with a keyframe if it can be reached.
    /// One that came before could not be shown, and would be in the way of the one that can.
    pub(super) fn put_on(
        &mut self,
        peer: PeerId,
        line: (Mid, Option<Tail>),
        reachable: bool,
        now: Instant,
    ) {
        let rates = self.rates(now);
        let Some(subscription) = self.subscriptions.iter_mut().find(|s| s.peer == peer) else {
            return;
        };
        let (mid, tail) = line;
        subscription.mid = Some(mid);
        subscription.forward.go_on_behind(tail);
        let budget = limits::FIRST_ESTIMATE_BPS;
        let layer = subscription.choice.choose(now, &rates, budget);
        let layer = layer.unwrap_or(Layer(0));
        if subscription.forward.aim(layer) && reachable {
            self.want_keyframe_of(now, layer);
        }
    }

    /// What a subscriber is sent begins anew, at most once for each request that its publisher may get.
    pub(super) fn begin_anew(&mut self, peer: PeerId, now: Instant) {
        let mut subscriptions = self.subscriptions.iter_mut();
        let Some(subscription) = subscriptions.find(|s| s.peer == peer) else {
            return;
        };
        let anew_at = subscription.anew_at.unwrap_or(now);
        if now >= anew_at {
            subscription.anew_at = Some(now + limits::KEYFRAME_GAP);
            subscription.forward.interrupt();
        }
    }

    /// A packet came: what it says of the track's cadence.
    pub(super) fn packet(&mut self, now: Instant, packet: &Packet) -> Option<Finding> {
        let stream = self.stream(packet.layer);
        stream.rate.add(now, packet.payload.len());
        stream.counted.add(packet.payload.len());
        if packet.starts_keyframe {
            stream.keyframes_came += 1;
            stream.keyframes.came();
        }
        self.cadence.packet(now)
    }

    /// Whether a packet's publisher numbers its layer anew, and a decoder cannot begin with it.
    pub(super) fn begins_anew(&mut self, packet: &Packet) -> bool {
        let before = self.stream(packet.layer).source.replace(packet.source);
        before.is_some_and(|before| before != packet.source) && !packet.starts_keyframe
    }

    /// How many are sent it.
    pub(super) const fn audience(&self) -> usize {
        self.subscriptions.len()
    }

    /// Who of the audience has a line for it.
    pub(super) fn subscriber(&self, nth: usize) -> Option<(PeerId, Mid)> {
        let subscription = self.subscriptions.get(nth)?;
        Some((subscription.peer, subscription.mid?))
    }

    /// The place of a packet in the stream of one of the audience, if it is sent it.
    pub(super) fn place(&mut self, nth: usize, packet: &Packet) -> Option<Placed> {
        match self.subscriptions.get_mut(nth)?.forward.place(packet) {
            Verdict::Send(placed) => Some(placed),
            Verdict::OtherLayer | Verdict::AwaitsKeyframe | Verdict::Stale => None,
        }
    }

    /// A packet is on its way to one of the audience.
    pub(super) fn count(&mut self, nth: usize, packet: &Packet) {
        if let Some(subscription) = self.subscriptions.get_mut(nth) {
            subscription.counted.add(packet.payload.len());
        }
    }

    /// How it comes.
    pub(super) fn stats(&self, track: TrackId, now: Instant) -> TrackStats {
        let layers = self.streams.iter().map(|stream| LayerStats {
            layer: stream.layer,
            counted: stream.counted,
            bps: stream.rate.bps(now),
            keyframes: stream.keyframes_came,
        });
        TrackStats {
            track,
            kind: self.kind,
            audience: self.sent_on_lines().count(),
            layers: layers.collect(),
        }
    }

    /// Those that have a line for it and can show it.
    fn sent_on_lines(&self) -> impl Iterator<Item = &Subscription> {
        let subscriptions = self.subscriptions.iter();
        subscriptions.filter(|s| s.mid.is_some() && !s.unsupported)
    }

    /// How each peer is sent it.
    pub(super) fn sent(&self, track: TrackId) -> impl Iterator<Item = (PeerId, SentStats)> {
        self.sent_on_lines().map(move |subscription| {
            let stats = SentStats {
                track,
                layer: subscription.forward.layer(),
                counted: subscription.counted,
            };
            (subscription.peer, stats)
        })
    }

    /// One of the audience cannot be reached: what it is sent next begins anew.
    pub(super) fn interrupt(&mut self, nth: usize) {
        if let Some(subscription) = self.subscriptions.get_mut(nth) {
            subscription.forward.interrupt();
        }
    }

    /// True the first time.
    pub(super) fn note_unsupported(&mut self, peer: PeerId) -> bool {
        let mut subscriptions = self.subscriptions.iter_mut();
        let subscription = subscriptions.find(|subscription| subscription.peer == peer);
        subscription.is_some_and(|s| !std::mem::replace(&mut s.unsupported, true))
    }

    /// Somebody needs a keyframe: of the layer that a subscriber is sent, or of every one.
    pub(super) fn want_keyframe(&mut self, now: Instant, of: Option<PeerId>) {
        if self.kind == Kind::Audio {
            return;
        }
        let mut subscriptions = self.subscriptions.iter();
        let sent = of.and_then(|peer| subscriptions.find(|s| s.peer == peer)?.forward.layer());
        match sent {
            Some(layer) => self.want_keyframe_of(now, layer),
            None => {
                for layer in self.layers() {
                    self.want_keyframe_of(now, layer);
                }
            }
        }
    }

    fn want_keyframe_of(&mut self, now: Instant, layer: Layer) {
        self.stream(layer).keyframes.want(now);
    }

    pub(super) fn take_due_keyframes(&mut self, now: Instant) -> Vec<Layer> {
        let due = self.streams.iter_mut().filter_map(|stream| {
            let due = stream.keyframes.take_due(now);
            due.then_some(stream.layer)
        });
        due.collect()
    }

    pub(super) fn check_cadence(&mut self, now: Instant) -> Option<Finding> {
        self.cadence.check(now)
    }

    /// Whether it is time to look which layers its subscribers are sent.
    pub(super) fn wants_look(&self, now: Instant) -> bool {
        self.look_at().is_some_and(|at| at <= now)
    }

    fn look_at(&self) -> Option<Instant> {
        let looks = self.kind == Kind::Video && !self.streams.is_empty();
        let looks = looks && !self.subscriptions.is_empty();
        looks.then(|| self.looked + layers::LOOK_EVERY)
    }

    /// What each subscriber would like to be sent of it, in bits a second.
    pub(super) fn wishes(&self, now: Instant) -> Vec<(PeerId, u64)> {
        let rates = self.rates(now);
        let sent = self.subscriptions.iter().filter(|s| s.mid.is_some());
        sent.map(|s| (s.peer, s.choice.wish(&rates))).collect()
    }

    /// Chooses the layer of each subscriber that has a budget anew.
    pub(super) fn look_at_layers(&mut self, now: Instant, budgets: &BTreeMap<PeerId, u64>) {
        self.looked = now;
        let rates = self.rates(now);
        let mut needed = Vec::new();
        for subscription in self.subscriptions.iter_mut().filter(|s| s.mid.is_some()) {
            let Some(budget) = budgets.get(&subscription.peer).copied() else {
                continue;
            };
            if let Some(layer) = subscription.choice.choose(now, &rates, budget)
                && subscription.forward.aim(layer)
            {
                needed.push(layer);
            }
        }
        for layer in needed {
            self.want_keyframe_of(now, layer);
        }
    }

    /// Whether its timer is later than its watchdog wants it.
    pub(super) fn is_armed_late(&self) -> bool {
        let wanted = self.cadence.deadline();
        wanted.is_some_and(|at| self.armed.is_none_or(|armed| armed > at))
    }

    /// When to look at it again. Keyframes are asked for only where the publisher can be asked.
    pub(super) fn deadline(&self, can_ask: bool) -> Option<Instant> {
        let streams = self.streams.iter().filter(|_| can_ask);
        let keyframes = streams.filter_map(|s| s.keyframes.deadline());
        let others = [self.cadence.deadline(), self.look_at()];
        keyframes.chain(others.into_iter().flatten()).min()
    }

    fn layers(&self) -> Vec<Layer> {
        match self.streams.as_slice() {
            [] => vec![Layer(0)],
            streams => streams.iter().map(|stream| stream.layer).collect(),
        }
    }

    fn rates(&self, now: Instant) -> Vec<(Layer, Option<u64>)> {
        let rates = self.streams.iter();
        rates.map(|s| (s.layer, s.rate.bps(now))).collect()
    }

    fn stream(&mut self, layer: Layer) -> &mut Stream {
        let at = match self.streams.iter().position(|stream| stream.layer == layer) {
            Some(at) => at,
            None => {
                self.streams.push(Stream {
                    layer,
                    source: None,
                    rate: Rate::default(),
                    keyframes: Keyframes::new(),
                    counted: Counted::default(),
                    keyframes_came: 0,
                });
                self.streams.len() - 1
            }
        };
        &mut self.streams[at]
    }
}
