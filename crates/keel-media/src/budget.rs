//! What one transport may bring: what is beyond it is dropped before it costs anything.

use std::time::Instant;

use crate::limits;

/// The generic cell rate algorithm (ITU-T I.371): when the next datagram would be due if each came in its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    due: Instant,
}

impl Budget {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// Whether one more is taken.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = self.due.max(now);
        let is_taken = due.saturating_duration_since(now) <= limits::DATAGRAMS_AHEAD;
        if is_taken {
            self.due = due + limits::DATAGRAM_EVERY;
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_as_many_as_are_due_a50() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut taken = |now: Instant| (0..100_000).filter(|_| budget.take(now)).count();
        let per_s = 1_000_000 / usize::try_from(limits::DATAGRAM_EVERY.as_micros()).unwrap();
        let burst = taken(start);
        assert!((per_s / 2..=per_s / 2 + 1).contains(&burst), "{burst}");
        let later = taken(start + Duration::from_millis(100));
        assert!(
            (per_s / 10 - 1..=per_s / 10 + 1).contains(&later),
            "{later}"
        );
        let rested = taken(start + Duration::from_secs(60));
        assert_eq!(rested, burst, "no more for having rested");
    }
}
