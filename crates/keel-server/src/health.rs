//! How this process is, as far as it can be told without asking anybody: a few atomic numbers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock::Clock;

#[derive(Debug)]
pub(crate) struct Health {
    clock: Clock,
    beat_ms: AtomicU64,
    stalled: AtomicBool,
    started: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            beat_ms: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            started: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.uptime().as_millis()).unwrap_or(u64::MAX)
    }

    /// The driver lives.
    pub(crate) fn beat(&self) {
        self.beat_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Milliseconds since the driver last lived.
    pub(crate) fn silent_ms(&self) -> u64 {
        self.now_ms()
            .saturating_sub(self.beat_ms.load(Ordering::Relaxed))
    }

    /// Whether it was told before.
    pub(crate) fn set_stalled(&self, stalled: bool) -> bool {
        self.stalled.swap(stalled, Ordering::Relaxed)
    }

    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.started.load(Ordering::Relaxed)
            && !self.draining.load(Ordering::Relaxed)
            && !self.is_stalled()
    }
}
