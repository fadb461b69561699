//! What is committed to a store, and read back from it.
//!
//! One [`Batch`] a commit, all of it or nothing: events, receipts, what was consumed, the session's
//! row with its slot. The store checks two numbers and decides nothing: the fence (is this server
//! still the one?) and the log's end (is this batch the next?).

use serde::{Deserialize, Serialize};

use crate::{
    Epoch, ParticipantId, RawData, ReceiptBody, Seq, SessionId, Snapshot, StreamId, TurnId,
    UnixMillis,
};

/// Grows with each grant of the right to write; a store refuses what carries an older one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence(pub u64);

/// An event as stored: its data is the JSON that goes on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The first position that it covers.
    pub from: Seq,
    /// The last.
    pub to: Seq,
    /// What kind of event.
    pub kind: Box<str>,
    /// The kind's own.
    pub data: RawData,
}

impl StoredEvent {
    /// Bytes that it takes, near enough for bounds.
    #[must_use]
    pub fn cost(&self) -> usize {
        self.kind.len() + self.data.get().len() + 32
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReceipt {
    /// The stream of the SDK instance that sent it.
    pub stream: StreamId,
    /// Its number.
    pub n: Seq,
    /// The answer.
    pub body: ReceiptBody,
}

/// How far the commands of one stream were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRow {
    /// The stream.
    pub stream: StreamId,
    /// Whose it is; a stream is not another participant's to use.
    pub participant: ParticipantId,
    /// Commands up to here were taken.
    pub consumed: Seq,
    /// Receipts up to here are forgotten.
    pub receipts_ack: Seq,
    /// What became of commands up to here that have no receipt is not known.
    pub forgotten: Seq,
}

/// Where a session stands with its backend's capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "place", rename_all = "snake_case")]
pub enum SlotRow {
    /// It holds a slot.
    Held,
    /// It stands in line.
    Waiting {
        /// Lower comes first.
        order: u64,
        /// When it is given up.
        until: UnixMillis,
        /// It had been admitted before: without its place it goes on, without a slot.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
}

/// What people say about a session, to find it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// What a person calls it.
    pub title: Option<String>,
    /// Where its programs work.
    pub cwd: Option<String>,
    /// It is marked to be found soon.
    pub starred: bool,
    /// It is put away.
    pub archived: bool,
    /// Words to find it by.
    pub tags: Vec<String>,
}

/// What was said in a turn, cut to a bound: what a search finds it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchText {
    /// The turn, which has ended.
    pub turn: TurnId,
    /// The beginning of what was asked.
    pub prompt: String,
    /// A part of what was answered.
    pub answer: String,
}

/// What is listed about a session, and needed to bring it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The session.
    pub session: SessionId,
    /// Whose token it was opened with.
    pub subject: String,
    /// What serves it.
    pub backend: String,
    /// The project it belongs to.
    pub project: Option<String>,
    /// When it was opened.
    pub created_at: UnixMillis,
    /// When anything was last committed to it.
    pub last_activity: UnixMillis,
    /// When it must end, if it must.
    pub ends_by: Option<UnixMillis>,
    /// The log.
    pub epoch: Epoch,
    /// The last position of the log.
    pub head: Seq,
    /// Positions up to here are no longer kept.
    pub trimmed: Seq,
    /// A turn is open: without an owner it must be ended at start.
    pub open_turn: bool,
    /// It waits for somebody: a turn for an answer, or the session for a slot.
    pub waiting: bool,
    /// The session is over.
    pub ended: bool,
    /// Where it stands with its backend's capacity.
    pub slot: Option<SlotRow>,
    /// What people say about it.
    pub about: About,
}

/// A fold of the log, kept so that what lies before it may be trimmed and need not be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredSnapshot {
    /// The position that it is the fold up to.
    pub seq: Seq,
    /// The fold.
    pub snapshot: Snapshot,
    /// Prompts of turns that are open, whole, and those of listed turns that are long.
    pub prompts: Vec<(TurnId, String)>,
    /// When turns are no longer to be begun that have not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begin_by: Vec<(TurnId, UnixMillis)>,
    /// Prompts that crashed the program of late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crashed: Vec<CrashedPrompt>,
    /// Which turns are tries at which, and which are not to be remembered.
    #[serde(default, skip_serializing_if = "TurnMemory::is_empty")]
    pub memory: TurnMemory,
}

