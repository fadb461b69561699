//! A store that keeps its promises and nothing more.
//!
//! A commit is acknowledged when it is synced. Before that a crash may or may not have let it
//! through. It refuses, is slow, and answers that it does not know; whoever loads a session has the
//! right to write it, and who had it before is refused.

use std::{collections::BTreeMap, sync::Arc};

use keel_core::node::{CommitFailure, Input};
use keel_wire::{
    Seq, SessionId, StreamId,
    limits::TEXT_BYTES_MAX,
    record::{
        Batch, Fence, Loaded, LoadedStream, SessionRow, SlotRow, StoredEvent, StoredSnapshot,
        compact,
    },
};

use crate::{
    archive::{Archive, Emitted},
    chance::Chance,
    mix::{MS, StoreMix},
};

/// What becomes of a commit, decided when it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Written,
    Refused,
    WrittenUnknown,
    LostUnknown,
}

/// A commit under way.
#[derive(Debug)]
struct Pending {
    session: SessionId,
    n: u64,
    batch: Arc<Batch>,
    fate: Fate,
    server: usize,
    /// Whether a crash before it is acknowledged lets it through.
    survives: bool,
}

#[derive(Debug)]
struct Kept {
    row: SessionRow,
    events: BTreeMap<Seq, StoredEvent>,
    snapshot: Option<StoredSnapshot>,
    streams: BTreeMap<StreamId, LoadedStream>,
    right: Fence,
    archive: Archive,
    written_at: u64,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Store {
    kept: BTreeMap<SessionId, Kept>,
    fence: u64,
    pending: BTreeMap<u64, Pending>,
    next: u64,
    /// When the last operation of each session is over: they are done in order.
    over_at: BTreeMap<SessionId, u64>,
    pub(crate) refuses_until: u64,
    pub(crate) slow_until: u64,
    pub(crate) sick: bool,
    pub(crate) broken: Option<String>,
    /// A planted bug.
    forgets_consumed: bool,
}

impl Store {
    /// An empty store that may misbehave until it is told not to.
    pub(crate) fn new(forgets_consumed: bool) -> Self {
        Self {
            sick: true,
            forgets_consumed,
            ..Self::default()
        }
    }

    /// The right to write, to a process that opens the store.
    pub(crate) fn grant(&mut self) -> Fence {
        self.fence += 1;
        Fence(self.fence)
    }

    pub(crate) fn archive(&self, session: &SessionId) -> Option<&Archive> {
        self.kept.get(session).map(|kept| &kept.archive)
    }

    pub(crate) fn archives(&self) -> impl Iterator<Item = (&SessionId, &Archive)> {
        self.kept.iter().map(|(id, kept)| (id, &kept.archive))
    }

    pub(crate) fn trimmed(&self, session: &SessionId) -> u64 {
        self.kept
            .get(session)
            .map_or(0, |kept| kept.row.trimmed.get())
    }

    pub(crate) fn head_of(&self, session: &SessionId) -> u64 {
        self.kept.get(session).map_or(0, |kept| kept.row.head.get())
    }

    /// Whether a session's row says that it has a slot.
    pub(crate) fn holds_slot(&self, session: &SessionId) -> bool {
        let row = self.kept.get(session).map(|kept| &kept.row);
        row.is_some_and(|row| row.slot == Some(SlotRow::Held))
    }

