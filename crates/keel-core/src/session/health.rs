//! Legs and status: what the session stands on, and how it is.
//!
//! Status is derived, never set. It is told when it changes, to everyone who is attached, without
//! waiting for the store: that the store refuses must be told while it does.

use keel_wire::{
    Code, Fault, FaultFrame, Leg, LegState, LegStatus, Origin, ParticipantId, ServerFrame, State,
    Status, StatusFrame, journal::Fact,
};

use super::{Life, Session};
use crate::{Instant, limits, node::Ctx};

/// How the store answers this session.
#[derive(Debug)]
pub(super) enum StoreLeg {
    /// In time.
    Up,
    /// Late, but right.
    Slow { fault: Box<Fault>, since: Instant },
    /// Not at all, or by refusing.
    Refusing { fault: Box<Fault>, since: Instant },
}

/// Everything that status is derived from, besides the life of the session.
#[derive(Debug, Default)]
pub(super) struct Legs {
    /// The running turn has stalled.
    pub(super) stalled: Option<Box<Fault>>,
    /// Pages are read again then.
    pub(super) read_again_at: Option<Instant>,
    /// Pages that are being read, and since when any is.
    pub(super) reads: usize,
    pub(super) reading_since: Option<Instant>,
}

impl Session {
    pub(super) const fn store_is_refusing(&self) -> bool {
        matches!(self.store, StoreLeg::Refusing { .. })
    }

    /// The fault that the store's refusal is told as.
    pub(super) fn store_fault(&self, ctx: &mut Ctx<'_>) -> Fault {
        match &self.store {
            StoreLeg::Refusing { fault, .. } | StoreLeg::Slow { fault, .. } => (**fault).clone(),
            StoreLeg::Up => ctx.fault(Code::StoreFailed).session(&self.id),
        }
    }

    /// The store did not do what it was asked.
    pub(super) fn store_refused(&mut self, error: &str, ctx: &mut Ctx<'_>) {
        if self.store_is_refusing() {
            return;
        }
        let fault = ctx
            .fault_of(Code::StoreFailed, Origin::Store)
            .session(&self.id)
            .leg(Leg::Store)
            .detail("error", error.chars().take(200).collect::<String>());
        let fault = self.blame_store(fault);
        let boxed = Box::new(fault.clone());
        self.store = StoreLeg::Refusing {
            fault: boxed.clone(),
            since: ctx.now.mono,
        };
        self.journal(None, Fact::StoreFailed { fault: boxed }, ctx);
        self.tell_all(&FaultFrame { fault }.into(), ctx);
        self.tell_status(ctx);
    }

    /// The store has answered: whatever was wrong is over.
    pub(super) fn store_answered(&mut self, asked_at: Instant, ctx: &mut Ctx<'_>) {
        let since = match &self.store {
            StoreLeg::Up => return,
            StoreLeg::Slow { since, .. } => (*since).min(asked_at),
            StoreLeg::Refusing { since, .. } => *since,
        };
        self.store = StoreLeg::Up;
        let after_ms = ctx.now.mono.ms_since(since);
        self.journal(None, Fact::StoreHealed { after_ms }, ctx);
        self.tell_status(ctx);
    }

    /// The store has not answered for a while.
    pub(super) fn store_is_slow(&mut self, ctx: &mut Ctx<'_>) {
        let fault = ctx
            .fault_of(Code::StoreFailed, Origin::Store)
            .session(&self.id)
            .leg(Leg::Store)
            .message("the store is slow; what is said is kept late, but kept");
        let fault = Box::new(fault);
        self.store = StoreLeg::Slow {
            fault: fault.clone(),
            since: ctx.now.mono,
        };
        self.journal(None, Fact::StoreFailed { fault }, ctx);
        self.tell_status(ctx);
    }

    /// A page is asked for.
    pub(super) fn read_begins(&mut self, now: Instant) {
        self.legs.reads += 1;
        self.legs.reading_since.get_or_insert(now);
    }

    /// A page, or the reason why there is none, is here.
    pub(super) fn read_ends(&mut self, read: bool, ctx: &mut Ctx<'_>) {
        self.legs.reads = self.legs.reads.saturating_sub(1);
        let since = self.legs.reading_since;
        self.legs.reading_since = since.map(|_| ctx.now.mono).filter(|_| self.legs.reads > 0);
        if let (true, StoreLeg::Slow { .. }, None) = (read, &self.store, &self.inflight) {
            self.store_answered(since.unwrap_or(ctx.now.mono), ctx);
        }
    }

