//! A commit is all or nothing, and only of whoever may write next.

use std::sync::Arc;

use keel_wire::{
    Epoch, ParticipantId, RawData, ReceiptBody, Seq, SessionId, StreamId, UnixMillis,
    record::{Batch, Fence, SessionRow, SlotRow, StoredEvent, StoredReceipt, StreamRow},
};

use super::script::{Scribe, created, joined, snapshot, text, whole_turn};
use crate::{BATCH_BYTES_MAX, CommitError, Head, PageLimit, Store, StoreErrorKind};

const ALL: PageLimit = PageLimit {
    events: usize::MAX,
    bytes: usize::MAX,
};

fn seq(n: u64) -> Seq {
    Seq::new(n).expect("a small number")
}

fn stream(number: u128, consumed: u64, receipts_ack: u64) -> StreamRow {
    StreamRow {
        stream: StreamId::from_bits(number),
        participant: ParticipantId::from_bits(1),
        consumed: seq(consumed),
        receipts_ack: seq(receipts_ack),
        forgotten: seq(receipts_ack + consumed),
    }
}

fn receipt(number: u128, n: u64) -> StoredReceipt {
    let body = ReceiptBody::Ok {
        turn: None,
        position: None,
        version: Some(seq(n)),
    };
    StoredReceipt {
        stream: StreamId::from_bits(number),
        n: seq(n),
        body,
    }
}

pub(super) async fn what_is_committed_is_loaded(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    assert_eq!(store.head(scribe.id()).await, Ok(None));
    assert_eq!(store.load(scribe.id()).await, Ok(None));

    scribe.row.project = Some("proj".to_owned());
    scribe.row.ends_by = Some(UnixMillis::MAX >> 11);
    scribe.row.slot = Some(SlotRow::Waiting {
        order: 7,
        until: 8,
        again: true,
    });
    scribe.row.open_turn = true;
    let mut batch = scribe.batch(&[created(), joined("ada")]);
    batch.receipts = vec![receipt(1, 1), receipt(1, 2)];
    batch.streams = vec![stream(1, 2, 0)];
    scribe
        .commit(batch.clone())
        .await
        .expect("the first commit");

    let loaded = store
        .load(scribe.id())
        .await
        .expect("readable")
        .expect("there");
    assert_eq!(loaded.row, batch.row);
    assert_eq!(loaded.events, batch.events);
    assert_eq!(loaded.snapshot, None);
    assert_eq!(loaded.streams.len(), 1);
    assert_eq!(loaded.streams[0].row, batch.streams[0]);
    let receipts: Vec<_> = batch
        .receipts
        .iter()
        .map(|r| (r.n, r.body.clone()))
        .collect();
    assert_eq!(loaded.streams[0].receipts, receipts);

    // A snapshot takes the place of what it folds, and the row may change in everything.
    let mut more = scribe.batch(&[text(1, 0, "hi")]);
    let all: Vec<_> = batch.events.iter().chain(&more.events).cloned().collect();
    more.snapshot = Some(Box::new(snapshot(&batch.events)));
    more.row.epoch = Epoch(seq(2));
    more.row.slot = Some(SlotRow::Held);
    more.row.trimmed = seq(1); // The store's number, not the caller's.
    scribe
        .commit(more.clone())
        .await
        .expect("the second commit");
    let loaded = store
        .load(scribe.id())
        .await
        .expect("readable")
        .expect("there");
    assert_eq!(loaded.row.trimmed, Seq::ZERO);
    assert_eq!(
        (loaded.row.epoch, loaded.row.slot),
        (more.row.epoch, more.row.slot)
    );
    assert_eq!(loaded.snapshot.as_ref(), more.snapshot.as_deref());
    assert_eq!(loaded.events, more.events);
    assert_eq!(store.events(scribe.id(), Seq::ZERO, ALL).await, Ok(all));
    let head = Head {
        epoch: more.row.epoch,
        seq: seq(3),
    };
    assert_eq!(store.head(scribe.id()).await, Ok(Some(head)));
}

