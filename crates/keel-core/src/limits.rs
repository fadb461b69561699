//! Every bound and every default span of the machines, in one place.
//!
//! A bound says what happens at it. Spans that a configuration may change are defaults here and are
//! marked so; the rest are part of the protocol's contract.

use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

// Connections.

/// From the upgrade to a complete hello; then `handshake_timeout`.
pub const HELLO_WITHIN: Duration = s(5);
/// From hello to welcome, queued or a fault, as the client waits for it.
pub const WELCOME_WITHIN: Duration = s(5);
/// Name, TCP, TLS and upgrade together, as the client waits for them.
pub const DIAL_WITHIN: Duration = s(5);
/// A connection's outcome is sealed once its input is drained, or after this.
pub const OUTCOME_SEALED_WITHIN: Duration = ms(50);
/// After a fault frame and a close, input is discarded until the peer closes, or this long.
pub const LINGER: Duration = s(1);
/// Bytes on their way to one connection that its transport has not taken; then nothing more is pulled.
pub const WINDOW_BYTES: usize = 128 * 1024;
/// Bytes of receipts, beats, status, gaps and faults beyond the window; then the connection is closed
/// as `slow_consumer`.
pub const PRIORITY_BYTES_MAX: usize = 512 * 1024;
/// Frames a second that a connection may send, averaged; then `rate_limited`.
pub const FRAMES_PER_S: u32 = 200;
/// Frames at once that it may send when it was quiet.
pub const FRAMES_BURST: u32 = 1_024;
/// Frames of unknown type that a connection may send; then `protocol_error`.
pub const UNKNOWN_FRAMES_MAX: u32 = 64;

// Liveness.

/// Between beats while something is at stake (a turn runs, or media may flow).
pub const BEAT_BUSY: Duration = ms(1_000);
/// Silence that makes the other side suspect while something is at stake.
pub const SUSPECT_BUSY: Duration = ms(2_500);
/// Between beats while idle.
pub const BEAT_IDLE: Duration = ms(3_000);
/// Silence that makes the other side suspect while idle.
pub const SUSPECT_IDLE: Duration = ms(7_000);
/// The shortest silence that a client lets itself be told to suspect, in milliseconds.
pub const SUSPECT_MIN_MS: u64 = 100;
/// The longest.
pub const SUSPECT_MAX_MS: u64 = 120_000;
/// Beats that find a client behind, with nothing coming in between; then the connection is replaced.
pub const BEATS_BEHIND_MAX: u32 = 2;
/// Beats that find a client still without `replayed`, with nothing coming in between; then likewise.
pub const BEATS_REPLAYING_MAX: u32 = 5;
/// Events after which a client acknowledges without being asked by a beat.
pub const ACK_EVERY_EVENTS: u64 = 64;
/// The same, after so long: less than the shortest silence that a server suspects.
pub const ACK_EVERY: Duration = s(1);
/// A client whose clocks disagree by more than this has slept.
pub const SLEPT_MIN: Duration = s(2);
/// A timer that fires so late means that this process was away: silence is not judged then.
pub const LATE_MIN: Duration = ms(500);
/// How long before its expiry a connection is told that its token expires.
pub const EXPIRY_TOLD_BEFORE: Duration = s(60);
/// Clients on a node up to which nobody is paced after a common loss.
pub const PACE_CLIENTS_MIN: usize = 50;
/// Reconnections a second that a node asks its clients to spread over.
pub const PACE_PER_S: u64 = 100;
/// The longest that a client is asked to wait for its first retry.
pub const PACE_MAX: Duration = s(10);

// Recovery, as the client does it.

/// A first connect, all tries together, a queue excepted (default).
pub const CONNECT_WITHIN: Duration = s(30);
/// From asking for a token to having it.
pub const TOKEN_WITHIN: Duration = s(10);
/// Fresh tokens in a row that brought no progress; then the session is given up.
pub const TOKEN_REFRESHES_MAX: u32 = 2;
/// From `detach` to the server's `ended`; then the client leaves without.
pub const DETACH_WITHIN: Duration = s(1);

