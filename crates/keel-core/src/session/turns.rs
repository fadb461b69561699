//! Turns: accepted, run one after the other, ended exactly once.
//!
//! A turn's start is committed before its run begins, so that after a crash a turn without a start has
//! certainly not been run and waits on, and one with a start is certainly not run again.

use std::time::Duration;

use keel_wire::{
    Admission as Wanted, BusyPolicy, Code, Fault, ParticipantId, ReceiptBody, Retry, Scope, Seq,
    TurnAccepted, TurnEnd, TurnEnded, TurnId, TurnStarted, UnixMillis, journal::Fact,
    limits::INTEGER_MAX,
};

use super::{
    Life, Session,
    commands::{Asker, Outcome},
    commit::Effect,
    runs::Run,
};
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
            text_from: None,
        }
    }
}

impl Session {
    /// Prompts of turns that are not over.
    pub(super) fn prompts(&self) -> Vec<(TurnId, String)> {
        let turns = self.turns.iter();
        turns
            .map(|turn| (turn.id.clone(), turn.prompt.clone()))
            .collect()
    }

    /// When turns are no longer to be begun that have not.
    pub(super) fn begin_by(&self) -> Vec<(TurnId, UnixMillis)> {
        let queued = self.turns.iter().filter(|turn| turn.attempts == 0);
        queued
            .filter_map(|turn| Some((turn.id.clone(), turn.begin_by?.wall)))
            .collect()
    }

    /// Takes a turn, queues it, or says that the session is busy: one decision.
    pub(super) fn accept_turn(
        &mut self,
        asker: &Asker,
        text: String,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let position = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
        let room = match self.fold.busy {
            BusyPolicy::Reject | BusyPolicy::Steer | BusyPolicy::Replace => 0,
            BusyPolicy::Queue { max } => max.min(limits::TURNS_QUEUED_MAX),
        };
        if position > room {
            return Err(Box::new(self.busy(ctx)));
        }
        if let Some(fault) = self.quarantined(&text, ctx) {
            return Err(Box::new(fault));
        }
        if self.turns.is_empty() && !self.may_wait_for_slot(ctx) {
            return Err(Box::new(self.at_capacity(ctx)));
        }
        // Over HTTP nobody has entered.
        self.admit_again(Wanted::Fail, ctx)?;
        let id = TurnId::from_bits(ctx.mint.bits());
        let by = asker.participant.clone();
        let begin_by = asker.ttl_ms.map(|ms| Now {
            mono: ctx.now.mono + Duration::from_millis(ms),
            wall: ctx.now.wall.saturating_add(ms).min(INTEGER_MAX),
        });
        self.stage_event(TurnAccepted {
            turn: id.clone(),
            by: by.clone(),
            command: asker.command.clone(),
            text: text.clone(),
            position,
            begin_by: begin_by.map(|by| by.wall),
            retry_of: None,
            continues: None,
        });
        let mut turn = Turn::queued(id.clone(), by, text, ctx.now.mono);
        turn.begin_by = begin_by;
        self.turns.push_back(turn);
        self.idle_since = None;
        self.start_next(ctx);
        Ok(ReceiptBody::Ok {
            turn: Some(id),
            position: Some(position),
            version: None,
        })
    }

    fn busy(&self, ctx: &mut Ctx<'_>) -> Fault {
        let fault = ctx.fault(Code::SessionBusy).session(&self.id);
        let Some(first) = self.turns.front() else {
            return fault;
        };
        fault
            .turn(&first.id)
            .detail("since_ms", ctx.now.mono.ms_since(first.accepted_at))
            .detail("waiting", self.turns.len().saturating_sub(1))
    }

    /// Why a prompt is not run, if it is not.
    fn quarantined(&self, prompt: &str, ctx: &mut Ctx<'_>) -> Option<Fault> {
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
    fn may_wait_for_slot(&self, ctx: &Ctx<'_>) -> bool {
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
            self.cancel_run(Some(by), ctx);
        } else {
            self.end_turn(&id, TurnEnd::Cancelled, None, None, ctx);
        }
        Ok(ReceiptBody::Ok {
            turn: Some(id),
            position: None,
            version: None,
        })
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
        if let Some(from) = turn.text_from {
            self.compactable.push_back((from, self.staged));
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
    pub(super) fn interrupt(&mut self, id: &TurnId, bytes: u64, ctx: &mut Ctx<'_>) {
        let fault = ctx.fault(Code::TurnInterrupted);
        if let Some(turn) = self.turns.iter().find(|turn| turn.id == *id) {
            // The run is gone with the server, but what it said stands.
            let mut run = Run::new(crate::node::RunId(0), id.clone(), turn.attempts);
            run.at_byte = bytes;
            self.run = Some(run);
        }
        self.end_turn(id, TurnEnd::Interrupted, None, Some(fault), ctx);
    }
}
