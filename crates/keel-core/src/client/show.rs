//! The status, derived anew after every input and told when it differs; and the waits.

use std::time::Duration;

use keel_wire::{Leg, LegState, LegStatus, Phase, State, Status, Strategy};

use super::{
    Because, Client, Cx, Event, Life, Output,
    attempt::Attempt,
    ladder::{Kind, Recovery},
    path::Stage,
};
use crate::{Instant, limits};

/// A wait that has to be told when it gets long.
#[derive(Debug)]
pub(super) struct Wait {
    kind: WaitKind,
    since: Instant,
    pub(super) tell_at: Instant,
    tell_every: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitKind {
    Connecting,
    Queued,
    Recovering,
}

/// What is shown before [`super::Input::Connect`].
pub(super) fn before_connect() -> Status {
    Status {
        state: State::Connecting {
            phase: Phase::Token,
        },
        fault: None,
        legs: Vec::new(),
        injected: Vec::new(),
        since: 0,
    }
}

impl Client {
    /// Tells the status if it has changed, and a wait if it has become long.
    pub(super) fn show(&mut self, cx: &mut Cx<'_>) {
        let mut status = self.compose(cx);
        if status.state == self.status.state {
            status.since = self.status.since;
        }
        debug_assert_eq!(status.check(), None, "{status:?}");
        if !is_same(&status, &self.status) {
            cx.out.push(Output::Status(Box::new(status.clone())));
        }
        self.status = status;
        self.show_wait(cx);
    }

    fn show_wait(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let Some((kind, because)) = self.waits_for() else {
            self.wait = None;
            return;
        };
        let fresh = Wait {
            kind,
            since: now,
            tell_at: now + limits::STILL_WAITING_AFTER,
            tell_every: limits::STILL_WAITING_AFTER,
        };
        let wait = match &mut self.wait {
            Some(wait) if wait.kind == kind => wait,
            other => other.insert(fresh),
        };
        if wait.tell_at <= now {
            wait.tell_every = (wait.tell_every * 2).min(limits::STILL_WAITING_CAP);
            wait.tell_at = now + wait.tell_every;
            let for_ms = now.ms_since(wait.since);
            cx.tell(Event::StillWaiting { because, for_ms });
        }
    }

    fn waits_for(&self) -> Option<(WaitKind, Because)> {
        match &self.life {
            Life::Connecting { .. } => {
                Some((WaitKind::Connecting, Because::Connecting(self.phase())))
            }
            Life::Standing => match self.current.as_ref()?.stage {
                Stage::Queued { .. } => Some((WaitKind::Queued, Because::Queued)),
                Stage::Replaying => {
                    Some((WaitKind::Connecting, Because::Connecting(Phase::Replay)))
                }
                Stage::Joined => self
                    .media_waits_for()
                    .map(|waiting_for| (WaitKind::Recovering, Because::Recovering(waiting_for))),
                Stage::Dialing | Stage::Greeting => None,
            },
            Life::Recovering(_) => {
                let waiting_for = match &self.attempt {
                    Some(Attempt::Waiting { waiting_for, .. }) => *waiting_for,
                    Some(Attempt::Token { .. }) => Some(keel_wire::WaitingFor::Token),
                    Some(Attempt::Path(_)) | None => None,
                };
                Some((WaitKind::Recovering, Because::Recovering(waiting_for)))
            }
            Life::Idle | Life::Detaching { .. } | Life::Ended { .. } | Life::Failed { .. } => None,
        }
    }

    /// How far a first connect has come.
    pub(super) fn phase(&self) -> Phase {
        match &self.attempt {
            Some(Attempt::Path(path)) => path.phase(),
            Some(Attempt::Token { .. }) => Phase::Token,
            Some(Attempt::Waiting { .. }) | None => Phase::Dial,
        }
    }

    fn compose(&self, cx: &Cx<'_>) -> Status {
        let since = cx.now.wall;
        let of = |state, fault| Status {
            state,
            fault,
            legs: Vec::new(),
            injected: Vec::new(),
            since,
        };
        match &self.life {
            Life::Idle => of(
                State::Connecting {
                    phase: Phase::Token,
                },
                None,
            ),
            Life::Connecting { fault, .. } => of(
                State::Connecting {
                    phase: self.phase(),
                },
                fault.clone(),
            ),
            Life::Standing => self.compose_standing(cx),
            // Leaving heals nothing: it is as it was until it is over.
            Life::Detaching { .. } => self.status.clone(),
            Life::Recovering(recovery) if recovery.kind != Kind::Loss => {
                let fault = recovery.cause.clone();
                self.compose_legs(cx, LegState::Degraded { fault })
            }
            Life::Recovering(recovery) => self.compose_legs(cx, self.recovering(cx, recovery)),
            Life::Ended { reason } => of(State::Ended { reason: *reason }, None),
            Life::Failed { fault } => Status {
                state: State::Failed,
                fault: Some(fault.clone()),
                legs: vec![signaling(LegState::Down {
                    fault: fault.clone(),
                })],
                injected: Vec::new(),
                since,
            },
        }
    }