/// One fast attempt, and all of them against a server that answers.
pub const FAST_WITHIN: Duration = s(5);
/// One rejoin, and all of them.
pub const REJOIN_WITHIN: Duration = s(10);
/// One migration, and all of them.
pub const MIGRATE_WITHIN: Duration = s(15);
/// From the first answer of a server to the verdict.
pub const VERDICT_WITHIN: Duration = s(30);
/// Less than this is not worth a try: what would begin so late is given up instead.
pub const ATTEMPT_MIN: Duration = ms(250);
/// Fast attempts without progress against a server that answers; then rejoin.
pub const FAST_ATTEMPTS_MAX: u32 = 3;
/// Rejoins in [`REJOIN_LIMIT_SPAN`]; then `rejoin_limit`. Success does not reset it.
pub const REJOIN_LIMIT: usize = 10;
/// See [`REJOIN_LIMIT`].
pub const REJOIN_LIMIT_SPAN: Duration = s(120);
/// A connection that lasted so long was a stable success, and resets the back-off.
pub const STABLE_AFTER: Duration = s(10);
/// The first step of the full-jitter exponential back-off.
pub const BACKOFF_BASE: Duration = ms(100);
/// Its largest.
pub const BACKOFF_CAP: Duration = s(5);
/// Its largest step towards a server that cannot be reached and whose clients are few; beyond
/// [`BACKOFF_FEW_SHARE`] it grows with the outage.
pub const BACKOFF_FEW: Duration = ms(250);
/// The part of the outage that such a step may take.
pub const BACKOFF_FEW_SHARE: u32 = 12;

// Commands.

/// Bytes of a command's frame besides its data, at most.
pub const COMMAND_ENVELOPE_BYTES: usize = 256;
/// Commands in a client's outbox; then `outbox_full`.
pub const OUTBOX_COMMANDS_MAX: usize = 256;
/// Bytes in a client's outbox; then `outbox_full`.
pub const OUTBOX_BYTES_MAX: usize = 1024 * 1024;
/// Receipts that a server keeps of a stream; the commands beyond wait in the client's outbox.
pub const RECEIPTS_MAX: usize = 1_024;
/// Streams of a session's members; the oldest of those without a connection is dropped.
pub const STREAMS_MAX: usize = 128;
/// Commands over HTTP that a session remembers by their idempotency key; the oldest is forgotten.
pub const IDEMPOTENCY_KEYS_MAX: usize = 1_024;
/// A wait of this length has told somebody "still waiting, because".
pub const STILL_WAITING_AFTER: Duration = s(5);
/// It is said again, at intervals that double up to this.
pub const STILL_WAITING_CAP: Duration = s(60);
/// Bytes of params of a session; then `invalid_request`.
pub const PARAMS_BYTES_MAX: usize = 32 * 1024;
/// Nesting of what an application says; the rest of the wire's is the envelope's.
pub const VALUE_DEPTH_MAX: usize = keel_wire::limits::JSON_DEPTH_MAX - 2;
/// Bytes of a prompt; the frame's limit is near it.
pub const PROMPT_BYTES_MAX: usize = 60 * 1024;

// Sessions.

/// Participants of one session; then `session_limit`.
pub const PARTICIPANTS_MAX: usize = 1_024;
/// Participants up to which each is told of the others' comings and goings; beyond, status says it.
pub const PRESENCE_MEMBERS_MAX: usize = 64;
/// Panics of a session's machine, each on another input; at the next it is over.
pub const PANICS_MAX: u32 = 8;
/// Crashes of the program by one prompt; then it is refused as `prompt_quarantined`.
pub const QUARANTINE_CRASHES: u32 = 2;
/// How long after the last of them.
pub const QUARANTINE_FOR: Duration = s(600);
/// Prompts that crashed a session's program and are known; the oldest is forgotten.
pub const QUARANTINE_PROMPTS_MAX: usize = 32;
/// Turns that a session may queue, whatever its policy says; then `session_busy`.
pub const TURNS_QUEUED_MAX: u32 = 16;
/// Words that were said into a turn and that its program has not taken; then `session_busy`.
pub const WORDS_WAITING_MAX: usize = 16;
/// Questions of a turn that wait for the one before to be answered; at the next the turn fails.
pub const ACTIONS_WAITING_MAX: usize = 16;
/// Bytes of long prompts that are kept of turns that are over, to try them again; the oldest go.
pub const PROMPTS_KEPT_BYTES_MAX: usize = 256 * 1024;
/// Turns that a session's programs are not to remember, and tries at turns, that are known; the
/// oldest is forgotten, which means that it is remembered.
pub const TURNS_FORGOTTEN_MAX: usize = 64;
/// What asks a program to go on with an answer that did not come to its end (default).
pub const CONTINUE_PROMPT: &str =
    "Go on exactly where your last answer stopped. Do not repeat what you have said.";
