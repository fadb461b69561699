//! The transports of one client, as a shell keeps them, and the ways to the plane.

use std::collections::BTreeMap;

use keel_core::{
    client::{Input, LineSample, MediaInput, MediaOrder, TransportState},
    node::media::PeerId,
};
use keel_wire::{
    AnswerFrame, LegState, MediaLine, MediaSignal, MuteTrack, OfferFrame, PublishTrack, Role,
    TrackKind, TrackName,
};

use super::{FAILED_AFTER, LOST_AFTER, STEP};
use crate::{
    actor::What,
    mix::{MS, SECOND},
    mutant::Mutant,
    queue::Happening,
    world::World,
};

/// What has come on a line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) of: Option<(String, String)>,
    packets: u64,
    frames: u64,
    /// When it was named, or something came.
    pub(crate) quiet_since: u64,
    /// Packets come, and no picture can be made of them until they begin anew.
    pub(crate) broken: bool,
}

/// One transport.
#[derive(Debug)]
pub(crate) struct Transport {
    /// The plane's end: server, life, peer.
    pub(crate) far: Option<(usize, u32, PeerId)>,
    /// What the server has answered, of what was offered.
    offered: Vec<TrackName>,
    answered: Vec<TrackName>,
    is_answered: bool,
    offered_at: u64,
    round: u32,
    /// Checks begin anew: whatever was given up is tried.
    pub(crate) restarts: bool,
    pub(crate) connected: bool,
    pub(crate) connected_at: u64,
    lost: bool,
    failed: bool,
    /// When a check was answered last.
    ok_at: u64,
    pub(crate) lines: BTreeMap<String, Line>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Guest {
    pub(crate) wants: bool,
    pub(crate) transports: BTreeMap<u32, Transport>,
    /// Those that the shell closed, when the one after was connected.
    pub(crate) replaced: std::collections::BTreeSet<u32>,
    /// The highest number that there was.
    pub(crate) last: u32,
    pub(crate) up_blocked_until: u64,
    pub(crate) down_blocked_until: u64,
    pub(crate) camera_stopped_until: u64,
    /// Restarts of ICE come to nothing.
    pub(crate) restarts_fail_until: u64,
    pub(crate) published: bool,
    /// It was told as lost, and not as back.
    pub(crate) lost_at: Option<u64>,
    /// It is being repaired, with signaling there, since then.
    pub(crate) tried_since: Option<u64>,
    /// How the leg is, as it was told last.
    pub(crate) told: Option<LegState>,
    /// It was away, or what is expected has changed: what it sees counts from then.
    pub(crate) seen_since: u64,
}

impl Guest {
    pub(crate) fn has_transports(&self) -> bool {
        !self.transports.is_empty()
    }

    /// The transport that is connected, the newest if there are two.
    pub(crate) fn shown(&self) -> Option<(&u32, &Transport)> {
        let mut open = self.transports.iter().rev();
        open.find(|(_, transport)| transport.connected)
    }

    /// A new page: nothing of the old one is left.
    pub(crate) fn reload(&mut self) {
        let Self {
            up_blocked_until,
            down_blocked_until,
            camera_stopped_until,
            restarts_fail_until,
            ..
        } = std::mem::take(self);
        *self = Self {
            up_blocked_until,
            down_blocked_until,
            camera_stopped_until,
            restarts_fail_until,
            ..Self::default()
        };
    }
}

impl World {
    pub(crate) fn guest(&mut self, client: usize) -> &mut Guest {
        self.media.guests.entry(client).or_default()
    }

    fn say_media(&mut self, client: usize, input: MediaInput) {
        let life = self.actors[client].life;
        let input = Box::new(Input::Media(input));
        self.queue.at(
            self.now + 1,
            Happening::ToClient {
                client,
                life,
                input,
            },
        );
    }

