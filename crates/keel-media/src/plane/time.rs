//! What a plane does as time passes: what is due, for whom, and when it wants to be called again.

use std::{collections::BTreeMap, time::Instant};

use super::{Failure, Output, Outputs, PeerId, Plane, Timer, TrackId};
use crate::limits;

impl Plane {
    pub(super) fn finish(&mut self, now: Instant, out: &mut Outputs) {
        // Each once: what is due again at once is so at the next call.
        let due = self.timers.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<(Instant, Timer)> = due.copied().collect();
        for (at, timer) in due {
            if !self.timers.remove(&(at, timer)) {
                continue;
            }
            match timer {
                Timer::Peer(id) => self.peer_due(now, id, out),
                Timer::Track(id) => self.track_due(now, id, out),
                Timer::Group(id) => self.group_due(now, id, out),
            }
        }
        for _ in 0..limits::DRAINED_AT_ONCE {
            let Some(id) = self.dirty.pop_first() else {
                break;
            };
            self.drain(now, id, out);
        }
        self.behind = (!self.dirty.is_empty()).then_some(now);
    }

    fn peer_due(&mut self, now: Instant, id: PeerId, out: &mut Outputs) {
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        entry.armed = None;
        let late = entry.peer.connects_by().is_some_and(|by| by <= now);
        if !entry.was_connected && late {
            let failure = Failure::NotConnected;
            out.push(Output::Failed { peer: id, failure });
            return self.forget(now, id, out);
        }
        if !entry.peer.is_alive() {
            let failure = Failure::Closed;
            out.push(Output::Failed { peer: id, failure });
            return self.forget(now, id, out);
        }
        if entry.peer.offer_expires().is_some_and(|at| at <= now) {
            self.repeat_offer(now, id, out);
        }
        self.dirty.insert(id);
    }

    fn track_due(&mut self, now: Instant, id: TrackId, out: &mut Outputs) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        track.armed = None;
        if let Some(finding) = track.check_cadence(now) {
            out.push(Output::Cadence { track: id, finding });
        }
        if track.wants_look(now) {
            let mut budgets = BTreeMap::new();
            for (peer, wish) in track.wishes(now) {
                let entry = self.peers.get_mut(&peer);
                let Some(entry) = entry.filter(|entry| entry.reachable) else {
                    continue;
                };
                let lines = entry.peer.lines();
                if lines.of(id).is_none_or(|mid| lines.is_paused(mid)) {
                    entry.wishes.forget(id);
                    continue;
                }
                entry.wishes.set(id, wish);
                budgets.insert(peer, entry.wishes.share(id, entry.estimate_bps));
                if let Some(bps) = entry.wishes.take_news() {
                    entry.peer.desire(now, bps);
                    self.dirty.insert(peer);
                }
            }
            track.look_at_layers(now, &budgets);
        }
        self.ask_keyframes(now, id);
    }

    pub(super) fn arm_peer(&mut self, id: PeerId) {
        let Some(entry) = self.peers.get_mut(&id) else {
            return;
        };
        let connect_by = entry.peer.connects_by().filter(|_| !entry.was_connected);
        let (due, expires) = (entry.peer.deadline(), entry.peer.offer_expires());
        let wanted = [Some(due), connect_by, expires];
        let next = wanted.into_iter().flatten().min();
        if entry.armed != next {
            if let Some(at) = entry.armed {
                self.timers.remove(&(at, Timer::Peer(id)));
            }
            if let Some(at) = next {
                self.timers.insert((at, Timer::Peer(id)));
            }
            entry.armed = next;
        }
    }

    /// Arms a track's timer; an earlier one that is armed already finds out by itself.
    pub(super) fn arm_track(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let publisher = self.peers.get(&track.publisher);
        let can_ask = publisher.is_some_and(|entry| entry.reachable);
        let Some(next) = track.deadline(can_ask) else {
            return;
        };
        if track.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        if let Some(at) = track.armed {
            self.timers.remove(&(at, Timer::Track(id)));
        }
        self.timers.insert((next, Timer::Track(id)));
        track.armed = Some(next);
    }
}
