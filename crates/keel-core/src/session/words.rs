//! Words that are said into the turn that runs.
//!
//! They are told as said once that is committed, and given to the program then. Those that it has not
//! taken when its turn ends are lost with nothing: each becomes a turn of its own.

use std::collections::VecDeque;

use keel_wire::{CommandId, ParticipantId, ReceiptBody, TurnAccepted, TurnId, TurnSteered};

use super::{Session, commands::Asker, commit::Effect, runs::Run, turns::Turn};
use crate::{
    limits,
    node::{Ctx, Output, RunId},
};

/// Something that was said into a turn, and that its program has not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    by: ParticipantId,
    command: CommandId,
    text: String,
    way: Way,
}

/// How far words are on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// They are not committed yet.
    Staged,
    /// The program is given them.
    Given,
    /// It has taken them, and may be begun anew yet.
    Taken,
}

impl Run {
    /// Whether a program that takes words can be given more.
    pub(super) fn has_room_for_words(&self) -> bool {
        self.words.len() < limits::WORDS_WAITING_MAX
    }

    /// What it was to be told and has not taken.
    pub(super) fn words_left(&self) -> VecDeque<Words> {
        self.not_taken().cloned().collect()
    }

    /// How many of them there are, as far as that matters.
    pub(super) fn words_waiting(&self) -> u32 {
        let waiting = u32::try_from(self.not_taken().count()).unwrap_or(u32::MAX);
        waiting.min(limits::TURNS_QUEUED_MAX)
    }

    fn not_taken(&self) -> impl Iterator<Item = &Words> {
        self.words.iter().filter(|words| words.way != Way::Taken)
    }
}

impl Session {
    /// Says something into the turn that runs.
    pub(super) fn steer(&mut self, asker: &Asker, text: String) -> ReceiptBody {
        let run = self.run.as_mut().expect("only what runs is steered");
        let (id, turn) = (run.id, run.turn.clone());
        run.words.push_back(Words {
            by: asker.participant.clone(),
            command: asker.command.clone(),
            text: text.clone(),
            way: Way::Staged,
        });
        self.stage_event(TurnSteered {
            turn: turn.clone(),
            by: asker.participant.clone(),
            command: asker.command.clone(),
            text,
        });
        let command = asker.command.clone();
        self.after_commit(Effect::Steer { run: id, command });
        ReceiptBody::Ok {
            turn: Some(turn),
            position: Some(0),
            version: None,
        }
    }

    /// It is committed that something was said: the program is given it.
    pub(super) fn give_words(&mut self, id: RunId, command: &CommandId, ctx: &mut Ctx<'_>) {
        let Some(run) = self.run.as_mut().filter(|run| run.id == id) else {
            return;
        };
        let mut words = run.words.iter_mut();
        if let Some(words) =
            words.find(|words| words.command == *command && words.way == Way::Staged)
        {
            words.way = Way::Given;
            let text = words.text.clone();
            ctx.out.push(Output::SteerRun { run: id, text });
        }
    }

    /// Another attempt at the same turn begins: it is told what the one before was.
    pub(super) fn words_go_on(&mut self, before: Option<Run>) {
        let words = before.map(|run| run.words).unwrap_or_default();
        let Some(run) = self.run.as_mut() else { return };
        let id = run.id;
        run.words = words;
        let mut commands = Vec::new();
        for words in &mut run.words {
            words.way = Way::Staged;
            commands.push(words.command.clone());
        }
        for command in commands {
            self.after_commit(Effect::Steer { run: id, command });
        }
    }

    /// The program has taken the first of what it was given.
    pub(super) fn words_are_taken(&mut self) {
        let Some(run) = self.run.as_mut() else { return };
        let mut words = run.words.iter_mut();
        if let Some(words) = words.find(|words| words.way == Way::Given) {
            words.way = Way::Taken;
        }
        if self.turns.front().is_some_and(|turn| turn.surfaced) {
            self.forget_taken_words();
        }
    }

    /// There is no other attempt that would have to be told.
    pub(super) fn forget_taken_words(&mut self) {
        if let Some(run) = self.run.as_mut() {
            run.words.retain(|words| words.way != Way::Taken);
        }
    }

    /// A turn has ended before its program took these.
    pub(super) fn words_become_turns(&mut self, words: VecDeque<Words>, ctx: &mut Ctx<'_>) {
        for words in words {
            let id = TurnId::from_bits(ctx.mint.bits());
            let position = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
            self.stage_event(TurnAccepted {
                turn: id.clone(),
                by: words.by.clone(),
                command: words.command,
                text: words.text.clone(),
                position,
                begin_by: None,
                retry_of: None,
                continues: None,
            });
            let turn = Turn::queued(id, words.by, words.text, ctx.now.mono);
            self.turns.push_back(turn);
        }
    }
}
