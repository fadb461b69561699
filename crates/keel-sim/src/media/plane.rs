//! A plane as the Node knows it: peers, streams, and what becomes of them.

use std::collections::BTreeMap;

use keel_core::node::{
    MediaFact, MediaOrder,
    media::{Line, PeerId, Signal, StreamId},
};
use keel_wire::TrackKind;

use super::{LOST_AFTER, STEP};
use crate::mix::{MS, SECOND};

/// Silence of a stream that is told.
const STALLED_AFTER: u64 = 600 * MS;
/// The same, of one that never came.
const FIRST_WITHIN: u64 = 5 * SECOND;
/// From a description to a connected transport.
const CONNECT_WITHIN: u64 = 15 * SECOND;
/// A peer that nobody answers for so long is gone.
const GONE_AFTER: u64 = 30 * SECOND;

/// One transport.
#[derive(Debug)]
pub(crate) struct Peer {
    opened_at: u64,
    described: bool,
    connected: bool,
    reachable: bool,
    /// When a check of the other side's came last.
    pub(crate) heard_at: u64,
    wants: Vec<StreamId>,
    pub(crate) lines: BTreeMap<String, StreamId>,
    lines_made: u32,
    offers: u32,
}

/// One track that is published.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) peer: PeerId,
    published_at: u64,
    /// When packets came last.
    pub(crate) came_at: Option<u64>,
    muted: bool,
    stalled: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) life: u32,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// It takes nobody until then.
    pub(crate) full_until: u64,
    /// What it told last, at the latest.
    pub(crate) told_until: u64,
}

impl Plane {
    pub(crate) const fn new(life: u32) -> Self {
        Self {
            life,
            peers: BTreeMap::new(),
            streams: BTreeMap::new(),
            full_until: 0,
            told_until: 0,
        }
    }

