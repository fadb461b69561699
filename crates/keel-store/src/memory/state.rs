//! What a [`Memory`](super::Memory) holds, and every change to it.

use std::collections::{BTreeMap, VecDeque};

use keel_wire::{
    HandoverId, ReceiptBody, Seq, SessionId, StreamId, TurnId, UnixMillis,
    handover::{Handover, Part},
    journal::Entry,
    limits::TEXT_BYTES_MAX,
    record::{
        Batch, Fence, Loaded, LoadedStream, SessionRow, StoredEvent, StoredSnapshot, StreamRow,
        compact,
    },
};

use crate::{
    COUNT_MAX, CommitError, Counts, Found, Head, Hit, JOURNAL_ENTRIES_MAX, Listing, Page, PageKey,
    PageLimit, Scope, Search, StoreError,
    bounds::SEARCH_TURNS_MAX,
    check,
    search::{Words, said},
};

/// Bytes of an excerpt.
const EXCERPT_BYTES: usize = 160;
/// Turns of a session that are found.
const TURNS_MAX: usize = SEARCH_TURNS_MAX as usize;

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
    /// What turns are found by, the oldest first.
    said: VecDeque<(TurnId, String)>,
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

    pub(super) fn list(&self, listing: &Listing) -> Result<Page, StoreError> {
        let below = |row: &&SessionRow| {
            let before = listing.before.as_ref();
            before.is_none_or(|before| PageKey::of(row) < *before)
        };
        let mut rows: Vec<_> = self
            .of(&listing.scope, listing.subject.as_deref())
            .map(|session| &session.row)
            .filter(below)
            .cloned()
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(PageKey::of(row)));
        listing.page(rows.into_iter().map(Ok))
    }

    /// The sessions of a scope, of one subject or of all.
    fn of<'s>(
        &'s self,
        scope: &'s Scope,
        subject: Option<&'s str>,
    ) -> impl Iterator<Item = &'s Session> {
        self.sessions
            .values()
            .filter(move |session| scope.takes(&session.row))
            .filter(move |session| subject.is_none_or(|who| who == session.row.subject))
    }

    pub(super) fn counts(&self, scope: &Scope, subject: Option<&str>) -> Counts {
        let mut rows: Vec<_> = self
            .of(scope, subject)
            .map(|session| &session.row)
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(PageKey::of(row)));
        let mut counts = Counts {
            more: rows.len() > COUNT_MAX,
            ..Counts::default()
        };
        for row in rows.into_iter().take(COUNT_MAX) {
            counts.count(row);
        }
        counts
    }

    pub(super) fn search(&self, search: &Search) -> Result<Found, StoreError> {
        let words = search.words()?;
        let mut hits: Vec<Hit> = self
            .of(&search.scope, search.subject.as_deref())
            .filter(|session| search.takes(&session.row))
            .filter_map(|session| session.find(&words))
            .collect();
        hits.sort_by_key(|hit| std::cmp::Reverse(PageKey::of(&hit.row)));
        let more = hits.len() > search.sessions_max();
        hits.truncate(search.sessions_max());
        Ok(Found { hits, more })
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
            said: VecDeque::new(),
        }
    }

    pub(super) fn take(&mut self, batch: Batch) {
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
        let said = batch
            .search
            .iter()
            .map(|text| (text.turn.clone(), said(text)));
        self.said.extend(said);
        let surplus = self.said.len().saturating_sub(TURNS_MAX);
        self.said.drain(..surplus);
    }

    /// Where the words are: in the newest turn that has all of them, else in the title.
    fn find(&self, words: &Words) -> Option<Hit> {
        let turns = self.said.iter().rev();
        let mut places = turns.map(|(turn, text)| (Some(turn), text.as_str()));
        let found = places.find_map(|(turn, text)| Some((turn, text, words.find(text)?)));
        let (turn, text, at) = found.or_else(|| {
            let title = self.row.about.title.as_deref()?;
            Some((None, title, words.find(title)?))
        })?;
        let from = text.floor_char_boundary(at.saturating_sub(EXCERPT_BYTES / 2));
        let to = text.floor_char_boundary(from + EXCERPT_BYTES);
        let ellipsis = |cut: bool| if cut { "…" } else { "" };
        Some(Hit {
            row: self.row.clone(),
            turn: turn.cloned(),
            excerpt: format!(
                "{}{}{}",
                ellipsis(from > 0),
                &text[from..to],
                ellipsis(to < text.len())
            ),
        })
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
