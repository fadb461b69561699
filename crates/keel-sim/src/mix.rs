//! What a seed is made of: each draws its own faults and their rates, and some are quiet.
//!
//! A run in which everything breaks at once explores little; one in which two things break often finds
//! what happens between them.

use keel_wire::BusyPolicy;

use crate::{cell::Kind, chance::Chance};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// How a backend's slots are bound in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Unbounded,
    Sessions(usize),
    Turns(usize),
}

/// How the store behaves in a run, while it is allowed to misbehave.
#[derive(Debug, Clone)]
pub(crate) struct StoreMix {
    pub(crate) latency: (u64, u64),
    pub(crate) not_written: u32,
    pub(crate) unknown: u32,
    pub(crate) read_error: u32,
    pub(crate) moods_every: Option<u64>,
}

/// How providers behave in a run.
#[derive(Debug, Clone)]
pub(crate) struct ProviderMix {
    pub(crate) chunks: (u64, u64),
    pub(crate) pace: (u64, u64),
    pub(crate) large: u32,
    pub(crate) flood_items: u32,
    pub(crate) item: u32,
    /// A program calls a tool before it says anything.
    pub(crate) first_item: u32,
    pub(crate) asks: u32,
    pub(crate) restarts: u32,
    pub(crate) retries: u32,
    pub(crate) binds: u32,
    pub(crate) slow_stops: u32,
    pub(crate) crashes: u32,
    pub(crate) hangs: u32,
    pub(crate) late: u32,
    pub(crate) stubborn: u32,
}

/// Everything that a run draws before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    pub(crate) chaos: u64,
    pub(crate) sessions: usize,
    pub(crate) others: u64,
    pub(crate) two_nodes: bool,
    pub(crate) room: Room,
    pub(crate) waits: bool,
    /// What a `say` does while a turn runs, and whether programs take words while they work.
    pub(crate) busy: BusyPolicy,
    pub(crate) steers: bool,
    pub(crate) latency: (u64, u64),
    pub(crate) acts_every: (u64, u64),
    /// Of links and clients: which, and how often anything.
    pub(crate) strikes: Vec<Kind>,
    pub(crate) strikes_every: u64,
    /// In a thousand: a strike when a client enters a new phase.
    pub(crate) strikes_on_phase: u32,
    pub(crate) dial: u32,
    pub(crate) crash_every: Option<u64>,
    pub(crate) restart: (u64, u64),
    pub(crate) drains: bool,
    pub(crate) token_life: Option<u64>,
    pub(crate) resume_window: u64,
    pub(crate) hibernate_after: u64,
    pub(crate) give_up: Option<u64>,
    pub(crate) retain: u64,
    pub(crate) snapshot_joins: u32,
    pub(crate) store: StoreMix,
    pub(crate) provider: ProviderMix,
    pub(crate) ends_sessions: bool,
}

/// What may strike a link or a client.
const STRIKES: [Kind; 19] = [
    Kind::Reset,
    Kind::Eof,
    Kind::Close,
    Kind::FaultThenClose,
    Kind::HalfOpen,
    Kind::DeafServer,
    Kind::DeafClient,
    Kind::DelaySpike,
    Kind::CutFrame,
    Kind::Duplicate,
    Kind::LateBytes,
    Kind::Offline,
    Kind::Sleep,
    Kind::SlowLink,
    Kind::TokenExpired,
    Kind::Killed,
    Kind::Reload,
    Kind::Panic,
    Kind::Reset,
];

