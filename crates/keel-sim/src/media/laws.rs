//! What must hold of media at every step.

use keel_core::client::{Event, LogEvent, MediaOrder};
use keel_wire::{Leg, LegState, Status};

use super::guest::TOLD_WITHIN;
use crate::{
    mix::{MS, SECOND},
    world::World,
};

impl World {
    /// Before an order is done.
    pub(crate) fn check_media_order(&mut self, client: usize, order: &MediaOrder) {
        let over = self.actors[client].view.over.is_some();
        let guest = self.guest(client);
        let (last, open) = (guest.last, guest.transports.len());
        // The machine hears a moment later that the shell has closed one.
        let is_open =
            |peer: &u32| guest.transports.contains_key(peer) || guest.replaced.contains(peer);
        let wrong = match order {
            MediaOrder::Open { peer, .. } if *peer <= last => Some("a number is used twice"),
            MediaOrder::Open { .. } if open >= 2 => Some("two transports are open already"),
            MediaOrder::Hear(signal) if !is_open(&signal.peer()) => Some("it is closed"),
            MediaOrder::Restart { peer, .. }
            | MediaOrder::Resume { peer }
            | MediaOrder::Sample { peer }
            | MediaOrder::Close { peer }
                if !is_open(peer) =>
            {
                Some("it is closed")
            }
            _ if over => Some("the session is over"),
            _ => None,
        };
        if let Some(why) = wrong {
            let what = format!("client {client}: {order:?}: {why}");
            self.breaks("two transports at most, and nothing after a close", what);
        }
    }

    pub(crate) fn check_media_event(&mut self, client: usize, event: &Event) {
        let now = self.now;
        match event {
            Event::MediaLost { .. } => self.guest(client).lost_at = Some(now),
            Event::MediaRecovered { .. } => {
                let guest = self.guest(client);
                guest.tried_since = None;
                if guest.lost_at.take().is_none() {
                    let what = format!("client {client}");
                    return self.breaks("media that is back was lost", what);
                }
                if let Some(mid) = self.silent_line(client, TOLD_WITHIN) {
                    let what = format!("client {client}: nothing comes on {mid}");
                    self.breaks("media that is back flows", what);
                }
            }
            Event::Gap { .. } => self.guest(client).seen_since = now,
            Event::Log {
                event: LogEvent::Known(known),
                ..
            } if known.name().starts_with("track.") => self.guest(client).seen_since = now,
            _ => {}
        }
    }

    pub(crate) fn check_media_status(&mut self, client: usize, status: &Status) {
        if !self.media.on {
            return;
        }
        let now = self.now;
        let of = |leg: Leg| status.legs.iter().find(|of| of.leg == leg);
        let signaled = of(Leg::Signaling).is_some_and(|leg| leg.state == LegState::Up);
        let tries = of(Leg::Media).is_some_and(|leg| {
            matches!(
                &leg.state,
                LegState::Recovering {
                    waiting_for: None,
                    ..
                }
            )
        });
        let told = of(Leg::Media).map(|leg| leg.state.clone());
        let guest = self.guest(client);
        guest.told = told;
        guest.tried_since = if tries && signaled {
            guest.tried_since.or(Some(now))
        } else {
            None
        };
    }

    /// A line that something is to come on, and does not, for so long.
    fn silent_line(&self, client: usize, span: u64) -> Option<String> {
        let guest = self.media.guests.get(&client)?;
        let actor = &self.actors[client];
        let (_, shown) = guest.shown()?;
        let tracks = &actor.machine.snapshot().tracks;
        let expected = |line: &super::guest::Line| {
            let mut of = tracks.iter().filter(|view| !view.muted);
            of.any(|view| {
                line.of.as_ref().is_some_and(|(participant, track)| {
                    view.participant.as_str() == participant && view.track.as_str() == track
                })
            })
        };
        let since = guest.seen_since.max(shown.connected_at);
        let mut lines = shown.lines.iter();
        lines
            .find(|(_, line)| expected(line) && self.now > line.quiet_since.max(since) + span)
            .map(|(mid, _)| mid.clone())
    }

    /// The laws that concern the passing of time.
    pub(crate) fn audit_media(&mut self, client: usize) {
        let actor = &self.actors[client];
        if !self.media.on || !actor.started || actor.gone || actor.leaving {
            return;
        }
        if actor.asleep_until.is_some() || actor.view.over.is_some() {
            return;
        }
        let Some(guest) = self.media.guests.get(&client).filter(|guest| guest.wants) else {
            return;
        };
        let quiet_for = TOLD_WITHIN + 500 * MS;
        if let Some(mid) = self.silent_line(client, quiet_for) {
            if guest.told == Some(LegState::Up) {
                let what = format!("client {client}: nothing comes on {mid}");
                return self.breaks("media is up only while it flows", what);
            }
            if guest.lost_at.is_none() {
                let what = format!("client {client}: nothing comes on {mid}");
                return self.breaks("a loss of media is told", what);
            }
        }
        let from = guest.tried_since.map(|since| since.max(guest.seen_since));
        if from.is_some_and(|from| self.now > from + 32 * SECOND) {
            let what = format!(
                "client {client} tries since {:?} ms",
                from.map(|at| at / MS)
            );
            self.breaks("a leg of media has a verdict in time", what);
        }
    }

    /// Everybody has left.
    pub(crate) fn check_media_end(&mut self) {
        for (client, guest) in &self.media.guests {
            let actor = &self.actors[*client];
            let is_over = actor.view.over.is_some();
            if is_over && let Some((peer, _)) = guest.transports.first_key_value() {
                let what = format!("client {client} has transport {peer}");
                return self.breaks("nothing is left", what);
            }
        }
        for (server, plane) in &self.media.planes {
            let peers = plane.peers.len();
            if self.servers[*server].up && peers > 0 {
                let what = format!("{peers} peers on server {server}");
                return self.breaks("nothing is left", what);
            }
        }
    }
}