pub(super) async fn a_row_is_kept_whatever_alone_changes_in_it(store: Arc<dyn Store>) {
    let changes: [fn(&mut SessionRow); 17] = [
        |_| {},
        |row| row.subject = "bob".to_owned(),
        |row| row.backend = "other".to_owned(),
        |row| row.project = Some("proj".to_owned()),
        |row| row.created_at += 1,
        |row| row.last_activity += 1,
        |row| row.ends_by = Some(9),
        |row| row.epoch = Epoch(seq(7)),
        |row| row.open_turn = !row.open_turn,
        |row| row.waiting = !row.waiting,
        |row| row.ended = !row.ended,
        |row| row.slot = Some(SlotRow::Held),
        |row| row.about.title = Some("title".to_owned()),
        |row| row.about.cwd = Some("/srv".to_owned()),
        |row| row.about.starred = !row.about.starred,
        |row| row.about.archived = !row.about.archived,
        |row| row.about.tags = vec!["tag".to_owned()],
    ];
    let mut scribe = Scribe::new(&store, 1);
    let first = scribe.batch(&[created()]);
    scribe.commit(first).await.expect("the first commit");
    for (nth, change) in changes.into_iter().enumerate() {
        change(&mut scribe.row);
        let batch = scribe.batch(&[text(1, nth as u64, "x")]);
        scribe.commit(batch.clone()).await.expect("a commit");
        let loaded = store.load(scribe.id()).await.expect("readable");
        assert_eq!(loaded.expect("there").row, batch.row, "change {nth}");
    }
}

pub(super) async fn expected_must_be_the_head(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    let new = scribe.batch(&[created()]);
    let unborn = Batch {
        expected: Some(Seq::ZERO),
        ..new.clone()
    };
    assert_eq!(
        store.commit(unborn.into()).await,
        Err(CommitError::Conflict { head: None })
    );
    scribe.commit(new.clone()).await.expect("a new session");

    let conflict = Err(CommitError::Conflict { head: Some(seq(1)) });
    assert_eq!(
        store.commit(new.into()).await,
        conflict,
        "a new session twice"
    );
    let next = scribe.batch(&[joined("ada")]);
    scribe.commit(next.clone()).await.expect("the next");
    let conflict = Err(CommitError::Conflict { head: Some(seq(2)) });
    assert_eq!(store.commit(next.into()).await, conflict, "one batch twice");
}

pub(super) async fn refused_batches_leave_nothing(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    let before = store.load(scribe.id()).await;
    let good = {
        let mut batch = scribe.batch(&[joined("ada"), text(1, 0, "x")]);
        batch.receipts = vec![receipt(1, 1)];
        batch.streams = vec![stream(1, 1, 0)];
        batch.snapshot = Some(Box::new(snapshot(&batch.events)));
        batch
    };
    let hole = |mut batch: Batch| {
        batch.events.remove(0);
        batch
    };
    let backwards = |mut batch: Batch| {
        (batch.events[1].from, batch.events[1].to) = (seq(3), seq(2));
        batch
    };
    let wrong_head = |mut batch: Batch| {
        batch.row.head = seq(9);
        batch
    };
    let high_snapshot = |mut batch: Batch| {
        batch.snapshot.as_mut().expect("set above").seq = seq(4);
        batch
    };
    let huge = |mut batch: Batch| {
        let data = format!("\"{}\"", "x".repeat(BATCH_BYTES_MAX));
        batch.events[1].data = RawData::trusted(data);
        batch
    };
    let conflicting = |batch: Batch| Batch {
        fence: Fence(batch.fence.0 + 1),
        ..batch
    };
    let bad = [
        hole(good.clone()),
        backwards(good.clone()),
        wrong_head(good.clone()),
        high_snapshot(good.clone()),
        huge(good.clone()),
        conflicting(good.clone()),
    ];
    for (which, batch) in bad.into_iter().enumerate() {
        match store.commit(batch.into()).await {
            Err(CommitError::Fenced) if which == 5 => {}
            Err(CommitError::NotWritten(error)) => assert_eq!(error.kind, StoreErrorKind::Other),
            other => panic!("bad batch {which} was answered {other:?}"),
        }
        assert_eq!(
            store.load(scribe.id()).await,
            before,
            "bad batch {which} left something"
        );
    }
    scribe
        .commit(good)
        .await
        .expect("the good one is taken after them");
}

