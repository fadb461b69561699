//! The media plane: every peer of a server, every track, and who is sent what.
//!
//! A machine like those of the core: inputs in, outputs out, a deadline that says why. It has no socket,
//! no clock and no task; what it is not is deterministic, since the crypto of its peers is random. Media
//! never passes through a session's log or its task: the session says who may have what, and is told
//! what became of it.

mod io;
mod paths;
mod refresh;
mod signaling;
mod time;
mod track;
mod voices;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

pub use io::{Failure, GroupId, Input, Line, Output, Outputs, PeerId, Signal, TrackId};

use crate::{
    budget::Budget,
    config::{Config, End},
    consent::{self, Consent},
    demux::{Demux, Owner, Sighting},
    layers::Wishes,
    limits,
    packet::Packet,
    path::Path,
    peer::{Happening, Peer},
    stats::{PeerStats, SentStats},
};

use track::Track;
use voices::Group;

/// When a plane wants to be called again, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Why.
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A transport's own, its first connection, an offer without an answer.
    Peer(PeerId),
    /// A track's cadence, its keyframes, the layers of its subscribers.
    Track(TrackId),
    /// Who speaks.
    Group(GroupId),
}

/// A peer, and what the plane knows of it.
#[derive(Debug)]
struct Entry {
    peer: Peer,
    group: GroupId,
    /// Checks succeed: what is sent now arrives.
    reachable: bool,
    /// It was connected once.
    was_connected: bool,
    /// Tracks that it is to be sent and has no line for, in order.
    wants: Vec<TrackId>,
    /// ICE is to be restarted as soon as nothing else is being agreed.
    restart: bool,
    /// Its client takes no offers.
    settled: bool,
    /// What its way is believed to carry.
    estimate_bps: u64,
    /// What it would carry if it could.
    wishes: Wishes,
    /// The path that the other side uses, and when it was last heard on it.
    path: Option<(Path, Instant)>,
    consent: Consent,
    budget: Budget,
    armed: Option<Instant>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Plane {
    config: Config,
    peers: BTreeMap<PeerId, Entry>,
    tracks: BTreeMap<TrackId, Track>,
    groups: BTreeMap<GroupId, Group>,
    demux: Demux,
    timers: BTreeSet<(Instant, Timer)>,
    /// Peers that have something to be taken out.
    dirty: BTreeSet<PeerId>,
    /// Since when some of them wait for the next step.
    behind: Option<Instant>,
    happenings: Vec<Happening>,
    refused: Refused,
}

/// Datagrams that were dropped unread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// They were nobody's.
    pub strangers: u64,
    /// They were more than one transport may bring.
    pub overrun: u64,
}

