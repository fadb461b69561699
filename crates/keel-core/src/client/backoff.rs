//! How long to wait between tries: full jitter by default, or a table.

use std::time::Duration;

use crate::{Mint, limits};

/// The waits between tries. Reset only by a connection that lasted ([`limits::STABLE_AFTER`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backoff {
    /// The first try at once, then a random part of a span that doubles.
    FullJitter {
        /// The first span.
        base: Duration,
        /// The largest.
        cap: Duration,
    },
    /// These waits, one before each try; after the last, the recovery is given up.
    Table(Vec<Duration>),
}

impl Default for Backoff {
    fn default() -> Self {
        Self::FullJitter {
            base: limits::BACKOFF_BASE,
            cap: limits::BACKOFF_CAP,
        }
    }
}

impl Backoff {
    /// 3, 6, 12, 24, 30 s: 75 s in all.
    #[must_use]
    pub fn seed_c() -> Self {
        Self::Table([3, 6, 12, 24, 30].map(Duration::from_secs).into())
    }

    /// 1, 2, 4 s: 7 s in all.
    #[must_use]
    pub fn seed_d() -> Self {
        Self::Table([1, 2, 4].map(Duration::from_secs).into())
    }

    /// The wait before try `tries + 1`, drawn from no more than `most`; `None` when there is none left.
    /// A table waits as it says.
    pub(super) fn delay(&self, tries: u32, most: Duration, mint: &mut Mint) -> Option<Duration> {
        match self {
            Self::FullJitter { .. } if tries == 0 => Some(Duration::ZERO),
            Self::FullJitter { base, cap } => {
                let doubled = base.saturating_mul(1 << (tries - 1).min(20));
                let span = doubled.min(*cap).min(most);
                let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
                Some(Duration::from_micros(mint.below(micros.saturating_add(1))))
            }
            Self::Table(waits) => waits.get(usize::try_from(tries).ok()?).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(backoff: &Backoff, tries: u32) -> Vec<Option<u64>> {
        let mut mint = Mint::new(1);
        let delay = |tries| backoff.delay(tries, Duration::MAX, &mut mint);
        (0..tries)
            .map(delay)
            .map(|delay| delay.map(|delay| delay.as_secs()))
            .collect()
    }

    #[test]
    fn seeds_tables_are_kept_and_end_m28() {
        assert_eq!(
            delays(&Backoff::seed_c(), 6),
            [Some(3), Some(6), Some(12), Some(24), Some(30), None]
        );
        assert_eq!(
            delays(&Backoff::seed_d(), 4),
            [Some(1), Some(2), Some(4), None]
        );
    }

    #[test]
    fn full_jitter_starts_at_once_spreads_and_is_capped_m28() {
        let backoff = Backoff::default();
        let mut mint = Mint::new(7);
        let unbounded = Duration::MAX;
        assert_eq!(backoff.delay(0, unbounded, &mut mint), Some(Duration::ZERO));
        for tries in 1..64 {
            let draws: Vec<_> = (0..64)
                .filter_map(|_| backoff.delay(tries, unbounded, &mut mint))
                .collect();
            let span = (limits::BACKOFF_BASE * (1 << (tries - 1).min(10))).min(limits::BACKOFF_CAP);
            assert!(draws.iter().all(|draw| *draw <= span), "try {tries}");
            assert!(draws.iter().any(|draw| *draw < span / 4), "try {tries}");
            assert!(draws.iter().any(|draw| *draw > span / 4 * 3), "try {tries}");
        }
    }
}
