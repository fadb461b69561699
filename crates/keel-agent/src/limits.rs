//! Every bound of this crate that is not configured.

use std::time::Duration;

/// Output that may be told and not yet consumed, in bytes; beyond it the provider is not read.
pub const CREDIT_BYTES: u32 = 256 * 1024;
/// What every output costs besides its own bytes, so that tiny ones are bounded too.
pub const OUTPUT_COST_BYTES: u32 = 64;
/// Largest encoded item that is told as it is; what is larger is told as omitted.
pub const ITEM_BYTES_MAX: usize = 128 * 1024;
/// Deepest nesting of an item; the rest of the wire's depth is the envelope's.
pub const ITEM_DEPTH_MAX: usize = keel_wire::limits::JSON_DEPTH_MAX - 8;
/// Answers and words that wait for the provider to take them.
pub const ASKS_MAX: usize = 16;
/// How long a cancelled attempt may take to return before its outcome is decided without it.
///
/// Longer than the kill ladder of [`crate::process`], which ends within it.
pub const CANCEL_MAX: Duration = Duration::from_secs(5);
/// How long an attempt that was refused by its sink may take to return.
pub const STOP_MAX: Duration = Duration::from_secs(2);
/// Bytes of stderr that a fault carries (its end).
pub const FAULT_STDERR_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a message of the program's own that are kept (its beginning).
pub const REPORTED_BYTES_MAX: usize = 1024;
