//! Timers, silence and sleep: what the passing of time means, and when it means nothing.
//!
//! A timer that fires much too late says that this machine slept, not that the other side is silent.
//! So the clocks are looked at first, and stale timers are not acted on.

use std::time::Duration;

use keel_wire::{ClientFrame, CloseCode, Code, Detach, EndReason, Fault, Origin, WaitingFor};

use super::{
    Ask, Client, ConnEnd, ConnId, Cx, Event, Input, Life, Notice, Output, Simulate, Why,
    attempt::Attempt,
    outcome::{self, Class, Outcome},
    path::{Path, Stage, Trust},
};
use crate::{Deadline, Instant, Now, limits};

/// Where a connection stands in the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Current,
    Attempt,
}

/// Recognises sleep.
#[derive(Debug, Default)]
pub(super) struct Clock {
    last: Option<Now>,
    promised: Option<Instant>,
}

/// This machine did not run for a while.
#[derive(Debug, Clone, Copy)]
struct Slept {
    /// How long.
    span: Duration,
    /// How much of it the monotonic clock did not see.
    unseen: Duration,
}

impl Clock {
    pub(super) fn promise(&mut self, now: Now, deadline: Option<Deadline>) {
        self.last = Some(now);
        self.promised = deadline.map(|deadline| deadline.at);
    }

    fn slept(&self, now: Now) -> Option<Slept> {
        let last = self.last?;
        let late = self
            .promised
            .map_or(Duration::ZERO, |promised| now.mono.since(promised));
        let wall = Duration::from_millis(now.wall.saturating_sub(last.wall));
        let unseen = wall.saturating_sub(now.mono.since(last.mono));
        let unseen = if unseen > limits::SLEPT_MIN {
            unseen
        } else {
            Duration::ZERO
        };
        let is_late = late > limits::SLEPT_MIN;
        (is_late || !unseen.is_zero()).then(|| Slept {
            span: if is_late { late + unseen } else { unseen },
            unseen,
        })
    }
}

impl Client {
    pub(super) fn slot(&self, conn: ConnId) -> Option<Slot> {
        let is_it = |path: &Path| path.conn == conn;
        if self.current.as_ref().is_some_and(is_it) {
            Some(Slot::Current)
        } else if self
            .attempt
            .as_ref()
            .and_then(Attempt::path)
            .is_some_and(is_it)
        {
            Some(Slot::Attempt)
        } else {
            None
        }
    }

    pub(super) fn path(&mut self, slot: Slot) -> Option<&mut Path> {
        match (slot, &mut self.attempt) {
            (Slot::Current, _) => self.current.as_mut(),
            (Slot::Attempt, Some(Attempt::Path(path))) => Some(path),
            (Slot::Attempt, _) => None,
        }
    }

    fn take_path(&mut self, slot: Slot) -> Option<Path> {
        match slot {
            Slot::Current => self.current.take(),
            Slot::Attempt => match self.attempt.take_if(|attempt| attempt.path().is_some()) {
                Some(Attempt::Path(path)) => Some(*path),
                Some(Attempt::Waiting { .. } | Attempt::Token { .. }) | None => None,
            },
        }
    }

    /// Before an input is taken: has this machine slept?
    pub(super) fn wake(&mut self, cx: &mut Cx<'_>, input: &Input) {
        let Some(slept) = self.clock.slept(cx.now) else {
            return;
        };
        let now = cx.now.mono;
        let span = slept.span;
        tracing::info!(slept_ms = span.as_millis(), "woke");
        self.outbox.slept(slept.unseen);
        self.media.woke(now);
        let seen = span.saturating_sub(slept.unseen);
        let heard = match input {
            Input::Frame { conn, .. } => self.slot(*conn),
            Input::Connect
            | Input::Opened { .. }
            | Input::Closed { .. }
            | Input::Command { .. }
            | Input::Media(_)
            | Input::Token(_)
            | Input::Network { .. }
            | Input::Probe
            | Input::Detach
            | Input::Close
            | Input::Simulate(_)
            | Input::Tick => None,
        };
        match &mut self.life {
            Life::Connecting { until, .. } => *until = *until + seen,
            Life::Recovering(recovery) => {
                recovery.counted_from = recovery.counted_from + seen;
                recovery.answered = None;
                recovery.hurry = true;
            }
            Life::Idle
            | Life::Standing
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => {}
        }
        let recovers = matches!(self.life, Life::Recovering(_));
        match &mut self.attempt {
            // Its try begins anew: what it had is as old as the sleep.
            Some(Attempt::Path(_)) if recovers && heard != Some(Slot::Attempt) => {
                self.drop_attempt(cx);
            }
            Some(Attempt::Path(path)) => {
                path.until = path.until.max(now + limits::WELCOME_WITHIN);
                path.all_until = path.all_until.map(|until| until + seen);
            }
            Some(Attempt::Token {
                until, all_until, ..
            }) => {
                *until = *until + seen;
                *all_until = all_until.map(|until| until + seen);
            }
            Some(Attempt::Waiting { .. }) | None => {}
        }
        let Some(path) = &mut self.current else {
            return;
        };
        path.heard = path.heard.max(if heard == Some(Slot::Current) {
            now
        } else {
            path.heard
        });
        let is_trusted = path.trust == Trust::Trusted;
        if matches!(self.life, Life::Standing) && is_trusted && heard != Some(Slot::Current) {
            let is_end = matches!(input, Input::Closed { conn, .. } if *conn == path.conn);
            if !is_end {
                self.suspect(cx, Some(span));
            }
        }
    }

