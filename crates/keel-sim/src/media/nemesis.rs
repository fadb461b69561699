//! What breaks of media, and when.

use crate::{
    mix::{MS, SECOND},
    queue::Happening,
    world::{BYSTANDERS, World},
};

/// What may strike media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// No datagram passes.
    Blocked,
    /// None goes up.
    UpBlocked,
    /// None comes down.
    DownBlocked,
    /// A publisher's camera makes nothing.
    CameraStopped,
    /// Packets come, and no picture can be made of them.
    Frozen,
    /// A transport gives up by itself.
    Failed,
    /// Restarts of ICE come to nothing.
    RestartsFail,
    /// A plane takes nobody.
    Full,
}

const BLOWS: [Blow; 9] = [
    Blow::Blocked,
    Blow::Blocked,
    Blow::UpBlocked,
    Blow::DownBlocked,
    Blow::CameraStopped,
    Blow::Frozen,
    Blow::Failed,
    Blow::RestartsFail,
    Blow::Full,
];

impl World {
    pub(crate) fn blow(&mut self) {
        if !self.is_chaos() {
            return;
        }
        let every = self.media.blows_every;
        let next = self.now + self.media.chance.between(every / 4, every * 2);
        self.queue.at(next, Happening::Blow);
        let exposed: Vec<usize> = (0..self.actors.len())
            .filter(|client| self.actors[*client].group != BYSTANDERS)
            .filter(|client| self.media.guests.contains_key(client))
            .collect();
        if exposed.is_empty() {
            return;
        }
        let client = self.media.chance.pick(&exposed);
        let blow = self.media.chance.pick(&BLOWS);
        let span = self
            .media
            .chance
            .pick(&[1_200, 3_000, 9_000, 20_000, 45_000])
            * MS;
        self.strike_media(client, blow, span);
    }

    pub(crate) fn strike_media(&mut self, client: usize, blow: Blow, span: u64) {
        let until = self.now + span;
        self.note(format_args!(
            "blow {blow:?} on client {client} for {} ms",
            span / MS
        ));
        let guest = self.guest(client);
        match blow {
            Blow::Blocked => (guest.up_blocked_until, guest.down_blocked_until) = (until, until),
            Blow::UpBlocked => guest.up_blocked_until = until,
            Blow::DownBlocked => guest.down_blocked_until = until,
            Blow::CameraStopped => guest.camera_stopped_until = until,
            Blow::RestartsFail => guest.restarts_fail_until = until,
            Blow::Frozen => {
                let lines = guest.transports.values_mut();
                for line in lines.flat_map(|transport| transport.lines.values_mut()) {
                    line.broken = true;
                }
            }
            Blow::Failed => self.fail_transport(client),
            Blow::Full => {
                for plane in self.media.planes.values_mut() {
                    plane.full_until = self.now + span.min(10 * SECOND);
                }
            }
        }
    }

    /// Everything works from here on.
    pub(crate) fn heal_media(&mut self) {
        let now = self.now;
        for guest in self.media.guests.values_mut() {
            for until in [
                &mut guest.up_blocked_until,
                &mut guest.down_blocked_until,
                &mut guest.camera_stopped_until,
                &mut guest.restarts_fail_until,
            ] {
                *until = (*until).min(now);
            }
        }
        for plane in self.media.planes.values_mut() {
            plane.full_until = plane.full_until.min(now);
        }
    }
}
