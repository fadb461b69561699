//! From the end of a connection to a session that stands again, or a verdict.
//!
//! Level-triggered: the ends of connections only change what is known (`Recovery`, `Ledger`), and
//! `settle` makes of it what is to be done now.

use std::{collections::VecDeque, time::Duration};

use keel_wire::{CloseCode, Code, EndReason, Fault, FaultCode, Origin, Seq, Strategy, WaitingFor};

use super::{
    Ask, Backoff, Client, Cx, Event, Failures, Life, Output, Situation, Step, Why,
    attempt::Attempt,
    outcome::{self, Outcome},
    path::{Path, Stage, Trust},
    planner,
};
use crate::{Instant, limits};

/// Why a session needs another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The one that it had is lost.
    Loss,
    /// It is to go elsewhere, and what it has is good until then.
    Move,
    /// It has gone elsewhere, and what was missed is being replayed.
    Moved,
}

/// One recovery.
#[derive(Debug)]
pub(super) struct Recovery {
    /// The first cause.
    pub(super) cause: Box<Fault>,
    /// What the last try came to.
    pub(super) last: Option<Box<Fault>>,
    pub(super) kind: Kind,
    /// The connection that went when the next one said hello, as it should.
    pub(super) left: Option<Box<Path>>,
    /// Do not wait before the next try: something in the surroundings has changed.
    pub(super) hurry: bool,
    pub(super) lost_at: Instant,
    pub(super) silent_ms: u64,
    pub(super) attempts: u32,
    pub(super) ask: Ask,
    pub(super) reached: Strategy,
    pub(super) answered: Option<Instant>,
    /// What its limits are counted from: `lost_at`, but for the time slept.
    pub(super) counted_from: Instant,
    /// What the server asked this client to wait before its first try.
    pub(super) pace: Duration,
}

/// What outlasts a recovery: success must not buy a flapping connection a fresh budget.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) failures: Failures,
    /// Tries since a connection lasted.
    pub(super) tries: u32,
    rejoins: VecDeque<Instant>,
    /// The progress that `failures` counts from.
    mark: (Seq, Seq),
}

impl Ledger {
    /// Progress makes what failed before count no more.
    fn see(&mut self, cursor: Seq, consumed: Seq) {
        if self.mark != (cursor, consumed) {
            self.mark = (cursor, consumed);
            self.failures = Failures::default();
        }
    }

    pub(super) fn rejoined(&mut self, now: Instant) {
        self.rejoins.push_back(now);
        if self.rejoins.len() > limits::REJOIN_LIMIT {
            self.rejoins.pop_front();
        }
    }

    /// What a caller's new start leaves of it.
    pub(super) fn restarted(&mut self) -> Self {
        Self {
            rejoins: std::mem::take(&mut self.rejoins),
            ..Self::default()
        }
    }

    fn rejoins(&self, now: Instant) -> usize {
        let recent = |at: &&Instant| now.since(**at) < limits::REJOIN_LIMIT_SPAN;
        self.rejoins.iter().filter(recent).count()
    }

    fn count(&mut self, ask: Ask, strategy: Option<Strategy>) {
        let failures = &mut self.failures;
        match ask {
            Ask::Unreachable => failures.unreachable += 1,
            Ask::Later(_) => {}
            Ask::Token => failures.token += 1,
            Ask::FastOnce => failures.once += 1,
            Ask::Fast | Ask::Rejoin | Ask::Migrate | Ask::Never => {}
        }
        let answered = !matches!(ask, Ask::Unreachable | Ask::Later(_) | Ask::Token);
        if answered && strategy == Some(Strategy::Fast) {
            failures.fast += 1;
        }
    }
}

