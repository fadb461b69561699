//! A turn that is over, once more: tried again, or gone on with. Always because somebody wants it.

use keel_wire::{Code, TurnEnd, TurnId, TurnState, TurnView};

use super::{
    Session,
    accept::{Asked, From},
    commands::{Asker, Outcome},
};
use crate::{limits, node::Ctx};

impl Session {
    /// `turn.retry`.
    pub(super) fn retry_turn(&mut self, asker: &Asker, turn: TurnId, ctx: &mut Ctx<'_>) -> Outcome {
        let view = match self.turn_that_is_over(&turn) {
            Ok((view, _)) => view,
            Err(why) => return Err(self.no(Code::InvalidRequest, why, ctx)),
        };
        let Some(text) = self.memory.prompt(view).map(str::to_owned) else {
            let why = "the turn's prompt is no longer kept";
            return Err(self.no(Code::InvalidRequest, why, ctx));
        };
        let from = From::RetryOf(turn);
        self.accept_turn(asker, Asked { text, from }, ctx)
    }

    /// `turn.continue`.
    pub(super) fn continue_turn(
        &mut self,
        asker: &Asker,
        turn: TurnId,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let why = match self.turn_that_is_over(&turn) {
            Ok((_, TurnEnd::Done)) => Some("the turn came to its end"),
            Ok((view, _)) if view.attempt == 0 => Some("the turn was never begun"),
            Ok(_) => None,
            Err(why) => Some(why),
        };
        if let Some(why) = why {
            return Err(self.no(Code::InvalidRequest, why, ctx));
        }
        let text = self.words_to_go_on(&turn, ctx);
        let from = From::Continues(turn);
        self.accept_turn(asker, Asked { text, from }, ctx)
    }

    /// A turn whose end is told, and how it ended.
    fn turn_that_is_over(&self, turn: &TurnId) -> Result<(&TurnView, TurnEnd), &'static str> {
        let view = self.fold.turn(turn);
        let view = view.ok_or("there is no such turn, or it is no longer listed")?;
        match &view.state {
            TurnState::Ended { ended } => Ok((view, ended.end)),
            TurnState::Queued | TurnState::Running | TurnState::Waiting { .. } => {
                Err("the turn is not over")
            }
        }
    }

    /// What asks a program to go on; which turn is meant is said where it is not the last.
    fn words_to_go_on(&self, turn: &TurnId, ctx: &Ctx<'_>) -> String {
        let backend = ctx.config.backends.get(&self.row.backend);
        let words = backend.and_then(|backend| backend.continue_prompt.as_deref());
        let words = words.unwrap_or(limits::CONTINUE_PROMPT);
        let mut later = self.fold.turns.iter().rev();
        let last = later.find(|view| view.attempt > 0);
        let last = last.map(|view| &view.turn);
        let Some(view) = self.fold.turn(turn).filter(|view| Some(&view.turn) != last) else {
            return words.to_owned();
        };
        let end = view.prompt.floor_char_boundary(limits::QUOTE_BYTES_MAX);
        let quote = &view.prompt[..end];
        format!("{words}\n\nWhat is meant is the answer to: {quote}")
    }
}
