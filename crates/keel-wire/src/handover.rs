//! How a session is handed from one server to another, as stores keep it and servers say it.
//!
//! Each handing-over has an id and a number that grows by one from offer to offer. Two marks that are
//! kept decide who serves the session: from [`Mark::Offered`] on the old server does nothing with it,
//! and [`Mark::Received`] makes it the new one's. So at most one of them serves it, whichever dies, and
//! the old one finds out by asking again until it is told. A number that was declined or passed is
//! never accepted any more, so that nothing that was long on its way can bring a second owner.

use serde::{Deserialize, Serialize};

use crate::{
    Event, HandoverId, Seq, SessionId,
    journal::Entry,
    record::{LoadedStream, SearchText, SessionRow, StoredEvent, StoredSnapshot},
};

/// Bytes of a prompt, and of an answer, that a turn is found by.
const FOUND_BYTES_MAX: usize = 8 * 1024;

/// What resume keys of a session are made with: it moves with the session, so that they go on being good.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionKey(pub [u8; 32]);

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKey")
    }
}

impl From<SessionKey> for String {
    fn from(key: SessionKey) -> Self {
        use std::fmt::Write;

        let mut text = Self::with_capacity(64);
        for byte in key.0 {
            write!(text, "{byte:02x}").expect("writing to a string");
        }
        text
    }
}

impl TryFrom<String> for SessionKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "want 64 hexadecimal digits";
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(wrong);
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong)?;
        }
        Ok(Self(key))
    }
}

/// One handing-over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Of this session.
    pub session: SessionId,
    /// Names it.
    pub id: HandoverId,
    /// Grows by one from offer to offer of the session, wherever it is.
    pub moves: u64,
}

/// Where a session stands with being handed over, as a store keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Handover {
    /// The number of the last offer that is known here.
    pub moves: u64,
    /// What resume keys of it are made with; absent means what this server makes them with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SessionKey>,
    /// What became of it.
    pub mark: Mark,
}

/// What became of the last offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub enum Mark {
    /// It is offered to another server: whether that has it is to be asked there, until it answers.
    Offered {
        /// The offer.
        id: HandoverId,
        /// Who is offered it, by the name in this server's configuration.
        peer: String,
        /// Where clients find it there.
        address: String,
    },
    /// Another server has it.
    Moved {
        /// The offer.
        id: HandoverId,
        /// Where clients find it.
        address: String,
        /// Whose it is: who may not enter it does not learn where it is.
        row: Box<SessionRow>,
    },
    /// It was received from another server, and is this one's.
    Received {
        /// The offer.
        id: HandoverId,
    },
    /// It is this server's: the other one did not take it.
    Kept,
    /// It was offered to this server, and is never to be accepted any more.
    Declined,
}

impl Handover {
    /// Whether the session is this server's to serve.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        match self.mark {
            Mark::Received { .. } | Mark::Kept => true,
            Mark::Offered { .. } | Mark::Moved { .. } | Mark::Declined => false,
        }
    }
}

/// A part of a session, bounded; together they are all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The first: what came before of the same session is dropped.
    Begin {
        /// The session's row; its `trimmed` says where the events begin.
        row: Box<SessionRow>,
        /// Its last snapshot, with prompts and crashed prompts.
        snapshot: Option<Box<StoredSnapshot>>,
        /// What its resume keys are made with.
        key: SessionKey,
    },
    /// Command streams with their receipts.
    Streams {
        /// Each of another stream, or more receipts of one.
        streams: Vec<LoadedStream>,
    },
    /// Events, each following the one before, across parts.
    Events {
        /// From `trimmed + 1` on.
        events: Vec<StoredEvent>,
    },
    /// What the journal says, oldest first.
    Journal {
        /// The entries.
        entries: Vec<Entry>,
    },
}

impl Part {
    /// Bytes that it takes, near enough for bounds.
    #[must_use]
    pub fn cost(&self) -> usize {
        let json = |value: Result<String, serde_json::Error>| value.map_or(0, |text| text.len());
        match self {
            Self::Begin { snapshot, .. } => 512 + json(serde_json::to_string(snapshot)),
            Self::Streams { streams } => json(serde_json::to_string(streams)),
            Self::Events { events } => events.iter().map(StoredEvent::cost).sum(),
            Self::Journal { entries } => entries.len() * 256,
        }
    }
}

