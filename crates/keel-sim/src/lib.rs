//! The simulator: the shipped Node and Client, over encoded bytes, under seeded faults.
//!
//! A run is a number: the same seed gives the same trace, to the byte. Everything around the machines
//! (network, store, programs, applications, clocks) is a model that can break, and the reference that
//! the laws are checked against is reckoned from those models and from what the store has synced.
//!
//! ```no_run
//! let report = keel_sim::run(
//!     keel_sim::Options { seeds: 0..1_000, threads: 2, mutants: true },
//!     |_progress| {},
//! );
//! assert!(report.violations.is_empty(), "{report}");
//! ```

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a model looks at the few that it can break; what is new is no concern of its own"
)]

mod actor;
mod app;
mod archive;
mod cell;
mod chance;
mod finish;
mod guest;
mod host;
mod laws;
mod link;
mod media;
mod mix;
mod mutant;
mod nemesis;
mod program;
mod queue;
mod runner;
mod runs;
mod setup;
mod store;
mod told;
mod trace;
mod turns;
mod wires;
mod world;

pub use mutant::Mutant;
pub use runner::{
    CellCount, MutantCount, Options, Progress, Replay, Report, Violation, replay, run, trace_hash,
};
