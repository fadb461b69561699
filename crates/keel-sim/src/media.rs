//! The model of media: planes, transports, and the ways between them.
//!
//! It stands at the machines' inputs: planes take the Node's orders and tell it facts, transports take
//! the client's orders and tell it how they are and what has come. Of packets only their coming is
//! modelled, in steps of [`STEP`]; of ICE that checks need both ways, and how long each end waits for
//! them. What a plane tells is held to a recorded run of a real one (`media/recorded.rs`); how long
//! transports take is as it was measured of Chromium's.

mod guest;
mod laws;
mod nemesis;
mod plane;
#[cfg(test)]
mod recorded;

use std::collections::BTreeMap;

use keel_core::node::{self, MediaOrder, media::PeerId};

use crate::{
    chance::Chance,
    mix::{MS, SECOND},
    queue::Happening,
    world::World,
};

pub(crate) use self::{guest::Guest, plane::Plane};

/// Between two steps of everything that flows.
pub(crate) const STEP: u64 = 100 * MS;
/// Checks that are not answered for so long, as a transport says (Chromium: 5 to 7 s).
pub(crate) const LOST_AFTER: u64 = 5 * SECOND;
/// And does not wait for any longer.
pub(crate) const FAILED_AFTER: u64 = 15 * SECOND;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Media {
    /// Whether the run has any.
    pub(crate) on: bool,
    pub(crate) chance: Chance,
    /// Between two blows.
    pub(crate) blows_every: u64,
    /// By server.
    pub(crate) planes: BTreeMap<usize, Plane>,
    /// By client.
    pub(crate) guests: BTreeMap<usize, Guest>,
    /// The next step is planned.
    steps: bool,
}

impl Media {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x006d_6564_6961);
        Self {
            on: chance.permille(400),
            blows_every: chance.between(2, 12) * SECOND,
            chance,
            planes: BTreeMap::new(),
            guests: BTreeMap::new(),
            steps: false,
        }
    }
}

impl World {
    pub(crate) fn set_up_media(&mut self) {
        if self.media.on {
            let at = self.media.chance.between(0, self.media.blows_every * 2);
            self.queue.at(at, Happening::Blow);
        }
    }

    /// A process begins with an empty plane.
    pub(crate) fn new_plane(&mut self, server: usize) {
        let life = self.servers[server].life;
        self.media.planes.insert(server, Plane::new(life));
    }

    pub(crate) fn media_order(&mut self, server: usize, order: MediaOrder) {
        if !self.media.on {
            return self.breaks("no media without a rule for it", format!("{order:?}"));
        }
        self.note(format_args!("server {server} orders {order:?}"));
        if let MediaOrder::Refresh { peer, mids, .. } = &order {
            self.plane_refreshes(server, *peer, mids);
        }
        let now = self.now;
        let Some(plane) = self.media.planes.get_mut(&server) else {
            return;
        };
        let facts = plane.take(now, order);
        self.media_facts(server, facts);
        self.plan_step();
    }

    /// Lines begin with the next keyframe.
    fn plane_refreshes(&mut self, server: usize, peer: PeerId, mids: &[String]) {
        let life = self.servers[server].life;
        let far = Some((server, life, peer));
        for guest in self.media.guests.values_mut() {
            let transports = guest.transports.values_mut();
            for transport in transports.filter(|transport| transport.far == far) {
                let lines = transport.lines.iter_mut();
                for (_, line) in lines.filter(|(mid, _)| mids.contains(mid)) {
                    line.broken = false;
                }
            }
        }
    }

    pub(crate) fn media_facts(&mut self, server: usize, facts: Vec<node::MediaFact>) {
        let life = self.servers[server].life;
        for fact in facts {
            let at = self.now + self.media.chance.between(10, 3 * MS);
            let input = Box::new(node::Input::Media(fact));
            // In order: a plane and its Node share a queue.
            let at = self.media.planes.get_mut(&server).map_or(at, |plane| {
                plane.told_until = plane.told_until.max(at);
                plane.told_until
            });
            self.queue.at(
                at,
                Happening::Answer {
                    server,
                    life,
                    input,
                },
            );
        }
    }

    fn plan_step(&mut self) {
        if !std::mem::replace(&mut self.media.steps, true) {
            self.queue.at(self.now + STEP, Happening::MediaStep);
        }
    }

    /// Everything that flows goes on by a step.
    pub(crate) fn media_step(&mut self) {
        self.media.steps = false;
        let clients: Vec<usize> = self.media.guests.keys().copied().collect();
        for client in &clients {
            self.guest_checks(*client);
        }
        let servers: Vec<usize> = self.media.planes.keys().copied().collect();
        for server in servers {
            if self.servers[server].up {
                let now = self.now;
                let plane = self.media.planes.get_mut(&server);
                let facts = plane.map(|plane| plane.step(now)).unwrap_or_default();
                self.media_facts(server, facts);
            }
        }
        for client in &clients {
            self.guest_receives(*client);
        }
        let open = self.media.guests.values().any(Guest::has_transports);
        let peers = self.media.planes.values().any(Plane::has_peers);
        if open || peers {
            self.plan_step();
        }
    }
}
