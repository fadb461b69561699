//! One run: processes, a store, a network and clients, moved by one queue.
//!
//! Time is a number. The machines are the shipped ones, and everything between them is bytes.

use std::collections::BTreeMap;

use keel_core::{
    Instant, Now,
    client::{self, Backoff, Client, TokenSource},
    node::{self, Backend, Capacity, Node, SlotKind, TurnClocks},
};
use keel_wire::{Admission, BusyPolicy, Epoch, History, Role, SessionId, record::Fence};

use crate::{
    actor::{Actor, Asked, View},
    archive::{Emitted, seq},
    cell::{Cells, Kind, Phase},
    chance::Chance,
    link::{Link, Stage},
    mix::{MS, Mix, Room, SECOND},
    mutant::Mutant,
    program::Program,
    queue::{Happening, Queue},
    store::Store,
    trace::Trace,
};

/// A law that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) what: String,
    pub(crate) step: u64,
}

/// A server process.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) node: Node,
    pub(crate) config: node::Config,
    pub(crate) life: u32,
    pub(crate) up: bool,
    /// Drained, and not to come back.
    pub(crate) gone: bool,
    pub(crate) armed: Option<u64>,
    pub(crate) spins: u32,
    pub(crate) programs: BTreeMap<node::RunId, Program>,
    pub(crate) draining: bool,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// Things break.
    Chaos,
    /// Nothing breaks any more; what is open comes to its end.
    Healing,
    /// Everybody leaves.
    Leaving,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) steps: u64,
    pub(crate) chance: Chance,
    pub(crate) mix: Mix,
    pub(crate) trace: Trace,
    pub(crate) cells: Cells,
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    pub(crate) servers: Vec<Server>,
    pub(crate) links: Vec<Link>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) emitted: Emitted,
    /// The session of each group, once its opener knows it.
    pub(crate) sessions: Vec<Option<SessionId>>,
    pub(crate) stretch: Stretch,
    pub(crate) stretch_since: u64,
    pub(crate) broken: Option<Broken>,
    pub(crate) mutant: Option<Mutant>,
    pub(crate) mutated: bool,
    /// A server, the store or the network of all was unwell last.
    pub(crate) unwell_at: u64,
    pub(crate) panics_injected: u64,
    /// Groups whose session was made to panic.
    pub(crate) panicked: std::collections::BTreeSet<usize>,
    pub(crate) census: Option<node::Census>,
    pub(crate) runs_params: Vec<crate::laws::RunParams>,
    pub(crate) last_params: BTreeMap<SessionId, serde_json::Value>,
}

/// The group of the session that nothing is done to.
pub(crate) const BYSTANDERS: usize = 0;

const STEPS_MAX: u64 = 200_000;

