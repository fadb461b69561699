//! Ids and faults, made from a seed.
//!
//! The shell seeds a machine with bytes of the operating system's randomness, the simulator with a
//! number. Nothing here is a secret: what grants access is a token or a MAC.

use keel_wire::{Code, Fault, FaultId, Origin};

use crate::Now;

/// A machine's source of randomness.
#[derive(Debug, Clone)]
pub struct Mint {
    rng: fastrand::Rng,
    numbers: u64,
}

impl Mint {
    /// Two mints of one seed make the same ids in the same order.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            numbers: 0,
        }
    }

    /// 128 fresh bits, for any id.
    pub fn bits(&mut self) -> u128 {
        self.rng.u128(..)
    }

    /// A number that this mint has not given out: 1, 2, 3 …
    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.rng.u64(..bound) }
    }

    /// A fault of `code`, seen now.
    pub fn fault(&mut self, now: Now, code: Code, origin: Origin) -> Fault {
        Fault::new(FaultId::from_bits(self.bits()), code, origin, now.wall)
    }
}