impl Client {
    /// The connection that carries the session has come to its end.
    pub(super) fn current_lost(&mut self, cx: &mut Cx<'_>, path: Path, mut outcome: Outcome) {
        if let Some(ended) = &self.fold.snapshot.ended {
            let reason = ended.reason;
            return self.finish(cx, Life::Ended { reason });
        }
        let by_ourselves = outcome.fault.code == Code::Superseded && path.hello < self.hellos;
        if by_ourselves {
            outcome.ask = Ask::Fast;
        }
        if path.trust == Trust::Trusted {
            self.count_loss(cx, &path, outcome.ask);
        }
        if outcome.ask == Ask::Token && self.can_refresh() {
            self.token = None;
        }
        match &mut self.life {
            Life::Standing => self.begin_recovery(cx, &path, outcome),
            Life::Recovering(recovery) if recovery.kind == Kind::Move => {
                if by_ourselves && self.attempt.as_ref().is_some_and(Attempt::said_hello) {
                    recovery.left = Some(Box::new(path));
                } else {
                    self.begin_recovery(cx, &path, outcome);
                }
            }
            Life::Recovering(recovery) if recovery.kind == Kind::Moved => {
                self.begin_recovery(cx, &path, outcome);
            }
            Life::Recovering(recovery) if path.trust == Trust::Trusted => {
                // It was the next one, and did not get through the replay.
                let attempt = recovery.attempts;
                recovery.answered = recovery.answered.or(path.answered);
                recovery.ask = outcome.ask;
                recovery.last = Some(Box::new(outcome.fault.clone()));
                cx.tell(Event::AttemptFailed {
                    strategy: path.strategy.unwrap_or(Strategy::Fast),
                    attempt,
                    fault: Box::new(outcome.fault),
                });
            }
            Life::Recovering(recovery) => {
                // It was told as lost when it fell silent. Its last word may still say what to do.
                let said_hello = self.attempt.as_ref().is_some_and(Attempt::said_hello);
                if !said_hello && !matches!(outcome.ask, Ask::Fast | Ask::Unreachable) {
                    recovery.ask = outcome.ask;
                    recovery.last = Some(Box::new(outcome.fault.clone()));
                    self.drop_attempt(cx);
                }
                if let Life::Recovering(recovery) = &mut self.life {
                    recovery.cause.suppress(outcome.fault);
                }
            }
            Life::Detaching { .. } => {
                self.finish(
                    cx,
                    Life::Ended {
                        reason: EndReason::Detached,
                    },
                );
            }
            Life::Idle | Life::Connecting { .. } | Life::Ended { .. } | Life::Failed { .. } => {}
        }
    }

    fn count_loss(&mut self, cx: &Cx<'_>, path: &Path, ask: Ask) {
        self.ledger
            .see(self.fold.cursor.seq, self.outbox.consumed());
        let stable = |since| cx.now.mono.since(since) >= limits::STABLE_AFTER;
        if path.joined.is_some_and(stable) {
            self.ledger.tries = 0;
            self.ledger.failures = Failures::default();
        }
        self.ledger.count(
            ask,
            path.strategy.filter(|_| !path.joined.is_some_and(stable)),
        );
    }

    /// Told once; what is done about it, `settle` decides.
    pub(super) fn begin_recovery(&mut self, cx: &mut Cx<'_>, path: &Path, outcome: Outcome) {
        let now = cx.now.mono;
        tracing::info!(code = %outcome.fault.code, "the connection is lost");
        let fault = Box::new(outcome.fault);
        let (attempts, reached) = match &self.life {
            Life::Recovering(planned) => (planned.attempts, planned.reached),
            Life::Idle
            | Life::Connecting { .. }
            | Life::Standing
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => (0, Strategy::Fast),
        };
        self.life = Life::Recovering(Box::new(Recovery {
            cause: fault.clone(),
            last: None,
            kind: Kind::Loss,
            left: None,
            hurry: false,
            lost_at: now,
            silent_ms: now.ms_since(path.heard),
            attempts,
            ask: outcome.ask,
            reached,
            answered: None,
            counted_from: now,
            pace: path.pace,
        }));
        cx.tell(Event::ConnectionLost {
            conn: path.conn,
            fault,
        });
    }