/// What turns have to do with each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnMemory {
    /// Turns that programs are not to remember.
    pub forgotten: Vec<TurnId>,
    /// Turns, and those that they are another try at, the oldest first.
    pub retries: Vec<(TurnId, TurnId)>,
}

impl TurnMemory {
    const fn is_empty(&self) -> bool {
        self.forgotten.is_empty() && self.retries.is_empty()
    }
}

/// A prompt that crashed the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashedPrompt {
    /// What it is known by.
    pub print: String,
    /// How often.
    pub crashes: u32,
    /// When it last did.
    pub last_at: UnixMillis,
}

/// Everything that one commit writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The right to write.
    pub fence: Fence,
    /// The log's end before this batch; `None` if the session is new.
    pub expected: Option<Seq>,
    /// The session's row after this batch; its `head` is the last event's `to`.
    pub row: SessionRow,
    /// New events, in order, from `expected + 1`.
    pub events: Vec<StoredEvent>,
    /// New receipts.
    pub receipts: Vec<StoredReceipt>,
    /// Streams that moved. Receipts at or below `receipts_ack` are deleted.
    pub streams: Vec<StreamRow>,
    /// Streams that are no longer kept, with their receipts.
    pub streams_dropped: Vec<StreamId>,
    /// A new snapshot, in place of the one before.
    pub snapshot: Option<Box<StoredSnapshot>>,
    /// Text events of this turn, which has ended, may be put together.
    pub compact: Option<(Seq, Seq)>,
    /// What turns that end with this batch are found by.
    pub search: Vec<SearchText>,
}

impl Batch {
    /// Bytes that it takes, near enough for fairness between sessions.
    #[must_use]
    pub fn cost(&self) -> usize {
        let searched = self.search.iter();
        256 + self.events.iter().map(StoredEvent::cost).sum::<usize>()
            + self.receipts.len() * 128
            + searched
                .map(|text| text.prompt.len() + text.answer.len())
                .sum::<usize>()
    }
}

/// A stream with the receipts that are still kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadedStream {
    /// The stream.
    pub row: StreamRow,
    /// Its receipts above `receipts_ack`, in order.
    pub receipts: Vec<(Seq, ReceiptBody)>,
}

/// Everything needed to bring a session into memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The session's row.
    pub row: SessionRow,
    /// Its last snapshot.
    pub snapshot: Option<StoredSnapshot>,
    /// The events above the snapshot, all of them.
    pub events: Vec<StoredEvent>,
    /// Its streams.
    pub streams: Vec<LoadedStream>,
    /// How it was handed from server to server, if it ever was.
    pub handover: Option<crate::handover::Handover>,
}

/// Puts neighbouring text events of one turn and attempt together, up to `bytes_max` of text each.
///
/// What comes out covers exactly the positions that went in. Other events stay as they are.
#[must_use]
pub fn compact(events: &[StoredEvent], bytes_max: usize) -> Vec<StoredEvent> {
    let mut out: Vec<StoredEvent> = Vec::new();
    let mut open: Option<(crate::Text, Seq, Seq)> = None;
    let text_of = |event: &StoredEvent| match crate::Event::decode(&event.kind, event.data.get()) {
        Ok(Some(crate::Event::Text(text))) => Some(text),
        Ok(Some(_) | None) | Err(_) => None,
    };
    let close = |open: &mut Option<(crate::Text, Seq, Seq)>, out: &mut Vec<StoredEvent>| {
        if let Some((text, from, to)) = open.take() {
            let event = crate::Event::from(text);
            out.push(StoredEvent {
                from,
                to,
                kind: event.name().into(),
                data: event.encode_data(),
            });
        }
    };
    for event in events {
        let Some(text) = text_of(event) else {
            close(&mut open, &mut out);
            out.push(event.clone());
            continue;
        };
        match &mut open {
            Some((run, _, to))
                if run.turn == text.turn
                    && run.attempt == text.attempt
                    && run.at_byte + run.data.len() as u64 == text.at_byte
                    && run.data.len() + text.data.len() <= bytes_max =>
            {
                run.data.push_str(&text.data);
                *to = event.to;
            }
            Some(_) | None => {
                close(&mut open, &mut out);
                open = Some((text, event.from, event.to));
            }
        }
    }
    close(&mut open, &mut out);
    out
}
