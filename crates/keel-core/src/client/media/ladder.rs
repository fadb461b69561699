//! The media planner's hands: the world is looked at after every input, and the next step taken.

use std::time::Duration;

use keel_wire::{Code, Fault, MediaSignal, RefreshFrame, Retry, Todo};

use super::{
    Client, Cx, MediaOrder, Output, Transport,
    planner::{self, Flow, Rung, Situation, Step, There, Why},
    transport::Line,
};
use crate::{
    Instant,
    client::{Backoff, Event, Life},
    limits,
};

/// Steps that one input can lead to. What is left is done at the next, which is then due at once.
const STEPS_MAX: usize = 8;

impl Client {
    /// Looks at the world and does what is to be done now about media.
    pub(in crate::client) fn settle_media(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        self.media.look_at = None;
        for _ in 0..STEPS_MAX {
            self.judge_media(cx);
            let situation = self.media_situation(cx);
            match planner::plan(&situation) {
                Step::Rest | Step::AwaitSignaling => break,
                Step::Wait(span) => {
                    self.media.look_at = Some(now + span);
                    break;
                }
                step @ (Step::Close
                | Step::Open
                | Step::Abandon
                | Step::Keyframe
                | Step::Anew
                | Step::Restart
                | Step::GiveUp(_)) => self.take_media_step(cx, step),
            }
        }
        if let Some(at) = self.restore_by().filter(|at| *at > now) {
            self.media.look_at = Some(self.media.look_at.map_or(at, |look| look.min(at)));
        }
        self.plan_samples(cx);
    }

    fn media_situation(&mut self, cx: &Cx<'_>) -> Situation {
        let now = cx.now.mono;
        let wanted = self.media.wanted && !matches!(self.life, Life::Detaching { .. });
        let there = self.media_there(cx);
        let is_well = match there {
            There::Open { flow, .. } => matches!(flow, Flow::Fine | Flow::Source),
            There::Nothing { .. } | There::Opening { .. } => false,
        };
        let signaled = self.is_signaled();
        let tries = wanted && signaled && !is_well && self.media.down.is_none();
        self.media.tried_from = if tries {
            self.media.tried_from.or(Some(now))
        } else {
            None
        };
        let recent = |at: &&Instant| now.since(**at) < limits::REJOIN_LIMIT_SPAN;
        Situation {
            wanted,
            signaled,
            is_down: self.media.down.is_some(),
            there,
            tried: self
                .media
                .tried_from
                .map_or(Duration::ZERO, |from| now.since(from)),
            opens: self.media.opens.iter().filter(recent).count(),
        }
    }

    fn media_there(&self, cx: &Cx<'_>) -> There {
        let now = cx.now.mono;
        if let Some(next) = &self.media.next {
            return There::Opening {
                since: now.since(next.counted_from),
            };
        }
        let shown = self.media.shown.as_ref();
        if shown.is_none_or(|shown| shown.superseded) {
            return There::Nothing {
                wait: self.media_wait(now),
            };
        }
        let loss = self.media.loss.as_ref();
        There::Open {
            flow: self.media_flow(cx),
            rung: loss.map_or(Rung::Told, |loss| loss.rung),
            since: loss.map_or(Duration::ZERO, |loss| now.since(loss.step_at)),
            rejoins: loss.map_or(0, |loss| loss.rejoins),
            refreshable: self.refreshable().next().is_some(),
        }
    }

    /// The silent lines that the server has something for.
    fn refreshable(&self) -> impl Iterator<Item = &Line> {
        let shown = self.media.shown.iter();
        let expected = shown.flat_map(|shown| shown.expected(&self.fold.snapshot));
        expected.filter(|line| line.is_troubled() && !line.stalled_at_source)
    }

    fn take_media_step(&mut self, cx: &mut Cx<'_>, step: Step) {
        match step {
            Step::Rest | Step::AwaitSignaling | Step::Wait(_) => {}
            Step::Close => self.close_media(cx),
            Step::Open => self.open_transport(cx),
            Step::Abandon => {
                if let Some(peer) = self.media.next.as_ref().map(|next| next.peer) {
                    let fault = self.transport_fault(cx, peer, "udp_blocked");
                    self.transport_failed(cx, peer, Box::new(fault));
                }
            }
            Step::Keyframe => {
                self.step_taken(cx, Rung::Keyframe);
                self.ask_refresh(cx, false);
            }
            Step::Anew => {
                self.step_taken(cx, Rung::Anew);
                self.ask_refresh(cx, true);
            }
            Step::Restart => {
                self.step_taken(cx, Rung::Restart);
                if let Some(shown) = &self.media.shown {
                    let peer = shown.peer;
                    let ice_servers = self.media.ice_servers.clone();
                    cx.out
                        .push(Output::Media(MediaOrder::Restart { peer, ice_servers }));
                }
            }
            Step::GiveUp(why) => self.give_media_up(cx, why),
        }
    }

