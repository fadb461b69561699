//! Writes believable sessions, so that checks speak of promises and not of fields.

use std::sync::Arc;

use keel_wire::{
    Action, ActionId, BusyPolicy, CommandId, Epoch, Event, ParticipantId, ParticipantJoined, Role,
    Seq, SessionCreated, SessionId, Snapshot, StreamId, Text, TurnAccepted, TurnEnd, TurnEnded,
    TurnId, TurnStarted, TurnWaiting,
    record::{About, Batch, SessionRow, StoredEvent, StoredSnapshot},
};

use crate::{CommitError, Store};

/// Writes one session to a store and remembers where its log ends.
pub struct Scribe {
    store: Arc<dyn Store>,
    known: bool,
    /// The row that the next batch carries; its head is set by the scribe.
    pub row: SessionRow,
}

impl Scribe {
    /// For the session of that number, of which nothing is written.
    #[must_use]
    pub fn new(store: &Arc<dyn Store>, number: u128) -> Self {
        let row = SessionRow {
            session: SessionId::from_bits(number),
            subject: "ada".to_owned(),
            backend: "agent".to_owned(),
            project: None,
            created_at: 1_000,
            last_activity: 1_000,
            ends_by: None,
            epoch: Epoch(Seq::ZERO.next()),
            head: Seq::ZERO,
            trimmed: Seq::ZERO,
            open_turn: false,
            waiting: false,
            ended: false,
            slot: None,
            about: About::default(),
        };
        Self {
            store: store.clone(),
            known: false,
            row,
        }
    }

    /// For a session that the store has, as its row says.
    #[must_use]
    pub fn of(store: &Arc<dyn Store>, row: SessionRow) -> Self {
        Self {
            store: store.clone(),
            known: true,
            row,
        }
    }

    /// The next batch, with those events.
    #[must_use]
    pub fn batch(&self, events: &[Event]) -> Batch {
        let mut head = self.row.head;
        let stored = events.iter().map(|event| {
            head = head.next();
            StoredEvent {
                from: head,
                to: head,
                kind: event.name().into(),
                data: event.encode_data(),
            }
        });
        let events = stored.collect();
        Batch {
            fence: self.store.fence(),
            expected: self.known.then_some(self.row.head),
            row: SessionRow {
                head,
                ..self.row.clone()
            },
            events,
            receipts: Vec::new(),
            streams: Vec::new(),
            streams_dropped: Vec::new(),
            snapshot: None,
            compact: None,
            search: Vec::new(),
        }
    }

    /// Commits a batch, and follows it if it was written.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let row = batch.row.clone();
        self.store.commit(batch.into()).await?;
        self.row = row;
        self.known = true;
        Ok(())
    }

    /// Commits those events.
    ///
    /// # Panics
    /// When the store refuses.
    pub async fn write(&mut self, events: &[Event]) {
        let batch = self.batch(events);
        self.commit(batch)
            .await
            .expect("nothing is in the way of this commit");
    }

    /// The session.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.row.session
    }
}

pub(super) fn turn(number: u128) -> TurnId {
    TurnId::from_bits(number)
}

pub(super) fn created() -> Event {
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

pub(super) fn joined(subject: &str) -> Event {
    let participant = ParticipantId::from_bits(1);
    ParticipantJoined {
        participant,
        role: Role::Owner,
        subject: subject.to_owned(),
    }
    .into()
}

pub(super) fn text(number: u128, at_byte: u64, data: &str) -> Event {
    Text {
        turn: turn(number),
        attempt: 1,
        at_byte,
        data: data.to_owned(),
    }
    .into()
}

/// A turn of so many text events, cut once by another event; it ends, if `ended`.
pub(super) fn whole_turn(number: u128, deltas: u64, ended: bool) -> Vec<Event> {
    let command = CommandId {
        stream: StreamId::from_bits(1),
        n: Seq::ZERO.next(),
    };
    let accepted = TurnAccepted {
        turn: turn(number),
        by: ParticipantId::from_bits(1),
        command,
        text: "why?".to_owned(),
        position: 0,
        begin_by: None,
        retry_of: None,
        continues: None,
    };
    let started = TurnStarted {
        turn: turn(number),
        attempt: 1,
        fault: None,
    };
    let mut events = vec![accepted.into(), started.into()];
    let mut at_byte = 0;
    for delta in 0..deltas {
        let data = format!("delta {delta} 🛟; ");
        events.push(text(number, at_byte, &data));
        at_byte += data.len() as u64;
        if delta == deltas / 2 {
            let action = Action {
                id: ActionId::from_bits(1),
                prompt: "may I?".to_owned(),
                options: Vec::new(),
                choices: Vec::new(),
                tool_call: None,
            };
            events.push(
                TurnWaiting {
                    turn: turn(number),
                    action,
                }
                .into(),
            );
        }
    }
    if ended {
        let ended = TurnEnded {
            turn: turn(number),
            attempt: 1,
            end: TurnEnd::Done,
            bytes: at_byte,
            stop_reason: None,
            fault: None,
            forced: false,
        };
        events.push(ended.into());
    }
    events
}

/// The fold of stored events upon a snapshot, if there is one.
pub(super) fn fold(base: Option<&StoredSnapshot>, events: &[StoredEvent]) -> Snapshot {
    let mut fold = base.map_or_else(Snapshot::default, |stored| stored.snapshot.clone());
    for stored in events {
        let event = Event::decode(&stored.kind, stored.data.get()).expect("a stored event decodes");
        fold.apply(&event.expect("its kind is known"));
    }
    fold
}

/// A snapshot of the events, at the end of the last.
pub(super) fn snapshot(events: &[StoredEvent]) -> StoredSnapshot {
    let seq = events.last().expect("a snapshot of something").to;
    StoredSnapshot {
        seq,
        snapshot: fold(None, events),
        prompts: Vec::new(),
        begin_by: Vec::new(),
        crashed: Vec::new(),
        memory: keel_wire::record::TurnMemory::default(),
    }
}
