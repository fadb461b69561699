//! The watchdog: a thread outside the runtime that sees when the runtime stands still.
//!
//! It must never wait for anything that the runtime does.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
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
                while stopped.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                    look(&health, &meter, abort_after);
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
