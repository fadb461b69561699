//! A turn is asked for: taken, queued, said into the one that runs, or refused. One decision, made
//! here, at once, and told with the receipt.

use std::time::Duration;

use keel_wire::{
    Admission as Wanted, BusyPolicy, Code, Fault, ReceiptBody, TurnAccepted, TurnEnd, TurnId,
    limits::INTEGER_MAX,
};

use super::{
    Session,
    commands::{Asker, Outcome},
    memory::StopFor,
    turns::Turn,
};
use crate::{Now, limits, node::Ctx};

/// What is asked for.
pub(super) struct Asked {
    pub(super) text: String,
    pub(super) from: From,
}

/// Where a prompt comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum From {
    /// Somebody said it.
    Said,
    /// It is that of a turn which is over, and to be tried again.
    RetryOf(TurnId),
    /// It asks to go on with one that did not come to its end.
    Continues(TurnId),
}

/// Where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind all that are open.
    Last,
    /// Into the turn that runs.
    Inside,
    /// Behind all that are open, and the one that runs is stopped.
    After(StopFor),
}

impl Session {
    /// Takes a turn, queues it, or says that the session is busy.
    pub(super) fn accept_turn(
        &mut self,
        asker: &Asker,
        asked: Asked,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let Some(place) = self.place_for(&asked.from, ctx) else {
            return Err(Box::new(self.busy(ctx)));
        };
        if let Some(fault) = self.quarantined(&asked.text, ctx) {
            return Err(Box::new(fault));
        }
        if self.turns.is_empty() && !self.may_wait_for_slot(ctx) {
            return Err(Box::new(self.at_capacity(ctx)));
        }
        // Over HTTP nobody has entered.
        self.admit_again(Wanted::Fail, ctx)?;
        match place {
            Place::Inside => Ok(self.steer(asker, asked.text)),
            Place::Last => Ok(self.take_turn(asker, asked, ctx)),
            Place::After(why) => Ok(self.take_turn_instead(asker, asked, why, ctx)),
        }
    }

    /// Where a turn goes by the session's policy; `None` where that is nowhere.
    fn place_for(&self, from: &From, ctx: &Ctx<'_>) -> Option<Place> {
        if self.turns.is_empty() {
            return Some(Place::Last);
        }
        let has_room = |max: u32| {
            let waiting = u32::try_from(self.turns.len()).unwrap_or(u32::MAX);
            waiting <= max.min(limits::TURNS_QUEUED_MAX)
        };
        match self.fold.busy {
            BusyPolicy::Reject => None,
            BusyPolicy::Queue { max } => has_room(max).then_some(Place::Last),
            // To try again or to go on is nothing to say to another turn.
            BusyPolicy::Steer if *from != From::Said => None,
            BusyPolicy::Steer => {
                let backend = ctx.config.backends.get(&self.row.backend);
                let steers = backend.is_some_and(|backend| backend.steers);
                match self.run.as_ref().filter(|run| !run.is_stopping()) {
                    // What it does not take becomes turns, which have to fit in the line.
                    Some(run) if steers => (run.has_room_for_words()
                        && has_room(limits::TURNS_QUEUED_MAX - run.words_waiting()))
                    .then_some(Place::Inside),
                    Some(_) => has_room(u32::MAX).then_some(Place::After(StopFor::Steer)),
                    // Nothing runs that could be told, or it is being stopped.
                    None => has_room(u32::MAX).then_some(Place::Last),
                }
            }
            BusyPolicy::Replace => Some(Place::After(StopFor::Replace)),
        }
    }

    fn take_turn(&mut self, asker: &Asker, asked: Asked, ctx: &mut Ctx<'_>) -> ReceiptBody {
        let id = self.push_turn(asker, &asked, ctx);
        let receipt = self.stage_accepted(asker, id, asked);
        self.start_next(ctx);
        receipt
    }

    /// The turn that runs is stopped for a new one; to be replaced, those that wait are, too.
    fn take_turn_instead(
        &mut self,
        asker: &Asker,
        asked: Asked,
        why: StopFor,
        ctx: &mut Ctx<'_>,
    ) -> ReceiptBody {
        let waiting = self.turns.iter().skip(usize::from(self.run.is_some()));
        let waiting = waiting.map(|turn| turn.id.clone());
        let waiting: Vec<TurnId> = waiting.filter(|_| why == StopFor::Replace).collect();
        // It is there before they go, so that the place in line for a slot stays.
        let id = self.push_turn(asker, &asked, ctx);
        for turn in waiting {
            let reason = Some(why.name().to_owned());
            self.end_turn(&turn, TurnEnd::Cancelled, reason, None, ctx);
        }
        let receipt = self.stage_accepted(asker, id, asked);
        self.cancel_run(Some(&asker.participant), Some(why), ctx);
        self.start_next(ctx);
        receipt
    }

    fn push_turn(&mut self, asker: &Asker, asked: &Asked, ctx: &mut Ctx<'_>) -> TurnId {
        let id = TurnId::from_bits(ctx.mint.bits());
        let by = asker.participant.clone();
        let mut turn = Turn::queued(id.clone(), by, asked.text.clone(), ctx.now.mono);
        turn.begin_by = asker.ttl_ms.map(|ms| Now {
            mono: ctx.now.mono + Duration::from_millis(ms),
            wall: ctx.now.wall.saturating_add(ms).min(INTEGER_MAX),
        });
        self.turns.push_back(turn);
        self.idle_since = None;
        id
    }

    /// Stages that the turn which was pushed last is accepted, and says so.
    fn stage_accepted(&mut self, asker: &Asker, id: TurnId, asked: Asked) -> ReceiptBody {
        let before = self.turns.len().saturating_sub(1);
        let position = u32::try_from(before).unwrap_or(u32::MAX);
        let begin_by = self.turns.back().and_then(|turn| turn.begin_by);
        let (retry_of, continues) = match asked.from {
            From::Said => (None, None),
            From::RetryOf(turn) => (Some(turn), None),
            From::Continues(turn) => (None, Some(turn)),
        };
        self.stage_event(TurnAccepted {
            turn: id.clone(),
            by: asker.participant.clone(),
            command: asker.command.clone(),
            text: asked.text,
            position,
            begin_by: begin_by.map(|by| by.wall),
            retry_of,
            continues,
        });
        ReceiptBody::Ok {
            turn: Some(id),
            position: Some(position),
            version: None,
        }
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
}