    /// The server goes, and says where to.
    pub(super) fn begin_migration(&mut self, cx: &Cx<'_>, fault: Box<Fault>) {
        self.life = Life::Recovering(Box::new(Recovery {
            cause: fault,
            last: None,
            kind: Kind::Move,
            left: None,
            hurry: false,
            lost_at: cx.now.mono,
            silent_ms: 0,
            attempts: 0,
            ask: Ask::Migrate,
            reached: Strategy::Migrate,
            answered: None,
            counted_from: cx.now.mono,
            pace: Duration::ZERO,
        }));
    }

    /// A try came to nothing before its welcome.
    pub(super) fn attempt_failed(
        &mut self,
        cx: &mut Cx<'_>,
        strategy: Option<Strategy>,
        answered: Option<Instant>,
        outcome: Outcome,
    ) {
        self.ledger
            .see(self.fold.cursor.seq, self.outbox.consumed());
        self.ledger.count(outcome.ask, strategy);
        if outcome.ask == Ask::Token && self.can_refresh() {
            self.token = None;
        }
        let recovery = match &mut self.life {
            Life::Connecting { .. } => return self.first_connect_failed(cx, strategy, outcome),
            Life::Recovering(recovery) => recovery,
            Life::Idle
            | Life::Standing
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => return,
        };
        let fault = Box::new(outcome.fault.clone());
        cx.tell(Event::AttemptFailed {
            strategy: strategy.unwrap_or(Strategy::Fast),
            attempt: recovery.attempts,
            fault: fault.clone(),
        });
        recovery.answered = match outcome.ask {
            Ask::Unreachable | Ask::Later(_) => None,
            Ask::Fast | Ask::FastOnce | Ask::Rejoin | Ask::Migrate | Ask::Token | Ask::Never => {
                recovery.answered.or(answered)
            }
        };
        recovery.ask = outcome.ask;
        recovery.last = Some(fault);
        if recovery.kind == Kind::Move {
            match recovery.left.take() {
                // The old one went when the new one said hello, and now that is gone too.
                Some(left) => self.begin_recovery(cx, &left, outcome),
                None if matches!(outcome.ask, Ask::Fast | Ask::Unreachable | Ask::Later(_)) => {}
                None => {
                    // The old place still stands; it is left when it must be.
                    self.target = None;
                    self.life = Life::Standing;
                }
            }
        } else if self
            .current
            .as_ref()
            .is_some_and(|path| path.trust == Trust::Heard)
        {
            self.recovered(cx, Strategy::Fast, 0);
        }
    }

    fn first_connect_failed(
        &mut self,
        cx: &mut Cx<'_>,
        strategy: Option<Strategy>,
        outcome: Outcome,
    ) {
        let refresh =
            self.ledger.failures.token <= limits::TOKEN_REFRESHES_MAX && self.can_refresh();
        let again = match outcome.ask {
            Ask::Rejoin if strategy == Some(Strategy::Fast) => {
                Some((Some(Strategy::Rejoin), Duration::ZERO, None))
            }
            Ask::Token if refresh => Some((strategy, Duration::ZERO, Some(WaitingFor::Token))),
            Ask::Unreachable if self.config.retry_first_connect => {
                let delay = self.config.backoff.delay(self.ledger.tries, &mut self.mint);
                delay.map(|delay| (strategy, delay, Some(WaitingFor::Network)))
            }
            Ask::Fast
            | Ask::FastOnce
            | Ask::Rejoin
            | Ask::Migrate
            | Ask::Later(_)
            | Ask::Token
            | Ask::Never
            | Ask::Unreachable => None,
        };
        let (Some((strategy, after, waiting_for)), Life::Connecting { fault, .. }) =
            (again, &mut self.life)
        else {
            return self.finish(
                cx,
                Life::Failed {
                    fault: Box::new(outcome.fault),
                },
            );
        };
        *fault = Some(Box::new(outcome.fault));
        if after.is_zero() {
            return self.begin_attempt(cx, strategy, None);
        }
        let at = self.online.then(|| cx.now.mono + after);
        self.attempt = Some(Attempt::Waiting {
            at,
            strategy,
            waiting_for,
            within: None,
        });
    }

    pub(super) fn can_refresh(&self) -> bool {
        self.config.token == super::TokenSource::Fetched
    }

