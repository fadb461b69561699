//! Every bound of the wire. The bounds of the machines are in `keel_core::limits`.

/// Largest frame that a server reads, in bytes.
pub const FRAME_IN_BYTES_MAX: usize = 64 * 1024;
/// Largest frame that a server writes, in bytes; larger output is split by `at_byte`.
pub const FRAME_OUT_BYTES_MAX: usize = 256 * 1024;
/// Largest `data` of one text event, in bytes of UTF-8 before JSON escaping.
///
/// JSON escaping can make six bytes of one, so this stays below a sixth of the frame.
pub const TEXT_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting of arrays and objects in a frame.
pub const JSON_DEPTH_MAX: usize = 32;
/// Largest integer that survives a JavaScript client (2^53 - 1).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest `message` of a fault, in bytes.
pub const FAULT_MESSAGE_BYTES_MAX: usize = 1024;
/// Most causes, and most suppressed faults, that a fault carries.
pub const FAULT_CAUSES_MAX: usize = 8;
/// Turns that a snapshot keeps besides those that are open.
pub const SNAPSHOT_TURNS_MAX: usize = 8;
/// Bytes of text that a snapshot keeps of a turn (its end).
pub const SNAPSHOT_TEXT_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a prompt that a snapshot keeps of a turn (its beginning).
pub const SNAPSHOT_PROMPT_BYTES_MAX: usize = 1024;
/// Largest snapshot that is sent, in bytes of JSON; what is larger is told with shorter texts.
pub const SNAPSHOT_BYTES_MAX: usize = 224 * 1024;
/// Bytes of a participant's subject in a snapshot that would be larger.
pub const SNAPSHOT_SUBJECT_BYTES_MAX: usize = 64;
/// Bytes of a session's title.
pub const TITLE_BYTES_MAX: usize = 512;
/// Bytes of a session's working directory.
pub const CWD_BYTES_MAX: usize = 4096;
/// Tags of a session.
pub const TAGS_MAX: usize = 16;
/// Bytes of one tag.
pub const TAG_BYTES_MAX: usize = 64;
/// Bytes of an agent's own name for a conversation.
pub const AGENT_ID_BYTES_MAX: usize = 1024;
/// Bytes of a session's project.
pub const PROJECT_BYTES_MAX: usize = 256;
/// Bytes, as JSON, of what a turn may wait for.
pub const ACTION_BYTES_MAX: usize = 16 * 1024;
/// Bytes, as JSON, of one item of a turn.
pub const ITEM_BYTES_MAX: usize = 192 * 1024;
/// Bytes, as JSON, of a fault's `detail`.
pub const FAULT_DETAIL_BYTES_MAX: usize = 16 * 1024;
/// Longest `stop_reason` of a turn, in bytes.
pub const STOP_REASON_BYTES_MAX: usize = 256;
