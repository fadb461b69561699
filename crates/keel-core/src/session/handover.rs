//! Leaving for another server.
//!
//! First nothing more is begun, and what runs may end: commands are taken as ever. Then the session
//! stands still: what comes is not taken, so that it stays with whoever sent it, and that the session is
//! offered is written before anybody is told. From there on only the other server's word decides: it
//! has it, and this one is left with a sign that says where it is; or it does not and never will, and
//! the session goes on here. An answer that does not come is asked for again, also by a server that was
//! started anew, and until it comes nobody is served.

use std::collections::BTreeSet;

use keel_wire::{
    Code, Fault, HandoverId, Retry,
    handover::{Handover, Mark, Offer},
};

use super::{Life, Session};
use crate::{
    Instant, limits,
    node::{ConnId, Ctx, Delivered, Giving, Output},
};

/// How far a session is that leaves.
#[derive(Debug, Default)]
pub(crate) enum Leaving {
    /// It stays.
    #[default]
    No,
    /// What runs may end until then; nothing more is begun.
    Closing { stop_at: Instant },
    /// It stands still, and what is outstanding is this.
    Going(Box<Going>),
}

/// An offer of a session that stands still.
#[derive(Debug)]
pub(crate) struct Going {
    offer: Offer,
    peer: String,
    address: String,
    step: Step,
    /// The step came to nothing and is taken again then.
    again_at: Option<Instant>,
    refusals: u32,
    /// Since when it is not known who has it.
    owed_since: Option<Instant>,
    /// Connections whose commands were not taken.
    unheard: BTreeSet<ConnId>,
}

/// What is outstanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// That it is offered is being written.
    Offer,
    /// It is being given.
    Give,
    /// Whether the other server has it is being asked.
    Ask,
    /// That it has moved is being written.
    Leave,
    /// It has moved.
    Gone,
    /// That it stays is being written.
    Keep,
}

/// What a session says of its leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It does not leave, or is over.
    Stays,
    /// Something of it has to end first.
    NotYet,
    /// It may be offered.
    Ready,
    /// It is offered.
    Going,
    /// It has moved.
    Gone,
}

impl Session {
    /// Whether it stands still: nothing is taken, and nothing is written.
    pub(crate) const fn stands_still(&self) -> bool {
        matches!(self.leaving, Leaving::Going(_))
    }

    /// Whether nothing more is begun in it.
    pub(super) const fn is_leaving(&self) -> bool {
        !matches!(self.leaving, Leaving::No)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match &self.leaving {
            Leaving::No => Readiness::Stays,
            Leaving::Going(going) if going.step == Step::Gone => Readiness::Gone,
            Leaving::Going(_) => Readiness::Going,
            Leaving::Closing { .. } if matches!(self.life, Life::Ended { .. }) => Readiness::Stays,
            Leaving::Closing { .. } => {
                let quiet = self.run.is_none() && self.dying.is_none() && self.is_settled();
                if quiet && self.committed > keel_wire::Seq::ZERO {
                    Readiness::Ready
                } else {
                    Readiness::NotYet
                }
            }
        }
    }

    /// It is to leave: nothing more is begun, and what runs may end until then.
    pub(crate) fn close_up(&mut self, stop_at: Instant) {
        match &mut self.leaving {
            Leaving::No => self.leaving = Leaving::Closing { stop_at },
            Leaving::Closing { stop_at: at } => *at = stop_at,
            Leaving::Going(_) => {}
        }
    }

    /// It was to leave and was offered to nobody, so that nobody else can have it: it goes on here.
    pub(crate) fn stay(&mut self, ctx: &mut Ctx<'_>) {
        if matches!(self.leaving, Leaving::Closing { .. }) {
            self.leaving = Leaving::No;
            self.start_next(ctx);
            self.note_idle(ctx.now.mono);
        }
    }

    /// Since when nobody has said whether the other server has it, though it was asked.
    pub(crate) const fn owed_since(&self) -> Option<Instant> {
        match &self.leaving {
            Leaving::Going(going) => going.owed_since,
            Leaving::No | Leaving::Closing { .. } => None,
        }
    }

    /// Stands still, and is offered.
    pub(crate) fn offer(&mut self, peer: &str, address: &str, ctx: &mut Ctx<'_>) {
        if self.readiness() != Readiness::Ready {
            return;
        }
        self.moves += 1;
        let offer = Offer {
            session: self.id.clone(),
            id: HandoverId::from_bits(ctx.mint.bits()),
            moves: self.moves,
        };
        self.leaving = Leaving::Going(Box::new(Going {
            offer,
            peer: peer.to_owned(),
            address: address.to_owned(),
            step: Step::Offer,
            again_at: None,
            refusals: 0,
            owed_since: None,
            unheard: BTreeSet::new(),
        }));
        self.take_step(ctx);
    }

    /// What the store says about its being handed over. One that is offered is asked after.
    pub(super) fn read_handover(&mut self, handover: Handover, ctx: &mut Ctx<'_>) {
        self.moves = handover.moves;
        if let Some(key) = handover.key {
            self.key = key.0;
        }
        if let Mark::Offered { id, peer, address } = handover.mark {
            let offer = Offer {
                session: self.id.clone(),
                id,
                moves: handover.moves,
            };
            self.leaving = Leaving::Going(Box::new(Going {
                offer,
                peer,
                address,
                step: Step::Ask,
                again_at: None,
                refusals: 0,
                owed_since: Some(ctx.now.mono),
                unheard: BTreeSet::new(),
            }));
            self.take_step(ctx);
        }
    }

