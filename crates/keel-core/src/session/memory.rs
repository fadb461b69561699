//! What is remembered of turns beside the fold: long prompts, which turns are tries at which, and what
//! programs are not to remember.
//!
//! It is a fold of the log like the other: only what is committed comes in, so a restart forgets
//! nothing of it and knows nothing more. All of it is bounded; at a bound the oldest goes.

use std::collections::VecDeque;

use keel_wire::{
    Event, Snapshot, TurnEnd, TurnEnded, TurnId, TurnState, TurnView,
    limits::SNAPSHOT_PROMPT_BYTES_MAX, record::TurnMemory,
};

use super::quarantine::is_deadly;
use crate::limits;

/// Why a turn was stopped by another that came: its `stop_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopFor {
    /// The other goes on with what it said.
    Steer,
    /// The other takes its place.
    Replace,
}

impl StopFor {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Steer => "steered",
            Self::Replace => "replaced",
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Prompts of which the fold has the beginning only, the oldest first.
    prompts: VecDeque<(TurnId, String)>,
    kept: TurnMemory,
}

impl Memory {
    pub(super) fn kept(prompts: &[(TurnId, String)], kept: TurnMemory) -> Self {
        let long = prompts.iter().filter(|(_, prompt)| is_long(prompt));
        Self {
            prompts: long.cloned().collect(),
            kept,
        }
    }

    /// What a stored snapshot keeps of it, besides the prompts.
    pub(super) fn keep(&self) -> TurnMemory {
        self.kept.clone()
    }

    /// Long prompts.
    pub(super) fn prompts(&self) -> impl Iterator<Item = &(TurnId, String)> {
        self.prompts.iter()
    }

    /// What a turn was asked, whole, where that is still known.
    pub(super) fn prompt<'a>(&'a self, view: &'a TurnView) -> Option<&'a str> {
        if !is_long(&view.prompt) {
            return Some(&view.prompt);
        }
        let mut prompts = self.prompts.iter();
        let (_, prompt) = prompts.find(|(turn, _)| *turn == view.turn)?;
        Some(prompt)
    }

    /// Takes an event that is committed; `fold` has taken it.
    pub(super) fn apply(&mut self, event: &Event, fold: &Snapshot) {
        match event {
            Event::TurnAccepted(accepted) => {
                if is_long(&accepted.text) {
                    self.keep_prompt(accepted.turn.clone(), accepted.text.clone());
                }
                if let Some(of) = &accepted.retry_of {
                    let tries = &mut self.kept.retries;
                    tries.push((accepted.turn.clone(), of.clone()));
                    let surplus = tries.len().saturating_sub(limits::TURNS_FORGOTTEN_MAX);
                    tries.drain(..surplus);
                }
                if let Some(of) = &accepted.continues {
                    // Somebody wants it after all.
                    self.kept.forgotten.retain(|turn| turn != of);
                }
            }
            Event::TurnEnded(ended) => {
                self.ended(ended);
                self.forget_deadly(ended, fold);
                self.prompts.retain(|(turn, _)| fold.turn(turn).is_some());
            }
            Event::SessionCreated(_)
            | Event::ParticipantJoined(_)
            | Event::ParticipantLeft(_)
            | Event::ParamsChanged(_)
            | Event::ParamsApplied(_)
            | Event::Message(_)
            | Event::TurnStarted(_)
            | Event::Text(_)
            | Event::Item(_)
            | Event::TurnWaiting(_)
            | Event::TurnAnswered(_)
            | Event::TurnMoved(_)
            | Event::TurnSteered(_)
            | Event::TurnRetrying(_)
            | Event::TurnCancelling(_)
            | Event::AgentBound(_)
            | Event::SessionDescribed(_)
            | Event::TrackPublished(_)
            | Event::TrackUnpublished(_)
            | Event::TrackMuted(_)
            | Event::SessionEnded(_) => {}
        }
    }

    fn ended(&mut self, ended: &TurnEnded) {
        let replaced = ended.stop_reason.as_deref() == Some(StopFor::Replace.name());
        if ended.end == TurnEnd::Done {
            // A try that came to its end stands in the place of those before it.
            for of in self.tries_before(&ended.turn) {
                self.forget(of);
            }
        } else if replaced {
            self.forget(ended.turn.clone());
        }
    }

    /// Turns of one prompt that broke what answers it, twice as far as the fold goes, are not told with
    /// later prompts: they would break it with those as well.
    fn forget_deadly(&mut self, ended: &TurnEnded, fold: &Snapshot) {
        let prompt_of = |view: &TurnView| self.prompt(view).map(str::to_owned);
        let last = fold.turn(&ended.turn).filter(|view| was_deadly(view));
        let Some(prompt) = last.and_then(prompt_of) else {
            return;
        };
        let same = |view: &&TurnView| was_deadly(view) && self.prompt(view) == Some(&prompt);
        let same = fold.turns.iter().filter(same);
        let same: Vec<TurnId> = same.map(|view| view.turn.clone()).collect();
        if same.len() >= limits::QUARANTINE_CRASHES as usize {
            same.into_iter().for_each(|turn| self.forget(turn));
        }
    }

    /// What a program is not to remember while it works on a turn.
    pub(super) fn forgotten_for(&self, turn: &TurnId) -> Vec<TurnId> {
        let mut forgotten = self.kept.forgotten.clone();
        for of in self.tries_before(turn) {
            if !forgotten.contains(&of) {
                forgotten.push(of);
            }
        }
        forgotten
    }

    /// The turns that this one is another try at, the latest first.
    fn tries_before(&self, turn: &TurnId) -> Vec<TurnId> {
        let mut before: Vec<TurnId> = Vec::new();
        // Each is a try at an older one, so going back through them once finds all.
        for (new, of) in self.kept.retries.iter().rev() {
            if new == before.last().unwrap_or(turn) {
                before.push(of.clone());
            }
        }
        before
    }

    fn forget(&mut self, turn: TurnId) {
        let forgotten = &mut self.kept.forgotten;
        if forgotten.contains(&turn) {
            return;
        }
        forgotten.push(turn);
        let surplus = forgotten.len().saturating_sub(limits::TURNS_FORGOTTEN_MAX);
        forgotten.drain(..surplus);
    }

    fn keep_prompt(&mut self, turn: TurnId, prompt: String) {
        self.prompts.push_back((turn, prompt));
        let bytes = |prompts: &VecDeque<(TurnId, String)>| {
            let sizes = prompts.iter().map(|(_, prompt)| prompt.len());
            sizes.sum::<usize>()
        };
        while bytes(&self.prompts) > limits::PROMPTS_KEPT_BYTES_MAX {
            self.prompts.pop_front();
        }
    }
}

/// Whether a turn ended because what answered it broke.
fn was_deadly(view: &TurnView) -> bool {
    let TurnState::Ended { ended } = &view.state else {
        return false;
    };
    ended.fault.as_ref().is_some_and(|fault| is_deadly(fault))
}

/// Whether the fold has, or may have, the beginning only.
const fn is_long(prompt: &str) -> bool {
    // Cut at a border of characters, which are four bytes at most.
    prompt.len() + 4 > SNAPSHOT_PROMPT_BYTES_MAX
}
