//! One session, part by part, to another server.

use std::sync::Arc;

use keel_core::node::{Delivered, Giving};
use keel_store::{PageLimit, Store};
use keel_wire::{
    HandoverId,
    handover::{Outcome, Part, Step},
    record::LoadedStream,
};
use serde::{Deserialize, Serialize};

use super::{Link, Peers};

/// Events of one part.
const EVENTS: usize = 4_096;
/// Bytes of one part of events, near enough.
const EVENT_BYTES: usize = 1024 * 1024;
/// Receipts of one part.
const RECEIPTS: usize = 512;
/// Journal entries that go along.
const ENTRIES: usize = keel_store::JOURNAL_ENTRIES_MAX;

/// A step of a handover, as it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) id: HandoverId,
    pub(super) moves: u64,
    pub(super) step: Step,
}

/// Gives a session to another server, or asks whether it has it.
pub(crate) async fn give(peers: Arc<Peers>, store: Arc<dyn Store>, giving: Giving) -> Delivered {
    // Until it is asked to accept nothing can have been accepted: a failure leaves the session here.
    let failed = |error: String| match giving.settle {
        true => Delivered::Unknown { error },
        false => Delivered::Declined { why: error },
    };
    let Some(peer) = peers.named(&giving.peer) else {
        return failed(format!("no peer {:?} is configured", giving.peer));
    };
    let mut link = match Link::open(peer).await {
        Ok(link) => link,
        Err(error) => return failed(error),
    };
    let mut to = To {
        link: &mut link,
        giving: &giving,
    };
    if giving.settle {
        return to.last(Step::Settle).await;
    }
    if let Err(error) = to.parts(&*store).await {
        return failed(error);
    }
    to.last(Step::Accept).await
}

struct To<'a> {
    link: &'a mut Link,
    giving: &'a Giving,
}

impl To<'_> {
    async fn ask(&mut self, step: Step) -> Result<Outcome, String> {
        let path = format!("/v1/peer/sessions/{}", self.giving.offer.session);
        let asked = Asked {
            id: self.giving.offer.id.clone(),
            moves: self.giving.offer.moves,
            step,
        };
        self.link.ask(&path, &asked).await
    }

    async fn last(&mut self, step: Step) -> Delivered {
        match self.ask(step).await {
            Ok(Outcome::Accepted) => Delivered::Accepted,
            Ok(Outcome::Declined { why }) => Delivered::Declined { why },
            Ok(Outcome::Kept) => Delivered::Unknown {
                error: "an answer to something else".to_owned(),
            },
            Err(error) => Delivered::Unknown { error },
        }
    }

    async fn keep(&mut self, part: Part) -> Result<(), String> {
        match self.ask(Step::Keep(Box::new(part))).await? {
            Outcome::Kept => Ok(()),
            Outcome::Accepted => Err("an answer to something else".to_owned()),
            Outcome::Declined { why } => Err(why),
        }
    }

    async fn parts(&mut self, store: &dyn Store) -> Result<(), String> {
        let session = &self.giving.offer.session;
        let words = |error: keel_store::StoreError| error.to_string();
        let loaded = store.load(session).await.map_err(words)?;
        let loaded = loaded.ok_or("it is not here")?;
        let (mut after, head) = (loaded.row.trimmed, loaded.row.head);
        // Its events are read page by page, from the first that is kept.
        drop(loaded.events);
        self.keep(Part::Begin {
            row: Box::new(loaded.row),
            snapshot: loaded.snapshot.map(Box::new),
            key: self.giving.key,
        })
        .await?;
        for streams in in_pieces(loaded.streams) {
            self.keep(Part::Streams { streams }).await?;
        }
        let limit = PageLimit {
            events: EVENTS,
            bytes: EVENT_BYTES,
        };
        while after < head {
            let events = store.events(session, after, limit).await.map_err(words)?;
            after = events.last().ok_or("its log has a hole")?.to;
            self.keep(Part::Events { events }).await?;
        }
        let entries = store.journal(session, ENTRIES).await.map_err(words)?;
        if entries.is_empty() {
            return Ok(());
        }
        self.keep(Part::Journal { entries }).await
    }
}

/// Streams with so many receipts at once; one with more comes in pieces that follow one another.
fn in_pieces(streams: Vec<LoadedStream>) -> Vec<Vec<LoadedStream>> {
    let mut all: Vec<Vec<LoadedStream>> = Vec::new();
    let mut room = 0;
    for stream in streams {
        let mut receipts = stream.receipts.into_iter().peekable();
        loop {
            if room == 0 {
                all.push(Vec::new());
                room = RECEIPTS;
            }
            let piece: Vec<_> = receipts.by_ref().take(room).collect();
            // A stream without receipts counts, too.
            room -= piece.len().max(1);
            if let Some(last) = all.last_mut() {
                last.push(LoadedStream {
                    row: stream.row.clone(),
                    receipts: piece,
                });
            }
            if receipts.peek().is_none() {
                break;
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use keel_wire::{ParticipantId, ReceiptBody, Seq, StreamId, record::StreamRow};

    use super::*;

    fn stream(number: u128, receipts: u64) -> LoadedStream {
        let seq = |n| Seq::new(n).expect("small");
        LoadedStream {
            row: StreamRow {
                stream: StreamId::from_bits(number),
                participant: ParticipantId::from_bits(1),
                consumed: seq(receipts),
                receipts_ack: Seq::ZERO,
                forgotten: Seq::ZERO,
            },
            receipts: (1..=receipts)
                .map(|n| (seq(n), ReceiptBody::ok()))
                .collect(),
        }
    }

    #[test]
    fn pieces_of_streams_are_bounded_and_make_the_whole() {
        let whole = vec![stream(1, 0), stream(2, 1_300), stream(3, 2), stream(4, 512)];
        let pieces = in_pieces(whole.clone());
        for piece in &pieces {
            let receipts: usize = piece.iter().map(|stream| stream.receipts.len()).sum();
            assert!(receipts <= RECEIPTS && !piece.is_empty(), "{receipts}");
        }
        let mut again: Vec<LoadedStream> = Vec::new();
        for more in pieces.into_iter().flatten() {
            match again.last_mut().filter(|last| last.row == more.row) {
                Some(last) => last.receipts.extend(more.receipts),
                None => again.push(more),
            }
        }
        assert_eq!(again, whole);
    }
}
