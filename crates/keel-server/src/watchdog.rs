//! The watchdog: a thread outside the runtime that sees when the runtime stands still.
//!
//! It must never wait for anything that the runtime does.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::{health::Health, meter::Meter};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(250);
/// How late the driver may be.
const STALLED_MS: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Watchdog {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    pub(crate) fn start(
        health: Arc<Health>,
        meter: Meter,
        abort_after: Option<Duration>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || {
                let mut looked_at = Instant::now();
                while stopped.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                    overslept(looked_at.elapsed().saturating_sub(EVERY), &meter);
                    look(&health, &meter, abort_after);
                    looked_at = Instant::now();
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

/// Where this thread was away itself, the whole process was; the driver may be at work again before
/// anybody looks.
fn overslept(late: Duration, meter: &Meter) {
    let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
    if late_ms > STALLED_MS {
        tracing::warn!(task = "process", late_ms, "the whole process stood still");
        meter.stood_still("process");
    }
}

fn look(health: &Health, meter: &Meter, abort_after: Option<Duration>) {
    let silent_ms = health.silent_ms();
    let stalled = silent_ms > STALLED_MS;
    let before = health.set_stalled(stalled);
    if stalled && !before {
        tracing::error!(task = "driver", silent_ms, "the runtime stands still");
        meter.stalled(true);
    } else if before && !stalled {
        tracing::warn!(task = "driver", "the runtime goes on");
        meter.stalled(false);
    }
    if abort_after.is_some_and(|after| u128::from(silent_ms) > after.as_millis()) {
        tracing::error!(
            task = "driver",
            silent_ms,
            "the runtime stood still for too long"
        );
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_process_that_stood_still_is_told_s03() {
        let meter = Meter::new();
        let counted = "evenkeel_stalls_total{task=\"process\"} 1";
        overslept(Duration::from_millis(STALLED_MS), &meter);
        assert!(!meter.render().contains(counted));
        overslept(Duration::from_millis(STALLED_MS + 1), &meter);
        assert!(meter.render().contains(counted));
    }

    #[test]
    fn a_driver_that_stands_still_is_told_and_so_is_its_return_s03() {
        let (health, meter) = (Health::new(Clock::start()), Meter::new());
        health.beat();
        look(&health, &meter, None);
        assert!(!health.is_stalled());
        std::thread::sleep(Duration::from_millis(STALLED_MS + 100));
        look(&health, &meter, None);
        assert!(health.is_stalled() && meter.render().contains("evenkeel_stalled 1"));
        health.beat();
        look(&health, &meter, None);
        assert!(!health.is_stalled() && meter.render().contains("evenkeel_stalled 0"));
        let counted = "evenkeel_stalls_total{task=\"driver\"} 1";
        assert!(meter.render().contains(counted), "it is not forgotten");
    }
}
