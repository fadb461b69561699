//! What is said into turns, what programs are to forget, and what is tried again: reckoned from what the
//! models of programs did and from the synced log.

use std::collections::{BTreeMap, BTreeSet};

use keel_core::node::{self, RunRequest};
use keel_wire::{Code, TurnEnd, TurnEnded, TurnId};

use crate::{archive::command_of, mutant::Mutant, world::World};

/// Turns that a Node is bound to remember about; beyond, the model does not look.
const FORGOTTEN_LOOKED_AT: usize = 60;

/// Turns that crashed a program with one prompt are certainly known to a Node when so few lie between.
const CRASHES_NEAR: usize = 3;

/// What programs did with words and turns, by what the models of them did.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    /// Commands whose words a program has taken: into which turn.
    taken: BTreeMap<u64, TurnId>,
    /// Turns of which a program has said, called or asked anything.
    surfaced: BTreeSet<TurnId>,
}

/// What a log says about turns that stand for others.
#[derive(Debug, Default)]
pub(crate) struct Ties {
    retry_of: BTreeMap<TurnId, TurnId>,
    forgotten: BTreeSet<TurnId>,
    /// Commands that were said into a turn.
    steered: BTreeMap<u64, TurnId>,
    /// Of these, those that became turns of their own.
    again: BTreeSet<u64>,
    prompts: BTreeMap<TurnId, String>,
    /// Turns that are over, with their prompts if they crashed their program.
    over: Vec<(TurnId, Option<String>)>,
}

impl Ties {
    pub(crate) fn accepted(&mut self, accepted: &keel_wire::TurnAccepted) {
        if let Some(of) = &accepted.retry_of {
            self.retry_of.insert(accepted.turn.clone(), of.clone());
        }
        if let Some(of) = &accepted.continues {
            self.forgotten.remove(of);
        }
        self.prompts
            .insert(accepted.turn.clone(), accepted.text.clone());
    }

    pub(crate) fn steered(&mut self, command: Option<u64>, turn: &TurnId) {
        if let Some(command) = command {
            self.steered.insert(command, turn.clone());
        }
    }

    /// Whether a command that is shown as run again is words that their turn did not take.
    pub(crate) fn comes_again(&mut self, command: u64, is_over: impl Fn(&TurnId) -> bool) -> bool {
        let turn = self.steered.get(&command);
        turn.is_some_and(is_over) && self.again.insert(command)
    }

    pub(crate) fn ended(&mut self, ended: &TurnEnded) {
        if ended.end == TurnEnd::Done {
            let before = self.before(&ended.turn);
            self.forgotten.extend(before);
        } else if ended.stop_reason.as_deref() == Some("replaced") {
            self.forgotten.insert(ended.turn.clone());
        }
        let prompt = self.prompts.remove(&ended.turn).filter(|_| crashed(ended));
        let near = self.over.iter().rev().take(CRASHES_NEAR);
        let again = |(_, before): &(TurnId, Option<String>)| before.is_some() && *before == prompt;
        let near: Vec<TurnId> = near
            .filter(|over| again(over))
            .map(|(turn, _)| turn.clone())
            .collect();
        if !near.is_empty() {
            self.forgotten.extend(near);
            self.forgotten.insert(ended.turn.clone());
        }
        self.over.push((ended.turn.clone(), prompt));
    }

    /// Whether a turn's prompt crashed its program in another turn, too: of those that lie far apart a
    /// Node need not know.
    fn crashed_twice(&self, turn: &TurnId) -> bool {
        let of = |turn: &TurnId| self.over.iter().find(|(over, _)| over == turn);
        let prompt = of(turn).and_then(|(_, prompt)| prompt.as_ref());
        let same = self
            .over
            .iter()
            .filter(|(_, other)| other.as_ref() == prompt);
        prompt.is_some() && same.count() > 1
    }

    fn before(&self, turn: &TurnId) -> BTreeSet<TurnId> {
        let mut before = BTreeSet::new();
        let mut at = turn;
        while let Some(of) = self.retry_of.get(at).filter(|of| !before.contains(*of)) {
            before.insert(of.clone());
            at = of;
        }
        before
    }

