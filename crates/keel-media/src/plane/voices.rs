//! Who of a group speaks, as the plane hears it.

use std::time::Instant;

use super::{GroupId, Output, Outputs, PeerId, Plane, Timer, TrackId};
use crate::speaker::{Change, Speaker};

/// Peers that hear each other.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) peers: usize,
    speaker: Speaker,
    armed: Option<Instant>,
}

impl Plane {
    pub(super) fn hear(
        &mut self,
        now: Instant,
        id: GroupId,
        track: TrackId,
        level: (i8, Option<bool>),
    ) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.speaker.hear(now, track, level.0, level.1);
            self.arm_group(id);
        }
    }

    /// A track's voice is heard no longer.
    pub(super) fn silence(&mut self, now: Instant, publisher: PeerId, track: TrackId) {
        if let Some(group) = self.peers.get(&publisher).map(|entry| entry.group) {
            self.silence_in(now, group, track);
        }
    }

    pub(super) fn silence_in(&mut self, now: Instant, id: GroupId, track: TrackId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.speaker.forget(now, track);
            self.arm_group(id);
        }
    }

    /// One of a group is gone; the last one takes it along.
    pub(super) fn leave(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.peers -= 1;
            if group.peers == 0 {
                if let Some(at) = group.armed {
                    self.timers.remove(&(at, Timer::Group(id)));
                }
                self.groups.remove(&id);
            }
        }
    }

    pub(super) fn group_due(&mut self, now: Instant, id: GroupId, out: &mut Outputs) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.armed = None;
        if let Some(Change(track)) = group.speaker.check(now) {
            out.push(Output::Speaking { group: id, track });
        }
        self.arm_group(id);
    }

    /// Arms a group's timer, unless an earlier one is armed.
    fn arm_group(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id)
            && let Some(next) = group.speaker.deadline()
            && group.armed.is_none_or(|armed| armed > next)
        {
            if let Some(at) = group.armed.replace(next) {
                self.timers.remove(&(at, Timer::Group(id)));
            }
            self.timers.insert((next, Timer::Group(id)));
        }
    }
}