    const fn step_taken(&mut self, cx: &Cx<'_>, rung: Rung) {
        if let Some(loss) = &mut self.media.loss {
            (loss.rung, loss.step_at) = (rung, cx.now.mono);
            loss.attempts = loss.attempts.saturating_add(1);
        }
    }

    fn ask_refresh(&self, cx: &mut Cx<'_>, anew: bool) {
        let mids = self.refreshable().map(|line| line.mid.clone()).collect();
        if let Some(shown) = &self.media.shown {
            let peer = shown.peer;
            self.signal(cx, MediaSignal::Refresh(RefreshFrame { peer, mids, anew }));
        }
    }

    fn open_transport(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let Some(peer) = self.media.last.checked_add(1) else {
            return self.give_media_up(cx, Why::RejoinLimit);
        };
        self.media.last = peer;
        self.media.open_at = None;
        self.media.opens.push_back(now);
        if self.media.opens.len() > limits::REJOIN_LIMIT {
            self.media.opens.pop_front();
        }
        if let Some(loss) = &mut self.media.loss {
            loss.attempts = loss.attempts.saturating_add(1);
            loss.rejoins = loss.rejoins.saturating_add(1);
        }
        if let Some(shown) = &mut self.media.shown {
            shown.superseded = true;
        }
        self.media.next = Some(Transport::new(peer, now));
        let ice_servers = self.media.ice_servers.clone();
        cx.out
            .push(Output::Media(MediaOrder::Open { peer, ice_servers }));
    }

    /// A transport came to nothing, or to its end. What is left of it is closed, and the one that it was
    /// to follow with it: that was kept for long enough.
    pub(super) fn transport_failed(&mut self, cx: &mut Cx<'_>, peer: u32, fault: Box<Fault>) {
        let now = cx.now.mono;
        // While what comes over it is known: that is owed.
        match &mut self.media.loss {
            Some(loss) => loss.last = Some(fault.clone()),
            None => self.tell_media_lost(cx, fault.clone(), false),
        }
        let was_next = self
            .media
            .next
            .as_ref()
            .is_some_and(|next| next.peer == peer);
        if was_next {
            self.close_next(cx);
        }
        let shown = self.media.shown.as_ref();
        if shown.is_some_and(|shown| shown.superseded || shown.peer == peer) {
            self.close_shown(cx);
        }
        let delay =
            Backoff::default().delay(self.media.failures, limits::VERDICT_WITHIN, &mut self.mint);
        let told = match fault.retry {
            Retry::After { ms } => Duration::from_millis(ms),
            Retry::Now | Retry::Never | Retry::AfterAction { .. } => Duration::ZERO,
        };
        self.media.failures = self.media.failures.saturating_add(1);
        self.media.open_at = Some(now + delay.unwrap_or_default().max(told));
        let is_final = matches!(fault.retry, Retry::Never | Retry::AfterAction { .. });
        if is_final {
            self.give_media_up(cx, Why::Exhausted);
        }
    }

    /// Nothing more is done about it until something changes. A transport that stands by its own account
    /// is kept: what comes over it after all is taken.
    fn give_media_up(&mut self, cx: &mut Cx<'_>, why: Why) {
        self.close_next(cx);
        let shown = self.media.shown.as_ref();
        if shown.is_some_and(|shown| shown.superseded || !shown.is_up()) {
            self.close_shown(cx);
        }
        let loss = self.media.loss.as_ref();
        let cause = loss.map(|loss| (*loss.fault).clone());
        let last = loss.and_then(|loss| loss.last.as_deref().cloned());
        let (attempts, lost_at) =
            loss.map_or((0, cx.now.mono), |loss| (loss.attempts, loss.lost_at));
        let own = (why == Why::RejoinLimit).then(|| self.media_trouble(cx, Code::RejoinLimit));
        let mut led = own.into_iter().chain(last).chain(cause);
        let first = led.next();
        let mut fault = first.unwrap_or_else(|| self.media_trouble(cx, Code::MediaFailed));
        for cause in led {
            if fault.id != cause.id && fault.cause.iter().all(|known| known.id != cause.id) {
                fault = fault.caused_by(cause);
            }
        }
        let retry = match fault.retry {
            Retry::Never => Retry::Never,
            Retry::Now | Retry::After { .. } | Retry::AfterAction { .. } => Retry::AfterAction {
                what: Todo::TryAgain,
            },
        };
        let fault = fault
            .retry(retry)
            .detail("attempts", attempts)
            .detail("lost_ms", cx.now.mono.ms_since(lost_at));
        tracing::warn!(fault = %fault, "media is given up");
        let fault = Box::new(fault);
        self.media.down = Some(fault.clone());
        cx.tell(Event::Fault(fault));
    }
}
