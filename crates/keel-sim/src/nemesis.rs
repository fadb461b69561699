//! What breaks, and when.

use keel_core::{
    client::{ConnEnd as ClientEnd, Input as ClientInput},
    node::{self, Ask, AskId, ConnEnd as ServerEnd, Strike},
};
use keel_wire::{CloseCode, Code, Fault, FaultFrame, FaultId, Injection, Origin, ServerFrame};

use crate::{
    cell::Kind,
    link::{Down, Stage},
    mix::{MS, SECOND},
    queue::Happening,
    world::{BYSTANDERS, World},
};

/// What a middlebox or another server may close with.
const CLOSES: [u16; 14] = [
    1000, 1001, 1002, 1005, 1006, 1007, 1008, 1011, 1012, 1013, 4002, 4010, 4101, 4507,
];

/// What a server may say before it closes.
const FAULTS: [Code; 9] = [
    Code::ServerShutdown,
    Code::StoreFailed,
    Code::Internal,
    Code::RateLimited,
    Code::ProtocolError,
    Code::ResumeRefused,
    Code::SlowConsumer,
    Code::HeartbeatTimeout,
    Code::Unauthenticated,
];

impl World {
    pub(crate) fn strikes(&mut self) {
        if !self.is_chaos() {
            return;
        }
        let every = self.mix.strikes_every;
        let next = self.now + self.chance.between(every / 4, every * 2);
        self.queue.at(next, Happening::Strike);
        let exposed: Vec<usize> = (0..self.actors.len())
            .filter(|client| {
                let actor = &self.actors[*client];
                actor.group != BYSTANDERS && actor.started && actor.view.over.is_none()
            })
            .collect();
        if exposed.is_empty() {
            return;
        }
        let client = self.chance.pick(&exposed);
        let kinds = self.mix.strikes.clone();
        let kind = self.chance.pick(&kinds);
        self.strike(client, kind);
    }

    pub(crate) fn strike_at(&mut self, link: usize) {
        let client = self.links[link].client;
        if self.mix.strikes.is_empty() || !self.is_chaos() || !self.links[link].client_open {
            return;
        }
        let kinds = self.mix.strikes.clone();
        let kind = self.chance.pick(&kinds);
        self.strike(client, kind);
    }

    fn strike(&mut self, client: usize, kind: Kind) {
        let newest = self.actors[client].links.last_key_value();
        let link = newest
            .map(|(_, link)| *link)
            .filter(|link| self.links[*link].is_up());
        match kind {
            Kind::Offline => self.go_offline(client),
            Kind::Sleep => {
                self.struck(kind, client);
                let span = self.chance.pick(&[1, 3, 9, 40]) * SECOND;
                let clock_runs = self.chance.permille(500);
                self.sleep(client, span, clock_runs);
            }
            Kind::Killed => self.kill_client(client, false),
            Kind::Reload => self.kill_client(client, true),
            Kind::Panic => self.panic_session(client),
            _ => {
                if let Some(link) = link {
                    self.strike_link(client, link, kind);
                }
            }
        }
    }

    fn go_offline(&mut self, client: usize) {
        self.struck(Kind::Offline, client);
        let span = self.chance.pick(&[1, 4, 10, 25, 45]) * SECOND;
        let until = self.now + span;
        let forgets = self.chance.permille(500);
        let told = self.chance.permille(500);
        self.actors[client].offline_until = until;
        let links: Vec<usize> = self.actors[client].links.values().copied().collect();
        for link in links {
            let now = self.now;
            let wire = &mut self.links[link];
            if forgets {
                wire.up.kill(now);
                wire.down.kill(now);
            } else {
                wire.up.held_until = until;
                wire.down.held_until = until;
            }
        }
        self.disturb(client, until);
        if told {
            self.tell_client(client, ClientInput::Network { online: false });
        }
        if told {
            self.queue.at(until, Happening::Online { client });
        }
    }

