//! Text, journals, deletion, revocation, and what a restart finds.

use std::sync::Arc;

use keel_wire::{
    RawData, Seq, StreamId, UnixMillis,
    journal::{Entry, Fact},
    record::{StoredEvent, StoredReceipt, StreamRow},
};

use super::{
    Factory,
    commits::{log, with_turn},
    script::{Scribe, created, joined, snapshot, text, whole_turn},
};
use crate::{
    CommitError, Filter, Health, JOURNAL_ENTRIES_MAX, Listing, PageLimit, Scope, Store,
    StoreErrorKind,
};

/// Far enough ahead that no store forgets it while a check runs.
const LATER: UnixMillis = 9_000_000_000_000;

pub(super) async fn a_row_is_read_alone(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    assert_eq!(store.row(scribe.id()).await.expect("readable"), None);
    for _ in 0..2 {
        let batch = scribe.batch(&[created(), joined("ann"), text(1, 0, "a")]);
        let row = batch.row.clone();
        scribe.commit(batch).await.expect("taken");
        let read = store.row(scribe.id()).await.expect("readable");
        assert_eq!(read, Some(row), "as it was committed last");
    }
    let loaded = store
        .load(scribe.id())
        .await
        .expect("readable")
        .expect("there");
    let read = store.row(scribe.id()).await.expect("readable");
    assert_eq!(read, Some(loaded.row));
    store.delete(scribe.id()).await.expect("deleted");
    assert_eq!(store.row(scribe.id()).await.expect("readable"), None);
}

pub(super) async fn text_is_kept_as_it_is_a68(store: Arc<dyn Store>) {
    let nasty = [
        "",
        "nul\0in the midst",
        "'; DROP TABLE session; --",
        "\" OR 1=1 --",
        "%_*?[a-z]",
        "🛟🏳️‍🌈 \u{202e}rtl \u{feff}",
        "\u{10ffff}\r\n\t\\",
        "x'00'",
    ];
    for (number, subject) in nasty.iter().enumerate() {
        let mut scribe = Scribe::new(&store, number as u128);
        scribe.row.subject = (*subject).to_owned();
        scribe.row.backend = (*subject).to_owned();
        scribe.row.project = Some((*subject).to_owned());
        let mut batch = scribe.batch(&[created(), joined(subject), text(1, 0, subject)]);
        let raw = serde_json::to_string(subject).expect("a string is JSON");
        batch.events.push(StoredEvent {
            from: batch.row.head.next(),
            to: batch.row.head.next(),
            kind: (*subject).into(),
            data: RawData::trusted(raw),
        });
        batch.row.head = batch.row.head.next();
        batch.snapshot = Some(Box::new(snapshot(&batch.events[..3])));
        let want = batch.clone();
        scribe.commit(batch).await.expect("any text is taken");
        let loaded = store
            .load(scribe.id())
            .await
            .expect("readable")
            .expect("there");
        assert_eq!(loaded.row, want.row);
        assert_eq!(loaded.snapshot.as_ref(), want.snapshot.as_deref());
        assert_eq!(log(&store, scribe.id()).await, want.events);
        store
            .revoke(subject, LATER)
            .await
            .expect("any token id is taken");
    }
    for subject in nasty {
        let scopes = [
            Scope::All,
            Scope::Project(subject.to_owned()),
            Scope::Projects(vec![subject.to_owned(), "nobody's".to_owned()]),
        ];
        for scope in scopes {
            let subject = Some(subject.to_owned());
            let listing = Listing {
                scope,
                subject: subject.clone(),
                filter: Filter::default(),
                before: None,
                limit: 50,
            };
            let page = store.list(listing).await.expect("readable");
            let subjects: Vec<_> = page.rows.into_iter().map(|row| row.subject).collect();
            assert_eq!(subjects, subject.into_iter().collect::<Vec<_>>());
        }
    }
    let mut tokens: Vec<_> = store.revoked().await.expect("readable");
    tokens.sort();
    let mut want: Vec<_> = nasty
        .iter()
        .map(|text| ((*text).to_owned(), LATER))
        .collect();
    want.sort();
    assert_eq!(tokens, want);
}

fn entry(at: UnixMillis) -> Entry {
    Entry {
        at,
        participant: None,
        fact: Fact::AuditFailed {
            law: format!("law\0 {at}"),
        },
    }
}

pub(super) async fn journals_are_bounded(store: Arc<dyn Store>) {
    let mut scribe = Scribe::new(&store, 1);
    let mut other = Scribe::new(&store, 2);
    scribe.write(&[created()]).await;
    other.write(&[created()]).await;
    let nobody = Scribe::new(&store, 3);
    let of = |scribe: &Scribe, at| (scribe.id().clone(), entry(at));
    let entries = vec![of(&other, 1), of(&nobody, 2), of(&scribe, 0)];
    store.append_journal(entries).await.expect("lazily kept");
    let total = JOURNAL_ENTRIES_MAX as u64 + 100;
    for start in (1..total).step_by(70) {
        let entries = (start..total.min(start + 70))
            .map(|at| of(&scribe, at))
            .collect();
        store.append_journal(entries).await.expect("lazily kept");
    }
    let all = store
        .journal(scribe.id(), usize::MAX)
        .await
        .expect("readable");
    assert_eq!(
        all,
        (100..total).map(entry).collect::<Vec<_>>(),
        "the oldest go first"
    );
    let last = store.journal(scribe.id(), 3).await.expect("readable");
    assert_eq!(last, (total - 3..total).map(entry).collect::<Vec<_>>());
    assert_eq!(store.journal(other.id(), 10).await, Ok(vec![entry(1)]));
    assert_eq!(store.journal(nobody.id(), 10).await, Ok(Vec::new()));
    assert_eq!(store.journal(scribe.id(), 0).await, Ok(Vec::new()));
}

