//! What peers say of their transports, and what is said to them.

use std::time::Instant;

use super::{Output, Outputs, PeerId, Plane, Signal, TrackId, track::Track};
use crate::{
    layers::Layer,
    packet::Kind,
    peer::{Answered, Refusal},
};

impl Plane {
    pub(super) fn signal(&mut self, now: Instant, id: PeerId, signal: Signal, out: &mut Outputs) {
        let done = match signal {
            Signal::Offer { sdp, lines } => self.offered(now, id, &sdp, &lines, out),
            Signal::Answer { sdp, .. } => self.answered(now, id, &sdp, out),
            Signal::Candidate { candidate } => match self.peers.get_mut(&id) {
                Some(entry) => entry.peer.take_candidate(now, &candidate),
                None => return,
            },
            // Only the end that sends on lines says what is on them.
            Signal::Lines { .. } => Ok(()),
        };
        self.dirty.insert(id);
        if let Err(refusal) = done {
            out.push(Output::Refused { peer: id, refusal });
        }
    }

    fn offered(
        &mut self,
        now: Instant,
        id: PeerId,
        sdp: &str,
        lines: &[super::Line],
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let Some(entry) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        let tracks: Vec<(String, TrackId)> = lines
            .iter()
            .map(|line| (line.mid.clone(), line.track))
            .collect();
        let sdp = match entry.peer.take_offer(now, sdp, &tracks)? {
            Answered::With(sdp) => sdp,
            Answered::PassedOver => {
                out.push(Output::PassedOver { peer: id });
                return Ok(());
            }
        };
        self.rename(id);
        // Lines that the offer brought are known once it is drained.
        self.drain(now, id, out);
        self.note_published(now, id, out);
        self.place_wants(now, id);
        let lines = self.lines_of(id);
        let signal = Signal::Answer { sdp, lines };
        out.push(Output::Signal { peer: id, signal });
        self.negotiate(now, id, out);
        Ok(())
    }

    fn answered(
        &mut self,
        now: Instant,
        id: PeerId,
        sdp: &str,
        out: &mut Outputs,
    ) -> Result<(), Refusal> {
        let Some(entry) = self.peers.get_mut(&id) else {
            return Ok(());
        };
        let agreed = entry.peer.take_answer(now, sdp)?;
        for kind in agreed.declined {
            // Not offered again: it would be declined again.
            let tracks = &self.tracks;
            let is_of = |want: &TrackId| tracks.get(want).is_some_and(|of| of.kind == kind);
            if let Some(at) = entry.wants.iter().position(is_of) {
                let track = entry.wants.remove(at);
                out.push(Output::Unsupported { peer: id, track });
            }
        }
        self.rename(id);
        self.drain(now, id, out);
        if self.place_wants(now, id) {
            let lines = self.lines_of(id);
            let signal = Signal::Lines { lines };
            out.push(Output::Signal { peer: id, signal });
        }
        self.negotiate(now, id, out);
        Ok(())
    }