/// Bytes of a prompt that are quoted to say which answer is meant.
pub const QUOTE_BYTES_MAX: usize = 200;
/// How long an attachment, its slot and its command streams outlive its connection (default).
pub const RESUME_WINDOW: Duration = s(120);
/// How long a session without attachments and turns stays in memory (default).
pub const HIBERNATE_AFTER: Duration = s(30);
/// Bytes of frames that a session's ring keeps while somebody reads it.
pub const RING_BYTES_MAX: usize = 512 * 1024;
/// Bytes of frames that a session's ring keeps while nothing happens.
pub const RING_IDLE_BYTES_MAX: usize = 2 * 1024;
/// Bytes that a session may hold uncommitted; then its provider is not read.
pub const UNCOMMITTED_BYTES_MAX: usize = 256 * 1024;
/// Bytes of one page read from the store for a replay.
pub const PAGE_BYTES: usize = 256 * 1024;
/// Events of one page read from the store for a replay.
pub const PAGE_EVENTS: usize = 2_048;
/// Bytes that a live viewer may lag; then `slow_consumer` and a gap.
pub const LAG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Events that a live viewer may lag; then `slow_consumer` and a gap.
pub const LAG_EVENTS_MAX: u64 = 10_000;
/// Connections of a session from which on its viewers are told of events in steps.
pub const CROWD_MIN: usize = 64;
/// Between two such steps: no event waits longer for a crowd, and what comes meanwhile is one write.
pub const CROWD_STEP: Duration = ms(20);
/// A session that streams text leaves a pause after each commit of text of so many times what its
/// commits take: text that comes meanwhile is committed together.
pub const TEXT_STEP_COMMITS: u32 = 8;
/// Commits of text a second that all turns which run make together, as far as [`TEXT_STEP_MAX`] allows:
/// the pause is a turn's share of the second.
pub const TEXT_COMMITS_PER_S: u32 = 5_000;
/// The longest such pause: no word waits longer for others.
pub const TEXT_STEP_MAX: Duration = ms(100);
/// A turn's share of [`TEXT_COMMITS_PER_S`] where so many run: what it leaves between two commits of text.
#[must_use]
pub fn text_pause(runs: usize) -> Duration {
    (s(1) / TEXT_COMMITS_PER_S)
        .saturating_mul(u32::try_from(runs).unwrap_or(u32::MAX))
        .min(TEXT_STEP_MAX)
}
/// Bytes of text that wait for others; at more, they are committed.
pub const TEXT_GATHERED_BYTES_MAX: usize = 4 * 1024;
/// Pieces of text that wait for others; at more, they are committed.
pub const TEXT_GATHERED_PIECES_MAX: usize = 64;
/// Milliseconds by which a session's last activity may lag while nothing but text is said in it: the
/// listings' indexes follow each change of it.
pub const ACTIVITY_STEP_MS: u64 = 1_000;
/// Events after which a session's fold is stored anew.
pub const SNAPSHOT_EVERY_EVENTS: u64 = 1_024;
/// A store that refused is tried again after this, doubled up to [`STORE_RETRY_CAP`].
pub const STORE_RETRY_BASE: Duration = ms(100);
/// See [`STORE_RETRY_BASE`].
pub const STORE_RETRY_CAP: Duration = s(2);
/// A commit, load or page that takes longer than this is told as `degraded`.
pub const STORE_SLOW_AFTER: Duration = s(1);

// Admission.

/// How long a granted slot waits for an absent owner.
pub const CLAIM_WITHIN: Duration = s(15);
/// The longest place in line (default).
pub const QUEUE_WAIT_MAX: Duration = s(4 * 3_600);
/// Sessions in line at one backend; then `at_capacity`.
pub const QUEUE_MAX: usize = 10_000;

