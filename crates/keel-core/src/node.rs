//! The Node.

mod config;
mod io;

pub use config::{Backend, Capacity, Config, SlotKind, TurnClocks};
pub use io::{
    Answer, Ask, AskId, Census, CommitFailure, ConnEnd, ConnId, Input, Output, Outputs, Presence,
    RunEnd, RunFailure, RunId, RunOutput, RunRequest,
};

use crate::{Deadline, Now};

/// The Node.
#[derive(Debug)]
pub struct Node {}

impl Node {
    /// A Node.
    #[must_use]
    pub fn new(_config: Config, _seed: u64) -> Self {
        Self {}
    }

    /// Takes one input.
    pub fn handle(&mut self, _now: Now, _input: Input, _out: &mut Outputs) {}

    /// When to call again.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        None
    }
}
