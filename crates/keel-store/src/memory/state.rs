//! What a [`Memory`](super::Memory) holds, and every change to it.

use std::collections::{BTreeMap, VecDeque};

use keel_wire::{
    HandoverId, ReceiptBody, Seq, SessionId, StreamId, UnixMillis,
    handover::{Handover, Part},
    journal::Entry,
    limits::TEXT_BYTES_MAX,
    record::{
        Batch, Fence, Loaded, LoadedStream, SessionRow, StoredEvent, StoredSnapshot, StreamRow,
        compact,
    },
};

use crate::{
    CommitError, Head, JOURNAL_ENTRIES_MAX, Listing, Page, PageKey, PageLimit, Scope, StoreError,
    check,
};

#[derive(Debug, Default)]
pub(super) struct State {
    fence: Fence,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) handovers: BTreeMap<SessionId, Handover>,
    /// Parts of sessions that are being received, with the offer that they came with.
    pub(super) staged: BTreeMap<SessionId, (HandoverId, Vec<Part>)>,
    revoked: BTreeMap<String, UnixMillis>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) row: SessionRow,
    pub(super) snapshot: Option<StoredSnapshot>,
    /// By the last position that each covers.
    pub(super) events: BTreeMap<Seq, StoredEvent>,
    pub(super) streams: BTreeMap<StreamId, StreamRow>,
    pub(super) receipts: BTreeMap<(StreamId, Seq), ReceiptBody>,
    pub(super) journal: VecDeque<Entry>,
}

impl State {
    pub(super) fn grant(&mut self) -> Fence {
        self.fence.0 += 1;
        self.fence
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence
    }

    /// Takes a batch that is whole in itself.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        let head = self
            .sessions
            .get(&batch.row.session)
            .map(|session| session.row.head);
        if head != batch.expected {
            return Err(CommitError::Conflict { head });
        }
        let id = batch.row.session.clone();
        let session = self
            .sessions
            .entry(id)
            .or_insert_with(|| Session::new(batch.row.clone()));
        session.take(batch);
        Ok(())
    }

    pub(super) fn head(&self, session: &SessionId) -> Option<Head> {
        let row = &self.sessions.get(session)?.row;
        Some(Head {
            epoch: row.epoch,
            seq: row.head,
        })
    }

    pub(super) fn row(&self, session: &SessionId) -> Option<SessionRow> {
        Some(self.sessions.get(session)?.row.clone())
    }

    pub(super) fn load(&self, session: &SessionId) -> Option<Loaded> {
        let mut loaded = self.sessions.get(session).map(Session::load)?;
        loaded.handover = self.handovers.get(session).cloned();
        Some(loaded)
    }

    pub(super) fn events(
        &self,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> Vec<StoredEvent> {
        let Some(session) = self.sessions.get(session) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let fits = |event: &&StoredEvent| {
            let first = bytes == 0;
            bytes += event.cost();
            first || bytes <= limit.bytes
        };
        let from = session.events.range(after.next()..).map(|(_, event)| event);
        from.take(limit.events.max(1))
            .take_while(fits)
            .cloned()
            .collect()
    }

    pub(super) fn unsettled(&self, after: Option<&SessionId>, limit: usize) -> Vec<SessionRow> {
        let rows = self.sessions.values().map(|session| &session.row);
        rows.filter(|row| after.is_none_or(|after| row.session > *after))
            .filter(|row| {
                let owed = !row.ended && (row.open_turn || row.slot.is_some());
                owed || self.is_offered(&row.session)
            })
            .take(limit)
            .cloned()
            .collect()
    }

    pub(super) fn list(&self, listing: &Listing) -> Page {
        let rows = self.sessions.values().map(|session| &session.row);
        let mut rows: Vec<_> = rows
            .filter(|row| match (&listing.scope, &row.project) {
                (Scope::All, _) => true,
                (Scope::Project(one), Some(project)) => one == project,
                (Scope::Projects(set), Some(project)) => set.contains(project),
                (Scope::Project(_) | Scope::Projects(_), None) => false,
            })
            .filter(|row| {
                listing
                    .subject
                    .as_ref()
                    .is_none_or(|subject| *subject == row.subject)
            })
            .filter(|row| {
                listing
                    .before
                    .as_ref()
                    .is_none_or(|before| PageKey::of(row) < *before)
            })
            .cloned()
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(PageKey::of(row)));
        listing.page(rows)
    }

    pub(super) fn append_journal(&mut self, entries: Vec<(SessionId, Entry)>) {
        for (id, entry) in entries {
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            session.journal.push_back(entry);
            if session.journal.len() > JOURNAL_ENTRIES_MAX {
                session.journal.pop_front();
            }
        }
    }

    pub(super) fn journal(&self, session: &SessionId, limit: usize) -> Vec<Entry> {
        let Some(session) = self.sessions.get(session) else {
            return Vec::new();
        };
        let before = session.journal.len().saturating_sub(limit);
        session.journal.iter().skip(before).cloned().collect()
    }

    pub(super) fn delete(&mut self, session: &SessionId) {
        self.sessions.remove(session);
    }

    pub(super) fn trim(&mut self, session: &SessionId, through: Seq) -> Result<(), StoreError> {
        let Some(session) = self.sessions.get_mut(session) else {
            return Ok(());
        };
        check::trim(
            through,
            session.snapshot.as_ref().map(|snapshot| snapshot.seq),
        )?;
        let kept = session.events.split_off(&through.next());
        let dropped = std::mem::replace(&mut session.events, kept);
        if let Some((last, _)) = dropped.last_key_value() {
            session.row.trimmed = *last;
        }
        Ok(())
    }

    pub(super) fn revoke(&mut self, token_id: String, until: UnixMillis) {
        let known = self.revoked.entry(token_id).or_default();
        *known = until.max(*known);
    }

    pub(super) fn revoked(&self) -> Vec<(String, UnixMillis)> {
        self.revoked
            .iter()
            .map(|(token, until)| (token.clone(), *until))
            .collect()
    }
}

