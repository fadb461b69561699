// Every bound of the wire, as `keel_wire::limits` has it. The bounds of the machine are in `../limits.js`.

/** Largest frame that a server reads, in bytes. */
export const FRAME_IN_BYTES_MAX = 65_536;
/** Largest frame that a server writes, in bytes. */
export const FRAME_OUT_BYTES_MAX = 262_144;
/** Deepest nesting of arrays and objects in a frame. */
export const JSON_DEPTH_MAX = 32;
/** Largest integer that survives JavaScript (2^53 - 1). */
export const INTEGER_MAX = 9_007_199_254_740_991;
/** Longest `message` of a fault, in bytes. */
export const FAULT_MESSAGE_BYTES_MAX = 1024;
/** Most causes, and most suppressed faults, that a fault carries. */
export const FAULT_CAUSES_MAX = 8;
/** Turns that a snapshot keeps besides those that are open. */
export const SNAPSHOT_TURNS_MAX = 8;
/** Bytes of text that a snapshot keeps of a turn (its end). */
export const SNAPSHOT_TEXT_BYTES_MAX = 2_048;
/** Bytes of a prompt that a snapshot keeps of a turn (its beginning). */
export const SNAPSHOT_PROMPT_BYTES_MAX = 1024;
