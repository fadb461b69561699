//! A session's slot: asked for, waited for, claimed, given back, and asked for again.
//!
//! A session that nobody is in gives its slot back and stays open. Who comes to it later has it
//! admitted again, like a new session, so that no turn runs without a slot where sessions take one.

use std::time::Duration;

use keel_wire::{
    Admission as Wanted, Code, EndReason, Fault, Seq, TurnEnd, journal::Fact, record::SlotRow,
};

use super::{Life, Session, commit::Effect};
use crate::{
    Instant,
    admission::Verdict,
    limits,
    node::{Ctx, SlotKind, ms},
};

/// What became of a session that is to have a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It has one, or needs none.
    Here,
    /// It stands in line since now.
    InLine,
}

impl Session {
    /// Whether it stands in line for a slot that it had before.
    pub(super) const fn stands_again(&self) -> bool {
        matches!(self.row.slot, Some(SlotRow::Waiting { again: true, .. }))
    }

    /// Sees to it that the session has a slot, as whoever wants to enter says; the fault is for them.
    pub(super) fn admit_again(
        &mut self,
        wanted: Wanted,
        ctx: &mut Ctx<'_>,
    ) -> Result<Admitted, Box<Fault>> {
        let by_session = self.slot_kind(ctx) == Some(SlotKind::Session);
        if self.life != Life::Open || self.row.slot.is_some() || !by_session {
            return Ok(Admitted::Here);
        }
        let wait_ms = match wanted {
            Wanted::Fail => None,
            Wanted::Wait { max_ms } => {
                let bound = ms(limits::QUEUE_WAIT_MAX);
                Some(max_ms.map_or(bound, |ms| ms.min(bound)))
            }
        };
        let until = wait_ms.map(|ms| ctx.now.mono + Duration::from_millis(ms));
        let Some(admission) = ctx.admissions.get_mut(&self.row.backend) else {
            return Ok(Admitted::Here);
        };
        match admission.request(&self.id, until) {
            Verdict::Granted => {
                self.row.slot = Some(SlotRow::Held);
                self.stage_row();
                self.journal(None, Fact::Granted { waited_ms: 0 }, ctx);
                Ok(Admitted::Here)
            }
            Verdict::Waiting(place) => {
                self.row.slot = Some(SlotRow::Waiting {
                    order: place.order,
                    until: ctx.now.wall + wait_ms.unwrap_or(0),
                    again: true,
                });
                self.life = Life::Queued;
                self.queued_at = Some(ctx.now.mono);
                self.stage_row();
                Ok(Admitted::InLine)
            }
            Verdict::Full { .. } => Err(Box::new(self.at_capacity(ctx))),
        }
    }

    /// A turn that waits or runs keeps the slot, whoever is there.
    pub(super) fn claim_for_turns(&self, ctx: &mut Ctx<'_>) {
        if let Some(admission) = ctx.admissions.get_mut(&self.row.backend)
            && !self.turns.is_empty()
        {
            admission.claim(&self.id);
        }
    }

    pub(super) fn slot_kind(&self, ctx: &Ctx<'_>) -> Option<SlotKind> {
        ctx.config
            .backends
            .get(&self.row.backend)?
            .capacity
            .map(|capacity| capacity.kind)
    }

    pub(super) fn release_at(&self, window: Duration) -> Option<Instant> {
        self.row.slot?;
        Some(self.idle_since? + window)
    }

    /// Gives the slot, or the place in line, back.
    pub(super) fn release_slot(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(admission) = ctx.admissions.get_mut(&self.row.backend) {
            admission.release(&self.id, ctx.now.mono);
        }
        if self.row.slot.take().is_some() {
            self.stage_row();
            self.journal(None, Fact::Released, ctx);
        }
        if self.life == Life::Queued {
            self.life = Life::Open;
        }
    }

    /// Its turn in line came, or a slot for its turn is free.
    pub(crate) fn slot_granted(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(admission) = ctx.admissions.get_mut(&self.row.backend)
            && (self.has_connections() || !self.turns.is_empty())
        {
            // Claimed: its owner is here, or its turn waits.
            let _ = admission.request(&self.id, None);
        }
        if self.life == Life::Queued {
            self.life = Life::Open;
            let waited_ms = self.queued_at.map_or(0, |at| ctx.now.mono.ms_since(at));
            if self.stands_again() {
                // It has been open: a slot that nobody claims does not end it.
                self.queued_at = None;
            }
            self.row.slot = Some(SlotRow::Held);
            self.stage_row();
            self.journal(None, Fact::Granted { waited_ms }, ctx);
            for conn in self.connections() {
                self.after_commit(Effect::Welcome { conn });
            }
        }
        self.start_next(ctx);
        if self.slot_kind(ctx) == Some(SlotKind::Turn) && self.turns.is_empty() {
            self.release_slot(ctx);
        }
    }

    /// What admission decided while the session was not in memory.
    pub(crate) fn look_at_line(&mut self, ctx: &mut Ctx<'_>) {
        let admission = ctx.admissions.get(&self.row.backend);
        let holds = admission.is_none_or(|admission| admission.holds(&self.id));
        let waits = admission.is_some_and(|admission| admission.place(&self.id).is_some());
        match self.life {
            Life::Queued if holds => self.slot_granted(ctx),
            Life::Queued if !waits => self.slot_expired(ctx),
            Life::Open if self.turns.is_empty() && self.slot_kind(ctx) == Some(SlotKind::Turn) => {
                self.release_slot(ctx);
            }
            Life::Open if self.row.slot.is_some() && !holds => self.release_slot(ctx),
            // It was granted, and the grant did not come to be written.
            Life::Open
                if self.row.slot.is_none()
                    && holds
                    && self.slot_kind(ctx) == Some(SlotKind::Session) =>
            {
                self.release_slot(ctx);
            }
            Life::Queued | Life::Open | Life::Ended { .. } => {}
        }
    }

    /// Its place in line, or the slot that nobody claimed, is given up.
    pub(crate) fn slot_expired(&mut self, ctx: &mut Ctx<'_>) {
        if self.row.slot.is_none() {
            // A turn's: the turn ends, the session goes on.
            if let Some(turn) = self.turns.front().map(|turn| turn.id.clone())
                && self.run.is_none()
            {
                let fault = ctx.fault(Code::QueueExpired);
                self.end_turn(&turn, TurnEnd::Failed, None, Some(fault), ctx);
                self.start_next(ctx);
            }
            return;
        }
        if self.stands_again() || self.queued_at.is_none() {
            // It has been open: it goes on without a slot, and who waited is told.
            self.release_slot(ctx);
            for conn in self.connections() {
                self.refuse(conn, Code::QueueExpired, ctx);
            }
            return;
        }
        self.row.slot = None;
        let fault = ctx.fault(Code::QueueExpired).session(&self.id);
        self.end(EndReason::Failed, Some(fault), ctx);
    }

    /// Where it stands in line has changed.
    pub(crate) fn place_moved(&mut self, ctx: &mut Ctx<'_>) {
        if self.life == Life::Queued && self.committed > Seq::ZERO {
            self.tell_queued(ctx);
        }
    }
}