    /// Everything that is due.
    pub(super) fn run_timers(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        match &self.life {
            Life::Connecting { until, fault, .. } if *until <= now => {
                let fault = fault.clone();
                return self.connect_timed_out(cx, fault);
            }
            Life::Detaching { until } if *until <= now => {
                return self.finish(
                    cx,
                    Life::Ended {
                        reason: EndReason::Detached,
                    },
                );
            }
            Life::Recovering(recovery) if self.give_up_at(recovery).is_some_and(|at| at <= now) => {
                return self.give_up(cx, Why::Deadline);
            }
            Life::Idle
            | Life::Connecting { .. }
            | Life::Standing
            | Life::Recovering(_)
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => {}
        }
        self.run_attempt_timers(cx);
        if !self.is_over() {
            self.run_current_timers(cx);
        }
        if !self.is_over() {
            self.run_command_timers(cx);
            self.run_media_timers(cx);
        }
    }

    fn connect_timed_out(&mut self, cx: &mut Cx<'_>, last: Option<Box<Fault>>) {
        let phase = self.phase();
        let (class, outcome) = outcome::of_timeout(&mut self.mint, cx.now, phase);
        let outcome = match self.attempt.take() {
            Some(Attempt::Path(mut path)) => {
                path.cell.note(class, outcome.clone());
                cx.out.push(Output::Hangup {
                    conn: path.conn,
                    code: None,
                });
                path.cell.seal().unwrap_or(outcome)
            }
            Some(Attempt::Token { .. } | Attempt::Waiting { .. }) | None => outcome,
        };
        let mut fault = outcome.fault;
        if let Some(last) = last.filter(|last| last.id != fault.id) {
            fault = fault.caused_by(*last);
        }
        self.finish(
            cx,
            Life::Failed {
                fault: Box::new(fault),
            },
        );
    }

    fn run_attempt_timers(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let is_due = |attempt: &Attempt| attempt.deadline().is_some_and(|(at, _)| at <= now);
        if !self.attempt.as_ref().is_some_and(is_due) {
            return;
        }
        match self.attempt.take() {
            Some(Attempt::Waiting {
                strategy, within, ..
            }) => {
                self.begin_attempt(cx, strategy, within);
            }
            Some(Attempt::Token { strategy, .. }) => {
                let phase = keel_wire::Phase::Token;
                let (_, outcome) = outcome::of_timeout(&mut self.mint, cx.now, phase);
                self.attempt_failed(cx, strategy, None, outcome);
            }
            Some(Attempt::Path(mut path)) => {
                if path.seal_at.is_none_or(|at| at > now) {
                    let phase = path.phase();
                    let (class, outcome) = outcome::of_timeout(&mut self.mint, cx.now, phase);
                    path.cell.note(class, outcome);
                }
                self.attempt = Some(Attempt::Path(path));
                self.seal(cx, Slot::Attempt, true);
            }
            None => {}
        }
    }

