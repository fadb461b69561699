//! Both clocks, read together: the only place where time is read for the Node.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keel_core::Now;
use keel_wire::UnixMillis;

/// The origin of the machines' monotonic time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Now {
        let micros = u64::try_from(self.uptime().as_micros()).unwrap_or(u64::MAX);
        Now {
            mono: keel_core::Instant::from_micros(micros),
            wall: wall(),
        }
    }

    pub(crate) fn uptime(self) -> Duration {
        self.origin.elapsed()
    }

    /// When a point of the machines' time is, for the runtime's timers.
    pub(crate) fn at(self, at: keel_core::Instant) -> tokio::time::Instant {
        (self.origin + Duration::from_micros(at.micros())).into()
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn wall() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
