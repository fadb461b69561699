//! Seeded chance: everything that a run leaves open is drawn here.

/// A run's source of chance. Two of one seed draw the same.
#[derive(Debug)]
pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// True so many times in a thousand.
    pub(crate) fn permille(&mut self, permille: u32) -> bool {
        permille > 0 && self.0.u32(..1_000) < permille
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low {
            low
        } else {
            self.0.u64(low..=high)
        }
    }

    /// An index below `len`, which is not 0.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.usize(..len)
    }

    /// One of `of`, which is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }
}