    pub(crate) fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    pub(crate) fn take(&mut self, now: u64, order: MediaOrder) -> Vec<MediaFact> {
        let mut facts = Vec::new();
        match order {
            MediaOrder::Open { peer, .. } if now < self.full_until => {
                let (full, why) = (true, "there are too many transports".to_owned());
                facts.push(MediaFact::Failed { peer, full, why });
            }
            MediaOrder::Open { peer, .. } => {
                let fresh = Peer {
                    opened_at: now,
                    described: false,
                    connected: false,
                    reachable: false,
                    heard_at: 0,
                    wants: Vec::new(),
                    lines: BTreeMap::new(),
                    lines_made: 0,
                    offers: 0,
                };
                self.peers.insert(peer, fresh);
            }
            MediaOrder::Signal { peer, signal } => self.signal(now, peer, signal, &mut facts),
            MediaOrder::Subscribe { peer, stream, .. } => {
                let there = self.streams.contains_key(&stream);
                if let Some(to) = self.peers.get_mut(&peer).filter(|_| there) {
                    let known = to.lines.values().any(|of| *of == stream);
                    if !known && !to.wants.contains(&stream) {
                        to.wants.push(stream);
                        if to.described {
                            to.place();
                            facts.push(to.tell_lines(peer));
                        }
                    }
                }
            }
            MediaOrder::Unsubscribe { peer, stream } => self.free(peer, stream, &mut facts),
            MediaOrder::Mute { stream, muted, .. } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    (stream.muted, stream.stalled) = (muted, false);
                    stream.published_at = now;
                    stream.came_at = stream.came_at.map(|_| now);
                }
            }
            MediaOrder::Restart { peer } => {
                if let Some(to) = self.peers.get_mut(&peer).filter(|to| to.described) {
                    facts.push(to.offer(peer));
                }
            }
            MediaOrder::Resume { peer } => {
                if let Some(to) = self.peers.get(&peer) {
                    facts.push(to.tell_lines(peer));
                }
            }
            // No client here is one that takes no offers.
            MediaOrder::Refresh { .. } | MediaOrder::Settle { .. } => {}
            MediaOrder::Close { peer } => self.forget(peer, &mut facts),
        }
        facts
    }

    fn signal(&mut self, now: u64, id: PeerId, signal: Signal, facts: &mut Vec<MediaFact>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Signal::Offer { sdp, lines } = signal else {
            return;
        };
        peer.described = true;
        peer.place();
        let gone: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(stream, of)| {
                of.peer == id && !lines.iter().any(|line| line.stream == **stream)
            })
            .map(|(stream, _)| *stream)
            .collect();
        let named = peer.named();
        let life = self.life;
        for stream in gone {
            self.unpublish(stream, facts);
            facts.push(MediaFact::Unpublished { stream });
        }
        for line in lines {
            let stream = line.stream;
            if self.streams.contains_key(&stream) {
                continue;
            }
            self.streams.insert(
                stream,
                Stream {
                    peer: id,
                    published_at: now,
                    came_at: None,
                    muted: false,
                    stalled: false,
                },
            );
            let kind = TrackKind::Video;
            facts.push(MediaFact::Published { stream, kind });
        }
        // The credentials of both ends: who they are, and which round it is.
        let sdp = format!("{life} {} {sdp}", id.0);
        let signal = Signal::Answer { sdp, lines: named };
        facts.push(MediaFact::Signal { peer: id, signal });
    }

    fn free(&mut self, id: PeerId, stream: StreamId, facts: &mut Vec<MediaFact>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        peer.wants.retain(|want| *want != stream);
        let before = peer.lines.len();
        peer.lines.retain(|_, of| *of != stream);
        if peer.lines.len() != before {
            facts.push(peer.tell_lines(id));
        }
    }

    fn unpublish(&mut self, stream: StreamId, facts: &mut Vec<MediaFact>) {
        self.streams.remove(&stream);
        let peers: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.free(peer, stream, facts);
        }
    }

    fn forget(&mut self, id: PeerId, facts: &mut Vec<MediaFact>) {
        self.peers.remove(&id);
        let own: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.peer == id)
            .map(|(stream, _)| *stream)
            .collect();
        for stream in own {
            self.unpublish(stream, facts);
        }
    }

    /// A check of a peer's arrived and was answered; what it publishes came.
    pub(crate) fn heard(&mut self, now: u64, id: PeerId, round_trip: bool, camera: bool) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if round_trip {
            peer.heard_at = now;
        }
        let sends = peer.connected && camera;
        for stream in self
            .streams
            .values_mut()
            .filter(|of| of.peer == id && sends)
        {
            stream.came_at = Some(now);
        }
    }

    /// Whether a peer is sent what comes of a stream.
    pub(crate) fn sends(&self, now: u64, id: PeerId, mid: &str) -> bool {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.reachable) else {
            return false;
        };
        let stream = peer.lines.get(mid).and_then(|of| self.streams.get(of));
        stream.is_some_and(|stream| stream.came_at == Some(now))
    }

    /// The watchdogs: who is connected, who is gone, what is silent.
    pub(crate) fn step(&mut self, now: u64) -> Vec<MediaFact> {
        let mut facts = Vec::new();
        let mut gone = Vec::new();
        for (id, peer) in &mut self.peers {
            let id = *id;
            let hears = now < peer.heard_at + STEP;
            let silent = now - peer.heard_at;
            if hears && !peer.connected {
                (peer.connected, peer.reachable) = (true, true);
                let after_ms = (now - peer.opened_at) / MS;
                facts.push(MediaFact::Connected { peer: id, after_ms });
            } else if peer.connected && peer.reachable && silent > LOST_AFTER {
                peer.reachable = false;
                let reachable = false;
                facts.push(MediaFact::Reachable {
                    peer: id,
                    reachable,
                });
            } else if peer.connected && !peer.reachable && hears {
                peer.reachable = true;
                let reachable = true;
                facts.push(MediaFact::Reachable {
                    peer: id,
                    reachable,
                });
            }
            let never = peer.described && !peer.connected && now > peer.opened_at + CONNECT_WITHIN;
            if never || (peer.connected && silent > GONE_AFTER) {
                gone.push(id);
            }
        }
        for id in gone {
            let (full, why) = (false, "nobody answers".to_owned());
            facts.push(MediaFact::Failed {
                peer: id,
                full,
                why,
            });
            self.forget(id, &mut facts);
        }
        for (stream, of) in &mut self.streams {
            let limit = match of.came_at {
                Some(at) => at + STALLED_AFTER,
                None => of.published_at + FIRST_WITHIN,
            };
            let flows = of.came_at == Some(now);
            let silent = now > limit && !of.muted;
            if (of.stalled && flows) || (!of.stalled && silent) {
                of.stalled = !flows;
                let (stream, gap_ms) = (*stream, 0);
                facts.push(MediaFact::Flow {
                    stream,
                    flows,
                    gap_ms,
                });
            }
        }
        facts
    }
}

impl Peer {
    /// What waits for a line gets one.
    fn place(&mut self) {
        for stream in std::mem::take(&mut self.wants) {
            self.lines_made += 1;
            self.lines.insert(format!("m{}", self.lines_made), stream);
        }
    }

    fn named(&self) -> Vec<Line> {
        let lines = self.lines.iter();
        lines
            .map(|(mid, stream)| Line {
                mid: mid.clone(),
                stream: *stream,
            })
            .collect()
    }

    fn tell_lines(&self, peer: PeerId) -> MediaFact {
        let lines = self.named();
        let signal = Signal::Lines { lines };
        MediaFact::Signal { peer, signal }
    }

    fn offer(&mut self, peer: PeerId) -> MediaFact {
        self.offers += 1;
        let (sdp, lines) = (format!("restart {}", self.offers), self.named());
        let signal = Signal::Offer { sdp, lines };
        MediaFact::Signal { peer, signal }
    }
}
