//! Every bound of this crate, in one place.

use std::time::Duration;

/// Largest batch, by [`keel_wire::record::Batch::cost`]. The core stays far below it.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Journal entries kept a session; the oldest go first.
pub const JOURNAL_ENTRIES_MAX: usize = 512;
/// Most projects that one listing may name.
pub const PROJECTS_MAX: usize = 256;
/// Words of one search that are looked for; the rest are ignored.
pub const SEARCH_WORDS_MAX: usize = 8;
/// Sessions that one search finds at most.
pub const SEARCH_SESSIONS_MAX: usize = 200;
/// Sessions that are counted; when there are more, the count says so.
pub const COUNT_MAX: usize = 100_000;

/// Bytes of a session's parts that are kept before it is accepted; a larger one is not received.
pub const STAGED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Rows that one page of a filtered listing looks at: it may be short, and still have a next one.
pub(crate) const LIST_ROWS_READ_MAX: usize = 4096;
/// Letters of a word from which the last one of a search may go on.
pub(crate) const SEARCH_PREFIX_MIN: usize = 3;
/// Turns of a session that a search finds; the oldest go first.
pub(crate) const SEARCH_TURNS_MAX: u16 = 4096;
/// Bytes of a turn, or of a title, that a search looks through.
pub(crate) const SEARCH_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Places, newest first, that one search looks at.
pub(crate) const SEARCH_HITS_MAX: usize = 2000;
/// Words of an excerpt.
pub(crate) const EXCERPT_WORDS: usize = 24;
/// Writes that may wait for the writer thread.
pub(crate) const WRITES_WAITING_MAX: usize = 4096;
/// Bytes of batches that may wait for the writer thread.
pub(crate) const WRITES_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Reads that may wait for a reader thread.
pub(crate) const READS_WAITING_MAX: usize = 1024;
/// Reader threads, each with a connection.
pub(crate) const READERS: usize = 2;
/// Bytes that one transaction takes, unless its first write alone is larger.
pub(crate) const GROUP_BYTES_MAX: usize = 1024 * 1024;
/// Writes that one transaction takes.
pub(crate) const GROUP_WRITES_MAX: usize = 256;
/// Time from the beginning of a transaction to that of the next one, at least, while more comes than one
/// caller at a time could ask for: each costs a sync, however little is in it.
pub(crate) const GROUP_APART: Duration = Duration::from_millis(1);
/// Transactions for which that holds since something last waited when one was over.
pub(crate) const GROUP_APART_FOR: u32 = 16;
/// KiB of pages that the writer keeps at hand: each session that streams writes at the end of its own
/// part of the log's index.
pub(crate) const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Bytes that one session may put into a transaction before the others have had their turn.
pub(crate) const QUANTUM_BYTES: usize = 64 * 1024;
/// How long opening waits for a lock that the kernel is about to free.
pub(crate) const LOCK_WITHIN: Duration = Duration::from_secs(2);
/// How long SQLite waits for a lock that another process holds.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a store that refuses to write tries whether it can again.
pub(crate) const PROBE_EVERY: Duration = Duration::from_millis(500);
/// How soon after a failed try a commit that arrives may cause another one.
pub(crate) const PROBE_APART: Duration = Duration::from_millis(50);
/// Bytes that a try writes, so that one free page is not taken for a disk with space.
pub(crate) const PROBE_BYTES: usize = 64 * 1024;
/// How long nothing must have been written before the WAL is moved into the database.
pub(crate) const CHECKPOINT_IDLE: Duration = Duration::from_millis(250);
/// Size of the WAL, in bytes, from which it is moved into the database under load too.
pub(crate) const WAL_BYTES_SOFT: u64 = 16 * 1024 * 1024;
/// Size of the WAL, in bytes, from which the writer waits for readers to let it start anew.
pub(crate) const WAL_BYTES_HARD: u64 = 64 * 1024 * 1024;
/// Largest database, in bytes, that is read whole at a start after an unclean end.
pub(crate) const QUICK_CHECK_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long a revocation is kept after the token has expired, in case the clock goes back.
pub(crate) const REVOCATION_MARGIN_MS: u64 = 24 * 60 * 60 * 1000;
