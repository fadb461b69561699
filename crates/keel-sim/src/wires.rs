//! The network: what is sent arrives later, or never, and what is lost is noticed or not.

use std::sync::Arc;

use keel_core::{
    client::{self, ConnEnd as ClientEnd, ConnId, DialFailure},
    node::{self, ConnEnd as ServerEnd},
};
use keel_wire::{CloseCode, ServerFrame, codec::Decoded};

use crate::{
    cell::Kind,
    link::{Down, Lane, Link, Stage, Up},
    mix::{MS, SECOND},
    mutant::Mutant,
    queue::Happening,
    world::World,
};

impl World {
    fn latency(&mut self) -> u64 {
        let (low, high) = self.mix.latency;
        self.chance.between(low, high)
    }

    // Dialling.

    pub(crate) fn dial(&mut self, client: usize, conn: ConnId, address: &str) {
        // Names lead to who is there.
        let server = usize::from(address == "node-1" || self.servers[0].gone);
        let link = self.links.len();
        self.links.push(Link {
            client,
            client_life: self.actors[client].life,
            conn,
            server,
            server_life: 0,
            stage: Stage::Dialing,
            client_open: true,
            server_open: false,
            up: Lane::default(),
            down: Lane::default(),
            // Tokens that expire end what they opened.
            touched: self.mix.token_life.is_some(),
            twice: 0,
            ending: false,
        });
        self.actors[client].links.insert(conn.0, link);
        let latency = self.latency();
        if self.now < self.actors[client].offline_until {
            if self.chance.permille(500) {
                let kind = self.chance.pick(&[DialFailure::Dns, DialFailure::Other]);
                self.dial_fails(link, kind, latency);
            }
            return;
        }
        let sick = self.is_chaos() && self.actors[client].group != crate::world::BYSTANDERS;
        if sick && self.chance.permille(self.mix.dial) {
            return self.dial_breaks(client, link, latency);
        }
        self.queue
            .at(self.now + 2 * latency, Happening::Accept { link });
        self.phase_strike(link);
    }

    fn dial_breaks(&mut self, client: usize, link: usize, latency: u64) {
        match self.chance.between(0, 3) {
            0 => {
                self.struck(Kind::DialRefused, client);
                self.dial_fails(link, DialFailure::Refused, latency);
            }
            1 => {
                self.struck(Kind::DialTimeout, client);
                // Nobody ever answers.
            }
            2 => {
                self.struck(Kind::DialTimeout, client);
                let after = self.chance.between(500, 6_000) * MS;
                self.dial_fails(link, DialFailure::Timeout, after);
            }
            _ => {
                self.struck(Kind::NotWebSocket, client);
                let status = self.chance.pick(&[200, 502, 503, 404]);
                let retry_after = (status == 503)
                    .then(|| std::time::Duration::from_millis(self.chance.between(100, 3_000)));
                let kind = DialFailure::NotWebSocket {
                    status,
                    retry_after,
                };
                self.dial_fails(link, kind, latency);
            }
        }
        self.disturb(client, self.now + 6 * SECOND);
    }

    fn dial_fails(&mut self, link: usize, kind: DialFailure, after: u64) {
        let message = "simulated".to_owned();
        let end = ClientEnd::DialFailed { kind, message };
        let what = Down::End(end);
        self.queue
            .at(self.now + after, Happening::Down { link, what });
    }

    /// A dial reaches the address.
    pub(crate) fn accept(&mut self, link: usize) {
        let (client, server) = (self.links[link].client, self.links[link].server);
        if !self.links[link].client_open {
            return;
        }
        let latency = self.latency();
        let there = self.servers.get(server).is_some_and(|server| server.up);
        if !there {
            return self.dial_fails(link, DialFailure::Refused, latency);
        }
        if self.now < self.actors[client].offline_until {
            return;
        }
        let life = self.servers[server].life;
        let wire = &mut self.links[link];
        wire.server_life = life;
        wire.server_open = true;
        self.send_down(link, Down::Opened, 0);
        let conn = node::ConnId(link as u64);
        self.tell_server(server, node::Input::Opened { conn });
    }

    // Sending.

    pub(crate) fn send_down(&mut self, link: usize, what: Down, bytes: usize) {
        let latency = self.latency();
        if let Some(at) = self.links[link].down.arrives(self.now, latency, bytes) {
            self.queue.at(at, Happening::Down { link, what });
        }
    }

    pub(crate) fn send_up(&mut self, link: usize, what: Up, bytes: usize) {
        let latency = self.latency();
        if let Some(at) = self.links[link].up.arrives(self.now, latency, bytes) {
            self.queue.at(at, Happening::Up { link, what });
        }
    }

    /// The client's side lets go of a connection.
    pub(crate) fn hang_up(&mut self, link: usize, code: Option<CloseCode>) {
        let wire = &mut self.links[link];
        if !std::mem::take(&mut wire.client_open) {
            return;
        }
        if !wire.server_open {
            return;
        }
        let end = match code {
            Some(code) => ServerEnd::Close {
                code,
                reason: String::new(),
            },
            None => ServerEnd::Broken {
                error: "reset by peer".to_owned(),
            },
        };
        self.send_up(link, Up::End(end), 0);
    }

