//! Reading, compacting and trimming a log never changes what it says.

use std::sync::Arc;

use keel_wire::{Seq, record::StoredEvent};

use super::script::Scribe;
use super::{
    commits::{log, with_turn},
    script::{created, fold, joined, snapshot, text, whole_turn},
};
use crate::{PageLimit, Store, StoreErrorKind, check};

fn seq(n: u64) -> Seq {
    Seq::new(n).expect("a small number")
}

fn limit(events: usize, bytes: usize) -> PageLimit {
    PageLimit { events, bytes }
}

/// That the events cover what lies after `from` up to `to`, each position once.
fn assert_covers(events: &[StoredEvent], from: Seq, to: Seq) {
    assert_eq!(check::follow(from, events), Ok(to));
}

pub(super) async fn events_come_from_the_one_that_covers_the_cursor(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    let mut batch = scribe.batch(&[created(), joined("a"), joined("b"), joined("c")]);
    // Positions 2 to 5 were coalesced into one event before they were stored.
    for (event, (from, to)) in batch
        .events
        .iter_mut()
        .zip([(1, 1), (2, 5), (6, 6), (7, 7)])
    {
        (event.from, event.to) = (seq(from), seq(to));
    }
    batch.row.head = seq(7);
    let stored = batch.events.clone();
    scribe
        .commit(batch)
        .await
        .expect("ranges are taken as they are");

    let all = limit(100, usize::MAX);
    for (after, first) in [
        (0, 0),
        (1, 1),
        (2, 1),
        (4, 1),
        (5, 2),
        (6, 3),
        (7, 4),
        (9, 4),
    ] {
        let events = store
            .events(scribe.id(), seq(after), all)
            .await
            .expect("readable");
        assert_eq!(events, stored[first..], "after {after}");
    }
    let size = stored[0].cost();
    let rows = [
        (limit(2, usize::MAX), 2),
        (limit(0, 0), 1),
        (limit(9, 1), 1),
        (limit(9, size), 1),
    ];
    for (limit, want) in rows {
        let events = store
            .events(scribe.id(), Seq::ZERO, limit)
            .await
            .expect("readable");
        assert_eq!(events, stored[..want], "{limit:?}");
    }
    let bytes = stored[0].cost() + stored[1].cost();
    let events = store
        .events(scribe.id(), Seq::ZERO, limit(9, bytes))
        .await
        .expect("readable");
    assert_eq!(events.len(), 2, "as many as fit");
    let nobody = keel_wire::SessionId::from_bits(9);
    assert_eq!(store.events(&nobody, Seq::ZERO, all).await, Ok(Vec::new()));
}

pub(super) async fn compaction_keeps_positions_and_fold(store: Arc<dyn Store>) {
    let mut scribe = with_turn(&store, 40).await;
    let before = log(&store, scribe.id()).await;
    let mut batch = scribe.batch(&whole_turn(2, 3, true));
    let whole: Vec<_> = before.iter().chain(&batch.events).cloned().collect();
    batch.compact = Some((seq(3), batch.row.head));
    scribe.commit(batch).await.expect("a commit that compacts");

    let after = log(&store, scribe.id()).await;
    assert!(
        after.len() < whole.len() / 3,
        "{} rows of {}",
        after.len(),
        whole.len()
    );
    assert_covers(&after, Seq::ZERO, scribe.row.head);
    assert_eq!(fold(None, &after), fold(None, &whole));
    // A cursor in the midst of a range gets that range.
    let inside = store
        .events(scribe.id(), seq(10), limit(1, 1))
        .await
        .expect("readable");
    assert!(
        inside[0].from <= seq(11) && inside[0].to >= seq(11),
        "{inside:?}"
    );

    // Once more changes nothing, and rows that lie across an end of the range stay as they are.
    let mut again = scribe.batch(&[]);
    again.compact = Some((seq(7), seq(20)));
    scribe
        .commit(again)
        .await
        .expect("a commit that compacts nothing");
    assert_eq!(log(&store, scribe.id()).await, after);
}

pub(super) async fn compaction_stops_at_the_snapshot(store: Arc<dyn Store>) {
    let mut scribe = with_turn(&store, 30).await;
    let before = log(&store, scribe.id()).await;
    let mut batch = scribe.batch(&[text(1, 9_999, "after a hole")]);
    batch.snapshot = Some(Box::new(snapshot(&before[..12])));
    scribe
        .commit(batch)
        .await
        .expect("a snapshot below the head");
    let whole = log(&store, scribe.id()).await;
    let mut batch = scribe.batch(&[]);
    batch.compact = Some((seq(1), scribe.row.head));
    scribe.commit(batch).await.expect("a commit that compacts");

    let loaded = store
        .load(scribe.id())
        .await
        .expect("readable")
        .expect("there");
    let base = loaded.snapshot.as_ref().expect("kept");
    assert_covers(&loaded.events, base.seq, scribe.row.head);
    assert!(loaded.events.len() < whole.len() / 3);
    assert_eq!(fold(Some(base), &loaded.events), fold(None, &whole));
}

pub(super) async fn trim_stops_at_the_snapshot(store: Arc<dyn Store>) {
    let mut scribe = with_turn(&store, 30).await;
    let whole = log(&store, scribe.id()).await;
    let refused = store
        .trim(scribe.id(), seq(1))
        .await
        .expect_err("there is no snapshot");
    assert_eq!(refused.kind, StoreErrorKind::Other);

    let mut batch = scribe.batch(&[]);
    batch.snapshot = Some(Box::new(snapshot(&whole[..12])));
    batch.compact = Some((seq(1), seq(8)));
    scribe.commit(batch).await.expect("a commit");
    let refused = store
        .trim(scribe.id(), seq(13))
        .await
        .expect_err("above the snapshot");
    assert_eq!(refused.kind, StoreErrorKind::Other);
    assert_eq!(
        log(&store, scribe.id()).await[0].from,
        seq(1),
        "nothing was trimmed so far"
    );

    // 5..=8 are one event by now, which stays until all of it may go.
    let trimmed = async |through: u64| {
        store
            .trim(scribe.id(), seq(through))
            .await
            .expect("at or below the snapshot");
        let loaded = store
            .load(scribe.id())
            .await
            .expect("readable")
            .expect("there");
        let base = loaded.snapshot.as_ref().expect("kept");
        assert_eq!(fold(Some(base), &loaded.events), fold(None, &whole));
        let rest = log(&store, scribe.id()).await;
        assert_covers(&rest, loaded.row.trimmed, scribe.row.head);
        loaded.row.trimmed.get()
    };
    assert_eq!(trimmed(6).await, 4);
    assert_eq!(trimmed(3).await, 4, "what is trimmed stays trimmed");
    assert_eq!(trimmed(8).await, 8);
    assert_eq!(trimmed(12).await, 12);

    scribe.write(&[text(1, 0, "more")]).await;
    let loaded = store
        .load(scribe.id())
        .await
        .expect("readable")
        .expect("there");
    assert_eq!(
        loaded.row.trimmed,
        seq(12),
        "a commit does not take it back"
    );
    let nobody = keel_wire::SessionId::from_bits(9);
    assert_eq!(store.trim(&nobody, seq(5)).await, Ok(()));
}
