//! The planner's hands: what is known about a recovery, looked at after every input, and the next step
//! of the ladder taken.

use std::{collections::VecDeque, time::Duration};

use keel_wire::{Code, Fault, Origin, Seq, Strategy, WaitingFor};

use super::{
    Ask, Backoff, Client, Cx, Failures, Life, Situation, Step, Why, attempt::Attempt, path::Path,
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

impl Recovery {
    /// The longest wait between two tries. Where the server said that its clients are few, one that
    /// cannot reach it asks often: it is back soon after the network is. A crowd backs off.
    fn longest_wait(&self, now: Instant) -> Duration {
        if self.ask == Ask::Unreachable && self.pace.is_zero() {
            let down = now.since(self.lost_at);
            limits::BACKOFF_FEW.max(down / limits::BACKOFF_FEW_SHARE)
        } else {
            Duration::MAX
        }
    }
}

/// What outlasts a recovery: success must not buy a flapping connection a fresh budget.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) failures: Failures,
    /// Tries since a connection lasted; for full jitter, since one brought progress.
    pub(super) tries: u32,
    rejoins: VecDeque<Instant>,
    /// The progress that `failures` counts from.
    mark: (Seq, Seq),
}

impl Ledger {
    /// Progress makes what failed before count no more; whether there was any.
    pub(super) fn see(&mut self, cursor: Seq, consumed: Seq) -> bool {
        let progress = self.mark != (cursor, consumed);
        if progress {
            self.mark = (cursor, consumed);
            self.failures = Failures::default();
        }
        progress
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

    pub(super) fn rejoins(&self, now: Instant) -> usize {
        let recent = |at: &&Instant| now.since(**at) < limits::REJOIN_LIMIT_SPAN;
        self.rejoins.iter().filter(recent).count()
    }

    pub(super) fn count(&mut self, ask: Ask, strategy: Option<Strategy>) {
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
    /// Looks at the world and does what is to be done now.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        self.flush(cx);
        // Each round begins a try, or ends the recovery.
        if self.attempt.is_none() && self.needs_a_path() {
            self.plan(cx);
        }
        if !self.is_over() {
            self.settle_media(cx);
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
            backoff @ (Backoff::FullJitter { .. } | Backoff::Table(_)) => {
                let most = recovery.longest_wait(now);
                let delay = backoff.delay(self.ledger.tries, most, &mut self.mint);
                match backoff {
                    Backoff::FullJitter { .. } if recovery.attempts == 0 => {
                        // A crowd that is lost twice in a row is still a crowd.
                        delay.map(|delay| delay.max(recovery.pace))
                    }
                    Backoff::FullJitter { .. } | Backoff::Table(_) => delay,
                }
            }
        };
        // A move has one aim: the place that it was told. Here is as good as it was.
        let ask = match recovery.ask {
            Ask::Fast | Ask::Unreachable if is_move => Ask::Migrate,
            ask @ (Ask::Fast
            | Ask::FastOnce
            | Ask::Rejoin
            | Ask::Migrate
            | Ask::Later(_)
            | Ask::Token
            | Ask::Never
            | Ask::Unreachable) => ask,
        };
        let step = planner::plan(&Situation {
            ask,
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
}