pub(super) async fn another_fence_is_refused(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    let Fence(granted) = store.fence();
    for fence in [granted.wrapping_sub(1), granted + 1].map(Fence) {
        let batch = Batch {
            fence,
            ..scribe.batch(&[created()])
        };
        assert_eq!(store.commit(batch.into()).await, Err(CommitError::Fenced));
    }
    assert_eq!(store.head(scribe.id()).await, Ok(None));
    scribe.write(&[created()]).await;
}

pub(super) async fn a_dropped_future_does_not_cancel(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    let batch = scribe.batch(&[created()]);
    drop(store.commit(batch.into()));
    // `head` is ordered with commits, so there is nothing to wait for.
    let head = store.head(scribe.id()).await.expect("readable");
    assert_eq!(head.map(|head| head.seq), Some(seq(1)));
    scribe.row.head = seq(1);
    let next = Batch {
        expected: Some(seq(1)),
        ..scribe.batch(&[joined("ada")])
    };
    store
        .commit(next.into())
        .await
        .expect("it goes on from there");
}

pub(super) async fn one_of_many_rivals_wins(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    let mut answers = Vec::new();
    for rival in 0..20 {
        let batch = scribe.batch(&[joined(&format!("rival {rival}"))]);
        answers.push(store.commit(batch.into()));
        let other = Scribe::new(&store, 100 + rival);
        answers.push(store.commit(other.batch(&[created()]).into()));
    }
    let mut won = 0;
    for (index, answer) in answers.into_iter().enumerate() {
        match answer.await {
            Ok(()) if index % 2 == 0 => won += 1,
            Ok(()) => {}
            Err(CommitError::Conflict { head }) if index % 2 == 0 => assert_eq!(head, Some(seq(2))),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1, "one conflict fails one batch, and no bystander");
    let loaded = store
        .load(scribe.id())
        .await
        .expect("readable")
        .expect("there");
    assert_eq!(loaded.events.len(), 2);
    assert!(
        loaded.events[1].data.get().contains("rival 0"),
        "the first called"
    );
}

pub(super) async fn receipts_go_when_acked_or_dropped(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    let mut batch = scribe.batch(&[created()]);
    batch.receipts = (1..=4)
        .flat_map(|n| [receipt(1, n), receipt(2, n)])
        .collect();
    batch.streams = vec![stream(1, 4, 0), stream(2, 4, 1)];
    scribe.commit(batch).await.expect("the first");
    let kept = async |session: &SessionId| -> Vec<(StreamRow, Vec<u64>)> {
        let loaded = store.load(session).await.expect("readable").expect("there");
        let numbers = |receipts: Vec<(Seq, ReceiptBody)>| {
            receipts.into_iter().map(|(n, _)| n.get()).collect()
        };
        loaded
            .streams
            .into_iter()
            .map(|s| (s.row, numbers(s.receipts)))
            .collect()
    };
    let want = vec![
        (stream(1, 4, 0), vec![1, 2, 3, 4]),
        (stream(2, 4, 1), vec![2, 3, 4]),
    ];
    assert_eq!(kept(scribe.id()).await, want);

    let mut batch = scribe.batch(&[]);
    batch.receipts = vec![receipt(1, 5)];
    batch.streams = vec![stream(1, 5, 3)];
    batch.streams_dropped = vec![StreamId::from_bits(2), StreamId::from_bits(3)];
    scribe.commit(batch).await.expect("a commit without events");
    assert_eq!(kept(scribe.id()).await, vec![(stream(1, 5, 3), vec![4, 5])]);
}

/// Everything that a session's log covers, in one list.
pub(super) async fn log(store: &Arc<dyn Store>, session: &SessionId) -> Vec<StoredEvent> {
    store
        .events(session, Seq::ZERO, ALL)
        .await
        .expect("a readable log")
}

/// A session with one whole turn, for the checks of other files.
pub(super) async fn with_turn(store: &Arc<dyn Store>, deltas: u64) -> Scribe {
    let mut scribe = Scribe::new(store, 1);
    scribe.write(&[created(), joined("ada")]).await;
    scribe.write(&whole_turn(1, deltas, false)).await;
    scribe
}
