//! Where sessions are kept: atomic commits, reads and listings behind one trait.
//!
//! [`Store`] is the contract. [`Memory`] keeps everything in this process, for tests and for
//! `dev --memory`; [`Sqlite`] keeps it in one file that survives kill -9 and power cuts. A store
//! checks two numbers (the fence, the log's end) and decides nothing: what a session means is
//! `keel-core`'s business. It never retries for the caller, and never says "written" of what a
//! power cut could take back.
//!
//! [`conformance`] is the executable form of the contract: every store runs it.

mod bounds;
mod check;
pub mod conformance;
mod error;
mod listing;
pub mod memory;
mod search;
pub mod sqlite;
mod store;

pub use bounds::{
    BATCH_BYTES_MAX, COUNT_MAX, JOURNAL_ENTRIES_MAX, PROJECTS_MAX, SEARCH_SESSIONS_MAX,
    SEARCH_WORDS_MAX, STAGED_BYTES_MAX,
};
pub use error::{CommitError, OpenError, StoreError, StoreErrorKind};
pub use listing::{Counts, Filter, Listing, Page, PageKey, Scope, Standing};
pub use memory::Memory;
pub use search::{Found, Hit, Search, Words};
pub use sqlite::Sqlite;
pub use store::{BoxFuture, Head, Health, PageLimit, Store};