    /// When a page that is being read is late enough to tell.
    pub(super) fn read_slow_at(&self) -> Option<Instant> {
        let since = self.legs.reading_since?;
        matches!(self.store, StoreLeg::Up).then(|| since + limits::STORE_SLOW_AFTER)
    }

    /// A page could not be read; it is asked for again after a while.
    pub(super) fn read_refused(&mut self, error: &str, ctx: &Ctx<'_>) {
        tracing::warn!(session = %self.id, error, "a page could not be read");
        self.legs.read_again_at = Some(ctx.now.mono + limits::STORE_RETRY_BASE);
    }

    pub(super) fn backend_stalls(&mut self, fault: Fault, ctx: &mut Ctx<'_>) {
        self.legs.stalled = Some(Box::new(fault.leg(Leg::Backend)));
        self.tell_status(ctx);
    }

    pub(super) fn backend_recovered(&mut self, ctx: &mut Ctx<'_>) {
        if self.legs.stalled.take().is_some() {
            self.tell_status(ctx);
        }
    }

    /// How the session is.
    pub(crate) fn status(&self) -> Status {
        let backend = match &self.legs.stalled {
            Some(fault) => LegState::Degraded {
                fault: fault.clone(),
            },
            None => LegState::Up,
        };
        let store = match &self.store {
            StoreLeg::Up => LegState::Up,
            StoreLeg::Slow { fault, .. } => LegState::Degraded {
                fault: fault.clone(),
            },
            StoreLeg::Refusing { fault, .. } => LegState::Down {
                fault: fault.clone(),
            },
        };
        let mut legs = vec![
            LegStatus {
                leg: Leg::Backend,
                state: backend,
            },
            LegStatus {
                leg: Leg::Store,
                state: store,
            },
        ];
        let media = self.media.state();
        legs.extend(media.map(|state| LegStatus {
            leg: Leg::Media,
            state,
        }));
        let worst = legs.iter().rev().find_map(|leg| match &leg.state {
            LegState::Up => None,
            LegState::Degraded { fault }
            | LegState::Down { fault }
            | LegState::Recovering { fault, .. } => Some(fault.clone()),
        });
        let (state, fault) = match &self.life {
            Life::Queued => {
                let (position, of) = self.place;
                (State::Queued { position, of }, None)
            }
            Life::Open if worst.is_some() => (State::Degraded, worst),
            Life::Open => (State::Live, None),
            Life::Ended {
                fault: Some(fault), ..
            } => (State::Failed, Some(fault.clone())),
            Life::Ended { reason, .. } => (State::Ended { reason: *reason }, None),
        };
        let status = Status {
            state,
            fault,
            legs,
            injected: self.in_force(),
            since: self.since,
        };
        debug_assert_eq!(status.check(), None, "{status:?}");
        status
    }

    /// Tells everyone how the session is, if that has changed.
    pub(super) fn tell_status(&mut self, ctx: &mut Ctx<'_>) {
        let mut status = self.status();
        let same = self.told_status.as_ref().is_some_and(|told| {
            (&told.state, &told.legs, &told.injected)
                == (&status.state, &status.legs, &status.injected)
        });
        if same {
            return;
        }
        self.since = ctx.now.wall;
        status.since = self.since;
        self.told_status = Some(status.clone());
        self.tell_all(&StatusFrame { status }.into(), ctx);
    }

    /// Sends a frame that waits for nothing to everyone who is welcomed.
    pub(super) fn tell_all(&self, frame: &ServerFrame, ctx: &mut Ctx<'_>) {
        for conn in self.connections() {
            if ctx.conns.is_welcomed(conn) {
                ctx.conns.tell(conn, frame, ctx.out);
            }
        }
    }

    /// Something is at stake, or no longer: beats follow.
    pub(super) fn plan_beats(&self, ctx: &mut Ctx<'_>) {
        let busy = self.is_watched();
        for conn in self.connections() {
            ctx.conns.set_busy(conn, busy, ctx.now.mono);
        }
    }

    pub(super) fn journal(&self, who: Option<&ParticipantId>, fact: Fact, ctx: &mut Ctx<'_>) {
        ctx.journal(&self.id, who, fact);
    }
}
