//! What a provider says while it works on a turn.

use keel_wire::Action;
use serde_json::Value;

use crate::limits::{CREDIT_BYTES, OUTPUT_COST_BYTES};

/// One thing that a provider says.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// The work has begun.
    Started {
        /// The process that does it, where there is one.
        pid: Option<u32>,
    },
    /// More of the answer; at most `TEXT_BYTES_MAX` of the wire.
    Text(String),
    /// Anything else that the provider tells, untouched.
    Item(Value),
    /// The provider begins anew by itself: the text before this is superseded.
    NewAttempt {
        /// Why, in the provider's own word.
        fault: String,
    },
    /// The provider waits for somebody.
    NeedsAction(Action),
    /// The provider called its model; counted against the budget.
    ModelCall,
    /// Lines that are not of the provider's protocol were skipped.
    Noise {
        /// How many.
        lines: u32,
    },
}

impl Output {
    /// What it takes of the credit; [`crate::Running::refill`] wants the same number back.
    #[must_use]
    pub fn cost(&self) -> u32 {
        let bytes = self.bytes().saturating_add(u64::from(OUTPUT_COST_BYTES));
        u32::try_from(bytes).map_or(CREDIT_BYTES, |bytes| bytes.min(CREDIT_BYTES))
    }

    /// Bytes of what it says.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Item(value) => encoded_len(value),
            Self::NewAttempt { fault } => fault.len() as u64,
            Self::NeedsAction(action) => {
                let options: usize = action.options.iter().map(String::len).sum();
                (action.prompt.len() + options) as u64
            }
            Self::Started { .. } | Self::ModelCall | Self::Noise { .. } => 0,
        }
    }
}

fn encoded_len(value: &Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing a value to a sink that takes everything cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}