    /// Both ends lose a connection that breaks between them; what is on its way is lost too.
    pub(crate) fn cut(
        &mut self,
        link: usize,
        client: Option<ClientEnd>,
        server: Option<ServerEnd>,
    ) {
        let (up, down) = (self.latency(), self.latency());
        let now = self.now;
        let wire = &mut self.links[link];
        wire.touched = true;
        wire.up.kill(now);
        wire.down.kill(now);
        if let Some(end) = server {
            let what = Up::End(end);
            self.queue.at(now + up, Happening::Up { link, what });
        }
        if let Some(end) = client {
            let what = Down::End(end);
            self.queue.at(now + down, Happening::Down { link, what });
        }
    }

    // Arriving.

    pub(crate) fn arrives_up(&mut self, link: usize, what: Up) {
        let wire = &mut self.links[link];
        let server = wire.server;
        let alive = self
            .servers
            .get(server)
            .is_some_and(|s| s.up && s.life == wire.server_life);
        if !alive {
            return;
        }
        let conn = node::ConnId(link as u64);
        match what {
            Up::Frame(bytes) => {
                let lost = wire.up.dead_since.is_some() && !wire.up.late;
                if lost || !(wire.server_open || wire.up.late) {
                    return;
                }
                let again = wire.twice > 0 && !is_hello(&bytes);
                wire.twice -= u32::from(again);
                self.trace.bytes(&bytes);
                self.note_frame("up", link, &bytes);
                if again {
                    let bytes = bytes.clone();
                    self.tell_server(server, node::Input::Frame { conn, bytes });
                }
                let bytes = self.mutate_up(link, bytes);
                self.tell_server(server, node::Input::Frame { conn, bytes });
            }
            Up::End(end) => {
                if !std::mem::take(&mut wire.server_open) {
                    return;
                }
                self.tell_server(server, node::Input::Lost { conn, end });
            }
        }
    }

    fn note_frame(&mut self, way: &str, link: usize, bytes: &[u8]) {
        if self.trace.wants_lines() {
            let client = self.links[link].client;
            let text = String::from_utf8_lossy(bytes);
            let text: String = text.chars().take(600).collect();
            self.note(format_args!("{way} #{link} (client {client}) {text}"));
        }
    }

    pub(crate) fn arrives_down(&mut self, link: usize, what: Down) {
        let wire = &mut self.links[link];
        let (client, life, conn) = (wire.client, wire.client_life, wire.conn);
        let there = self.actors[client].life == life;
        match what {
            Down::Opened => {
                if wire.down.dead_since.is_some() || !wire.client_open {
                    return;
                }
                wire.stage = Stage::Greeting;
                self.note(format_args!("open #{link} (client {client})"));
                if there {
                    self.tell_client(client, client::Input::Opened { conn });
                    self.phase_strike(link);
                }
            }
            Down::Frame(bytes) => {
                let lost = wire.down.dead_since.is_some() && !wire.down.late;
                if lost {
                    return;
                }
                let open = wire.client_open || wire.down.late;
                self.taken(link, bytes.len());
                if !open || !there {
                    return;
                }
                self.trace.bytes(&bytes);
                self.note_frame("down", link, &bytes);
                for (conn, bytes) in self.mutate_down(link, conn, bytes) {
                    self.tell_client(client, client::Input::Frame { conn, bytes });
                }
            }
            Down::End(end) => {
                if !there {
                    wire.client_open = false;
                }
                if !wire.client_open || wire.ending {
                    return;
                }
                wire.ending = true;
                self.note(format_args!("end #{link} (client {client}) {end:?}"));
                self.tell_client(client, client::Input::Closed { conn, end });
            }
        }
    }

    /// The transport has taken bytes of the server's.
    fn taken(&mut self, link: usize, bytes: usize) {
        let wire = &self.links[link];
        let (server, life) = (wire.server, wire.server_life);
        let alive =
            wire.server_open && self.servers[server].up && self.servers[server].life == life;
        if !alive || bytes == 0 {
            return;
        }
        if self.mutant == Some(Mutant::LostWakeUp) {
            self.mutated = true;
            return;
        }
        let conn = node::ConnId(link as u64);
        self.tell_server(server, node::Input::Flushed { conn, bytes });
    }

    /// What a frame says about how far its connection is.
    pub(crate) fn watch_stage(&mut self, link: usize, bytes: &[u8]) {
        let stage = if bytes.starts_with(br#"{"type":"welcome""#) {
            Stage::Welcomed
        } else if bytes.starts_with(br#"{"type":"queued""#) {
            Stage::Queued
        } else if bytes.starts_with(br#"{"type":"replayed""#) {
            Stage::Replayed
        } else {
            return;
        };
        let client = self.links[link].client;
        if !self.links[link].client_open {
            return;
        }
        if stage == Stage::Welcomed
            && let Ok(Decoded::Known(ServerFrame::Welcome(_))) =
                ServerFrame::decode(bytes, usize::MAX)
        {
            self.actors[client].carrier = Some(link);
        }
        self.links[link].stage = stage;
        self.phase_strike(link);
    }

    pub(crate) fn frame_down(&mut self, link: usize, bytes: Arc<[u8]>) {
        let length = bytes.len();
        self.send_down(link, Down::Frame(bytes), length);
    }
}

pub(crate) fn is_hello(bytes: &[u8]) -> bool {
    bytes.starts_with(br#"{"type":"hello""#)
}
