// Every bound and every default span of the machine, as `keel_core::limits` has them. Spans are
// microseconds, as the machine counts.

/** @param {number} n */
export const ms = (n) => n * 1_000;

/** From hello to welcome, queued or a fault. */
export const WELCOME_WITHIN = 5_000_000;
/** Name, TCP, TLS and upgrade together. */
export const DIAL_WITHIN = 5_000_000;
/** A connection's outcome is sealed once its input is drained, or after this. */
export const OUTCOME_SEALED_WITHIN = 50_000;
/** Frames of unknown type that are told; the rest is counted. */
export const UNKNOWN_FRAMES_MAX = 64;

/** Between beats while idle, and the silence that makes the server suspect, until it says. */
export const SUSPECT_IDLE = 7_000_000;
/** The shortest silence that a client lets itself be told to suspect, in milliseconds; the longest. */
export const SUSPECT_MIN_MS = 100;
export const SUSPECT_MAX_MS = 120_000;
/** Beats that find a client behind, with nothing coming in between; then the connection is replaced. */
export const BEATS_BEHIND_MAX = 2;
/** Beats that find a client still without `replayed`, with nothing coming in between; then likewise. */
export const BEATS_REPLAYING_MAX = 5;
/** Events after which a client acknowledges without being asked by a beat. */
export const ACK_EVERY_EVENTS = 64;
/** The same, after so long: less than the shortest silence that a server suspects. */
export const ACK_EVERY = 1_000_000;
/** A client whose clocks disagree by more than this has slept. */
export const SLEPT_MIN = 2_000_000;
/** The longest that a client is asked to wait for its first retry. */
export const PACE_MAX = 10_000_000;

/** A first connect, all tries together, a queue excepted (default). */
export const CONNECT_WITHIN = 30_000_000;
/** From asking for a token to having it. */
export const TOKEN_WITHIN = 10_000_000;
/** Fresh tokens in a row that brought no progress; then the session is given up. */
export const TOKEN_REFRESHES_MAX = 2;
/** From `detach` to the server's `ended`; then the client leaves without. */
export const DETACH_WITHIN = 1_000_000;
/** How long an attachment outlives its connection, where the server did not say. */
export const RESUME_WINDOW = 120_000_000;

/** One attempt of a rung, and all of them against a server that answers. */
export const FAST_WITHIN = 5_000_000;
export const REJOIN_WITHIN = 10_000_000;
export const MIGRATE_WITHIN = 15_000_000;
/** From the first answer of a server to the verdict. */
export const VERDICT_WITHIN = 30_000_000;
/** Less than this is not worth a try: what would begin so late is given up instead. */
export const ATTEMPT_MIN = 250_000;
/** Fast attempts without progress against a server that answers; then rejoin. */
export const FAST_ATTEMPTS_MAX = 3;
/** Rejoins in a span; then `rejoin_limit`. Success does not reset it. */
export const REJOIN_LIMIT = 10;
export const REJOIN_LIMIT_SPAN = 120_000_000;
/** A connection that lasted so long was a stable success, and resets the back-off. */
export const STABLE_AFTER = 10_000_000;
/** The first step of the full-jitter exponential back-off, and its largest. */
export const BACKOFF_BASE = 100_000;
export const BACKOFF_CAP = 5_000_000;
/** Its largest step towards a server that cannot be reached and whose clients are few; beyond that share it grows with the outage. */
export const BACKOFF_FEW = 250_000;
export const BACKOFF_FEW_SHARE = 12;

/** Bytes of a command's frame besides its data, at most. */
export const COMMAND_ENVELOPE_BYTES = 256;
/** Commands in the outbox, and their bytes; then `outbox_full`. */
export const OUTBOX_COMMANDS_MAX = 256;
export const OUTBOX_BYTES_MAX = 1_048_576;
/** A wait of this length has told somebody "still waiting, because"; again, at intervals that double up to the cap. */
export const STILL_WAITING_AFTER = 5_000_000;
export const STILL_WAITING_CAP = 60_000_000;

/** Lines of a transport that a client keeps account of; the rest are not watched. */
export const MEDIA_LINES_MAX = 64;
/** Between two looks at what has come, and what one counts for at most, however late it was. */
export const MEDIA_SAMPLE_EVERY = 250_000;
export const MEDIA_SAMPLE_COUNTS_MAX = 500_000;
/** Silence of a line that is told; of one that is slow by nature, so many of its usual gaps, but never longer. */
export const MEDIA_SILENT_AFTER = 1_000_000;
export const MEDIA_SILENT_GAPS = 3;
export const MEDIA_SILENT_MAX = 5_000_000;
/** The same, of a line on which nothing ever came: a camera takes its time. */
export const MEDIA_FIRST_WITHIN = 2_000_000;
/** From a request for keyframes, or for lines to begin anew, to the next step, where nothing comes. */
export const MEDIA_REFRESH_WITHIN = 500_000;
/** Silence of every line that restarts ICE. */
export const MEDIA_RESTART_SILENT = 2_000_000;
/** From a keyframe's request to the next step, where other lines flow; from a line's new beginning. */
export const MEDIA_LINE_KEYFRAME_WITHIN = 1_000_000;
export const MEDIA_LINE_ANEW_WITHIN = 2_000_000;
/** From a restart of ICE to a new transport. */
export const MEDIA_RESTART_WITHIN = 5_000_000;
/** From the order to open a transport to its connection; then it is given up. */
export const MEDIA_CONNECT_WITHIN = 5_000_000;
/** How long a new transport is waited for to bring what the one before brought; then what it does not is named. */
export const MEDIA_RESTORE_WITHIN = 5_000_000;
/** How late a transport may say that it finds nobody: until then its word is about the loss before. */
export const MEDIA_TRANSPORT_LATE_MAX = 7_000_000;