    fn forgotten_for(&self, turn: &TurnId) -> BTreeSet<TurnId> {
        let mut forgotten = self.before(turn);
        forgotten.extend(self.forgotten.iter().cloned());
        forgotten
    }
}

fn crashed(ended: &TurnEnded) -> bool {
    let fault = ended.fault.as_ref();
    let real = fault.filter(|fault| !fault.detail.contains_key("injected"));
    real.is_some_and(|fault| fault.code == Code::ProviderCrashed)
}

impl World {
    /// A program of a turn has said, called or asked something.
    pub(crate) fn surfaces(&mut self, turn: &TurnId) {
        self.deeds.surfaced.insert(turn.clone());
    }

    /// What a run is begun with is what the log says.
    pub(crate) fn check_request(&mut self, request: &mut RunRequest) {
        if self.mutant == Some(Mutant::ReplacedRemembered) && !request.forget.is_empty() {
            self.mutated = true;
            request.forget.clear();
        }
        if request.attempt > 1 {
            if self.deeds.surfaced.contains(&request.turn) {
                let what = format!("{} of {}", request.turn, request.session);
                self.breaks("what has surfaced is not tried again by itself", what);
            }
            // What the attempt before took is lost with it.
            self.deeds.taken.retain(|_, turn| *turn != request.turn);
        }
        let Some(archive) = self.store.archive(&request.session) else {
            return;
        };
        let told: BTreeSet<TurnId> = request.forget.iter().cloned().collect();
        let meant = archive.ties.forgotten_for(&request.turn);
        let bound = archive.bound.as_deref();
        let same = request.bound.as_ref().map(|bound| bound.id.as_str()) == bound;
        let alone = self.servers.len() == 1;
        let surplus = |turn: &TurnId| !meant.contains(turn) && !archive.ties.crashed_twice(turn);
        let differs = !told.is_superset(&meant) || told.iter().any(surplus);
        if differs && told.len() < FORGOTTEN_LOOKED_AT && alone {
            let what = format!("{}: {told:?} is not {meant:?}", request.turn);
            return self.breaks("what was replaced is not told again", what);
        }
        if !same && alone {
            let what = format!("{}: {:?} is not {bound:?}", request.turn, request.bound);
            self.breaks("an agent is told its own name again", what);
        }
    }

    /// Words reach a program.
    pub(crate) fn words_reach(&mut self, server: usize, run: node::RunId, text: &str) {
        if !self.mix.steers {
            return self.breaks("only what steers is steered", text.to_owned());
        }
        let twice = self.mutant == Some(Mutant::WordsDoubled);
        self.mutated |= twice;
        if let Some(program) = self.servers[server].programs.get_mut(&run) {
            for _ in 0..=u8::from(twice) {
                program.words.push_back(text.to_owned());
            }
        }
    }

    /// A program takes words: no other has, and it has not before.
    pub(crate) fn words_taken(&mut self, turn: &TurnId, text: &str) {
        let Some(command) = command_of(text) else {
            return;
        };
        if self.deeds.taken.insert(command, turn.clone()).is_some() {
            let what = format!("{text} in {turn}");
            self.breaks("words are said once", what);
        }
    }

    /// Words were taken by their turn, or became one; those of a turn that was stopped ended with it.
    pub(crate) fn check_words(&mut self) {
        let wrong = self.store.archives().find_map(|(session, archive)| {
            let mut steered = archive.ties.steered.iter();
            steered.find_map(|(command, turn)| {
                let taken = self.deeds.taken.get(command) == Some(turn);
                let again = archive.ties.again.contains(command);
                let owed = archive
                    .turns
                    .get(turn)
                    .is_some_and(|turn| matches!(turn.end, Some(TurnEnd::Done | TurnEnd::Failed)));
                let wrong = (taken && again) || (owed && !taken && !again);
                wrong.then(|| format!("{command} of {turn} in {session}: {taken} {again}"))
            })
        });
        if let Some(what) = wrong {
            self.breaks("words are taken, or become a turn", what);
        }
    }
}