impl Plane {
    /// A plane without peers.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            tracks: BTreeMap::new(),
            groups: BTreeMap::new(),
            demux: Demux::default(),
            timers: BTreeSet::new(),
            dirty: BTreeSet::new(),
            behind: None,
            happenings: Vec::new(),
            refused: Refused::default(),
        }
    }

    /// When to call again, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        if let Some(at) = self.behind {
            return Some(Deadline { at, why: "behind" });
        }
        self.timers.first().map(|(at, timer)| Deadline {
            at: *at,
            why: match timer {
                Timer::Peer(_) => "peer",
                Timer::Track(_) => "track",
                Timer::Group(_) => "speaker",
            },
        })
    }

    /// Whether there is more to be put out at once: what was put out so far may go on its way first, or the
    /// first of many subscribers would wait for what the last one costs. [`Self::deadline`] is due then.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Peers at present.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// How these transports are doing, in their order; those that are not there are left out. Of peers that hear
    /// each other: what others send them is not looked for.
    #[must_use]
    pub fn stats(&self, now: Instant, ids: &[PeerId]) -> Vec<PeerStats> {
        let mut sent: BTreeMap<PeerId, Vec<SentStats>> = BTreeMap::new();
        let entries = ids.iter().filter_map(|id| Some((*id, self.peers.get(id)?)));
        let entries: Vec<_> = entries.collect();
        let mut all = Vec::with_capacity(entries.len());
        for (id, entry) in entries {
            let mut publishes = Vec::new();
            for published in entry.peer.publishes().values() {
                let Some(track) = self.tracks.get(&published.track) else {
                    continue;
                };
                publishes.push(track.stats(published.track, now));
                for (peer, stats) in track.sent(published.track) {
                    sent.entry(peer).or_default().push(stats);
                }
            }
            let reported = entry.peer.reported();
            all.push(PeerStats {
                peer: id,
                reachable: entry.reachable,
                protocol: entry.path.map(|(path, _)| path.protocol),
                round_trip: reported.round_trip,
                missed: reported.missed,
                estimate_bps: entry.estimate_bps,
                publishes,
                receives: Vec::new(),
            });
        }
        for stats in &mut all {
            stats.receives = sent.remove(&stats.peer).unwrap_or_default();
        }
        all
    }

    /// What was dropped unread since the last call.
    pub fn take_refused(&mut self) -> Refused {
        std::mem::take(&mut self.refused)
    }

    /// Takes one input. Total: what makes no sense is refused in an output, or has no effect.
    pub fn handle(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        match input {
            Input::Open { peer, group } => self.open(now, peer, group, out),
            Input::Settle { peer } => {
                if let Some(entry) = self.peers.get_mut(&peer) {
                    entry.settled = true;
                }
            }
            Input::Signal { peer, signal } => self.signal(now, peer, signal, out),
            Input::Subscribe { peer, track, max } => self.subscribe(now, peer, track, max, out),
            Input::Unsubscribe { peer, track } => self.unsubscribe(now, peer, track, out),
            Input::Mute { track, muted } => {
                if let Some(of) = self.tracks.get_mut(&track) {
                    of.set_muted(muted, now);
                    if muted {
                        let publisher = of.publisher;
                        self.silence(now, publisher, track);
                    }
                }
                self.arm_track(track);
            }
            Input::Restart { peer } => {
                if let Some(entry) = self.peers.get_mut(&peer) {
                    entry.restart = true;
                }
                self.negotiate(now, peer, out);
            }
            Input::Resume { peer } => self.resume(now, peer, out),
            Input::Keyframe { track } => self.want_keyframe(now, track, None),
            Input::Gone { path } => self.path_gone(now, path, out),
            Input::Refresh { peer, mids, anew } => self.refresh_lines(now, peer, &mids, anew),
            Input::Close { peer } => self.close(now, peer, out),
            Input::Tick => {}
        }
        self.finish(now, out);
    }

    /// Takes what has arrived, all at once: what is forwarded of it is encrypted and put out together.
    pub fn datagrams<'a>(
        &mut self,
        now: Instant,
        arrived: impl IntoIterator<Item = (Path, &'a [u8])>,
        out: &mut Outputs,
    ) {
        for (path, bytes) in arrived {
            self.datagram(now, path, bytes, out);
        }
        self.finish(now, out);
    }

    fn datagram(&mut self, now: Instant, path: Path, bytes: &[u8], out: &mut Outputs) {
        let Sighting {
            owner,
            in_use,
            is_check,
        } = self.demux.sight(path, bytes);
        let id = match owner {
            Owner::Bound(peer) => Some(peer),
            Owner::Claims(peer) => {
                let entry = self.peers.get(&peer);
                let proves = entry.is_some_and(|entry| entry.peer.accepts(now, path, bytes));
                proves.then_some(peer)
            }
            // A server asks nobody who has not proven to be there: no answer is its.
            Owner::Anybody if self.config.end != End::Client => None,
            Owner::Anybody => {
                let mut peers = self.peers.iter();
                let accepts = peers.find(|(_, entry)| entry.peer.accepts(now, path, bytes));
                accepts.map(|(id, _)| *id)
            }
            Owner::Nobody => None,
        };
        let Some(id) = id.filter(|id| self.peers.contains_key(id)) else {
            self.refused.strangers += 1;
            return;
        };
        let entry = self.peers.get_mut(&id);
        if entry.is_some_and(|entry| !is_check && !entry.budget.take(now)) {
            self.refused.overrun += 1;
            return;
        }
        if !matches!(owner, Owner::Bound(_)) {
            self.demux.bind(id, path);
            if let Some(entry) = self.peers.get_mut(&id) {
                entry.peer.learn(now, path);
            }
            self.drain(now, id, out);
        } else if is_check
            && self
                .peers
                .get(&id)
                .is_some_and(|entry| entry.peer.accepts(now, path, bytes))
        {
            self.demux.bind(id, path);
        }
        if in_use {
            self.note_path(now, id, path, out);
        }
        if let Some(entry) = self.peers.get_mut(&id) {
            if consent::is_check(bytes) && entry.peer.accepts(now, path, bytes) {
                entry.consent.give(now);
            }
            entry.peer.datagram(now, path, bytes);
        }
        self.drain(now, id, out);
    }

    fn open(&mut self, now: Instant, id: PeerId, group: GroupId, out: &mut Outputs) {
        if self.peers.len() >= limits::PEERS_MAX {
            let failure = Failure::TooManyPeers;
            return out.push(Output::Failed { peer: id, failure });
        }
        let peer = Peer::new(&self.config, now);
        self.groups.entry(group).or_default().peers += 1;
        let entry = Entry {
            peer,
            group,
            reachable: false,
            was_connected: false,
            wants: Vec::new(),
            restart: false,
            settled: false,
            estimate_bps: limits::FIRST_ESTIMATE_BPS,
            wishes: Wishes::default(),
            path: None,
            consent: Consent::new(now),
            budget: Budget::new(now),
            armed: None,
        };
        self.peers.insert(id, entry);
        self.rename(id);
        self.dirty.insert(id);
    }

    fn close(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        if let Some(entry) = self.peers.get_mut(&id) {
            entry.peer.close(now);
            self.drain(now, id, out);
        }
        self.forget(now, id, out);
    }

    /// A peer is gone, with everything that it published or was sent.
    fn forget(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let Some(entry) = self.peers.remove(&id) else {
            return;
        };
        if let Some(at) = entry.armed {
            self.timers.remove(&(at, Timer::Peer(id)));
        }
        self.demux.forget(id);
        self.dirty.remove(&id);
        let own: Vec<TrackId> = entry.peer.publishes().values().map(|p| p.track).collect();
        for track in own {
            self.unpublish(now, track, out);
            self.silence_in(now, entry.group, track);
        }
        self.leave(entry.group);
        for track in self.tracks.values_mut() {
            track.leave(id);
        }
    }

    /// A track is no more; its lines are free, and whoever it was sent to is told.
    fn unpublish(&mut self, now: Instant, id: TrackId, out: &mut Outputs) {
        let Some(track) = self.tracks.remove(&id) else {
            return;
        };
        if let Some(at) = track.armed {
            self.timers.remove(&(at, Timer::Track(id)));
        }
        for (subscriber, tail) in track.tails() {
            if let Some(entry) = self.peers.get_mut(&subscriber) {
                let freed = entry.peer.lines_mut().free(id, tail);
                entry.wishes.forget(id);
                entry.wants.retain(|want| *want != id);
                if freed {
                    self.line_is_free(now, subscriber, out);
                }
            }
        }
    }

    // Packets.

    /// Takes everything out of a peer.
    fn drain(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let mut happenings = std::mem::take(&mut self.happenings);
        if let Some(entry) = self.peers.get_mut(&id) {
            entry.peer.drain(now, &mut happenings);
        }
        for happening in happenings.drain(..) {
            self.happened(now, id, happening, out);
        }
        self.happenings = happenings;
        self.arm_peer(id);
    }

    fn happened(&mut self, now: Instant, id: PeerId, happening: Happening, out: &mut Outputs) {
        match happening {
            Happening::Transmit { path, bytes } => {
                let consent = self.peers.get(&id).map(|entry| entry.consent);
                if consent.is_some_and(|consent| consent.allows(now, &bytes)) {
                    out.push(Output::Transmit { path, bytes });
                }
            }
            Happening::Packet { mid, packet } => {
                let entry = self.peers.get(&id);
                let published = entry.and_then(|entry| entry.peer.publishes().get(&mid));
                let group = entry.map(|entry| entry.group);
                if let Some(track) = published.map(|published| published.track) {
                    if let (Some(level), Some(group)) = (packet.extensions.level(), group) {
                        self.hear(now, group, track, level);
                    }
                    self.forward(now, track, &packet, out);
                }
            }
            Happening::KeyframeAsked { mid } => {
                let entry = self.peers.get(&id);
                if let Some(track) = entry.and_then(|entry| entry.peer.lines().track(mid)) {
                    self.want_keyframe(now, track, Some(id));
                }
            }
            Happening::Connected => self.connected(now, id, out),
            Happening::Ice { connected } => self.ice(now, id, connected, out),
            Happening::Estimate { bps } => {
                if let Some(entry) = self.peers.get_mut(&id) {
                    entry.estimate_bps = bps;
                }
            }
            Happening::Closed => {
                let failure = Failure::Closed;
                out.push(Output::Failed { peer: id, failure });
                self.forget(now, id, out);
            }
        }
    }

    fn connected(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        (entry.reachable, entry.was_connected) = (true, true);
        let after = now.saturating_duration_since(entry.peer.opened());
        out.push(Output::Connected { peer: id, after });
        self.refresh(now, id);
    }

    /// The way to a peer is there, or gone. RFC 7675: nothing is sent to whom does not consent.
    fn ice(&mut self, now: Instant, id: PeerId, connected: bool, out: &mut Outputs) {
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        if !entry.was_connected || entry.reachable == connected {
            return;
        }
        entry.reachable = connected;
        if connected {
            out.push(Output::Reachable { peer: id });
            self.refresh(now, id);
        } else {
            out.push(Output::Unreachable { peer: id });
        }
    }

    /// One packet to everybody who is sent its track.
    fn forward(&mut self, now: Instant, id: TrackId, packet: &Packet, out: &mut Outputs) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let found = track.packet(now, packet);
        let late = track.is_armed_late();
        let anew = track.begins_anew(packet);
        for nth in 0..track.audience() {
            let Some((subscriber, mid)) = track.subscriber(nth) else {
                continue;
            };
            let Some(entry) = self.peers.get_mut(&subscriber) else {
                continue;
            };
            if !entry.reachable || entry.peer.lines().is_paused(mid) {
                track.interrupt(nth);
                continue;
            }
            let Some(placed) = track.place(nth, packet) else {
                continue;
            };
            if entry.peer.write(now, mid, packet, placed) {
                track.count(nth, packet);
                self.dirty.insert(subscriber);
            } else if track.note_unsupported(subscriber) {
                let peer = subscriber;
                out.push(Output::Unsupported { peer, track: id });
            }
        }
        if let Some(finding) = found {
            out.push(Output::Cadence { track: id, finding });
        }
        if found.is_some() || anew {
            self.want_keyframe(now, id, None);
        }
        if late {
            self.arm_track(id);
        }
    }
}