impl Mix {
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let quiet = chance.permille(60);
        let mut mix = Self::calm(chance);
        if quiet {
            return mix;
        }
        let kinds = chance.between(1, 4);
        mix.strikes = (0..kinds).map(|_| chance.pick(&STRIKES)).collect();
        mix.strikes_every = chance.between(600, 8_000) * MS;
        mix.strikes_on_phase = chance.pick(&[0, 0, 50, 200, 400]) as u32;
        if chance.permille(300) {
            mix.dial = chance.between(50, 700) as u32;
        }
        if chance.permille(350) {
            mix.crash_every = Some(chance.between(2_000, 15_000) * MS);
        }
        mix.drains = chance.permille(120);
        mix.two_nodes = mix.room == Room::Unbounded && chance.permille(200);
        if chance.permille(150) {
            mix.token_life = Some(chance.between(3_000, 15_000) * MS);
        }
        if chance.permille(350) {
            mix.store.not_written = chance.between(0, 200) as u32;
            mix.store.unknown = chance.between(0, 200) as u32;
        }
        if chance.permille(150) {
            mix.store.read_error = chance.between(20, 300) as u32;
        }
        if chance.permille(250) {
            mix.store.moods_every = Some(chance.between(2_000, 10_000) * MS);
        }
        let some = |chance: &mut Chance, most| {
            let on = chance.permille(350);
            if on {
                chance.between(20, most) as u32
            } else {
                0
            }
        };
        let provider = &mut mix.provider;
        provider.restarts = some(chance, 200);
        provider.retries = some(chance, 200);
        provider.slow_stops = some(chance, 600);
        provider.crashes = some(chance, 400);
        provider.hangs = some(chance, 300);
        provider.late = some(chance, 400);
        provider.stubborn = some(chance, 600);
        provider.asks = some(chance, 400);
        provider.item = some(chance, 500);
        mix
    }

    fn calm(chance: &mut Chance) -> Self {
        let room = match chance.between(0, 9) {
            0 | 1 => Room::Sessions(1),
            2 => Room::Turns(1),
            _ => Room::Unbounded,
        };
        let slow_net = chance.permille(100);
        Self {
            chaos: chance.between(6_000, 20_000) * MS,
            sessions: if room == Room::Unbounded {
                chance.between(1, 2) as usize
            } else {
                2
            },
            others: chance.between(0, 2),
            two_nodes: false,
            room,
            waits: chance.permille(700),
            busy: chance.pick(&[
                BusyPolicy::Reject,
                BusyPolicy::Queue { max: 2 },
                BusyPolicy::Queue { max: 4 },
                BusyPolicy::Steer,
                BusyPolicy::Replace,
            ]),
            steers: chance.permille(600),
            latency: if slow_net {
                (20 * MS, 300 * MS)
            } else {
                (200, chance.between(1, 40) * MS)
            },
            acts_every: (300 * MS, chance.between(800, 4_000) * MS),
            strikes: Vec::new(),
            strikes_every: 0,
            strikes_on_phase: 0,
            dial: 0,
            crash_every: None,
            restart: (200 * MS, chance.pick(&[500, 3_000, 12_000]) * MS),
            drains: false,
            token_life: None,
            resume_window: chance.pick(&[12, 30, 120]) * SECOND,
            hibernate_after: chance.between(1, 8) * SECOND,
            give_up: chance.permille(300).then(|| chance.between(5, 15) * SECOND),
            retain: chance.pick(&[50, 400, 100_000]),
            snapshot_joins: chance.pick(&[0, 0, 500]) as u32,
            store: StoreMix {
                latency: (100, chance.pick(&[500, 5_000, 40_000])),
                not_written: 0,
                unknown: 0,
                read_error: 0,
                moods_every: None,
            },
            provider: ProviderMix {
                chunks: (0, chance.between(3, 25)),
                pace: (0, chance.pick(&[1, 30, 400]) * MS),
                large: chance.pick(&[0, 0, 0, 30]) as u32,
                flood_items: chance.pick(&[0, 0, 0, 0, 0, 0, 0, 30]) as u32,
                item: 0,
                first_item: chance.pick(&[0, 0, 300]) as u32,
                asks: 0,
                restarts: 0,
                retries: 0,
                binds: chance.pick(&[0, 0, 500]) as u32,
                slow_stops: 0,
                crashes: 0,
                hangs: 0,
                late: 0,
                stubborn: 0,
            },
            ends_sessions: chance.permille(300),
        }
    }
}