    /// What an application does about media: it wants it, publishes, mutes, and tries again.
    pub(crate) fn media_acts(&mut self, client: usize) {
        let actor = &self.actors[client];
        if !self.media.on || actor.view.over.is_some() || actor.leaving || !actor.started {
            return;
        }
        if actor.view.session.is_none() || self.stretch == crate::world::Stretch::Leaving {
            return;
        }
        let publishes = actor.role != Role::Viewer;
        let chaos = self.is_chaos();
        let roll = self.media.chance.between(0, 99);
        let guest = self.guest(client);
        if !guest.wants {
            guest.wants = true;
            return self.tell_client(client, Input::Media(MediaInput::Want(true)));
        }
        let track: TrackName = "camera".parse().expect("a name");
        if publishes && !guest.published {
            guest.published = true;
            let kind = TrackKind::Video;
            return self.ask(
                client,
                What::Other,
                PublishTrack { track, kind }.into(),
                None,
            );
        }
        match roll {
            0 | 1 if chaos => {
                let guest = self.guest(client);
                guest.wants = false;
                guest.lost_at = None;
                self.tell_client(client, Input::Media(MediaInput::Want(false)));
            }
            2..=4 if chaos && publishes => {
                let muted = roll == 2;
                self.ask(client, What::Other, MuteTrack { track, muted }.into(), None);
            }
            5..=30 => self.tell_client(client, Input::Media(MediaInput::Retry)),
            _ => {}
        }
    }

    pub(crate) fn client_media_order(&mut self, client: usize, order: MediaOrder) {
        if !matches!(order, MediaOrder::Sample { .. }) {
            self.note(format_args!("client {client} orders {order:?}"));
        }
        self.check_media_order(client, &order);
        let now = self.now;
        match order {
            MediaOrder::Open { peer, .. } => {
                let fresh = Transport {
                    far: None,
                    offered: Vec::new(),
                    answered: Vec::new(),
                    is_answered: false,
                    offered_at: now,
                    round: 0,
                    restarts: false,
                    connected: false,
                    connected_at: 0,
                    lost: false,
                    failed: false,
                    ok_at: now,
                    lines: BTreeMap::new(),
                };
                let guest = self.guest(client);
                guest.last = peer;
                guest.transports.insert(peer, fresh);
                self.offer_media(client, peer);
            }
            MediaOrder::Hear(signal) => self.hear_media(client, signal),
            MediaOrder::Restart { peer, .. } => {
                if let Some(transport) = self.guest(client).transports.get_mut(&peer) {
                    transport.round += 1;
                    self.offer_media(client, peer);
                }
            }
            MediaOrder::Resume { peer } => {
                let guest = self.guest(client);
                if guest.transports.contains_key(&peer) {
                    self.offer_media(client, peer);
                }
            }
            MediaOrder::Sample { peer } => self.sample_media(client, peer),
            MediaOrder::Close { peer } => {
                if self.mutant == Some(Mutant::TransportLeft) {
                    self.mutated = true;
                    return;
                }
                self.guest(client).transports.remove(&peer);
                if self.mutant == Some(Mutant::TransportStale) {
                    self.mutated = true;
                    self.check_media_order(client, &MediaOrder::Resume { peer });
                }
            }
        }
    }

    fn own_tracks(&self, client: usize) -> Vec<TrackName> {
        let machine = &self.actors[client].machine;
        let Some(state) = machine.resume_state() else {
            return Vec::new();
        };
        let tracks = machine.snapshot().tracks.iter();
        tracks
            .filter(|view| view.participant == state.participant)
            .map(|view| view.track.clone())
            .collect()
    }

    fn offer_media(&mut self, client: usize, peer: u32) {
        let now = self.now;
        let own = self.own_tracks(client);
        let life = self.actors[client].life;
        let Some(transport) = self.guest(client).transports.get_mut(&peer) else {
            return;
        };
        transport.offered.clone_from(&own);
        transport.offered_at = now;
        let line = |(n, track)| MediaLine {
            mid: format!("c{n}"),
            participant: None,
            track,
        };
        let offer = OfferFrame {
            peer,
            sdp: format!("{client} {life} {}", transport.round),
            lines: (0..).zip(own).map(line).collect(),
            settled: false,
        };
        self.say_media(client, MediaInput::Say(MediaSignal::Offer(offer)));
    }