    fn panic_session(&mut self, client: usize) {
        let group = self.actors[client].group;
        let Some(session) = self.sessions[group].clone() else {
            return;
        };
        self.struck(Kind::Panic, client);
        self.panics_injected += 1;
        self.panicked.insert(group);
        for other in 0..self.actors.len() {
            if self.actors[other].group == group {
                self.disturb(other, self.now + SECOND);
            }
        }
        let question = Ask::Inject(Strike {
            session,
            participant: None,
            injection: Injection::Panic { times: 1 },
            for_ms: None,
            seed: None,
        });
        for server in 0..self.servers.len() {
            if self.servers[server].up {
                let question = question.clone();
                self.tell_server(
                    server,
                    node::Input::Ask {
                        ask: AskId(1),
                        question,
                    },
                );
            }
        }
    }

    fn strike_link(&mut self, client: usize, link: usize, kind: Kind) {
        self.struck(kind, client);
        self.disturb(client, self.now);
        let now = self.now;
        let eof = || ServerEnd::Eof;
        let reset = || ServerEnd::Broken {
            error: "reset".to_owned(),
        };
        match kind {
            Kind::Reset => self.cut(link, Some(ClientEnd::Reset), Some(reset())),
            Kind::Eof => self.cut(link, Some(ClientEnd::Eof), Some(eof())),
            Kind::LateBytes => {
                // What was on its way arrives when both have given the connection up.
                let wire = &mut self.links[link];
                (wire.up.late, wire.down.late) = (true, true);
                let held = now + self.chance.between(100, 3_000) * MS;
                self.cut(link, Some(ClientEnd::Reset), Some(reset()));
                self.hold_late(link, held);
            }
            Kind::CutFrame => {
                // Half a frame is no frame: it is dropped with what follows.
                self.cut(link, Some(ClientEnd::Eof), Some(eof()));
            }
            Kind::Close => {
                let code = CloseCode(self.chance.pick(&CLOSES));
                if let Some(known) = Code::ALL.iter().find(|known| known.close() == Some(code)) {
                    self.actors[client].excuses.insert(*known);
                }
                self.actors[client].excuses.insert(Code::ConnectionClosed);
                let end = ClientEnd::Close {
                    code,
                    reason: String::new(),
                };
                self.cut(link, Some(end), Some(eof()));
            }
            Kind::FaultThenClose => self.fault_then_close(client, link),
            Kind::HalfOpen => {
                self.links[link].up.kill(now);
                self.links[link].down.kill(now);
            }
            Kind::DeafServer => self.links[link].up.kill(now),
            Kind::DeafClient => self.links[link].down.kill(now),
            Kind::DelaySpike => {
                let until = now + self.chance.between(500, 9_000) * MS;
                self.links[link].up.held_until = until;
                self.links[link].down.held_until = until;
                self.disturb(client, until);
            }
            Kind::Duplicate => self.links[link].twice = self.chance.between(1, 6) as u32,
            Kind::SlowLink => {
                self.links[link].down.rate = Some(self.chance.between(2_000, 60_000));
                self.disturb(client, now + 3 * SECOND);
            }
            Kind::TokenExpired => self.expire(client, link),
            _ => {}
        }
    }

    /// What is late comes in a burst.
    fn hold_late(&mut self, link: usize, until: u64) {
        let wire = &mut self.links[link];
        wire.up.held_until = until;
        wire.down.held_until = until;
    }

    fn fault_then_close(&mut self, client: usize, link: usize) {
        let code = self.chance.pick(&FAULTS);
        self.actors[client].excuses.insert(code);
        let id = FaultId::from_bits(u128::from(self.chance.bits()));
        let wall = self.server_now().wall;
        let fault = Fault::new(id, code, Origin::Server, wall);
        let frame = ServerFrame::from(FaultFrame { fault }).encode();
        self.frame_down(link, frame.into());
        let now = self.now;
        let close = code.close().unwrap_or(CloseCode::ABNORMAL);
        let end = ClientEnd::Close {
            code: close,
            reason: code.name().to_owned(),
        };
        self.send_down(link, Down::End(end), 0);
        self.links[link].up.kill(now);
        let server_open = self.links[link].server_open;
        if server_open {
            self.lost_by_server(link);
        }
    }

