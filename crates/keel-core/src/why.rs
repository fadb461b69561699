//! Why a session is as it is, in one sentence: the last thing that went wrong, read from its journal.
//!
//! A journal holds what the server saw; what a client saw of a loss comes with the hello of its
//! recovery. The server's own words about the end come first where it had any, the client's evidence
//! next, and what the server's transport told last.

mod reader;
#[cfg(test)]
mod tests;
mod told;

use keel_wire::{Fault, FaultCode, Origin, Strategy, TurnEnd, UnixMillis, journal::Entry};
use serde::Serialize;

use self::reader::Reader;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing went wrong, as far as the journal goes back.
    Healthy,
    /// It was put right, without anybody's doing.
    Recovered,
    /// It has not been put right yet.
    Recovering,
    /// It came to nothing: a turn failed, somebody was refused, or nobody came back.
    Failed,
}

/// Who saw what as the cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// The server; null where it noticed nothing.
    pub server: Option<FaultCode>,
    /// The client; null where it said nothing.
    pub client: Option<FaultCode>,
}

/// What the incident was about, for the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Nothing,
    Connection {
        strategy: Option<Strategy>,
        attempts: Option<u32>,
    },
    Refusal,
    Turn(TurnEnd),
    Store,
    Media,
    Session,
}

/// The last thing that went wrong, and what became of it. `docs/results.md` defines its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// What became of it.
    pub verdict: Verdict,
    /// The first cause; null when nothing went wrong.
    pub cause: Option<FaultCode>,
    /// Where to look; null when nothing went wrong.
    #[serde(serialize_with = "told::origin")]
    pub blame: Option<Origin>,
    /// Who saw what.
    pub observed: Observed,
    /// Milliseconds from the last byte to being told; null where no connection was lost.
    pub told_ms: Option<u64>,
    /// Milliseconds from being told to all being as before; null where it is not, or never broke.
    pub recovered_ms: Option<u64>,
    /// Events that were delivered late.
    pub replayed: u64,
    /// Positions of the log that were passed over, with a snapshot in their place.
    pub lost: u64,
    /// Events that the auditor found twice.
    pub duplicated: u64,
    /// When it began, by the server's clock.
    #[serde(skip)]
    pub at: Option<UnixMillis>,
    #[serde(skip)]
    about: About,
}

/// Explains a journal, oldest entry first.
#[must_use]
pub fn explain(entries: &[Entry]) -> Why {
    let mut reader = Reader::default();
    for entry in entries {
        reader.read(entry);
    }
    reader.verdict()
}

impl Why {
    fn new(about: About, verdict: Verdict, at: UnixMillis, fault: &Fault) -> Self {
        Self {
            verdict,
            cause: Some(fault.code.clone()),
            blame: Some(fault.origin),
            observed: Observed {
                server: Some(fault.code.clone()),
                client: None,
            },
            told_ms: None,
            recovered_ms: None,
            replayed: 0,
            lost: 0,
            duplicated: 0,
            at: Some(at),
            about,
        }
    }

    fn healthy() -> Self {
        Self {
            verdict: Verdict::Healthy,
            cause: None,
            blame: None,
            observed: Observed::default(),
            told_ms: None,
            recovered_ms: None,
            replayed: 0,
            lost: 0,
            duplicated: 0,
            at: None,
            about: About::Nothing,
        }
    }
}
