//! Both clocks, read together, as the machine wants them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keel_core::{Instant, Now};
use keel_wire::UnixMillis;

/// Counts from when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: tokio::time::Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Now {
        let micros = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now {
            mono: Instant::from_micros(micros),
            wall: wall(),
        }
    }

    /// When the machine's instant comes.
    pub(crate) fn at(self, instant: Instant) -> tokio::time::Instant {
        // Far deadlines are looked at again before they come.
        let span = Duration::from_micros(instant.micros()).min(Duration::from_secs(86_400 * 365));
        self.origin + span
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn wall() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