    /// Tracks that a peer began or ceased to publish.
    fn note_published(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let Some(entry) = self.peers.get(&id) else {
            return;
        };
        let published: Vec<_> = entry
            .peer
            .publishes()
            .iter()
            .map(|(mid, published)| (*mid, published.track, published.kind))
            .collect();
        let gone: Vec<TrackId> = self
            .tracks
            .iter()
            .filter(|(track, of)| {
                of.publisher == id && !published.iter().any(|(_, named, _)| named == *track)
            })
            .map(|(track, _)| *track)
            .collect();
        for track in gone {
            self.unpublish(now, track, out);
            self.silence(now, id, track);
            out.push(Output::Unpublished { track });
        }
        for (mid, track, kind) in published {
            if let Some(known) = self.tracks.get_mut(&track) {
                // It may be on another line by now: that is where keyframes are asked for.
                known.mid = mid;
                continue;
            }
            self.tracks.insert(track, Track::new(id, mid, kind, now));
            self.arm_track(track);
            let peer = id;
            out.push(Output::Published { peer, track, kind });
        }
    }

    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        id: PeerId,
        track_id: TrackId,
        max: Option<Layer>,
        out: &mut Outputs,
    ) {
        let (Some(track), Some(entry)) = (self.tracks.get_mut(&track_id), self.peers.get_mut(&id))
        else {
            return;
        };
        track.join(id, max);
        if entry.peer.lines().of(track_id).is_some() || entry.wants.contains(&track_id) {
            return;
        }
        entry.wants.push(track_id);
        if self.place_wants(now, id) {
            let lines = self.lines_of(id);
            let signal = Signal::Lines { lines };
            out.push(Output::Signal { peer: id, signal });
        }
        self.negotiate(now, id, out);
    }

    pub(super) fn unsubscribe(
        &mut self,
        now: Instant,
        id: PeerId,
        track: TrackId,
        out: &mut Outputs,
    ) {
        let tail = self.tracks.get_mut(&track).and_then(|of| of.leave(id));
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        entry.wants.retain(|want| *want != track);
        entry.wishes.forget(track);
        if entry.peer.lines_mut().free(track, tail) {
            self.line_is_free(now, id, out);
        }
    }

    /// A line of a peer's is free: what waits for one has it, and the peer is told what is on which.
    pub(super) fn line_is_free(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        self.place_wants(now, id);
        let lines = self.lines_of(id);
        let signal = Signal::Lines { lines };
        out.push(Output::Signal { peer: id, signal });
    }

    /// Puts tracks that wait for a line on those that are free. True if any was put.
    fn place_wants(&mut self, now: Instant, id: PeerId) -> bool {
        let Some(entry) = self.peers.get_mut(&id) else {
            return false;
        };
        let mut placed = Vec::new();
        entry.wants.retain(|want| {
            let Some(track) = self.tracks.get_mut(want) else {
                return false;
            };
            let Some(line) = entry.peer.lines_mut().take(track.kind, *want) else {
                return true;
            };
            track.put_on(id, line, entry.reachable, now);
            placed.push(*want);
            false
        });
        for track in &placed {
            self.ask_keyframes(now, *track);
        }
        !placed.is_empty()
    }

    pub(super) fn lines_of(&self, id: PeerId) -> Vec<super::Line> {
        let entry = self.peers.get(&id);
        entry
            .map(|entry| entry.peer.lines().named())
            .unwrap_or_default()
    }

    /// Offers what a peer still lacks, unless something is being agreed already.
    pub(super) fn negotiate(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        if !entry.peer.is_described() || entry.peer.is_offering() || entry.settled {
            return;
        }
        let kinds: Vec<Kind> = entry
            .wants
            .iter()
            .filter_map(|want| Some(self.tracks.get(want)?.kind))
            .collect();
        if kinds.is_empty() && !entry.restart {
            return;
        }
        let restart = std::mem::take(&mut entry.restart);
        let Some(sdp) = entry.peer.offer(now, &kinds, restart) else {
            // There is no room for another line: what waits has to until one is free.
            for track in entry.wants.clone() {
                let of = self.tracks.get_mut(&track);
                if of.is_some_and(|of| of.note_unsupported(id)) {
                    out.push(Output::Unsupported { peer: id, track });
                }
            }
            return;
        };
        self.rename(id);
        self.dirty.insert(id);
        let lines = self.lines_of(id);
        let signal = Signal::Offer { sdp, lines };
        out.push(Output::Signal { peer: id, signal });
    }

    /// The fragments that a peer's checks are known by have changed.
    pub(super) fn rename(&mut self, id: PeerId) {
        if let Some(entry) = self.peers.get_mut(&id) {
            let fragments = entry.peer.fragments();
            self.demux.name(id, fragments);
        }
    }

    /// An offer that has no answer yet is made again, as it was: whoever took the first, and whose
    /// answer was lost or refused, has its lines already.
    pub(super) fn repeat_offer(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let lines = self.lines_of(id);
        let entry = self.peers.get_mut(&id);
        if let Some(sdp) = entry.and_then(|entry| entry.peer.repeat_offer(now)) {
            let signal = Signal::Offer { sdp, lines };
            out.push(Output::Signal { peer: id, signal });
        }
    }

    /// What was under way when the way for descriptions was lost is begun anew.
    pub(super) fn resume(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        if !self.peers.contains_key(&id) {
            return;
        }
        let lines = self.lines_of(id);
        let signal = Signal::Lines { lines };
        out.push(Output::Signal { peer: id, signal });
        self.repeat_offer(now, id, out);
        self.negotiate(now, id, out);
    }
}