pub(super) async fn deleted_means_forgotten(store: Arc<dyn Store>) {
    let mut scribe = with_turn(&store, 10).await;
    let mut bystander = Scribe::new(&store, 2);
    bystander.write(&[created(), joined("bob")]).await;
    let kept = store.load(bystander.id()).await;
    let mut batch = scribe.batch(&whole_turn(2, 2, true));
    let stream = StreamId::from_bits(1);
    batch.receipts = vec![StoredReceipt {
        stream: stream.clone(),
        n: Seq::ZERO.next(),
        body: keel_wire::ReceiptBody::Ok {
            turn: None,
            position: None,
            version: None,
        },
    }];
    batch.streams = vec![StreamRow {
        stream,
        participant: keel_wire::ParticipantId::from_bits(1),
        consumed: Seq::ZERO.next(),
        receipts_ack: Seq::ZERO,
        forgotten: Seq::ZERO,
    }];
    batch.snapshot = Some(Box::new(snapshot(&log(&store, scribe.id()).await)));
    scribe.commit(batch).await.expect("a commit");
    store
        .append_journal(vec![(scribe.id().clone(), entry(1))])
        .await
        .expect("kept");

    store.delete(scribe.id()).await.expect("deleted");
    store
        .delete(scribe.id())
        .await
        .expect("deleted twice is deleted");
    assert_eq!(store.load(scribe.id()).await, Ok(None));
    assert_eq!(store.head(scribe.id()).await, Ok(None));
    let gone = scribe.batch(&[text(1, 0, "too late")]);
    assert_eq!(
        store.commit(gone.into()).await,
        Err(CommitError::Conflict { head: None })
    );

    let mut anew = Scribe::new(&store, 1);
    anew.write(&[created()]).await;
    let loaded = store
        .load(anew.id())
        .await
        .expect("readable")
        .expect("there");
    assert_eq!(
        (loaded.events.len(), loaded.streams.len(), loaded.snapshot),
        (1, 0, None)
    );
    assert_eq!(store.journal(anew.id(), 10).await, Ok(Vec::new()));
    assert_eq!(store.load(bystander.id()).await, kept);
}

pub(super) async fn what_was_acked_is_there_after_reopening<F: Factory>(factory: &F) {
    let place = factory.place();
    let store = factory.open(&place);
    let mut scribe = with_turn(&store, 20).await;
    let mut batch = scribe.batch(&whole_turn(2, 5, true));
    batch.snapshot = Some(Box::new(snapshot(&batch.events[..1])));
    batch.compact = Some((Seq::ZERO.next(), scribe.row.head));
    scribe.commit(batch).await.expect("a commit");
    store
        .append_journal(vec![(scribe.id().clone(), entry(1))])
        .await
        .expect("kept");
    store.revoke("token", LATER).await.expect("kept");
    store.revoke("token", LATER - 5).await.expect("kept");
    let limit = PageLimit {
        events: 10,
        bytes: 10_000,
    };
    let before = (
        store.load(scribe.id()).await,
        store.events(scribe.id(), Seq::ZERO, limit).await,
        store.journal(scribe.id(), 10).await,
    );
    assert!(matches!(before.0, Ok(Some(_))));
    let fence = store.fence();
    let late = scribe.batch(&[text(2, 0, "from before")]);
    store.close().await.expect("closed");
    drop(store);

    let store = factory.open(&place);
    let after = (
        store.load(scribe.id()).await,
        store.events(scribe.id(), Seq::ZERO, limit).await,
        store.journal(scribe.id(), 10).await,
    );
    assert_eq!(after, before);
    assert_eq!(
        store.revoked().await,
        Ok(vec![("token".to_owned(), LATER)]),
        "the later counts"
    );
    assert!(store.fence() > fence, "each opening grants a newer fence");
    assert_eq!(store.commit(late.into()).await, Err(CommitError::Fenced));
    store.close().await.expect("closed");
}

pub(super) async fn a_closed_store_says_so<F: Factory>(factory: &F) {
    let place = factory.place();
    let store = factory.open(&place);
    assert_eq!(store.health(), Health::Ok);
    assert_eq!(store.probe().await, Ok(()));
    let scribe = Scribe::new(&store, 1);
    // Queued before the close, so it is done before the close.
    let queued = store.commit(scribe.batch(&[created()]).into());
    store.close().await.expect("closed");
    assert_eq!(queued.await, Ok(()));
    store.close().await.expect("closed twice is closed");

    let error = store.commit(scribe.batch(&[created()]).into()).await;
    let Err(CommitError::NotWritten(error)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind, StoreErrorKind::Closed);
    let kind = |error: crate::StoreError| error.kind;
    let closed = StoreErrorKind::Closed;
    assert_eq!(store.load(scribe.id()).await.map_err(kind), Err(closed));
    assert_eq!(store.head(scribe.id()).await.map_err(kind), Err(closed));
    assert_eq!(store.probe().await.map_err(kind), Err(closed));
    assert_eq!(store.revoked().await.map_err(kind), Err(closed));
}