    fn compose_standing(&self, cx: &Cx<'_>) -> Status {
        let of = |state| Status {
            state,
            fault: None,
            legs: Vec::new(),
            injected: Vec::new(),
            since: cx.now.wall,
        };
        match self.current.as_ref().map(|path| path.stage) {
            Some(Stage::Queued {
                position,
                of: length,
            }) => of(State::Queued {
                position,
                of: length,
            }),
            Some(Stage::Replaying) if !self.was_live => of(State::Connecting {
                phase: Phase::Replay,
            }),
            Some(Stage::Dialing | Stage::Greeting | Stage::Replaying | Stage::Joined) | None => {
                let goaway = self.current.as_ref().and_then(|path| path.goaway.clone());
                let leg = goaway.map_or(LegState::Up, |fault| LegState::Degraded { fault });
                self.compose_legs(cx, leg)
            }
        }
    }

    /// The state, from this leg and those that the server tells of.
    fn compose_legs(&self, cx: &Cx<'_>, own: LegState) -> Status {
        let server = self.server.as_deref();
        let others = server
            .map(|status| status.legs.as_slice())
            .unwrap_or_default();
        let mut legs = vec![signaling(own)];
        legs.extend(
            others
                .iter()
                .filter(|leg| !matches!(leg.leg, Leg::Signaling | Leg::Media))
                .cloned(),
        );
        legs.extend(self.compose_media(cx));
        let mut state = State::Live;
        let mut fault = None;
        for leg in &legs {
            let (rank, why) = match &leg.state {
                LegState::Up => continue,
                LegState::Recovering {
                    attempt: 1..,
                    fault,
                    ..
                } => (State::Recovering, fault),
                LegState::Recovering { fault, .. }
                | LegState::Degraded { fault }
                | LegState::Down { fault } => (State::Degraded, fault),
            };
            if state == State::Live || (state == State::Degraded && rank == State::Recovering) {
                (state, fault) = (rank, Some(why.clone()));
            }
        }
        if state == State::Live
            && let Some(told) = server.filter(|status| status.state != State::Live)
            && told.fault.is_some()
        {
            // The server knows of something that no leg shows.
            (state, fault) = (State::Degraded, told.fault.clone());
        }
        Status {
            state,
            fault,
            legs,
            injected: server.map_or_else(Vec::new, |status| status.injected.clone()),
            since: cx.now.wall,
        }
    }

    fn recovering(&self, cx: &Cx<'_>, recovery: &Recovery) -> LegState {
        let now = cx.now.mono;
        let path = self.current.as_ref().filter(|path| path.is_good());
        let (strategy, next_ms, waiting_for) = match &self.attempt {
            Some(Attempt::Waiting {
                at,
                strategy,
                waiting_for,
                ..
            }) => (*strategy, at.map_or(0, |at| at.ms_since(now)), *waiting_for),
            Some(Attempt::Token { strategy, .. }) => {
                (*strategy, 0, Some(keel_wire::WaitingFor::Token))
            }
            Some(Attempt::Path(path)) => (path.strategy, 0, None),
            None => (path.and_then(|path| path.strategy), 0, None),
        };
        let is_next = matches!(self.attempt, Some(Attempt::Waiting { .. }));
        LegState::Recovering {
            strategy: strategy.unwrap_or(Strategy::Fast),
            attempt: (recovery.attempts + u32::from(is_next)).max(1),
            next_ms,
            waiting_for,
            deadline_ms: self.give_up_at(recovery).map(|at| at.ms_since(now)),
            fault: recovery.cause.clone(),
        }
    }
}

const fn signaling(state: LegState) -> LegStatus {
    LegStatus {
        leg: Leg::Signaling,
        state,
    }
}

/// Whether two tell the same, apart from what merely counts down.
fn is_same(a: &Status, b: &Status) -> bool {
    let leg = |a: &LegState, b: &LegState| match (a, b) {
        (
            LegState::Recovering {
                strategy,
                attempt,
                waiting_for,
                fault,
                next_ms,
                ..
            },
            LegState::Recovering {
                strategy: strategy_b,
                attempt: attempt_b,
                waiting_for: waiting_for_b,
                fault: fault_b,
                next_ms: next_ms_b,
                ..
            },
        ) => {
            (strategy, attempt, waiting_for) == (strategy_b, attempt_b, waiting_for_b)
                && fault.id == fault_b.id
                && (*next_ms == 0) == (*next_ms_b == 0)
        }
        (a, b) => a == b,
    };
    a.state == b.state
        && a.injected == b.injected
        && a.fault.as_ref().map(|fault| &fault.id) == b.fault.as_ref().map(|fault| &fault.id)
        && a.legs.len() == b.legs.len()
        && a.legs
            .iter()
            .zip(&b.legs)
            .all(|(a, b)| a.leg == b.leg && leg(&a.state, &b.state))
}
