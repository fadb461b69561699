//! Turns: accepted, run one after the other, ended exactly once.
//!
//! A turn's start is committed before its run begins, so that after a crash a turn without a start has
//! certainly not been run and waits on, and one with a start is certainly not run again.

use keel_wire::{
    Code, Fault, ParticipantId, ReceiptBody, Retry, Scope, Seq, TurnEnd, TurnEnded, TurnId,
    TurnStarted, UnixMillis, journal::Fact, record::SearchText,
};

use super::{Life, Session, commands::Outcome, commit::Effect, runs::Run};
use crate::{
    Instant, Now,
    admission::Verdict,
    limits,
    node::{Ctx, SlotKind},
};

/// A turn that is not over.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(super) id: TurnId,
    pub(super) by: ParticipantId,
    pub(super) prompt: String,
    pub(super) accepted_at: Instant,
    /// It is not to be begun after this.
    pub(super) begin_by: Option<Now>,
    /// Attempts that were begun.
    pub(super) attempts: u32,
    /// It has said something, called a tool or asked: it is not tried again by itself.
    pub(super) surfaced: bool,
    /// Where its text lies in the log.
    pub(super) text_from: Option<Seq>,
}

impl Turn {
    pub(super) const fn queued(
        id: TurnId,
        by: ParticipantId,
        prompt: String,
        now: Instant,
    ) -> Self {
        Self {
            id,
            by,
            prompt,
            accepted_at: now,
            begin_by: None,
            attempts: 0,
            surfaced: false,
            text_from: None,
        }
    }
}

impl Session {
    /// Prompts of turns that are not over, and the long ones of those that are.
    pub(super) fn prompts(&self) -> Vec<(TurnId, String)> {
        let open = self.turns.iter();
        let open = open.map(|turn| (turn.id.clone(), turn.prompt.clone()));
        let over = self.memory.prompts();
        let over = over.filter(|(id, _)| self.turns.iter().all(|turn| turn.id != *id));
        open.chain(over.cloned()).collect()
    }

    /// When turns are no longer to be begun that have not.
    pub(super) fn begin_by(&self) -> Vec<(TurnId, UnixMillis)> {
        let queued = self.turns.iter().filter(|turn| turn.attempts == 0);
        queued
            .filter_map(|turn| Some((turn.id.clone(), turn.begin_by?.wall)))
            .collect()
    }

    /// Why a prompt is not run, if it is not.
    pub(super) fn quarantined(&self, prompt: &str, ctx: &mut Ctx<'_>) -> Option<Fault> {
        let ms = self.quarantine.holds_ms(prompt, ctx.now.wall)?;
        let fault = ctx.fault(Code::PromptQuarantined).session(&self.id);
        Some(
            fault
                .retry(Retry::After { ms })
                .detail("crashes", limits::QUARANTINE_CRASHES),
        )
    }

    /// Ends turns that are next and whose prompt crashed the program while they waited.
    fn refuse_quarantined(&mut self, ctx: &mut Ctx<'_>) {
        while let Some(turn) = self.turns.front().filter(|turn| turn.attempts == 0) {
            let id = turn.id.clone();
            let Some(fault) = self.quarantined(&turn.prompt, ctx) else {
                return;
            };
            let fault = fault.scope(Scope::Turn);
            self.end_turn(&id, TurnEnd::Failed, None, Some(fault), ctx);
        }
    }

    /// Begins the first turn, if nothing keeps it from running.
    pub(super) fn start_next(&mut self, ctx: &mut Ctx<'_>) {
        let busy = self.run.is_some() || self.dying.is_some();
        if busy || ctx.stopping || self.is_leaving() || self.life != Life::Open {
            return;
        }
        self.expire_turns(ctx);
        self.refuse_quarantined(ctx);
        if self.turns.is_empty() || !self.has_slot_for_turn(ctx) {
            return;
        }
        self.start_attempt(None, ctx);
    }

    /// A backend whose slots are for turns grants one, or calls later.
    fn has_slot_for_turn(&self, ctx: &mut Ctx<'_>) -> bool {
        let kind = self.slot_kind(ctx);
        let Some(admission) = ctx.admissions.get_mut(&self.row.backend) else {
            return true;
        };
        if kind != Some(SlotKind::Turn) {
            return true;
        }
        let until = ctx.now.mono + limits::QUEUE_WAIT_MAX;
        match admission.request(&self.id, Some(until)) {
            Verdict::Granted => true,
            Verdict::Waiting(_) => false,
            Verdict::Full { .. } => {
                // It was accepted, so it waits: what is accepted has a bound of its own.
                admission.enqueue_last(self.id.clone(), until);
                false
            }
        }
    }

    /// Whether a turn of this session gets a slot, or a place in line.
    pub(super) fn may_wait_for_slot(&self, ctx: &Ctx<'_>) -> bool {
        let turns = self.slot_kind(ctx) == Some(SlotKind::Turn);
        let admission = ctx.admissions.get(&self.row.backend).filter(|_| turns);
        admission.is_none_or(|admission| admission.has_room(&self.id))
    }

    pub(super) fn at_capacity(&self, ctx: &mut Ctx<'_>) -> Fault {
        let fault = ctx.fault(Code::AtCapacity).session(&self.id);
        let Some(admission) = ctx.admissions.get(&self.row.backend) else {
            return fault;
        };
        let (limit, active) = (admission.slots(), admission.held());
        fault
            .detail("backend", self.row.backend.as_str())
            .detail("limit", limit)
            .detail("active", active)
    }