/// Parts that make a session, put together and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// Its row.
    pub row: SessionRow,
    /// Its snapshot.
    pub snapshot: Option<Box<StoredSnapshot>>,
    /// What its resume keys are made with.
    pub key: SessionKey,
    /// All its events.
    pub events: Vec<StoredEvent>,
    /// All its streams.
    pub streams: Vec<LoadedStream>,
    /// Its journal.
    pub entries: Vec<Entry>,
}

impl Whole {
    /// Puts the parts together.
    ///
    /// # Errors
    /// Why they are not all of a session: for people.
    pub fn of(parts: impl IntoIterator<Item = Part>, session: &SessionId) -> Result<Self, String> {
        let mut whole: Option<Self> = None;
        for part in parts {
            match (part, &mut whole) {
                (Part::Begin { row, snapshot, key }, None) if row.session == *session => {
                    whole = Some(Self {
                        row: *row,
                        snapshot,
                        key,
                        events: Vec::new(),
                        streams: Vec::new(),
                        entries: Vec::new(),
                    });
                }
                (Part::Begin { .. }, _) => return Err("it begins twice, or as another".to_owned()),
                (_, None) => return Err("it has no beginning".to_owned()),
                (Part::Streams { streams }, Some(whole)) => {
                    for more in streams {
                        whole.take_stream(more)?;
                    }
                }
                (Part::Events { events }, Some(whole)) => whole.events.extend(events),
                (Part::Journal { entries }, Some(whole)) => whole.entries.extend(entries),
            }
        }
        let whole = whole.ok_or("it has no parts")?;
        whole.check()?;
        Ok(whole)
    }

    /// What its turns are found by, as far as their beginnings are kept.
    #[must_use]
    pub fn searchable(&self) -> Vec<SearchText> {
        let mut open: Vec<(SearchText, u32)> = Vec::new();
        let mut ended = Vec::new();
        let cut = |text: &str| text[..text.floor_char_boundary(FOUND_BYTES_MAX)].to_owned();
        for stored in &self.events {
            match Event::decode(&stored.kind, stored.data.get()) {
                Ok(Some(Event::TurnAccepted(accepted))) => {
                    let text = SearchText {
                        turn: accepted.turn,
                        prompt: cut(&accepted.text),
                        answer: String::new(),
                    };
                    open.push((text, 0));
                }
                Ok(Some(Event::Text(text))) => {
                    let turn = open.iter_mut().find(|(turn, _)| turn.turn == text.turn);
                    let Some((turn, attempt)) = turn else {
                        continue;
                    };
                    if std::mem::replace(attempt, text.attempt) != text.attempt {
                        turn.answer.clear();
                    }
                    let room = FOUND_BYTES_MAX.saturating_sub(turn.answer.len());
                    let end = text.data.floor_char_boundary(room);
                    turn.answer.push_str(&text.data[..end]);
                }
                Ok(Some(Event::TurnEnded(over))) => {
                    if let Some(at) = open.iter().position(|(turn, _)| turn.turn == over.turn) {
                        ended.push(open.remove(at).0);
                    }
                }
                Ok(Some(_) | None) | Err(_) => {}
            }
        }
        ended
    }

    fn take_stream(&mut self, more: LoadedStream) -> Result<(), String> {
        let known = self.streams.last_mut();
        match known.filter(|known| known.row.stream == more.row.stream) {
            Some(known) if known.row == more.row => known.receipts.extend(more.receipts),
            Some(_) => return Err(format!("two streams {}", more.row.stream)),
            None => self.streams.push(more),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let mut end = self.row.trimmed;
        for event in &self.events {
            if event.from.get() != end.get() + 1 || event.to < event.from {
                return Err(format!("an event of {} does not follow {end}", event.from));
            }
            end = event.to;
        }
        if end != self.row.head || end == Seq::ZERO {
            return Err(format!("it ends at {end}, not at {}", self.row.head));
        }
        let folded = self.snapshot.as_ref().map_or(Seq::ZERO, |kept| kept.seq);
        if folded < self.row.trimmed || folded > end {
            return Err(format!("its snapshot at {folded} is not of this log"));
        }
        Ok(())
    }
}

/// What a server asks of the one that it hands a session over to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Keep this part.
    Keep(Box<Part>),
    /// All parts are there: take it, all of it or nothing.
    Accept,
    /// Say whether it was taken; if not, it never is any more.
    Settle,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The part is kept.
    Kept,
    /// The session is the answering server's.
    Accepted,
    /// It is not, and this offer never makes it so.
    Declined {
        /// Why, for people.
        why: String,
    },
}
