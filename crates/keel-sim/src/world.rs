//! One run: processes, a store, a network and clients, moved by one queue.
//!
//! Time is a number. The machines are the shipped ones, and everything between them is bytes.

use std::collections::BTreeMap;

use keel_core::{
    Instant, Now,
    node::{self, Node},
};
use keel_wire::SessionId;

use crate::{
    actor::{Actor, Asked},
    archive::Emitted,
    cell::{Cells, Kind, Phase},
    chance::Chance,
    link::{Link, Stage},
    media::Media,
    mix::Mix,
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
    pub(crate) words: crate::laws::Words,
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
    pub(crate) media: Media,
    pub(crate) last_params: BTreeMap<SessionId, serde_json::Value>,
    pub(crate) deeds: crate::turns::Deeds,
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
        let mut media = Media::draw(seed);
        if let Some(mutant) = suits {
            mutant.suit_media(&mut media);
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
            words: crate::laws::Words::default(),
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
            media,
            last_params: BTreeMap::new(),
            deeds: crate::turns::Deeds::default(),
            mix,
        };
        world.set_up();
        world
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
                    self.tell_server(server, *input);
                }
            }
            Happening::Synced { server, life, id } => {
                let input = self.store.finish(self.now, id, &self.emitted);
                if let Some(input) = input
                    && alive(self, server, life)
                {
                    self.note_synced(server, &input);
                    self.tell_server(server, input);
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
                    self.tell_client(client, *input);
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
            Happening::MediaStep => self.media_step(),
            Happening::Blow => self.blow(),
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