    /// Begins an attempt at the first turn; `fault` is why the one before came to nothing.
    pub(super) fn start_attempt(&mut self, fault: Option<Box<Fault>>, ctx: &mut Ctx<'_>) {
        let Some(turn) = self.turns.front_mut() else {
            return;
        };
        turn.attempts += 1;
        let (id, attempt) = (turn.id.clone(), turn.attempts);
        let run = ctx.runs.number();
        self.run = Some(Run::new(run, id.clone(), attempt));
        self.stage_event(TurnStarted {
            turn: id,
            attempt,
            fault,
        });
        self.after_commit(Effect::Begin { run });
        self.plan_beats(ctx);
    }

    /// `turn.cancel`.
    pub(super) fn cancel_turn(
        &mut self,
        which: Option<&TurnId>,
        by: &ParticipantId,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let found = match which {
            Some(id) => self.turns.iter().find(|turn| turn.id == *id),
            None => self.turns.front(),
        };
        let Some(turn) = found else {
            return Err(self.no(Code::InvalidRequest, "there is no such turn to stop", ctx));
        };
        let id = turn.id.clone();
        if self.run.as_ref().is_some_and(|run| run.turn == id) {
            self.cancel_run(Some(by), None, ctx);
        } else {
            self.end_turn(&id, TurnEnd::Cancelled, None, None, ctx);
            self.start_next(ctx);
        }
        Ok(ReceiptBody::Ok {
            turn: Some(id),
            position: None,
            version: None,
        })
    }

    /// The turn that runs has said something, called a tool or asked: it is not tried again by itself.
    pub(super) fn surfaces(&mut self) {
        if let Some(turn) = self.turns.front_mut().filter(|turn| !turn.surfaced) {
            turn.surfaced = true;
            self.forget_taken_words();
        }
    }

    /// Ends a turn: the only place that does.
    pub(super) fn end_turn(
        &mut self,
        id: &TurnId,
        end: TurnEnd,
        stop_reason: Option<String>,
        fault: Option<Fault>,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(index) = self.turns.iter().position(|turn| turn.id == *id) else {
            return;
        };
        let Some(turn) = self.turns.remove(index) else {
            return;
        };
        let run = self.run.take_if(|run| run.turn == turn.id);
        let stopped_for = run.as_ref().and_then(|run| run.stopped_for);
        let stop_reason = match end {
            TurnEnd::Cancelled => {
                stop_reason.or_else(|| stopped_for.map(|why| why.name().to_owned()))
            }
            TurnEnd::Done | TurnEnd::Failed | TurnEnd::Interrupted => stop_reason,
        };
        if end == TurnEnd::Done {
            self.quarantine.answered(&turn.prompt);
        }
        let bytes = run.as_ref().map_or(0, |run| run.at_byte);
        let fault = fault.map(|fault| match &run {
            Some(run) => self.blame_run(run.id, fault),
            None => fault,
        });
        let fault = fault.map(|fault| Box::new(fault.session(&self.id).turn(&turn.id)));
        let ended = TurnEnded {
            turn: turn.id.clone(),
            attempt: turn.attempts,
            end,
            bytes,
            forced: end == TurnEnd::Cancelled && run.as_ref().is_some_and(Run::is_forced),
            stop_reason,
            fault: fault.clone(),
        };
        self.stage_event(ended);
        let mut prompt = turn.prompt;
        prompt.truncate(prompt.floor_char_boundary(limits::SEARCH_PROMPT_BYTES_MAX));
        self.stage_search(SearchText {
            turn: turn.id.clone(),
            prompt,
            answer: run
                .as_ref()
                .map_or_else(String::new, |run| run.said.clone()),
        });
        if let Some(from) = turn.text_from {
            self.compactable.push_back((from, self.staged));
        }
        let words = run.as_ref().map(Run::words_left).unwrap_or_default();
        if matches!(end, TurnEnd::Done | TurnEnd::Failed) {
            self.words_become_turns(words, ctx);
        }
        let took_ms = ctx.now.mono.ms_since(turn.accepted_at);
        let fact = Fact::TurnEnded {
            turn: turn.id,
            end,
            took_ms,
            fault,
        };
        self.journal(Some(&turn.by), fact, ctx);
        // A turn's slot goes with its run, a place in line with the last turn that waited.
        let by_turn = self.slot_kind(ctx) == Some(SlotKind::Turn);
        if by_turn && (run.is_some() || self.turns.is_empty()) {
            self.release_slot(ctx);
        }
        if run.is_some() {
            self.backend_recovered(ctx);
            self.plan_beats(ctx);
        }
        self.note_idle(ctx.now.mono);
    }

    /// What a turn of a log that is being read back was, without its owner: never run again.
    pub(super) fn interrupt(
        &mut self,
        id: &TurnId,
        bytes: u64,
        stop_reason: Option<String>,
        ctx: &mut Ctx<'_>,
    ) {
        let fault = ctx.fault(Code::TurnInterrupted);
        if let Some(turn) = self.turns.iter().find(|turn| turn.id == *id) {
            // The run is gone with the server, but what it said stands.
            let mut run = Run::new(crate::node::RunId(0), id.clone(), turn.attempts);
            run.at_byte = bytes;
            let view = self.fold.turn(id);
            run.said = view.map_or_else(String::new, |view| view.tail.clone());
            self.run = Some(run);
        }
        self.end_turn(id, TurnEnd::Interrupted, stop_reason, Some(fault), ctx);
    }
}