    fn hear_media(&mut self, client: usize, signal: MediaSignal) {
        let now = self.now;
        let carrier = self.actors[client].carrier;
        let server = carrier.map_or(0, |link| self.links[link].server);
        let fails = now < self.guest(client).restarts_fail_until;
        let guest = self.guest(client);
        let peer = signal.peer();
        let Some(transport) = guest.transports.get_mut(&peer) else {
            return;
        };
        let lines = match signal {
            MediaSignal::Answer(answer) => {
                let mut words = answer.sdp.split(' ');
                let life = words.next().and_then(|word| word.parse().ok());
                let peer = words.next().and_then(|word| word.parse().ok());
                let round = words.next_back().and_then(|word| word.parse::<u32>().ok());
                if let (Some(life), Some(peer)) = (life, peer) {
                    transport.far = Some((server, life, PeerId(peer)));
                    transport.is_answered = true;
                    transport.answered.clone_from(&transport.offered);
                    transport.restarts |= round.is_some_and(|round| round > 0) && !fails;
                }
                answer.lines
            }
            MediaSignal::Offer(offer) => {
                transport.restarts |= !fails;
                let answer = AnswerFrame {
                    peer: offer.peer,
                    sdp: "yes".to_owned(),
                    lines: Vec::new(),
                };
                self.say_media(client, MediaInput::Say(MediaSignal::Answer(answer)));
                offer.lines
            }
            MediaSignal::Lines(lines) => lines.lines,
            MediaSignal::Candidate(_) | MediaSignal::Refresh(_) => return,
        };
        self.name_lines(client, peer, lines);
    }

    fn name_lines(&mut self, client: usize, peer: u32, named: Vec<MediaLine>) {
        let now = self.now;
        let Some(transport) = self.guest(client).transports.get_mut(&peer) else {
            return;
        };
        let mut known = std::mem::take(&mut transport.lines);
        for line in named {
            let of = line
                .participant
                .map(|participant| (participant.to_string(), line.track.to_string()));
            let mut is = known.remove(&line.mid).unwrap_or_default();
            if is.of != of {
                (is.of, is.quiet_since, is.broken) = (of, now, false);
            }
            transport.lines.insert(line.mid, is);
        }
    }

    fn sample_media(&mut self, client: usize, peer: u32) {
        let Some(transport) = self.guest(client).transports.get(&peer) else {
            return;
        };
        let lines = transport.lines.iter();
        let lines = lines
            .map(|(mid, line)| LineSample {
                mid: mid.clone(),
                packets: line.packets,
                frames: Some(line.frames),
            })
            .collect();
        self.say_media(client, MediaInput::Sampled { peer, lines });
    }

