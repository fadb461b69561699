//! The store in memory keeps the contract, and its faults are what they say.

use std::sync::Arc;

use keel_store::{
    CommitError, Health, Memory, Store, StoreErrorKind,
    conformance::{self, Factory, Scribe},
    memory::CommitFault,
};
use keel_wire::{BusyPolicy, Event, SessionCreated};

struct InMemory;

impl Factory for InMemory {
    type Place = Memory;

    fn place(&self) -> Memory {
        Memory::new()
    }

    fn open(&self, place: &Memory) -> Arc<dyn Store> {
        Arc::new(place.reopen())
    }
}

fn created() -> Event {
    let backend = "agent".to_owned();
    SessionCreated {
        backend,
        project: None,
        busy: BusyPolicy::Reject,
        title: None,
        cwd: None,
        tags: Vec::new(),
    }
    .into()
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    conformance::run(&InMemory).await;
}

#[tokio::test]
async fn chosen_faults_happen_in_order_and_head_settles_unknown() {
    let memory = Arc::new(Memory::new());
    let store: Arc<dyn Store> = memory.clone();
    let faults = memory.faults();
    faults.fail_next(CommitFault::NotWritten(StoreErrorKind::Full));
    faults.fail_next(CommitFault::UnknownNotWritten);
    faults.fail_next(CommitFault::UnknownWritten);
    let batch = Scribe::new(&store, 1).batch(&[created()]);
    let id = batch.row.session.clone();

    let answer = store.commit(batch.clone().into()).await;
    assert!(matches!(answer, Err(CommitError::NotWritten(e)) if e.kind == StoreErrorKind::Full));
    assert!(matches!(
        store.commit(batch.clone().into()).await,
        Err(CommitError::Unknown(_))
    ));
    assert_eq!(store.head(&id).await, Ok(None));
    assert!(matches!(
        store.commit(batch.clone().into()).await,
        Err(CommitError::Unknown(_))
    ));
    assert!(matches!(store.head(&id).await, Ok(Some(_))));
    assert!(matches!(
        store.commit(batch.into()).await,
        Err(CommitError::Conflict { .. })
    ));
}

#[tokio::test]
async fn a_refusing_store_says_so_and_heals() {
    let memory = Arc::new(Memory::new());
    let store: Arc<dyn Store> = memory.clone();
    let mut scribe = Scribe::new(&store, 1);
    memory.faults().refuse(StoreErrorKind::Full);
    assert!(matches!(store.health(), Health::ReadOnly { .. }));
    assert_eq!(
        store.probe().await.map_err(|error| error.kind),
        Err(StoreErrorKind::Full)
    );
    assert!(scribe.commit(scribe.batch(&[created()])).await.is_err());
    memory.faults().heal();
    assert_eq!((store.health(), store.probe().await), (Health::Ok, Ok(())));
    scribe.write(&[created()]).await;
}

#[tokio::test]
async fn a_gate_holds_commits_in_order_until_it_is_dropped() {
    let memory = Arc::new(Memory::new());
    let store: Arc<dyn Store> = memory.clone();
    let scribe = Scribe::new(&store, 1);
    let held = memory.faults().hold();
    drop(store.commit(scribe.batch(&[created()]).into()));
    let head = store.head(scribe.id());
    assert_eq!(memory.faults().waiting(), 2);
    assert_eq!(store.load(scribe.id()).await, Ok(None), "reads go on");
    drop(held);
    assert!(matches!(head.await, Ok(Some(_))));
}

#[tokio::test]
async fn an_older_handle_is_fenced_s20() {
    let older = Memory::new();
    let newer = older.reopen();
    let older: Arc<dyn Store> = Arc::new(older);
    let scribe = Scribe::new(&older, 1);
    assert_eq!(
        older.commit(scribe.batch(&[created()]).into()).await,
        Err(CommitError::Fenced)
    );
    assert!(newer.fence() > older.fence());
}
