//! A session written to a file while something happens to its log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use keel_store::{BoxFuture, PageLimit, Store, StoreError, conformance::Scribe};
use keel_wire::{
    CommandId, Event, Message, ParticipantId, Seq, SessionCreated, SessionId, Snapshot, StreamId,
    record::{StoredEvent, StoredSnapshot, TurnMemory},
};
use serde_json::Value;

use crate::{
    aside::{self, Moment},
    finding::unchunked,
    support::{Answer, Host},
};

/// Positions of the session that is written.
const HEAD: u64 = 2_500;
/// Up to here its log is trimmed.
const TRIMMED: u64 = 2_000;

fn seq(n: u64) -> Seq {
    Seq::new(n).expect("small")
}

/// Trims the log behind whoever has read its first page, once.
struct TrimsInBetween(Arc<AtomicBool>);

impl Moment for TrimsInBetween {
    fn events(
        &self,
        store: &Arc<dyn Store>,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<Result<Vec<StoredEvent>, StoreError>> {
        let (store, session) = (Arc::clone(store), session.clone());
        let now = after > Seq::ZERO && self.0.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if now {
                assert!(after < seq(TRIMMED), "what is trimmed was not read yet");
                store.trim(&session, seq(TRIMMED)).await?;
            }
            store.events(&session, after, limit).await
        })
    }
}

/// A session of many messages, in the store of a server that has not begun.
async fn written(store: &Arc<dyn Store>) -> SessionId {
    let mut scribe = Scribe::new(store, 1);
    scribe.row.subject = "ann".to_owned();
    scribe.row.backend = "echo".to_owned();
    let created: Event = SessionCreated {
        backend: "echo".to_owned(),
        project: None,
        busy: keel_wire::BusyPolicy::Reject,
        title: None,
        cwd: None,
        tags: Vec::new(),
    }
    .into();
    let message = |n: u64| -> Event {
        let command = CommandId {
            stream: StreamId::from_bits(1),
            n: seq(n),
        };
        Message {
            by: ParticipantId::from_bits(1),
            command,
            data: n.into(),
        }
        .into()
    };
    let events: Vec<Event> = std::iter::once(created)
        .chain((2..=HEAD).map(message))
        .collect();
    let mut batch = scribe.batch(&events);
    let mut snapshot = Snapshot::default();
    for event in events.iter().take(usize::try_from(TRIMMED).expect("small")) {
        snapshot.apply(event);
    }
    batch.snapshot = Some(Box::new(StoredSnapshot {
        seq: seq(TRIMMED),
        snapshot,
        prompts: Vec::new(),
        begin_by: Vec::new(),
        crashed: Vec::new(),
        memory: TurnMemory::default(),
    }));
    scribe.commit(batch).await.expect("written");
    scribe.id().clone()
}

/// What an export says, and whether it came to its end.
async fn export(host: &Host, session: &SessionId, format: &str) -> (Answer, bool) {
    let path = format!("/v1/sessions/{session}/export?format={format}");
    let answer = host.get(&path, &host.token()).await;
    let whole = answer.body.ends_with("\r\n0\r\n\r\n");
    (answer, whole)
}

/// Positions of an export as lines.
fn positions(answer: &Answer) -> Vec<u64> {
    let text = unchunked(&answer.body);
    let lines = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["to"].as_u64()
    });
    lines.flatten().collect()
}

#[tokio::test]
async fn an_export_whose_log_is_trimmed_meanwhile_breaks_off_and_passes_for_no_whole_one_i6() {
    for format in ["jsonl", "markdown"] {
        let trims = Arc::new(AtomicBool::new(false));
        let moment = TrimsInBetween(Arc::clone(&trims));
        let (server, store, dir) = aside::server(|_| (), moment).await;
        let session = written(&store).await;
        let host = aside::started(server, dir);
        let (answer, whole) = export(&host, &session, format).await;
        assert!(whole, "{format}");
        if format == "jsonl" {
            assert_eq!(positions(&answer), (1..=HEAD).collect::<Vec<_>>());
        }
        trims.store(true, Ordering::SeqCst);
        let (answer, whole) = export(&host, &session, format).await;
        assert!(!trims.load(Ordering::SeqCst), "it was trimmed in between");
        // How much of it had left by then is nobody's promise.
        assert!(!whole, "{format}: {} bytes", answer.body.len());
        // One that begins now begins where the log does, and says so.
        let (answer, whole) = export(&host, &session, format).await;
        assert!(whole, "{format}");
        if format == "jsonl" {
            assert_eq!(positions(&answer), (TRIMMED + 1..=HEAD).collect::<Vec<_>>());
        } else {
            let note = format!("up to position {TRIMMED} is no longer kept");
            assert!(answer.body.contains(&note), "{}", answer.body);
        }
        host.close().await;
    }
}