    /// Where it has moved to.
    pub(crate) fn moved_to(&self) -> Option<&str> {
        match &self.leaving {
            Leaving::Going(going) if going.step == Step::Gone => Some(&going.address),
            Leaving::Going(_) | Leaving::No | Leaving::Closing { .. } => None,
        }
    }

    fn take_step(&self, ctx: &mut Ctx<'_>) {
        let Leaving::Going(going) = &self.leaving else {
            return;
        };
        let id = going.offer.id.clone();
        let mark = match going.step {
            Step::Offer => Mark::Offered {
                id,
                peer: going.peer.clone(),
                address: going.address.clone(),
            },
            Step::Leave => Mark::Moved {
                id,
                address: going.address.clone(),
                row: Box::new(self.row.clone()),
            },
            Step::Keep => Mark::Kept,
            Step::Gone => return,
            Step::Give | Step::Ask => {
                let giving = Giving {
                    offer: going.offer.clone(),
                    peer: going.peer.clone(),
                    key: keel_wire::handover::SessionKey(self.key),
                    settle: going.step == Step::Ask,
                };
                return ctx.out.push(Output::HandOver(Box::new(giving)));
            }
        };
        let handover = Handover {
            moves: going.offer.moves,
            key: Some(keel_wire::handover::SessionKey(self.key)),
            mark,
        };
        ctx.out.push(Output::Mark {
            session: self.id.clone(),
            handover: Box::new(handover),
        });
    }

    /// A mark is written, or not.
    pub(crate) fn marked(&mut self, result: Result<(), String>, ctx: &mut Ctx<'_>) {
        let Leaving::Going(going) = &mut self.leaving else {
            return;
        };
        let next = match going.step {
            Step::Offer => Step::Give,
            Step::Leave => Step::Gone,
            Step::Keep => return self.settle_mark(result, ctx),
            // An answer to a machine before this one.
            Step::Give | Step::Ask | Step::Gone => return,
        };
        match result {
            Ok(()) => {
                going.step = next;
                going.refusals = 0;
                self.take_step(ctx);
            }
            Err(error) => self.step_again(&error, ctx),
        }
    }

    fn settle_mark(&mut self, result: Result<(), String>, ctx: &mut Ctx<'_>) {
        if let Err(error) = result {
            return self.step_again(&error, ctx);
        }
        if let Leaving::Going(going) = std::mem::take(&mut self.leaving) {
            // What they sent and was not taken is with them still: they send it when they are back.
            for conn in going.unheard {
                let fault = ctx
                    .fault(Code::ConnectionClosed)
                    .session(&self.id)
                    .message("the session was to move to another server, and stays");
                ctx.conns
                    .refuse_with(conn, fault, Code::ServerShutdown, ctx.out);
            }
        }
        self.start_next(ctx);
        self.note_idle(ctx.now.mono);
    }

    /// What the other server says.
    pub(crate) fn delivered(&mut self, id: &HandoverId, outcome: Delivered, ctx: &mut Ctx<'_>) {
        let Leaving::Going(going) = &mut self.leaving else {
            return;
        };
        let asked = matches!(going.step, Step::Give | Step::Ask) && going.offer.id == *id;
        if !asked {
            return;
        }
        match outcome {
            Delivered::Accepted => {
                going.step = Step::Leave;
                (going.refusals, going.owed_since) = (0, None);
                self.take_step(ctx);
            }
            Delivered::Declined { why } => {
                tracing::warn!(session = %self.id, peer = going.peer, why, "not handed over");
                going.step = Step::Keep;
                (going.refusals, going.owed_since) = (0, None);
                self.take_step(ctx);
            }
            Delivered::Unknown { error } => {
                going.step = Step::Ask;
                going.owed_since.get_or_insert(ctx.now.mono);
                self.step_again(&error, ctx);
            }
        }
    }

    fn step_again(&mut self, error: &str, ctx: &Ctx<'_>) {
        let Leaving::Going(going) = &mut self.leaving else {
            return;
        };
        tracing::warn!(session = %self.id, step = ?going.step, error, "a handover is delayed");
        let step = limits::STORE_RETRY_BASE * (1 << going.refusals.min(6));
        going.refusals += 1;
        going.again_at = Some(ctx.now.mono + step.min(limits::STORE_RETRY_CAP));
    }

    /// When something is to be done about its leaving.
    pub(super) const fn leaving_at(&self) -> Option<Instant> {
        match &self.leaving {
            Leaving::No => None,
            Leaving::Closing { stop_at } if self.run.is_some() => Some(*stop_at),
            Leaving::Closing { .. } => None,
            Leaving::Going(going) => going.again_at,
        }
    }

    /// Time has passed for a session that leaves.
    pub(super) fn go_on_leaving(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        match &mut self.leaving {
            Leaving::No => {}
            Leaving::Closing { stop_at } => {
                if *stop_at <= now {
                    self.stop_for_shutdown(ctx);
                }
            }
            Leaving::Going(going) => {
                if going.again_at.take_if(|at| *at <= now).is_some() {
                    self.take_step(ctx);
                }
            }
        }
    }

    /// A connection's command is not taken: it stays with its sender.
    pub(super) fn leave_unheard(&mut self, conn: ConnId) {
        if let Leaving::Going(going) = &mut self.leaving {
            going.unheard.insert(conn);
        }
    }

    /// What is said to who comes while it stands still.
    pub(super) fn on_its_way(&self, ctx: &mut Ctx<'_>) -> Fault {
        ctx.fault(Code::ServerShutdown)
            .session(&self.id)
            .retry(Retry::After { ms: 500 })
            .message("the session is on its way to another server")
    }
}
