//! The tests of this crate, as one binary.

#[path = "all/memory.rs"]
mod memory;
#[path = "all/sqlite.rs"]
mod sqlite;