// Turns (defaults; DESIGN §7).

/// From the start of an attempt to the provider's first sign of life.
pub const TURN_SPAWN_WITHIN: Duration = s(60);
/// From there to the first output.
pub const TURN_FIRST_OUTPUT_WITHIN: Duration = s(60);
/// Between outputs.
pub const TURN_IDLE_WITHIN: Duration = s(300);
/// The whole turn.
pub const TURN_WITHIN: Duration = s(30 * 60);
/// From asking a provider to stop, in its own protocol, to a signal that ends it, at most: a shell may be
/// sooner, so that what it kills at the end is gone by the sum of both.
pub const CANCEL_ASKED_WITHIN: Duration = s(5);
/// From there to its being killed, at most.
pub const CANCEL_TERMINATED_WITHIN: Duration = s(3);
/// From asking a provider to stop to its end. The shell's own ladder is over by then; this is for a
/// shell whose is not.
pub const CANCEL_WITHIN: Duration = CANCEL_ASKED_WITHIN
    .saturating_add(CANCEL_TERMINATED_WITHIN)
    .saturating_add(s(2));
/// Silence after which a turn is told as stalled, ephemerally.
pub const TURN_STALLED_AFTER: Duration = s(5);
/// How long a turn waits for an answer; then it is refused.
pub const ACTION_WITHIN: Duration = s(600);

// Media.

/// Tracks of one participant; then `session_limit`.
pub const TRACKS_OF_PARTICIPANT_MAX: usize = 8;
/// Tracks of one session; then `session_limit`.
pub const TRACKS_MAX: usize = 64;
/// Between two transports that a participant opens, at an even pace…
pub const MEDIA_OPEN_EVERY: Duration = s(1);
/// …which it may be ahead of by so much; then `media_failed`, and the one before stays.
pub const MEDIA_OPENS_AHEAD: Duration = s(9);
/// From when every track of a participant is told as stalled to a restart of its ICE: together with
/// the plane's own patience about two seconds of silence.
pub const MEDIA_RESTART_AFTER: Duration = ms(1_400);
/// Between two times that a connection is handed TURN credentials: those that last for less are not
/// refreshed sooner.
pub const ICE_SERVERS_EVERY_MIN: Duration = s(5);
/// Tracks that a fault names as stalled; the rest are stalled as well, and not named.
pub const STALLED_NAMED_MAX: usize = 32;
/// Lines that one `refresh` may name; then `media_refused`.
pub const REFRESH_LINES_MAX: usize = 64;

// Media, as the client does it.

/// Lines of a transport that a client keeps account of; the rest are not watched.
pub const MEDIA_LINES_MAX: usize = 64;
/// Between two looks at what has come.
pub const MEDIA_SAMPLE_EVERY: Duration = ms(250);
/// What one look counts for at most, however late it was: who does not look has not seen silence.
pub const MEDIA_SAMPLE_COUNTS_MAX: Duration = ms(500);
/// Silence of a line that is told.
pub const MEDIA_SILENT_AFTER: Duration = ms(1_000);
/// The same, of a line that is slow by nature: so many of its usual gaps…
pub const MEDIA_SILENT_GAPS: u32 = 3;
/// …but never longer.
pub const MEDIA_SILENT_MAX: Duration = s(5);
/// The same, of a line on which nothing ever came: a camera takes its time.
pub const MEDIA_FIRST_WITHIN: Duration = s(2);
/// From a request for keyframes, or for lines to begin anew, to the next step, where nothing comes.
pub const MEDIA_REFRESH_WITHIN: Duration = ms(500);
/// Silence of every line that restarts ICE.
pub const MEDIA_RESTART_SILENT: Duration = s(2);
/// From a keyframe's request to the next step, where other lines flow.
pub const MEDIA_LINE_KEYFRAME_WITHIN: Duration = s(1);
/// From a line's new beginning to the next step, where other lines flow.
pub const MEDIA_LINE_ANEW_WITHIN: Duration = s(2);
/// From a restart of ICE to a new transport.
pub const MEDIA_RESTART_WITHIN: Duration = s(5);
/// From the order to open a transport to its connection; then it is given up.
pub const MEDIA_CONNECT_WITHIN: Duration = s(5);
/// How long a new transport is waited for to bring what the one before brought; then what it does not
/// is named.
pub const MEDIA_RESTORE_WITHIN: Duration = s(5);
/// How late a transport may say that it finds nobody: until so long after everything came again, its word
/// is about the loss before. Silence is still seen by what comes.
pub const MEDIA_TRANSPORT_LATE_MAX: Duration = s(7);

