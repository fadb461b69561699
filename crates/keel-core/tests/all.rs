//! Behaviour of the Node through its inputs and outputs, over a store that is a few lines.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it did not expect fails there"
)]

#[path = "all/actions.rs"]
mod actions;
#[path = "all/admission.rs"]
mod admission;
#[path = "all/clocks.rs"]
mod clocks;
#[path = "all/commands.rs"]
mod commands;
#[path = "all/crowd.rs"]
mod crowd;
#[path = "all/described.rs"]
mod described;
#[path = "all/frames.rs"]
mod frames;
#[path = "all/fuzz.rs"]
mod fuzz;
#[path = "all/fuzzed.rs"]
mod fuzzed;
#[path = "all/gathers.rs"]
mod gathers;
#[path = "all/handover.rs"]
mod handover;
#[path = "all/hostile.rs"]
mod hostile;
#[path = "all/injected.rs"]
mod injected;
#[path = "all/leaving.rs"]
mod leaving;
#[path = "all/media.rs"]
mod media;
#[path = "all/moving.rs"]
mod moving;
#[path = "all/policies.rs"]
mod policies;
#[path = "all/resume.rs"]
mod resume;
#[path = "all/retries.rs"]
mod retries;
#[path = "all/store.rs"]
mod store;
#[path = "all/turns.rs"]
mod turns;
#[path = "all/wishes.rs"]
mod wishes;
#[path = "all/world.rs"]
mod world;
