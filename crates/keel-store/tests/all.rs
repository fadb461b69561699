//! The tests of this crate, as one binary.

#[path = "all/busy.rs"]
mod busy;
#[path = "all/disk_faults.rs"]
mod disk_faults;
#[path = "all/full_disk.rs"]
mod full_disk;
#[path = "all/killed.rs"]
mod killed;
#[path = "all/memory.rs"]
mod memory;
#[path = "all/sqlite.rs"]
mod sqlite;
#[path = "all/support.rs"]
mod support;
#[path = "all/torn.rs"]
mod torn;
#[path = "all/vfs.rs"]
mod vfs;