    /// Looks at the world and does what is to be done now.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        self.flush(cx);
        // Each round begins a try, or ends the recovery.
        if self.attempt.is_none() && self.needs_a_path() {
            self.plan(cx);
        }
    }

    fn needs_a_path(&self) -> bool {
        match &self.life {
            Life::Recovering(recovery) => {
                recovery.kind == Kind::Move || !self.current.as_ref().is_some_and(Path::is_good)
            }
            Life::Idle
            | Life::Connecting { .. }
            | Life::Standing
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => false,
        }
    }

    fn plan(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let fresh_token = self.can_refresh();
        let rejoins = self.ledger.rejoins(now);
        let other_address = self.other_address().is_some();
        let give_up_after = self.give_up_after();
        let Life::Recovering(recovery) = &mut self.life else {
            return;
        };
        let climbs = matches!(recovery.ask, Ask::Rejoin | Ask::Migrate)
            && recovery.reached == Strategy::Fast;
        let refreshes = recovery.ask == Ask::Token && self.ledger.failures.token <= 1;
        let is_move = recovery.kind == Kind::Move;
        let first = recovery.attempts == 0 && is_move;
        let hurry = std::mem::take(&mut recovery.hurry);
        let delay = match &self.config.backoff {
            _ if hurry => Some(Duration::ZERO),
            Backoff::FullJitter { .. } if climbs || refreshes || first => Some(Duration::ZERO),
            Backoff::FullJitter { .. } if self.ledger.tries == 0 => Some(recovery.pace),
            backoff => backoff.delay(self.ledger.tries, &mut self.mint),
        };
        let step = planner::plan(&Situation {
            ask: recovery.ask,
            reached: recovery.reached,
            failures: self.ledger.failures,
            elapsed: now.since(recovery.counted_from),
            give_up_after: give_up_after.filter(|_| !is_move),
            answered: recovery
                .answered
                .map(|at| now.since(at))
                .filter(|_| !is_move),
            rejoins,
            other_address,
            online: self.online,
            fresh_token,
            delay,
        });
        match step {
            Step::Try {
                strategy,
                after,
                waiting_for,
                within,
            } => {
                if recovery.ask != Ask::Unreachable {
                    recovery.reached = planner::higher(recovery.reached, strategy);
                }
                let waiting_for = if self.token.is_none() {
                    waiting_for.map(|_| WaitingFor::Token)
                } else {
                    waiting_for
                };
                if after.is_zero() {
                    self.begin_attempt(cx, Some(strategy), Some(within));
                } else {
                    self.attempt = Some(Attempt::Waiting {
                        at: Some(now + after),
                        strategy: Some(strategy),
                        waiting_for,
                        within: Some(within),
                    });
                }
            }
            Step::AwaitNetwork => {
                self.attempt = Some(Attempt::Waiting {
                    at: None,
                    strategy: Some(recovery.reached),
                    waiting_for: Some(WaitingFor::Network),
                    within: None,
                });
            }
            Step::GiveUp(_) if is_move => {
                // Nothing is lost: it is left when it must be.
                self.target = None;
                self.life = Life::Standing;
            }
            Step::GiveUp(why) => self.give_up(cx, why),
        }
    }

    /// `None` for never.
    fn give_up_after(&self) -> Option<Duration> {
        let window = self.seat.as_ref().map_or(0, |seat| seat.window_ms);
        let window = Duration::from_millis(window);
        let window = if window.is_zero() {
            limits::RESUME_WINDOW
        } else {
            window
        };
        Some(self.config.give_up_after.unwrap_or(window)).filter(|limit| !limit.is_zero())
    }

    /// When it is over at the latest. Not while a welcomed connection replays: that is judged by its
    /// silence.
    pub(super) fn give_up_at(&self, recovery: &Recovery) -> Option<Instant> {
        let replays = self.current.as_ref().is_some_and(Path::is_good);
        if recovery.kind != Kind::Loss || replays {
            return None;
        }
        self.give_up_after()
            .map(|limit| recovery.counted_from + limit)
    }

    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, why: Why) {
        let Life::Recovering(recovery) = &self.life else {
            return;
        };
        let cause = (*recovery.cause).clone();
        let last = recovery.last.as_deref().cloned();
        let mut fault = match why {
            Why::Cause => last.clone().unwrap_or_else(|| cause.clone()),
            Why::Deadline => self
                .mint
                .fault(cx.now, Code::RecoveryDeadline, Origin::Client),
            Why::RejoinLimit => self.mint.fault(cx.now, Code::RejoinLimit, Origin::Client),
        };
        for led in last.into_iter().chain([cause]) {
            let is_new = fault.id != led.id && fault.cause.iter().all(|known| known.id != led.id);
            if is_new {
                fault = fault.caused_by(led);
            }
        }
        let fault = fault
            .detail("attempts", recovery.attempts)
            .detail("lost_ms", cx.now.mono.ms_since(recovery.lost_at));
        self.finish(
            cx,
            Life::Failed {
                fault: Box::new(fault),
            },
        );
    }

    /// The session stands again.
    pub(super) fn recovered(&mut self, cx: &mut Cx<'_>, strategy: Strategy, replayed: u64) {
        let Life::Recovering(recovery) = &self.life else {
            return;
        };
        let lost_ms = cx.now.mono.ms_since(recovery.lost_at);
        let event = Event::Recovered {
            strategy,
            attempts: recovery.attempts,
            lost_ms: if recovery.kind == Kind::Loss {
                lost_ms
            } else {
                0
            },
            replayed,
        };
        tracing::info!(?strategy, lost_ms, "recovered");
        cx.tell(event);
        self.drop_attempt(cx);
        if let Some(path) = &mut self.current {
            path.trust = Trust::Trusted;
        }
        self.life = Life::Standing;
    }

    pub(super) fn drop_attempt(&mut self, cx: &mut Cx<'_>) {
        if let Some(Attempt::Path(path)) = self.attempt.take() {
            let code = (path.stage != Stage::Dialing).then_some(CloseCode::NORMAL);
            cx.out.push(Output::Hangup {
                conn: path.conn,
                code,
            });
        }
    }

    /// A new connection beside the old one, which is given up for nothing less than a welcome.
    pub(super) fn suspect(&mut self, cx: &mut Cx<'_>, slept: Option<Duration>) {
        let Some(mut path) = self.current.take() else {
            return;
        };
        let mut fault = self
            .mint
            .fault(cx.now, Code::HeartbeatTimeout, Origin::Network)
            .detail("silent_ms", cx.now.mono.ms_since(path.heard));
        if let Some(slept) = slept {
            let ms = u64::try_from(slept.as_millis()).unwrap_or(u64::MAX);
            fault = fault.detail("slept_ms", ms);
        }
        let outcome = Outcome {
            fault,
            ask: Ask::Fast,
        };
        match &self.life {
            Life::Recovering(recovery)
                if recovery.kind != Kind::Move && path.trust == Trust::Trusted =>
            {
                path.cell.note(outcome::Class::Timeout, outcome);
                self.current = Some(path);
                self.seal(cx, super::liveness::Slot::Current, true);
            }
            Life::Standing | Life::Recovering(_) => {
                if path.trust == Trust::Trusted {
                    // What it said before it fell silent explains the silence.
                    let outcome = path.cell.best().unwrap_or(outcome);
                    self.count_loss(cx, &path, outcome.ask);
                    self.begin_recovery(cx, &path, outcome);
                }
                path.trust = Trust::Suspected;
                self.current = Some(path);
            }
            Life::Idle
            | Life::Connecting { .. }
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => {
                path.trust = Trust::Suspected;
                self.current = Some(path);
            }
        }
    }
}

/// Whether a fault is about a connection and what stands on it, and not about one request.
pub(super) fn may_end_connection(fault: &Fault) -> bool {
    use keel_wire::Scope;
    let of_request = matches!(
        fault.code,
        FaultCode::Known(Code::SessionBusy | Code::Duplicate)
    );
    match fault.scope {
        Scope::Connection | Scope::Attachment | Scope::Session | Scope::Backend => !of_request,
        Scope::Command | Scope::Turn => false,
    }
}