// Nodes.

/// Connections that have not said hello; the shell accepts no more.
pub const HANDSHAKES_MAX: usize = 4_096;
/// Sessions in memory; then `session_limit`.
pub const SESSIONS_MAX: usize = 100_000;
/// How long an input may wait until it is handled; beyond, and for [`OVERLOADED_AFTER`], the server
/// is overloaded and refuses new sessions.
pub const INPUT_WAIT_MAX: Duration = ms(200);
/// How long inputs wait too long before that counts.
pub const OVERLOADED_AFTER: Duration = s(1);
/// How long inputs wait half of that at most before the server is no longer overloaded.
pub const RELIEVED_AFTER: Duration = s(2);
/// Share of its memory from which on a server refuses new sessions.
pub const MEMORY_SHORT_PERCENT: u64 = 80;
/// Share of its memory below which it takes them again.
pub const MEMORY_ENOUGH_PERCENT: u64 = 75;
/// Sessions that are looked at, each time that the load is measured while there is too much of it, for
/// whether they may leave memory.
pub const SHED_AT_ONCE: usize = 256;
/// When who is refused for either is to come back, at the earliest; at the latest twice as late.
pub const PRESSED_RETRY_MIN: Duration = s(2);
/// How long an injected fault lasts that strikes a whole server, where nothing was said.
pub const INJECTED_DEFAULT: Duration = s(5);
/// How long it lasts at most.
pub const INJECTED_SERVER_MAX: Duration = s(60);
/// How long an injected fault lasts at most that strikes a connection or a run.
pub const INJECTED_MAX: Duration = s(600);
/// How long the consequences of one that does not last may take to come.
pub const INJECTED_TOLD_WITHIN: Duration = s(15);
/// Injected faults that a session knows of; then the oldest is forgotten.
pub const INJECTED_KEPT: usize = 16;
/// Connections and questions that wait for a session being loaded; then they are refused.
pub const LOADING_WAITERS_MAX: usize = 1_024;
/// Sessions that are given to another server at once, and that are read for it.
pub const HANDOVERS_AT_ONCE: usize = 16;
/// How long nobody may say who has a session that was offered; then it takes no place of others. For so
/// long, too, a server may take none before what it was not offered stays.
pub const HANDOVER_STUCK_AFTER: Duration = s(10);
/// Sessions of a page of those that are to be handed over.
pub const HANDOVER_PAGE: usize = 256;
/// Between two looks at sessions whose leaving is waited for.
pub const HANDOVER_LOOK_EVERY: Duration = s(1);
/// How long the connections and transports of a session that has moved are kept at most; then who has not
/// followed it is sent after it.
pub const MOVED_LINGER_MAX: Duration = s(20);
/// Sessions with open turns that are settled at once after a start.
pub const SETTLING_AT_ONCE: usize = 64;
/// Bytes of a prompt that searches look through.
pub const SEARCH_PROMPT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of a turn's answer that searches look through.
pub const SEARCH_ANSWER_BYTES_MAX: usize = 8 * 1024;

/// Whether a session may be described so.
pub(crate) fn may_describe(title: Option<&str>, cwd: Option<&str>, tags: &[String]) -> bool {
    use keel_wire::limits::{CWD_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, TITLE_BYTES_MAX};
    let fits = |text: Option<&str>, max: usize| text.is_none_or(|text| text.len() <= max);
    let whole = tags
        .iter()
        .all(|tag| (1..=TAG_BYTES_MAX).contains(&tag.len()));
    fits(title, TITLE_BYTES_MAX) && fits(cwd, CWD_BYTES_MAX) && tags.len() <= TAGS_MAX && whole
}
