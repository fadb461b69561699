//! A session's log as turns, page by page.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use keel_store::PageLimit;
use keel_wire::{Epoch, Seq};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access::{self, Asked, Bearer, Target},
    reply,
};
use crate::{
    shared::Shared,
    transcript::{Turn, Turns},
};

/// Turns of a page, where the caller does not say.
const TURNS: usize = 20;
/// Turns of a page at most.
const TURNS_MAX: usize = 100;
/// Bytes of turns from which a page takes no more.
const PAGE_BYTES: usize = 1024 * 1024;
/// Pages of the log that one page of a transcript is made of at most.
const READS_MAX: usize = 64;
/// What is read of the log at once.
pub(super) const READ: PageLimit = PageLimit {
    events: 1_024,
    bytes: 256 * 1024,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TranscriptQuery {
    /// Only turns that were accepted above this position of the log.
    #[serde(default)]
    after: Seq,
    /// Turns at most.
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// A page of a transcript.
#[derive(Serialize, JsonSchema)]
pub(super) struct Transcript {
    /// The log.
    epoch: Epoch,
    /// Turns below this position are no longer kept.
    trimmed: Seq,
    /// The turns, in the order in which they were accepted.
    turns: Vec<Turn>,
    /// The next page's `after`; null when no turn follows as yet.
    next: Option<Seq>,
    /// The last position of the log.
    head: Seq,
}

/// `GET /v1/sessions/{session}/transcript`.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    Asked(query): Asked<TranscriptQuery>,
) -> Response {
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    let limit = query.limit.unwrap_or(TURNS);
    if limit == 0 || limit > TURNS_MAX {
        return reply::invalid("want a `limit` of 1 to 100");
    }
    let mut page = Collected {
        turns: Turns::default(),
        limit,
        next: None,
    };
    let mut at = query.after;
    for _ in 0..READS_MAX {
        let events = match shared.store.events(&session, at, READ).await {
            Ok(events) => events,
            Err(error) => return access::store(&error),
        };
        let Some(last) = events.last() else {
            return reply::ok(&page.told(row.epoch, row.trimmed, row.head));
        };
        at = last.to;
        for event in &events {
            page.take(event);
        }
        if page.is_whole() {
            return reply::ok(&page.told(row.epoch, row.trimmed, row.head));
        }
    }
    page.cut_off(at);
    reply::ok(&page.told(row.epoch, row.trimmed, row.head))
}

/// The turns of a page so far.
struct Collected {
    turns: Turns,
    limit: usize,
    /// The position before the first turn that is no longer of this page.
    next: Option<Seq>,
}

impl Collected {
    fn take(&mut self, event: &keel_wire::record::StoredEvent) {
        if &*event.kind == "turn.accepted" {
            let full = self.turns.len() == self.limit || self.turns.cost() >= PAGE_BYTES;
            if full && self.next.is_none() {
                self.next = Seq::new(event.from.get() - 1);
            }
            if self.next.is_some() {
                return;
            }
        }
        self.turns.take(event);
    }

    /// Whether a turn of the next page was seen, and none of this one goes on.
    fn is_whole(&self) -> bool {
        self.next.is_some() && self.turns.are_whole()
    }

    /// So much of the log was read that the rest is another page's: those turns stay whose end was
    /// read, or the first alone, as far as it was.
    fn cut_off(&mut self, at: Seq) {
        let mut turns = std::mem::take(&mut self.turns).into_turns();
        let whole = turns.iter().take_while(|turn| turn.state.is_end()).count();
        if whole == 0
            && let Some(first) = turns.first_mut()
        {
            first.truncated = true;
        }
        let kept = whole.max(1).min(turns.len());
        let left = turns.get(kept).map(|turn| turn.at);
        self.next = match left {
            Some(left) => Seq::new(left.get() - 1),
            None => self.next.or(Some(at)),
        };
        turns.truncate(kept);
        self.turns = turns.into();
    }

    fn told(self, epoch: Epoch, trimmed: Seq, head: Seq) -> Transcript {
        Transcript {
            epoch,
            trimmed,
            turns: self.turns.into_turns(),
            next: self.next,
            head,
        }
    }
}