    fn run_current_timers(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let Some(path) = &mut self.current else {
            return;
        };
        if path.held.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.release_fault(cx);
        }
        let Some(path) = &self.current else { return };
        if path.seal_at.is_some_and(|at| at <= now) {
            self.seal(cx, Slot::Current, true);
        } else if path.silent_at().is_some_and(|at| at <= now) {
            self.suspect(cx, None);
        }
    }

    fn run_command_timers(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        while let Some(entry) = self.outbox.expired(now) {
            let fault = self.mint.fault(cx.now, Code::Expired, Origin::Client);
            let outcome = super::CommandOutcome::Refused(Box::new(fault));
            cx.out.push(Output::Receipt {
                local: entry.local,
                outcome,
            });
        }
        while let Some((local, for_ms)) = self.outbox.still_waiting(now) {
            let because = super::Because::Receipt { local };
            cx.tell(Event::StillWaiting { because, for_ms });
        }
    }

    /// The end of a transport's input, or nearly.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, conn: ConnId, end: ConnEnd) {
        let Some(slot) = self.slot(conn) else { return };
        let write_failed = end == ConnEnd::WriteFailed;
        let (class, mut outcome) = outcome::of_end(&mut self.mint, cx.now, end);
        let seal_at = cx.now.mono + limits::OUTCOME_SEALED_WITHIN;
        let Some(path) = self.path(slot).filter(|path| !path.deaf) else {
            return;
        };
        if path.stage == Stage::Dialing && class == Class::Transport && outcome.ask == Ask::Fast {
            outcome.ask = Ask::Unreachable;
        }
        path.cell.note(class, outcome);
        if write_failed {
            // What the server said before may still be on its way in.
            path.seal_at.get_or_insert(seal_at);
        } else {
            self.seal(cx, slot, false);
        }
    }

    /// Makes an end of a connection, once.
    pub(super) fn seal(&mut self, cx: &mut Cx<'_>, slot: Slot, hang_up: bool) {
        let Some(mut path) = self.take_path(slot) else {
            return;
        };
        if hang_up {
            cx.out.push(Output::Hangup {
                conn: path.conn,
                code: None,
            });
        }
        let cell = std::mem::take(&mut path.cell);
        let mut outcome = cell.seal().unwrap_or_else(|| Outcome {
            fault: self
                .mint
                .fault(cx.now, Code::TransportError, Origin::Network),
            ask: Ask::Fast,
        });
        match slot {
            Slot::Current => {
                self.home.clone_from(&path.address);
                self.current_lost(cx, path, outcome);
            }
            Slot::Attempt => {
                let phase = outcome::phase_name(path.phase());
                if !outcome.fault.detail.contains_key("phase") {
                    outcome.fault = outcome.fault.detail("phase", phase);
                }
                self.attempt_failed(cx, path.strategy, path.answered, outcome);
            }
        }
    }

    pub(super) fn network(&mut self, cx: &mut Cx<'_>, online: bool) {
        let was = std::mem::replace(&mut self.online, online);
        if online {
            self.media_online(cx.now.mono);
        }
        if online && !was {
            self.probe(cx);
        }
        if let (
            false,
            Some(Attempt::Waiting {
                at, waiting_for, ..
            }),
        ) = (online, &mut self.attempt)
            && *waiting_for != Some(WaitingFor::Server)
        {
            // Retries pause; the recovery's own limit goes on.
            (*at, *waiting_for) = (None, Some(WaitingFor::Network));
        }
    }

    /// Something in the surroundings has changed: what waits goes on, what is quiet is suspected.
    pub(super) fn probe(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        match &self.attempt {
            Some(Attempt::Waiting { waiting_for, .. })
                if self.online && *waiting_for != Some(WaitingFor::Server) =>
            {
                if let Life::Recovering(recovery) = &mut self.life {
                    recovery.hurry = true;
                    self.attempt = None;
                } else if let Some(Attempt::Waiting { at, .. }) = &mut self.attempt {
                    *at = Some(now);
                }
            }
            Some(Attempt::Waiting { .. } | Attempt::Token { .. } | Attempt::Path(_)) | None => {}
        }
        let overdue = |path: &Path| {
            // A beat and a half, as the server last said how often they come.
            let quiet = path.suspect_after - path.suspect_after / 3;
            path.trust == Trust::Trusted && now.since(path.heard) > quiet
        };
        let standing = matches!(self.life, Life::Standing);
        if standing && self.current.as_ref().is_some_and(overdue) {
            self.suspect(cx, None);
        }
    }

    pub(super) fn detach(&mut self, cx: &mut Cx<'_>) {
        self.drop_attempt(cx);
        match self
            .current
            .as_ref()
            .filter(|path| path.stands() && path.is_good())
        {
            Some(path) if matches!(self.life, Life::Standing | Life::Recovering(_)) => {
                cx.send(path, ClientFrame::from(Detach {}).encode());
                let until = cx.now.mono + limits::DETACH_WITHIN;
                self.life = Life::Detaching { until };
            }
            Some(_) if matches!(self.life, Life::Detaching { .. }) => {}
            Some(_) | None => self.finish(
                cx,
                Life::Ended {
                    reason: EndReason::Detached,
                },
            ),
        }
    }

    pub(super) fn simulate(&mut self, cx: &mut Cx<'_>, simulate: Simulate) {
        let slot = if self.current.is_some() {
            Slot::Current
        } else {
            Slot::Attempt
        };
        let (class, mut outcome) = outcome::of_end(&mut self.mint, cx.now, ConnEnd::Reset);
        outcome.fault = outcome.fault.detail("simulated", "drop_transport");
        let Some(path) = self.path(slot) else {
            return cx.tell(Event::ProtocolNotice(Notice::NothingToBreak));
        };
        match simulate {
            Simulate::DropTransport => {
                path.cell.note(class, outcome);
                self.seal(cx, slot, true);
            }
            Simulate::HalfOpen => path.deaf = true,
            Simulate::LoseFrames { count } => path.lose_frames = count,
        }
    }

    /// The current connection is of no use any more, and it was we who saw that.
    pub(super) fn break_off(&mut self, cx: &mut Cx<'_>, slot: Slot, message: String) {
        let fault = self
            .mint
            .fault(cx.now, Code::ProtocolError, Origin::Client)
            .message(message);
        tracing::warn!(fault = %fault, "a connection is broken off");
        let outcome = Outcome {
            fault,
            ask: Ask::FastOnce,
        };
        if let Some(path) = self.path(slot) {
            path.cell.note(Class::Transport, outcome);
            let conn = path.conn;
            cx.out.push(Output::Hangup {
                conn,
                code: Some(CloseCode(1002)),
            });
            self.seal(cx, slot, false);
        }
    }
}
