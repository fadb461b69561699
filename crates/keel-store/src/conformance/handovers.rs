//! Sessions that go from one store to another: offered, received in parts, accepted once.

use std::sync::Arc;

use keel_wire::{
    HandoverId, Seq, StreamId,
    handover::{Handover, Mark, Offer, Part, SessionKey},
    journal::{Entry, Fact},
    record::{Loaded, LoadedStream, StoredReceipt, StreamRow},
};

use super::script::{Scribe, created, joined, snapshot, text, whole_turn};
use crate::{Head, PageLimit, Store, StoreErrorKind};

const KEY: SessionKey = SessionKey([7; 32]);

fn offer(of: &Loaded, number: u128, moves: u64) -> Offer {
    Offer {
        session: of.row.session.clone(),
        id: HandoverId::from_bits(number),
        moves,
    }
}

fn offered(offer: &Offer) -> Handover {
    Handover {
        moves: offer.moves,
        key: None,
        mark: Mark::Offered {
            id: offer.id.clone(),
            peer: "green".to_owned(),
            address: "ws://green".to_owned(),
        },
    }
}

fn moved(of: &Loaded, offer: &Offer) -> Handover {
    Handover {
        moves: offer.moves,
        key: Some(KEY),
        mark: Mark::Moved {
            id: offer.id.clone(),
            address: "ws://green".to_owned(),
            row: Box::new(of.row.clone()),
        },
    }
}

/// A session with a snapshot below which events are trimmed, streams and receipts, written to a store.
async fn written(store: &Arc<dyn Store>, number: u128) -> Loaded {
    let mut scribe = Scribe::new(store, number);
    let mut events = vec![created(), joined("ann")];
    events.extend(whole_turn(1, 2, true));
    let first = scribe.batch(&events);
    let folded = snapshot(&first.events);
    scribe.commit(first).await.expect("taken");
    let stream = StreamId::from_bits(9);
    let mut batch = scribe.batch(&[text(2, 0, "a"), text(2, 1, "b")]);
    batch.snapshot = Some(Box::new(folded));
    batch.streams = vec![StreamRow {
        stream: stream.clone(),
        participant: keel_wire::ParticipantId::from_bits(1),
        consumed: seq(3),
        receipts_ack: seq(1),
        forgotten: Seq::ZERO,
    }];
    batch.receipts = (2..=3)
        .map(|n| StoredReceipt {
            stream: stream.clone(),
            n: seq(n),
            body: keel_wire::ReceiptBody::ok(),
        })
        .collect();
    scribe.commit(batch).await.expect("taken");
    store.trim(scribe.id(), seq(2)).await.expect("trimmed");
    let loaded = store.load(scribe.id()).await.expect("readable");
    loaded.expect("there")
}

fn seq(n: u64) -> Seq {
    Seq::new(n).expect("small")
}

/// Its parts, small on purpose.
async fn parts(store: &Arc<dyn Store>, of: &Loaded) -> Vec<Part> {
    let limit = PageLimit {
        events: 1_000,
        bytes: usize::MAX,
    };
    let events = store
        .events(&of.row.session, of.row.trimmed, limit)
        .await
        .expect("readable");
    let mut parts = vec![Part::Begin {
        row: Box::new(of.row.clone()),
        snapshot: of.snapshot.clone().map(Box::new),
        key: KEY,
    }];
    parts.push(Part::Streams {
        streams: of.streams.clone(),
    });
    parts.extend(events.chunks(2).map(|page| Part::Events {
        events: page.to_vec(),
    }));
    parts.push(Part::Journal {
        entries: vec![Entry {
            at: 5,
            participant: None,
            fact: Fact::Hibernated,
        }],
    });
    parts
}

async fn give(store: &Arc<dyn Store>, offer: &Offer, parts: &[Part]) {
    for part in parts {
        store
            .stage(offer.clone(), part.clone())
            .await
            .expect("kept");
    }
}

