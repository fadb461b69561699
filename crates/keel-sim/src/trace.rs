//! What happened, as one number always and as lines on demand.
//!
//! Two runs of a seed are the same exactly when their numbers are. Lines cost, so a run makes them
//! only when it is replayed.

use std::fmt::Arguments;

/// The trace of one run.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Trace {
    pub(crate) fn with_lines(wanted: bool) -> Self {
        Self {
            hash: MIX,
            lines: wanted.then(Vec::new),
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(MIX).rotate_left(23);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.number(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last));
        self.number(bytes.len() as u64);
    }

    /// Adds a line, where lines are wanted.
    pub(crate) fn line(&mut self, at: u64, what: Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!(
                "{:>3}.{:06} {what}",
                at / 1_000_000,
                at % 1_000_000
            ));
        }
    }

    pub(crate) fn wants_lines(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
