//! How far apart transactions begin, so that what comes while many write shares a sync.

use std::time::{Duration, Instant};

use crate::bounds::{GROUP_APART, GROUP_APART_FOR};

/// See the module's text. A caller who waits for each answer before asking again finds nobody before it,
/// and never waits here.
#[derive(Debug, Default)]
pub(super) struct Pace {
    begun_at: Option<Instant>,
    /// Transactions for which they still begin apart.
    apart_for: u32,
}

impl Pace {
    /// A transaction begins.
    pub(super) fn begun(&mut self, now: Instant) {
        self.begun_at = Some(now);
        self.apart_for = self.apart_for.saturating_sub(1);
    }

    /// It is over; `more` says whether something waits already: then several are at it.
    pub(super) const fn over(&mut self, more: bool) {
        if more {
            self.apart_for = GROUP_APART_FOR;
        }
    }

    /// How long the next one is to wait for company.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        match self.begun_at {
            Some(at) if self.apart_for > 0 => (at + GROUP_APART).saturating_duration_since(now),
            Some(_) | None => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(200);

    #[test]
    fn one_who_asks_after_each_answer_never_waits() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(pace.wait(now), Duration::ZERO);
            pace.begun(now);
            now += SHORT;
            pace.over(false);
        }
    }

    #[test]
    fn where_several_write_transactions_begin_apart_and_for_a_while_after() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.begun(now);
        pace.over(true);
        for _ in 0..GROUP_APART_FOR {
            now += SHORT;
            assert_eq!(pace.wait(now), GROUP_APART - SHORT);
            now += GROUP_APART - SHORT;
            assert_eq!(pace.wait(now), Duration::ZERO, "it has waited");
            pace.begun(now);
            pace.over(false);
        }
        assert_eq!(pace.wait(now), Duration::ZERO, "nobody else came");
    }

    #[test]
    fn a_slow_disk_is_pause_enough() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.begun(now);
        pace.over(true);
        assert_eq!(pace.wait(now + GROUP_APART), Duration::ZERO);
    }
}
