//! Too much to do, or too little memory: who is here goes first, and who is new comes later.
//!
//! The shell measures, the decision is here. Each kind of pressure begins at one line and ends at a
//! lower one, so that it does not flicker. Resumes, joins, beats and what runs are never refused for
//! it. While it lasts, sessions that nobody is in and that have nothing to do leave memory at once.

use std::{ops::Bound, time::Duration};

use keel_wire::{Code, Fault, Origin, Retry, SessionId};
use serde_json::Value;

use super::{Census, Node, Outputs};
use crate::{Instant, Now, admission::Admission, limits};

/// What the shell has measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How long inputs wait at present until they are handled.
    pub waited: Duration,
    /// Memory in use and what there is of it, in bytes; absent where there is no limit.
    pub memory: Option<(u64, u64)>,
}

/// How pressed the Node is.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    waited: Duration,
    /// Since when inputs have waited longer than they should.
    slow_since: Option<Instant>,
    /// Since when they have not, while it is told that they do.
    quick_since: Option<Instant>,
    overloaded: bool,
    memory_percent: u64,
    memory_short: bool,
    /// The last session that was looked at for whether it may leave memory.
    shed_after: Option<SessionId>,
}

impl Pressure {
    fn take(&mut self, now: Instant, load: Load) {
        self.waited = load.waited;
        self.take_wait(now, load.waited);
        let percent = load.memory.map_or(0, |(used, limit)| {
            u64::try_from(u128::from(used) * 100 / u128::from(limit.max(1))).unwrap_or(u64::MAX)
        });
        self.memory_percent = percent;
        if !self.memory_short && percent >= limits::MEMORY_SHORT_PERCENT {
            self.memory_short = true;
            tracing::warn!(percent, "memory is short: new sessions are refused");
        } else if self.memory_short && percent < limits::MEMORY_ENOUGH_PERCENT {
            self.memory_short = false;
            tracing::info!(percent, "there is memory again");
        }
    }

    fn take_wait(&mut self, now: Instant, waited: Duration) {
        let waited_ms = super::ms(waited);
        if waited > limits::INPUT_WAIT_MAX {
            let since = *self.slow_since.get_or_insert(now);
            self.quick_since = None;
            if !self.overloaded && now.since(since) >= limits::OVERLOADED_AFTER {
                self.overloaded = true;
                tracing::warn!(waited_ms, "overloaded: new sessions are refused");
            }
            return;
        }
        self.slow_since = None;
        if self.overloaded && waited <= limits::INPUT_WAIT_MAX / 2 {
            let since = *self.quick_since.get_or_insert(now);
            if now.since(since) >= limits::RELIEVED_AFTER {
                self.overloaded = false;
                self.quick_since = None;
                tracing::info!(waited_ms, "no longer overloaded");
            }
        } else {
            self.quick_since = None;
        }
    }
}

impl Node {
    pub(super) fn pressed(&mut self, now: Now, load: Load, out: &mut Outputs) {
        self.pressure.take(now.mono, load);
        if self.pressure.overloaded || self.pressure.memory_short {
            self.shed_idle(now, out);
        }
    }

    /// Lets the next few sessions leave memory that have nothing to do in it.
    fn shed_idle(&mut self, now: Now, out: &mut Outputs) {
        let after = self.pressure.shed_after.take();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.sessions.range((from, Bound::Unbounded));
        let next = next.take(limits::SHED_AT_ONCE).map(|(id, _)| id.clone());
        let next: Vec<SessionId> = next.collect();
        if next.len() == limits::SHED_AT_ONCE {
            self.pressure.shed_after = next.last().cloned();
        }
        for id in next {
            self.hibernate_if_idle(now, &id, Duration::ZERO, out);
        }
    }

    /// Why no new session is taken, if that is so.
    pub(super) fn too_pressed(&mut self, now: Now) -> Option<Fault> {
        let pressure = &self.pressure;
        let (why, message, detail): (_, _, (&str, Value)) = if pressure.overloaded {
            let waited = ("waited_ms", super::ms(pressure.waited).into());
            ("overloaded", "The server has too much to do.", waited)
        } else if pressure.memory_short {
            let percent = ("memory_percent", pressure.memory_percent.into());
            ("memory", "The server is short of memory.", percent)
        } else {
            return None;
        };
        // Apart from each other, so that they do not all come back at once.
        let ms = super::ms(limits::PRESSED_RETRY_MIN)
            + self.mint.below(super::ms(limits::PRESSED_RETRY_MIN));
        let fault = self.mint.fault(now, Code::AtCapacity, Origin::Server);
        Some(
            fault
                .message(message)
                .retry(Retry::After { ms })
                .detail("why", why)
                .detail(detail.0, detail.1),
        )
    }

    pub(super) fn census(&self) -> Census {
        Census {
            sessions: self.sessions.len(),
            connections: self.conns.len(),
            attached: self.conns.attached(),
            runs: self.runs.len(),
            slots_held: self.admissions.values().map(Admission::held).sum(),
            slots_waiting: self.admissions.values().map(Admission::waiting).sum(),
            peers: self.peers.len(),
            draining: self.drain.is_some(),
            input_wait_ms: super::ms(self.pressure.waited),
            overloaded: self.pressure.overloaded,
            memory_short: self.pressure.memory_short,
            handover: self.progress(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it is overloaded after these waits, 200 ms from each to the next.
    fn after(pressure: &mut Pressure, at: &mut u64, waits_ms: &[u64]) -> Vec<bool> {
        let mut told = Vec::new();
        for ms in waits_ms {
            *at += 200_000;
            let load = Load {
                waited: Duration::from_millis(*ms),
                memory: None,
            };
            pressure.take(Instant::from_micros(*at), load);
            told.push(pressure.overloaded);
        }
        told
    }

    #[test]
    fn a_wait_that_lasts_is_overload_and_one_that_does_not_is_none_s15() {
        let (mut pressure, mut at) = (Pressure::default(), 0);
        let single = after(&mut pressure, &mut at, &[900, 0, 900, 200, 900, 0]);
        assert_eq!(single, [false; 6]);
        let lasting = after(&mut pressure, &mut at, &[201; 6]);
        assert_eq!(lasting, [false, false, false, false, false, true]);
        // Between the two lines nothing changes.
        assert_eq!(after(&mut pressure, &mut at, &[150; 20]), [true; 20]);
        let relieved = after(&mut pressure, &mut at, &[0; 11]);
        assert_eq!(relieved.iter().filter(|told| **told).count(), 10);
    }

    #[test]
    fn memory_is_short_from_80_percent_until_below_75_s04() {
        let mut pressure = Pressure::default();
        let told = [79, 80, 76, 75, 74, 79].map(|used| {
            let load = Load {
                waited: Duration::ZERO,
                memory: Some((used, 100)),
            };
            pressure.take(Instant::from_micros(1), load);
            pressure.memory_short
        });
        assert_eq!(told, [false, true, true, true, false, false]);
    }
}