pub(super) async fn a_session_is_received_whole_and_once(store: Arc<dyn Store>) {
    let source: Arc<dyn Store> = Arc::new(crate::Memory::new());
    let loaded = written(&source, 1).await;
    let (parts, offer) = (parts(&source, &loaded).await, offer(&loaded, 1, 1));
    let id = &loaded.row.session;
    give(&store, &offer, &parts).await;
    assert_eq!(store.row(id).await, Ok(None), "parts count for nothing");
    assert_eq!(store.head(id).await, Ok(None));
    assert_eq!(store.held(None, 10).await, Ok(Vec::new()));
    let head = Head {
        epoch: loaded.row.epoch,
        seq: loaded.row.head,
    };
    for _ in 0..2 {
        assert_eq!(store.accept(offer.clone()).await, Ok(Some(head)));
    }
    assert_eq!(store.settle(offer.clone()).await, Ok(Some(head)));
    let received = store.load(id).await.expect("readable").expect("there");
    let expected = Handover {
        moves: 1,
        key: Some(KEY),
        mark: Mark::Received { id: offer.id },
    };
    assert_eq!(received.handover, Some(expected));
    let known = Loaded {
        handover: None,
        ..received
    };
    assert_eq!(known, loaded, "as it was: row, snapshot, events, streams");
    let limit = PageLimit {
        events: 100,
        bytes: usize::MAX,
    };
    assert_eq!(
        store.events(id, Seq::ZERO, limit).await,
        source.events(id, Seq::ZERO, limit).await,
        "what lies below the snapshot comes along"
    );
    assert_eq!(store.journal(id, 10).await.expect("readable").len(), 1);
    assert_eq!(store.held(None, 10).await, Ok(vec![id.clone()]));
    // It goes on where it was.
    let mut batch = Scribe::new(&store, 1).batch(&[]);
    batch.row = loaded.row.clone();
    batch.expected = Some(loaded.row.head);
    store
        .commit(batch.into())
        .await
        .expect("its log ends there");
}

pub(super) async fn what_is_not_whole_is_declined(store: Arc<dyn Store>) {
    let source: Arc<dyn Store> = Arc::new(crate::Memory::new());
    let loaded = written(&source, 1).await;
    let whole = parts(&source, &loaded).await;
    let (first, second) = (offer(&loaded, 1, 1), offer(&loaded, 2, 1));
    assert_eq!(store.accept(first.clone()).await, Ok(None), "nothing came");
    let stray = store.stage(first.clone(), whole[1].clone()).await;
    assert_eq!(
        stray.map_err(|error| error.kind),
        Err(StoreErrorKind::Other)
    );
    for missing in 2..whole.len() - 1 {
        let mut parts = whole.clone();
        parts.remove(missing);
        give(&store, &first, &parts).await;
        assert_eq!(store.accept(first.clone()).await, Ok(None), "{missing}");
        assert_eq!(store.row(&first.session).await, Ok(None));
    }
    // Parts of another offer are not mixed in.
    give(&store, &first, &whole[..2]).await;
    let mixed = store.stage(second.clone(), whole[2].clone()).await;
    assert_eq!(
        mixed.map_err(|error| error.kind),
        Err(StoreErrorKind::Other)
    );
    // To begin again drops what there was.
    give(&store, &second, &whole).await;
    let accepted = store.accept(second).await.expect("known");
    assert!(accepted.is_some());
}

pub(super) async fn an_offer_that_was_settled_is_never_accepted(store: Arc<dyn Store>) {
    let source: Arc<dyn Store> = Arc::new(crate::Memory::new());
    let loaded = written(&source, 1).await;
    let parts = parts(&source, &loaded).await;
    let first = offer(&loaded, 1, 1);
    give(&store, &first, &parts).await;
    assert_eq!(store.settle(first.clone()).await, Ok(None));
    // What was long on its way brings no second owner.
    let late = store.stage(first.clone(), parts[0].clone()).await;
    assert_eq!(late.map_err(|error| error.kind), Err(StoreErrorKind::Other));
    assert_eq!(store.accept(first.clone()).await, Ok(None));
    assert_eq!(store.row(&first.session).await, Ok(None));
    let second = offer(&loaded, 2, 2);
    give(&store, &second, &parts).await;
    assert!(store.accept(second.clone()).await.expect("known").is_some());
    // What was deleted here was accepted all the same: its old place does not bring it back.
    store.delete(&second.session).await.expect("deleted");
    assert!(store.settle(second).await.expect("known").is_some());
}

