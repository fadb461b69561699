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
/// Answers and words that wait for the provider to take them; more of either than a session lets wait.
pub const ASKS_MAX: usize = 48;
/// From asking a program to stop, in its own protocol, to a signal that asks it to end. The design
/// allows 5 s: what is left of them is for the kill at the ladder's end.
pub const CANCEL_ASK: Duration = Duration::from_millis(4_500);
/// From that signal, or from a cancel where a program cannot be asked in its own words, to its being
/// killed with everything that it started.
pub const CANCEL_TERMINATE: Duration = Duration::from_secs(3);
/// How long a cancelled attempt may take to return before its outcome is decided without it, and what
/// it has started is killed: whatever it does, nothing of it is left after that.
///
/// Longer than the longest ladder, [`CANCEL_ASK`] and [`CANCEL_TERMINATE`], by what a kill takes.
pub const CANCEL_MAX: Duration = Duration::from_secs(8);
const _: () = assert!(
    CANCEL_ASK.as_millis() + CANCEL_TERMINATE.as_millis() + 500 <= CANCEL_MAX.as_millis(),
    "a kill has its time"
);
/// How long an attempt that was refused by its sink may take to return.
pub const STOP_MAX: Duration = Duration::from_secs(2);
/// Bytes of stderr that a fault carries (its end).
pub const FAULT_STDERR_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a message of the program's own that are kept (its beginning).
pub const REPORTED_BYTES_MAX: usize = 1024;
/// Agents that are kept warm between turns; beyond, the one that has waited longest is ended.
pub const WARM_MAX: usize = 64;
/// Permissions that an agent may ask for at once; beyond, they are refused.
pub const PERMISSIONS_MAX: usize = 64;
/// Options of one permission; beyond, they are left out.
pub const PERMISSION_OPTIONS_MAX: usize = 16;
/// Modes or models of an agent among which is chosen; beyond, they are left out.
pub const CHOICES_MAX: usize = 512;
/// Outputs of an agent that wait to be told; beyond, the agent is not read.
pub const OUTPUTS_WAITING_MAX: usize = 256;
/// Things that an agent may have us do at once; beyond, it is told to wait.
pub const SERVICES_MAX: usize = 16;
/// Bytes of a file that an agent may read or write through us.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Terminals that an agent may have at once.
pub const TERMINALS_MAX: usize = 16;
/// Bytes of a terminal's output that are kept (its end), at most.
pub const TERMINAL_BYTES_MAX: usize = 256 * 1024;
/// Bytes of what was said before that an agent is told, when it cannot remember it (the end).
pub const RETOLD_BYTES_MAX: usize = 64 * 1024;
/// Longest server-sent event of a model's endpoint, in bytes. The last event of a Responses stream
/// has the whole answer in it.
pub const SSE_EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of such a stream that may come without an event: comments, blank lines, unknown fields.
pub const SSE_SILENT_BYTES_MAX: usize = 1024 * 1024;
/// How long it may take to look up an endpoint's name.
pub const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// How long a connection to an endpoint may take, TLS and all.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Bytes of an endpoint's error answer that are read.
pub const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an endpoint may take to finish an error answer.
pub const ERROR_BODY_MAX: Duration = Duration::from_secs(5);
/// How long an endpoint may take from the answer's end to the stream's.
pub const STREAM_END_MAX: Duration = Duration::from_secs(5);
/// Calls of tools in one answer of an endpoint.
pub const TOOL_CALLS_MAX: usize = 128;
/// Bytes of the arguments of all of them.
pub const TOOL_ARGUMENTS_BYTES_MAX: usize = 1024 * 1024;
/// The span that the first wait before a retry is a random part of; it doubles with each.
pub const BACKOFF_BASE: Duration = Duration::from_millis(500);
/// The largest such span.
pub const BACKOFF_MAX: Duration = Duration::from_secs(16);