    fn expire(&mut self, client: usize, link: usize) {
        let group = self.actors[client].group;
        let greeting = self.links[link].stage == Stage::Greeting;
        let Some(session) = self.sessions[group].clone().filter(|_| !greeting) else {
            return;
        };
        for other in 0..self.actors.len() {
            if self.actors[other].group == group {
                self.disturb(other, self.now);
            }
        }
        let server = self.links[link].server;
        if self.servers[server].up {
            self.tell_server(
                server,
                node::Input::Ask {
                    ask: AskId(2),
                    question: Ask::Inject(Strike {
                        session,
                        participant: None,
                        injection: Injection::ExpireToken,
                        for_ms: None,
                        seed: None,
                    }),
                },
            );
        }
    }

    // Processes.

    pub(crate) fn crashes(&mut self) {
        let Some(every) = self.mix.crash_every.filter(|_| self.is_chaos()) else {
            return;
        };
        let next = self.now + self.chance.between(every / 3, every * 2);
        self.queue.at(next, Happening::Crash);
        let ups: Vec<usize> = (0..self.servers.len())
            // Of two nodes the older has the session until it has drained.
            .filter(|server| self.servers[*server].up)
            .filter(|server| self.servers.len() == 1 || (*server == 1 && self.servers[0].gone))
            .collect();
        if ups.is_empty() {
            return;
        }
        let server = self.chance.pick(&ups);
        let (low, high) = self.mix.restart;
        let after = self.chance.between(low, high);
        self.struck_all(Kind::Crash);
        self.disturb_all(self.now + after);
        let silently = self.chance.permille(200);
        self.kill(server, silently);
        self.queue
            .at(self.now + after, Happening::Restart { server });
    }

    pub(crate) fn drain(&mut self, server: usize) {
        if !self.servers[server].up || self.servers[server].draining || !self.is_chaos() {
            return;
        }
        let moves = self.servers.len() > 1 && self.servers[1].up;
        self.struck_all(if moves { Kind::Migrate } else { Kind::Drain });
        let within = self.chance.between(100, 4_000);
        self.disturb_all(self.now + within * MS);
        self.servers[server].draining = true;
        let target = moves.then(|| "node-1".to_owned());
        self.note(format_args!(
            "server {server} drains to {target:?} within {within} ms"
        ));
        self.tell_server(
            server,
            node::Input::Drain {
                within: std::time::Duration::from_millis(within),
                target,
            },
        );
    }

    pub(crate) fn mood(&mut self) {
        if !self.is_chaos() {
            return;
        }
        let every = self.mix.store.moods_every.unwrap_or(SECOND);
        let next = self.now + self.chance.between(every / 2, every * 2);
        self.queue.at(next, Happening::Mood);
        let until = self.now + self.chance.between(200, 5_000) * MS;
        if self.chance.permille(500) {
            self.store.refuses_until = until;
            self.struck_all(Kind::StoreRefuses);
        } else {
            self.store.slow_until = until;
            self.struck_all(Kind::StoreSlow);
        }
        self.disturb_all(until + 3 * SECOND);
    }

    /// Everything works from here on.
    pub(crate) fn heal(&mut self) {
        self.note(format_args!("heal"));
        self.stretch = crate::world::Stretch::Healing;
        self.stretch_since = self.now;
        self.store.sick = false;
        self.heal_media();
        let now = self.now;
        self.store.refuses_until = self.store.refuses_until.min(now);
        self.store.slow_until = self.store.slow_until.min(now);
        for server in &mut self.servers {
            for program in server.programs.values_mut() {
                program.mutters = false;
            }
        }
    }
}