impl Session {
    pub(super) fn new(row: SessionRow) -> Self {
        Self {
            row: SessionRow {
                trimmed: Seq::ZERO,
                ..row
            },
            snapshot: None,
            events: BTreeMap::new(),
            streams: BTreeMap::new(),
            receipts: BTreeMap::new(),
            journal: VecDeque::new(),
        }
    }

    fn take(&mut self, batch: Batch) {
        self.row = SessionRow {
            trimmed: self.row.trimmed,
            ..batch.row
        };
        self.events
            .extend(batch.events.into_iter().map(|event| (event.to, event)));
        for receipt in batch.receipts {
            self.receipts
                .insert((receipt.stream, receipt.n), receipt.body);
        }
        for stream in batch.streams {
            let acked =
                |(id, n): &(StreamId, Seq)| *id == stream.stream && *n <= stream.receipts_ack;
            self.receipts.retain(|key, _| !acked(key));
            self.streams.insert(stream.stream.clone(), stream);
        }
        for dropped in batch.streams_dropped {
            self.streams.remove(&dropped);
            self.receipts.retain(|(stream, _), _| *stream != dropped);
        }
        if let Some(snapshot) = batch.snapshot {
            self.snapshot = Some(*snapshot);
        }
        if let Some((from, to)) = batch.compact {
            self.compact(from, to);
        }
    }

    fn compact(&mut self, from: Seq, to: Seq) {
        for (from, to) in check::compactions(from, to, self.snapshot.as_ref().map(|s| s.seq)) {
            let within = |event: &&StoredEvent| event.from >= from && event.to <= to;
            let rows: Vec<_> = self.events.values().filter(within).cloned().collect();
            self.events.retain(|_, event| !within(&&*event));
            self.events.extend(
                compact(&rows, TEXT_BYTES_MAX)
                    .into_iter()
                    .map(|e| (e.to, e)),
            );
        }
    }

    fn load(&self) -> Loaded {
        let base = self
            .snapshot
            .as_ref()
            .map_or(Seq::ZERO, |snapshot| snapshot.seq);
        let receipts_of = |row: &StreamRow| {
            let of = self
                .receipts
                .iter()
                .filter(|((stream, _), _)| *stream == row.stream);
            of.map(|((_, n), body)| (*n, body.clone())).collect()
        };
        let streams = self.streams.values();
        Loaded {
            row: self.row.clone(),
            snapshot: self.snapshot.clone(),
            events: self
                .events
                .range(base.next()..)
                .map(|(_, event)| event.clone())
                .collect(),
            streams: streams
                .map(|row| LoadedStream {
                    row: row.clone(),
                    receipts: receipts_of(row),
                })
                .collect(),
            handover: None,
        }
    }
}
