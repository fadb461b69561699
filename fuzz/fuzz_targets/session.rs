//! Any bytes as the life of a Node: the function that `cargo test -p keel-core fuzz` runs, too.
#![no_main]
#![allow(dead_code, reason = "the world serves other tests")]

#[path = "../../crates/keel-core/tests/all/fuzzed.rs"]
mod fuzzed;
#[path = "../../crates/keel-core/tests/all/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::run(bytes));
