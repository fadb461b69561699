//! Pictures that begin anew: who needs a keyframe, and who is asked for it.

use std::time::Instant;

use str0m::media::Mid;

use super::{PeerId, Plane, TrackId};
use crate::limits;

impl Plane {
    /// A way is new: pictures begin anew on it, in both directions. Asking for keyframes at once is
    /// what makes seconds of frozen picture into none.
    pub(super) fn refresh(&mut self, now: Instant, id: PeerId) {
        let concerned: Vec<TrackId> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.publisher == id || track.is_sent_to(id))
            .map(|(track, _)| *track)
            .collect();
        for track in concerned {
            self.want_keyframe(now, track, None);
        }
    }

    /// A peer has no use of what it is sent on some lines.
    pub(super) fn refresh_lines(&mut self, now: Instant, id: PeerId, mids: &[String], anew: bool) {
        for mid in mids.iter().take(limits::LINES_MAX) {
            let mid = Mid::from(mid.as_str());
            let Some(entry) = self.peers.get_mut(&id) else {
                return;
            };
            let Some(track) = entry.peer.lines().track(mid) else {
                continue;
            };
            if anew && let Some(of) = self.tracks.get_mut(&track) {
                entry.peer.lines_mut().forget_payload_type(mid);
                of.begin_anew(id, now);
            }
            self.want_keyframe(now, track, Some(id));
        }
    }

    pub(super) fn want_keyframe(&mut self, now: Instant, id: TrackId, of: Option<PeerId>) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.want_keyframe(now, of);
        }
        self.ask_keyframes(now, id);
    }

    /// Asks a track's publisher for the keyframes that are due.
    pub(super) fn ask_keyframes(&mut self, now: Instant, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else {
            return;
        };
        let publisher = self.peers.get_mut(&track.publisher);
        if let Some(entry) = publisher.filter(|entry| entry.reachable) {
            for layer in track.take_due_keyframes(now) {
                entry.peer.request_keyframe(now, track.mid, layer);
                self.dirty.insert(track.publisher);
            }
        }
        self.arm_track(id);
    }
}
