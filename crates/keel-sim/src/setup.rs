//! Who takes part in a run: servers over one store, and the clients of each session.

use std::collections::BTreeMap;

use keel_core::{
    client::{self, Backoff, Client, TokenSource},
    node::{self, Backend, Capacity, MediaRule, Node, SlotKind, TurnClocks},
};
use keel_wire::{Admission, BusyPolicy, Epoch, History, Role, record::Fence};

use crate::{
    actor::{Actor, View},
    archive::seq,
    mix::{MS, Room, SECOND},
    queue::Happening,
    world::{BYSTANDERS, Server, World},
};

impl World {
    pub(crate) fn set_up(&mut self) {
        let mix = self.mix.clone();
        self.note(format_args!("{mix:?}"));
        for _ in 0..if mix.two_nodes { 2 } else { 1 } {
            self.add_server();
        }
        for group in 0..=mix.sessions {
            let viewers = if group == BYSTANDERS { 0 } else { mix.others };
            self.add_actor(group, Role::Owner);
            for n in 0..viewers {
                let role = if n == 0 {
                    Role::Viewer
                } else {
                    Role::Publisher
                };
                self.add_actor(group, role);
            }
        }
        self.queue.at(mix.chaos, Happening::Heal);
        self.queue.at(500 * MS, Happening::Audit);
        if !mix.strikes.is_empty() {
            let at = self.chance.between(0, mix.strikes_every * 2);
            self.queue.at(at, Happening::Strike);
        }
        if let Some(every) = mix.crash_every {
            let at = self.chance.between(0, every * 2);
            self.queue.at(at, Happening::Crash);
        }
        if let Some(every) = mix.store.moods_every {
            let at = self.chance.between(0, every * 2);
            self.queue.at(at, Happening::Mood);
        }
        self.set_up_media();
        if mix.drains || mix.two_nodes {
            let at = self.chance.between(0, mix.chaos);
            self.queue.at(at, Happening::Drain { server: 0 });
        }
    }

    fn add_server(&mut self) {
        let index = self.servers.len();
        let mix = &self.mix;
        let capacity = match mix.room {
            Room::Unbounded => None,
            Room::Sessions(slots) => Some((SlotKind::Session, slots)),
            Room::Turns(slots) => Some((SlotKind::Turn, slots)),
        };
        let span = std::time::Duration::from_micros;
        let backend = Backend {
            capacity: capacity.map(|(kind, slots)| Capacity {
                kind,
                // The bystander has a place of its own.
                slots: slots + usize::from(kind == SlotKind::Session),
                queue: 8,
            }),
            media: self.media.on.then_some(MediaRule::Passthrough),
            busy: BusyPolicy::Reject,
            clocks: TurnClocks {
                spawn: span(3 * SECOND),
                first_output: span(3 * SECOND),
                idle: span(4 * SECOND),
                whole: span(12 * SECOND),
                action: span(5 * SECOND),
            },
            attempts: 2,
            steers: mix.steers,
            continue_prompt: None,
        };
        let config = node::Config {
            fence: Fence(0),
            epoch: Epoch(seq(1)),
            secret: [9; 32],
            backends: [("echo".to_owned(), backend)].into(),
            default_backend: "echo".to_owned(),
            resume_window: span(mix.resume_window),
            hibernate_after: span(mix.hibernate_after),
            retain_events: mix.retain,
            frames_per_s: 200,
            faults: true,
            ice: None,
        };
        self.servers.push(Server {
            node: Node::new(config.clone(), 0),
            config,
            life: 0,
            up: false,
            gone: false,
            armed: None,
            spins: 0,
            programs: BTreeMap::new(),
            draining: false,
        });
        self.start_server(index);
    }

    /// A process is started over the store that there is.
    pub(crate) fn start_server(&mut self, index: usize) {
        let fence = self.store.grant();
        let seed = self.chance.bits();
        let server = &mut self.servers[index];
        server.config.fence = fence;
        server.node = Node::new(server.config.clone(), seed);
        server.life += 1;
        server.up = true;
        server.draining = false;
        server.armed = None;
        server.programs.clear();
        self.new_plane(index);
        self.note(format_args!("server {index} starts"));
        self.tell_server(index, node::Input::Start);
    }

    fn add_actor(&mut self, group: usize, role: Role) {
        let index = self.actors.len();
        let config = self.client_config(group, role);
        let seed = self.chance.bits();
        self.actors.push(Actor {
            machine: Client::new(config.clone(), seed),
            life: 1,
            group,
            role,
            config,
            started: false,
            links: BTreeMap::new(),
            carrier: None,
            asleep_until: None,
            pile: Vec::new(),
            lag: 0,
            wall_off: 0,
            offline_until: 0,
            armed: None,
            spins: 0,
            view: View::default(),
            well_since: 0,
            disturbed: false,
            excuses: std::collections::BTreeSet::new(),
            leaving: false,
            gone: false,
            open_commands: std::collections::BTreeSet::new(),
            tries: 0,
            last_try_at: 0,
        });
        let at = self.chance.between(0, 500 * MS);
        self.queue.at(at, Happening::Act { client: index });
    }

    pub(crate) fn client_config(&mut self, group: usize, role: Role) -> client::Config {
        let span = std::time::Duration::from_micros;
        let quiet = group == BYSTANDERS;
        let waits = self.mix.waits && !quiet;
        let moved = self.servers[0].gone || (self.servers[0].draining && self.servers.len() > 1);
        let address = if moved && self.servers.len() > 1 {
            "node-1"
        } else {
            "node-0"
        };
        let mut config = client::Config::new(address, TokenSource::Fetched);
        config.role = role;
        config.session.clone_from(&self.sessions[group]);
        config.admission = if waits {
            Admission::Wait { max_ms: None }
        } else {
            Admission::Fail
        };
        config.busy = Some(self.mix.busy);
        config.history = if self.chance.permille(self.mix.snapshot_joins) {
            History::Snapshot
        } else {
            History::All
        };
        config.params = Some(serde_json::json!({ "tone": "calm" }));
        config.give_up_after = self.mix.give_up.map(span).filter(|_| !quiet);
        config.retry_first_connect = self.chance.permille(300);
        if self.chance.permille(150) {
            config.backoff = Backoff::seed_d();
        }
        config
    }
}