/// Its old place asks late: that it was accepted does not become untrue when it goes on from here.
pub(super) async fn an_offer_that_was_accepted_stays_so_when_the_session_is_given_on(
    store: Arc<dyn Store>,
) {
    let source: Arc<dyn Store> = Arc::new(crate::Memory::new());
    let loaded = written(&source, 1).await;
    let parts = parts(&source, &loaded).await;
    let first = offer(&loaded, 1, 1);
    give(&store, &first, &parts).await;
    assert!(store.accept(first.clone()).await.expect("known").is_some());
    let on = offer(&loaded, 2, 2);
    for mark in [offered(&on), moved(&loaded, &on)] {
        store.mark(&first.session, mark).await.expect("marked");
        assert!(store.settle(first.clone()).await.expect("known").is_some());
        let late = store.stage(first.clone(), parts[0].clone()).await;
        assert!(late.is_err(), "it is not received again");
    }
}

pub(super) async fn a_session_that_is_here_is_not_received(store: Arc<dyn Store>) {
    let loaded = written(&store, 1).await;
    let parts = parts(&store, &loaded).await;
    let foreign = offer(&loaded, 1, 1);
    give(&store, &foreign, &parts).await;
    assert_eq!(store.accept(foreign.clone()).await, Ok(None));
    assert_eq!(store.settle(foreign.clone()).await, Ok(None));
    let unharmed = store.load(&foreign.session).await.expect("readable");
    assert_eq!(unharmed.expect("there"), loaded);
}

pub(super) async fn a_session_that_has_moved_is_gone_and_may_come_back(store: Arc<dyn Store>) {
    let loaded = written(&store, 1).await;
    let parts = parts(&store, &loaded).await;
    let (id, out) = (loaded.row.session.clone(), offer(&loaded, 1, 1));
    assert_eq!(store.handover(&id).await, Ok(None));
    for mark in [offered(&out), offered(&out)] {
        store.mark(&id, mark).await.expect("marked");
    }
    let kept = store.load(&id).await.expect("readable").expect("there");
    assert_eq!(kept.handover, Some(offered(&out)));
    let owed = store.unsettled(None, 10).await.expect("readable");
    assert_eq!(owed, vec![loaded.row.clone()], "its offer is to be settled");
    for _ in 0..2 {
        store.mark(&id, moved(&loaded, &out)).await.expect("marked");
        assert_eq!(store.row(&id).await, Ok(None));
        assert_eq!(store.load(&id).await.expect("readable"), None);
        assert_eq!(store.held(None, 10).await, Ok(Vec::new()));
        assert_eq!(store.unsettled(None, 10).await, Ok(Vec::new()));
        assert_eq!(store.handover(&id).await, Ok(Some(moved(&loaded, &out))));
    }
    let back = Handover {
        moves: 0,
        ..offered(&out)
    };
    let refused = store.mark(&id, back).await.map_err(|error| error.kind);
    assert_eq!(refused, Err(StoreErrorKind::Other), "numbers only grow");
    // The offer by which it went does not bring it back, a later one does.
    let again = offer(&loaded, 1, 1);
    let stale = store.stage(again.clone(), parts[0].clone()).await;
    assert_eq!(
        stale.map_err(|error| error.kind),
        Err(StoreErrorKind::Other)
    );
    let home = offer(&loaded, 2, 2);
    give(&store, &home, &parts).await;
    assert!(store.accept(home).await.expect("known").is_some());
    assert_eq!(store.row(&id).await, Ok(Some(loaded.row)));
}

pub(super) async fn streams_come_in_pieces(store: Arc<dyn Store>) {
    let source: Arc<dyn Store> = Arc::new(crate::Memory::new());
    let loaded = written(&source, 1).await;
    let mut parts = parts(&source, &loaded).await;
    let whole = loaded.streams[0].clone();
    let pieces = whole.receipts.iter().map(|receipt| LoadedStream {
        row: whole.row.clone(),
        receipts: vec![receipt.clone()],
    });
    let pieces = pieces.map(|piece| Part::Streams {
        streams: vec![piece],
    });
    parts.splice(1..2, pieces);
    let offer = offer(&loaded, 1, 1);
    give(&store, &offer, &parts).await;
    assert!(store.accept(offer.clone()).await.expect("known").is_some());
    let received = store.load(&offer.session).await.expect("readable");
    assert_eq!(received.expect("there").streams, loaded.streams);
}