impl World {
    /// A run that suits one mutant and has another, or none: a control has none.
    pub(crate) fn new(
        seed: u64,
        suits: Option<Mutant>,
        mutant: Option<Mutant>,
        lines: bool,
    ) -> Self {
        let mut chance = Chance::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6b65_656c);
        let mut mix = Mix::draw(&mut chance);
        if let Some(mutant) = suits {
            mutant.suit(&mut mix, &mut chance);
        }
        let mut world = Self {
            now: 0,
            steps: 0,
            chance,
            trace: Trace::with_lines(lines),
            cells: Cells::default(),
            queue: Queue::default(),
            store: Store::new(mutant == Some(Mutant::ForgottenDeduplication)),
            servers: Vec::new(),
            links: Vec::new(),
            actors: Vec::new(),
            asked: Vec::new(),
            emitted: Emitted::new(),
            sessions: vec![None; mix.sessions + 1],
            stretch: Stretch::Chaos,
            stretch_since: 0,
            broken: None,
            mutant,
            mutated: mutant == Some(Mutant::ForgottenDeduplication),
            unwell_at: 0,
            panics_injected: 0,
            panicked: std::collections::BTreeSet::new(),
            census: None,
            runs_params: Vec::new(),
            last_params: BTreeMap::new(),
            mix,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
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
            busy: BusyPolicy::Reject,
            clocks: TurnClocks {
                spawn: span(3 * SECOND),
                first_output: span(3 * SECOND),
                idle: span(4 * SECOND),
                whole: span(12 * SECOND),
                action: span(5 * SECOND),
            },
            attempts: 2,
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
        self.note(format_args!("server {index} starts"));
        self.to_server(index, node::Input::Start);
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
        config.busy = Some(if self.mix.queue_turns {
            BusyPolicy::Queue { max: 2 }
        } else {
            BusyPolicy::Reject
        });
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

    // Time.

    pub(crate) const fn server_now(&self) -> Now {
        Now {
            mono: Instant::from_micros(1 + self.now),
            wall: 1_700_000_000_000 + self.now / 1_000,
        }
    }

    pub(crate) fn client_now(&self, client: usize) -> Now {
        let actor = &self.actors[client];
        Now {
            mono: Instant::from_micros(1_000_000_000 + self.now - actor.lag),
            wall: (1_690_000_000_000 + self.now / 1_000).wrapping_add(actor.wall_off),
        }
    }

    // The loop.

    /// Runs to the end, or to the first law that does not hold.
    pub(crate) fn run(&mut self) {
        while self.broken.is_none() {
            let Some((at, what)) = self.queue.next() else {
                break;
            };
            debug_assert!(at >= self.now, "time goes on");
            self.now = self.now.max(at);
            self.steps += 1;
            self.trace.number(at);
            self.happens(what);
            if let Some(what) = self.store.broken.take() {
                self.breaks("the log", what);
            }
            if self.steps > STEPS_MAX {
                self.breaks("the run ends", "too many steps".to_owned());
            }
            if self.stretch == Stretch::Leaving && self.has_left() {
                break;
            }
        }
        if self.broken.is_none() {
            self.check_the_end();
        }
    }

    fn happens(&mut self, what: Happening) {
        let alive = |world: &Self, server: usize, life: u32| {
            world.servers[server].up && world.servers[server].life == life
        };
        match what {
            Happening::Accept { link } => self.accept(link),
            Happening::Up { link, what } => self.arrives_up(link, what),
            Happening::Down { link, what } => self.arrives_down(link, what),
            Happening::Answer {
                server,
                life,
                input,
            } => {
                if alive(self, server, life) {
                    self.to_server(server, *input);
                }
            }
            Happening::Synced { server, life, id } => {
                let input = self.store.finish(self.now, id, &self.emitted);
                if let Some(input) = input
                    && alive(self, server, life)
                {
                    self.to_server(server, input);
                }
            }
            Happening::Read { server, life, read } => {
                if alive(self, server, life) {
                    self.read(server, *read);
                }
            }
            Happening::ServerTick { server, life } => {
                if alive(self, server, life) {
                    self.server_tick(server);
                }
            }
            Happening::Program { server, life, run } => {
                if alive(self, server, life) {
                    self.program_acts(server, run);
                }
            }
            Happening::Restart { server } => self.start_server(server),
            Happening::Exit { server, life } => {
                if alive(self, server, life) {
                    self.exit(server);
                }
            }
            Happening::ClientTick { client, life } => self.client_tick(client, life),
            Happening::ToClient {
                client,
                life,
                input,
            } => {
                if self.actors[client].life == life {
                    self.to_client(client, *input);
                }
            }
            Happening::Wake { client, life } => self.wake(client, life),
            Happening::Act { client } => self.acts(client),
            Happening::Online { client } => self.online(client),
            Happening::Strike => self.strikes(),
            Happening::Crash => self.crashes(),
            Happening::Mood => self.mood(),
            Happening::Drain { server } => self.drain(server),
            Happening::StrikeAt { link } => self.strike_at(link),
            Happening::Heal => self.heal(),
            Happening::Audit => self.audit(),
        }
    }

    // What is seen.

    /// A law did not hold: the first is kept, and ends the run.
    pub(crate) fn breaks(&mut self, law: &'static str, what: String) {
        self.note(format_args!("BROKEN {law}: {what}"));
        let step = self.steps;
        self.broken.get_or_insert(Broken { law, what, step });
    }

    pub(crate) fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, what);
    }

    /// How far a client is, for the counters.
    pub(crate) fn phase(&self, client: usize) -> Option<Phase> {
        let actor = &self.actors[client];
        if actor.gone || actor.view.over.is_some() || !actor.started {
            return None;
        }
        if actor.leaving {
            return Some(Phase::Closing);
        }
        let newest = actor.links.last_key_value().map(|(_, link)| *link);
        let newest = newest.filter(|link| self.links[*link].client_open);
        let lost = actor.view.lost_at.is_some();
        let Some(link) = newest else {
            return Some(if lost { Phase::Backoff } else { Phase::Dial });
        };
        let again = actor.view.session.is_some();
        Some(match self.links[link].stage {
            Stage::Dialing if again => Phase::Redial,
            Stage::Dialing => Phase::Dial,
            Stage::Greeting if again => Phase::Resuming,
            Stage::Greeting => Phase::Hello,
            Stage::Queued => Phase::Queued,
            Stage::Welcomed if again && lost => Phase::Replay,
            Stage::Welcomed => Phase::Welcome,
            Stage::Replayed => {
                let open = actor.machine.snapshot().turns.iter();
                if open.clone().any(keel_wire::TurnView::is_open) {
                    Phase::MidTurn
                } else {
                    Phase::Idle
                }
            }
        })
    }

    /// Counts a fault that strikes a client.
    pub(crate) fn struck(&mut self, kind: Kind, client: usize) {
        let Some(phase) = self.phase(client) else {
            return;
        };
        self.note(format_args!(
            "strike {kind:?} on client {client} in {phase:?}"
        ));
        self.cells.strike(kind, phase);
    }

    /// Counts a fault that strikes everybody.
    pub(crate) fn struck_all(&mut self, kind: Kind) {
        for client in 0..self.actors.len() {
            self.struck(kind, client);
        }
    }

    /// Something bad happens to a client until then: its bounds count from there.
    pub(crate) fn disturb(&mut self, client: usize, until: u64) {
        let actor = &mut self.actors[client];
        actor.disturbed = true;
        actor.well_since = actor.well_since.max(until);
        let links: Vec<usize> = actor.links.values().copied().collect();
        for link in links {
            self.links[link].touched = true;
        }
    }

    pub(crate) fn disturb_all(&mut self, until: u64) {
        self.unwell_at = self.unwell_at.max(until);
        for client in 0..self.actors.len() {
            self.disturb(client, until);
        }
    }

    pub(crate) fn is_chaos(&self) -> bool {
        self.stretch == Stretch::Chaos
    }
}
