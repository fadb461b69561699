//! The line of turns that have not begun: who is next, who may be, and until when.
//!
//! A promotion changes the place of one turn; all others keep their order among each other.

use keel_wire::{Code, ParticipantId, ReceiptBody, TurnEnd, TurnId, TurnMoved};

use super::{Session, commands::Outcome};
use crate::{Instant, node::Ctx};

impl Session {
    /// `turn.promote`: behind the turn that runs, before all that wait.
    pub(super) fn promote_turn(
        &mut self,
        id: &TurnId,
        by: &ParticipantId,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let waits = |turn: &super::Turn| turn.id == *id && turn.attempts == 0;
        let Some(from) = self.turns.iter().position(waits) else {
            return Err(self.no(Code::InvalidRequest, "no such turn waits", ctx));
        };
        let to = usize::from(self.run.is_some());
        let position = u32::try_from(to).unwrap_or(u32::MAX);
        if from > to
            && let Some(turn) = self.turns.remove(from)
        {
            self.turns.insert(to, turn);
            self.stage_event(TurnMoved {
                turn: id.clone(),
                position,
                by: by.clone(),
            });
        }
        Ok(ReceiptBody::Ok {
            turn: Some(id.clone()),
            position: Some(position),
            version: None,
        })
    }

    /// Ends queued turns whose time to begin has passed.
    pub(super) fn expire_turns(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let late: Vec<TurnId> = self
            .turns
            .iter()
            .filter(|turn| turn.attempts == 0 && turn.begin_by.is_some_and(|by| by.mono <= now))
            .map(|turn| turn.id.clone())
            .collect();
        for id in late {
            let fault = ctx.fault(Code::Expired).session(&self.id).turn(&id);
            self.end_turn(&id, TurnEnd::Failed, None, Some(fault), ctx);
        }
    }

    /// When the first queued turn is no longer to be begun.
    pub(super) fn turn_expires_at(&self) -> Option<Instant> {
        let queued = self.turns.iter().filter(|turn| turn.attempts == 0);
        queued.filter_map(|turn| Some(turn.begin_by?.mono)).min()
    }
}