    /// When a log was last written.
    pub(crate) fn last_write(&self, session: &SessionId) -> u64 {
        self.kept.get(session).map_or(0, |kept| kept.written_at)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When an operation on a session is over.
    pub(crate) fn takes(
        &mut self,
        now: u64,
        session: &SessionId,
        mix: &StoreMix,
        chance: &mut Chance,
    ) -> u64 {
        let slow = now < self.slow_until;
        let (low, high) = if slow {
            (300 * MS, 2_500 * MS)
        } else {
            mix.latency
        };
        let over = self.over_at.entry(session.clone()).or_default();
        *over = (now + chance.between(low, high)).max(*over + 1);
        *over
    }

    /// Takes a commit on; its name, by which it is done.
    pub(crate) fn begin(
        &mut self,
        now: u64,
        server: usize,
        (session, n, batch): (SessionId, u64, Arc<Batch>),
        mix: &StoreMix,
        chance: &mut Chance,
    ) -> (u64, Fate) {
        let refuses = now < self.refuses_until || (self.sick && chance.permille(mix.not_written));
        let fate = if refuses {
            Fate::Refused
        } else if self.sick && chance.permille(mix.unknown) {
            chance.pick(&[Fate::WrittenUnknown, Fate::LostUnknown])
        } else {
            Fate::Written
        };
        self.next += 1;
        let pending = Pending {
            session,
            n,
            batch,
            fate,
            server,
            survives: chance.permille(500),
        };
        self.pending.insert(self.next, pending);
        (self.next, fate)
    }

    /// Does a commit, and answers it. `None` if its process is gone.
    pub(crate) fn finish(&mut self, now: u64, id: u64, emitted: &Emitted) -> Option<Input> {
        let pending = self.pending.remove(&id)?;
        let error = "the simulated disk".to_owned();
        let Pending {
            session,
            n,
            batch,
            fate,
            ..
        } = pending;
        let failure = match fate {
            Fate::Written => self.write(now, &batch, emitted).err(),
            Fate::Refused => Some(CommitFailure::NotWritten { error }),
            Fate::WrittenUnknown => Some(match self.write(now, &batch, emitted) {
                Ok(()) => CommitFailure::Unknown { error },
                Err(failure) => failure,
            }),
            Fate::LostUnknown => Some(CommitFailure::Unknown { error }),
        };
        Some(match failure {
            None => Input::Committed { session, n },
            Some(failure) => Input::CommitFailed {
                session,
                n,
                failure,
            },
        })
    }

    /// A process is killed: of what it had not heard of, some was written.
    pub(crate) fn crash(&mut self, now: u64, server: usize, emitted: &Emitted) {
        let ids: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.server == server)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(pending) = self.pending.remove(&id)
                && pending.survives
                && pending.fate != Fate::Refused
            {
                let _ = self.write(now, &pending.batch, emitted);
            }
        }
    }

    fn write(&mut self, now: u64, batch: &Batch, emitted: &Emitted) -> Result<(), CommitFailure> {
        let id = &batch.row.session;
        let head = self.kept.get(id).map(|kept| kept.row.head);
        if self
            .kept
            .get(id)
            .is_some_and(|kept| kept.right > batch.fence)
        {
            return Err(CommitFailure::Fenced);
        }
        if head != batch.expected {
            return Err(CommitFailure::Conflict);
        }
        let kept = self.kept.entry(id.clone()).or_insert_with(|| Kept {
            row: SessionRow {
                trimmed: Seq::ZERO,
                ..batch.row.clone()
            },
            events: BTreeMap::new(),
            snapshot: None,
            streams: BTreeMap::new(),
            right: batch.fence,
            archive: Archive::new(),
            written_at: now,
        });
        kept.written_at = now;
        kept.right = batch.fence;
        for event in &batch.events {
            if let Err(broken) = kept.archive.take(now, event, emitted) {
                self.broken.get_or_insert(broken);
            }
            kept.events.insert(event.to, event.clone());
        }
        if batch.row.head.get() != kept.archive.head() {
            self.broken
                .get_or_insert_with(|| "the row's head is not the log's".to_owned());
        }
        kept.row = SessionRow {
            trimmed: kept.row.trimmed,
            ..batch.row.clone()
        };
        kept.take_rest(batch);
        Ok(())
    }

    pub(crate) fn rows(&self, after: Option<&SessionId>, limit: usize) -> Vec<SessionRow> {
        let rows = self.kept.values().map(|kept| &kept.row);
        rows.filter(|row| after.is_none_or(|after| row.session > *after))
            .filter(|row| !row.ended && (row.open_turn || row.slot.is_some()))
            .take(limit)
            .cloned()
            .collect()
    }