    /// Checks go out and are answered, or not; what the camera makes goes up.
    pub(crate) fn guest_checks(&mut self, client: usize) {
        let now = self.now;
        let actor = &self.actors[client];
        let asleep = actor.asleep_until.is_some();
        let away = asleep || now < actor.offline_until;
        let own = self.own_tracks(client);
        let Some(guest) = self.media.guests.get_mut(&client) else {
            return;
        };
        let up = !away && now >= guest.up_blocked_until;
        let both = up && now >= guest.down_blocked_until;
        let camera = up && now >= guest.camera_stopped_until;
        let mut told = Vec::new();
        let mut offers = Vec::new();
        for (peer, transport) in &mut guest.transports {
            let late = now > transport.offered_at + SECOND;
            if transport.is_answered && transport.answered != own && late {
                offers.push(*peer);
            }
            let Some((server, life, far)) = transport.far else {
                continue;
            };
            let there = self.servers[server].up;
            let plane = self.media.planes.get_mut(&server);
            let Some(plane) = plane.filter(|plane| there && plane.life == life) else {
                transport.check(now, false, *peer, &mut told);
                continue;
            };
            let answers = plane.peers.contains_key(&far);
            if transport.restarts {
                (transport.restarts, transport.failed) = (false, false);
            }
            let live = !transport.failed;
            plane.heard(now, far, both && live, camera && transport.connected);
            transport.check(now, both && answers, *peer, &mut told);
        }
        let connected = told.iter().rev().find_map(|(peer, state)| {
            let newest = guest.transports.last_key_value().map(|(last, _)| last);
            (*state == TransportState::Connected && newest == Some(peer)).then_some(*peer)
        });
        if let Some(peer) = connected {
            // The shell closes the one before.
            let Guest {
                transports,
                replaced,
                ..
            } = guest;
            replaced.extend(transports.keys().filter(|open| **open != peer));
            transports.retain(|open, _| *open == peer);
        }
        if asleep {
            guest.seen_since = now;
        }
        for (peer, state) in told {
            self.say_media(client, MediaInput::Transport { peer, state });
        }
        for peer in offers {
            self.offer_media(client, peer);
        }
    }

    /// What planes send comes down.
    pub(crate) fn guest_receives(&mut self, client: usize) {
        let now = self.now;
        let actor = &self.actors[client];
        let away = actor.asleep_until.is_some() || now < actor.offline_until;
        let Some(guest) = self.media.guests.get_mut(&client) else {
            return;
        };
        if away || now < guest.down_blocked_until {
            return;
        }
        for transport in guest.transports.values_mut().filter(|of| of.connected) {
            let Some((server, life, far)) = transport.far else {
                continue;
            };
            let plane = self.media.planes.get(&server);
            let Some(plane) = plane.filter(|plane| plane.life == life) else {
                continue;
            };
            if !self.servers[server].up {
                continue;
            }
            for (mid, line) in &mut transport.lines {
                if plane.sends(now, far, mid) {
                    line.packets += 3;
                    line.quiet_since = now;
                    if !line.broken {
                        line.frames += 3;
                    }
                }
            }
        }
    }
}

impl Transport {
    fn check(
        &mut self,
        now: u64,
        answered: bool,
        peer: u32,
        told: &mut Vec<(u32, TransportState)>,
    ) {
        if answered && self.is_answered && !self.failed {
            self.ok_at = now;
            if !self.connected {
                self.connected_at = now;
            }
            if !self.connected || self.lost {
                (self.connected, self.lost) = (true, false);
                told.push((peer, TransportState::Connected));
            }
            return;
        }
        if !self.connected || self.failed {
            return;
        }
        let silent = now - self.ok_at;
        if silent > FAILED_AFTER {
            (self.failed, self.lost) = (true, true);
            told.push((peer, TransportState::Failed));
        } else if silent > LOST_AFTER && !self.lost {
            self.lost = true;
            told.push((peer, TransportState::Disconnected));
        }
    }

    /// It gives up, whatever is on the way.
    pub(crate) const fn fail(&mut self) {
        (self.failed, self.lost) = (true, true);
    }
}

/// The longest that a loss may stay untold: a line on which nothing came yet, a look, and its way.
pub(crate) const TOLD_WITHIN: u64 = 2 * SECOND + 750 * MS + 2 * STEP + 300 * MS;

impl World {
    /// The newest transport that is connected gives up, and says so.
    pub(crate) fn fail_transport(&mut self, client: usize) {
        let mut open = self.guest(client).transports.iter_mut().rev();
        let Some((peer, transport)) = open.find(|(_, transport)| transport.connected) else {
            return;
        };
        transport.fail();
        let (peer, state) = (*peer, TransportState::Failed);
        self.say_media(client, MediaInput::Transport { peer, state });
    }
}
