//! The program behind a turn: it says what its script says, as long as it may.

use std::collections::VecDeque;

use keel_core::node::{RunFailure, RunRequest};
use keel_wire::{ActionId, CancelStep, Code, SessionId, TurnId};

use crate::{chance::Chance, mix::ProviderMix};

/// What a program does next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Act {
    Begin,
    Say(usize),
    Items(usize),
    Restart,
    /// It failed, and begins anew in so many milliseconds.
    Retry(u64),
    /// It names the conversation.
    Bind(u64),
    /// A step on the way to its end.
    Stop(CancelStep),
    Ask(ActionId),
    Crash,
    Hang,
    Finish,
    /// After its end: what should not come any more.
    Mutter,
}

/// One run of a program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) session: SessionId,
    pub(crate) turn: TurnId,
    /// Since when a silence is its own: it has said something, was answered, or is read again.
    pub(crate) heard_at: u64,
    pub(crate) attempt: u32,
    pub(crate) script: VecDeque<(u64, Act)>,
    pub(crate) credit: usize,
    /// Asked for an answer, and silent until it has one.
    pub(crate) asks: Option<ActionId>,
    pub(crate) stubborn: bool,
    pub(crate) cancelled: bool,
    pub(crate) killed: bool,
    pub(crate) stalled: bool,
    pub(crate) ended: bool,
    pub(crate) mutters: bool,
    /// A step is planned.
    pub(crate) planned: bool,
    pub(crate) said: u64,
    /// It takes its time to stop.
    pub(crate) slow: bool,
    /// What it is given while it works.
    pub(crate) words: VecDeque<String>,
}

impl Program {
    pub(crate) fn new(
        request: &RunRequest,
        mix: &ProviderMix,
        sick: bool,
        chance: &mut Chance,
    ) -> Self {
        let mut script = VecDeque::new();
        let sick = |rate: u32, chance: &mut Chance| sick && chance.permille(rate);
        script.push_back((chance.between(100, 30_000), Act::Begin));
        if chance.permille(mix.binds) {
            // Mostly the same name; an agent that lost its memory begins a new one.
            script.push_back((1_000, Act::Bind(chance.between(0, 9) / 7)));
        }
        if chance.permille(mix.first_item) {
            script.push_back((1_000, Act::Items(1)));
        }
        let chunks = chance.between(mix.chunks.0, mix.chunks.1);
        let crash_at = sick(mix.crashes, chance).then(|| chance.between(0, chunks));
        let hang_at = sick(mix.hangs, chance).then(|| chance.between(0, chunks));
        for chunk in 0..=chunks {
            if crash_at == Some(chunk) {
                script.push_back((chance.between(0, 20_000), Act::Crash));
                break;
            }
            if hang_at == Some(chunk) {
                script.push_back((1_000, Act::Hang));
                break;
            }
            let pace = chance.between(mix.pace.0, mix.pace.1);
            let bytes = if chance.permille(mix.large) {
                chance.between(20_000, 90_000)
            } else {
                chance.between(1, 60)
            };
            script.push_back((pace, Act::Say(bytes as usize)));
            if chance.permille(mix.item) {
                script.push_back((pace, Act::Items(1)));
            }
            if sick(mix.restarts, chance) {
                script.push_back((pace, Act::Restart));
            }
            if sick(mix.retries, chance) {
                let in_ms = chance.between(1, 1_500);
                script.push_back((pace, Act::Retry(in_ms)));
                script.push_back((in_ms * 1_000, Act::Restart));
            }
            if chunk == chunks / 2 && chance.permille(mix.asks) {
                let id = ActionId::from_bits(u128::from(chance.bits()));
                script.push_back((pace, Act::Ask(id)));
            }
        }
        if chance.permille(mix.flood_items) {
            script.push_back((1_000, Act::Items(1_200)));
        }
        script.push_back((1_000, Act::Finish));
        Self {
            session: request.session.clone(),
            turn: request.turn.clone(),
            heard_at: 0,
            attempt: request.attempt,
            script,
            credit: 256 * 1024,
            asks: None,
            stubborn: sick(mix.stubborn, chance),
            cancelled: false,
            killed: false,
            stalled: false,
            ended: false,
            mutters: sick(mix.late, chance),
            planned: false,
            said: 0,
            slow: sick(mix.slow_stops, chance),
            words: VecDeque::new(),
        }
    }

    pub(crate) fn may_go_on(&self) -> bool {
        !self.planned && !self.stalled && self.asks.is_none() && self.credit > 0
    }
}

/// Words of so many bytes, more or less, with characters of several bytes in them.
pub(crate) fn words(said: u64, bytes: usize) -> String {
    const WORDS: [&str; 6] = ["keel ", "naïve ", "水 ", "🚣 ", "on\n", "\"q\" "];
    let mut text = format!("{said}:");
    let mut at = said as usize;
    while text.len() < bytes {
        text.push_str(WORDS[at % WORDS.len()]);
        at = at.wrapping_mul(31).wrapping_add(7);
    }
    text
}

pub(crate) fn failure(code: Code) -> RunFailure {
    RunFailure {
        code,
        message: "simulated".to_owned(),
        detail: serde_json::Map::new(),
        retry: None,
        causes: Vec::new(),
    }
}