    /// A session, to a process that has the right to write it from here on.
    pub(crate) fn load(&mut self, session: &SessionId, fence: Fence) -> Option<Box<Loaded>> {
        let kept = self.kept.get_mut(session)?;
        kept.right = kept.right.max(fence);
        let base = kept
            .snapshot
            .as_ref()
            .map_or(Seq::ZERO, |stored| stored.seq);
        let mut streams: Vec<LoadedStream> = kept.streams.values().cloned().collect();
        if self.forgets_consumed {
            for stream in &mut streams {
                if let Some((last, _)) = stream.receipts.pop() {
                    stream.row.consumed = seq_before(last);
                }
            }
        }
        Some(Box::new(Loaded {
            row: kept.row.clone(),
            snapshot: kept.snapshot.clone(),
            events: kept
                .events
                .range(base.next()..)
                .map(|(_, event)| event.clone())
                .collect(),
            streams,
            handover: None,
        }))
    }

    /// Where a log ends, to who has the right to write it; to others nothing that they could take
    /// for their own.
    pub(crate) fn head(&self, session: &SessionId, fence: Fence) -> Option<Seq> {
        let kept = self.kept.get(session)?;
        (kept.right <= fence).then_some(kept.row.head)
    }

    pub(crate) fn page(
        &self,
        session: &SessionId,
        after: Seq,
        events: usize,
        bytes: usize,
    ) -> Vec<StoredEvent> {
        let Some(kept) = self.kept.get(session) else {
            return Vec::new();
        };
        let mut spent = 0;
        let from = kept.events.range(after.next()..).map(|(_, event)| event);
        from.take(events.max(1))
            .take_while(|event| {
                let first = spent == 0;
                spent += event.cost();
                first || spent <= bytes
            })
            .cloned()
            .collect()
    }

    pub(crate) fn trim(&mut self, session: &SessionId, through: Seq) {
        let Some(kept) = self.kept.get_mut(session) else {
            return;
        };
        let above = kept
            .snapshot
            .as_ref()
            .map_or(Seq::ZERO, |stored| stored.seq);
        if through > above {
            self.broken
                .get_or_insert_with(|| "trimmed above the snapshot".to_owned());
            return;
        }
        let left = kept.events.split_off(&through.next());
        let gone = std::mem::replace(&mut kept.events, left);
        if let Some((last, _)) = gone.last_key_value() {
            kept.row.trimmed = *last;
        }
    }
}

fn seq_before(seq: Seq) -> Seq {
    Seq::new(seq.get().saturating_sub(1)).unwrap_or_default()
}

impl Kept {
    fn take_rest(&mut self, batch: &Batch) {
        for row in &batch.streams {
            let stream = self
                .streams
                .entry(row.stream.clone())
                .or_insert_with(|| LoadedStream {
                    row: row.clone(),
                    receipts: Vec::new(),
                });
            stream.row = row.clone();
            stream.receipts.retain(|(n, _)| *n > row.receipts_ack);
        }
        for receipt in &batch.receipts {
            if let Some(stream) = self.streams.get_mut(&receipt.stream) {
                stream.receipts.retain(|(n, _)| *n != receipt.n);
                stream.receipts.push((receipt.n, receipt.body.clone()));
            }
        }
        for stream in &batch.streams_dropped {
            self.streams.remove(stream);
        }
        if let Some(snapshot) = &batch.snapshot {
            self.snapshot = Some((**snapshot).clone());
        }
        if let Some((from, to)) = batch.compact {
            self.compact(from, to);
        }
    }

    /// Puts text together, but never across the snapshot's position.
    fn compact(&mut self, from: Seq, to: Seq) {
        let base = self
            .snapshot
            .as_ref()
            .map_or(Seq::ZERO, |stored| stored.seq);
        for above in [false, true] {
            let within = |event: &StoredEvent| {
                event.from >= from && event.to <= to && (event.to > base) == above
            };
            let rows: Vec<StoredEvent> = self
                .events
                .values()
                .filter(|event| within(event))
                .cloned()
                .collect();
            self.events.retain(|_, event| !within(event));
            let rows = compact(&rows, TEXT_BYTES_MAX);
            self.events
                .extend(rows.into_iter().map(|event| (event.to, event)));
        }
    }
}
