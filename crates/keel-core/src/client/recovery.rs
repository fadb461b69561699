//! From the end of a connection to a session that stands again, or a verdict.
//!
//! Level-triggered: the ends of connections only change what is known (`Recovery`, `Ledger`), and
//! `settle` makes of it what is to be done now.

use std::time::Duration;

use keel_wire::{CloseCode, Code, EndReason, Fault, FaultCode, Origin, Strategy, WaitingFor};

use super::{
    Ask, Client, Cx, Event, Failures, Life, Output,
    attempt::Attempt,
    backoff::Backoff,
    ladder::{Kind, Recovery},
    outcome::{self, Outcome},
    path::{Path, Stage, Trust},
};
use crate::{Instant, limits};

impl Client {
    /// The connection that carries the session has come to its end.
    pub(super) fn current_lost(&mut self, cx: &mut Cx<'_>, path: Path, mut outcome: Outcome) {
        if let Some(ended) = &self.fold.snapshot.ended {
            let reason = ended.reason;
            return self.finish(cx, Life::Ended { reason });
        }
        let by_ourselves = outcome.fault.code == Code::Superseded && path.hello < self.said;
        if by_ourselves {
            outcome.ask = Ask::Fast;
        }
        if path.trust == Trust::Trusted {
            self.count_loss(cx, &path, outcome.ask);
        }
        if outcome.ask == Ask::Token && self.can_refresh() {
            self.token = None;
            if self.attempt.as_ref().is_some_and(|a| !a.said_hello()) {
                // It would say hello without one.
                self.drop_attempt(cx);
            }
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
        let progress = self
            .ledger
            .see(self.fold.cursor.seq, self.outbox.consumed());
        let jitters = matches!(self.config.backoff, Backoff::FullJitter { .. });
        if progress && jitters && matches!(self.life, Life::Standing) {
            // What is cut off while it works is worth coming back to at once; what never got so far is
            // not, and a table waits as it says.
            self.ledger.tries = 0;
        }
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
            .is_some_and(|path| path.is_proven(cx.now.mono))
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
        // What is wanted is elsewhere, and the server that says so was asked first.
        let directed =
            self.target.is_some() && self.ledger.rejoins(cx.now.mono) < limits::REJOIN_LIMIT;
        let again = match outcome.ask {
            Ask::Fast | Ask::Migrate if directed => {
                Some((Some(Strategy::Migrate), Duration::ZERO, None))
            }
            Ask::Rejoin if strategy == Some(Strategy::Fast) => {
                Some((Some(Strategy::Rejoin), Duration::ZERO, None))
            }
            Ask::Token if refresh => Some((strategy, Duration::ZERO, Some(WaitingFor::Token))),
            Ask::Unreachable if self.config.retry_first_connect => {
                let delay =
                    self.config
                        .backoff
                        .delay(self.ledger.tries, Duration::MAX, &mut self.mint);
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

/// Whether a fault is about a connection and what stands on it, and not about one request, or about media,
/// which has a leg of its own.
pub(super) fn may_end_connection(fault: &Fault) -> bool {
    use keel_wire::Scope;
    let of_request = matches!(
        fault.code,
        FaultCode::Known(Code::SessionBusy | Code::Duplicate)
    );
    match fault.scope {
        Scope::Connection | Scope::Attachment | Scope::Session | Scope::Backend => {
            !of_request && fault.leg != Some(keel_wire::Leg::Media)
        }
        Scope::Command | Scope::Turn => false,
    }
}
