//! Events into the fold: each position once, in order, and nothing passed over unseen.
//!
//! A frame covers a range. The next one begins at cursor + 1; one that begins earlier repeats what is
//! known (a resend, or text that was put together meanwhile) and is cut to what is new; one that
//! begins later is a hole, which only a new connection can fill.

use keel_wire::{Cursor, Epoch, EventFrame, Gap, Range, Seq, Snapshot, Text, limits::INTEGER_MAX};

use super::LogEvent;
use crate::Instant;

/// What has been applied.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pub(super) cursor: Cursor,
    pub(super) snapshot: Snapshot,
    /// Positions since the server was last told the cursor.
    pub(super) unacked: u64,
    /// When that was.
    pub(super) acked_at: Option<Instant>,
    pub(super) duplicates: u64,
}

/// What became of an event frame.
#[derive(Debug)]
pub(super) enum Applied {
    /// New, as far as `range` says.
    New {
        range: Range,
        event: Box<LogEvent>,
        /// What is wrong with its data, where it had to be told raw.
        malformed: Option<String>,
    },
    /// All of it was known.
    Known,
}

impl Fold {
    pub(super) fn at(cursor: Cursor, snapshot: Snapshot) -> Self {
        Self {
            cursor,
            snapshot,
            ..Self::default()
        }
    }

    /// Moves on by one frame of the log `epoch`.
    ///
    /// # Errors
    /// With what is wrong, when it does not follow.
    pub(super) fn event(&mut self, epoch: Epoch, frame: EventFrame) -> Result<Applied, String> {
        let cursor = self.cursor.seq;
        if frame.from > frame.to || frame.from == Seq::ZERO {
            return Err(format!("an event covers {} to {}", frame.from, frame.to));
        }
        if epoch != self.cursor.epoch {
            return Err("an event of another epoch came before its snapshot".to_owned());
        }
        if frame.to <= cursor {
            self.duplicates += 1;
            return Ok(Applied::Known);
        }
        if frame.from > cursor.next() {
            return Err(format!("an event at {} follows {cursor}", frame.from));
        }
        let (event, malformed) = match keel_wire::Event::decode(&frame.kind, frame.data.get()) {
            Ok(Some(event)) if !is_sound(&event) => (None, Some("a number is out of range".into())),
            Ok(event) => (event, None),
            Err(error) => (None, Some(error.to_string())),
        };
        self.cursor.seq = frame.to;
        self.unacked += frame.to.since(cursor);
        let range = Range {
            from: cursor.next(),
            to: frame.to,
        };
        let event = match event {
            Some(keel_wire::Event::Text(text)) if frame.from <= cursor => match self.cut(text) {
                Some(text) => keel_wire::Event::from(text),
                None => return Ok(Applied::Known),
            },
            Some(event) => event,
            None => {
                let event = Box::new(LogEvent::Unknown {
                    kind: frame.kind,
                    data: frame.data,
                });
                return Ok(Applied::New {
                    range,
                    event,
                    malformed,
                });
            }
        };
        self.snapshot.apply(&event);
        let event = Box::new(LogEvent::Known(event));
        Ok(Applied::New {
            range,
            event,
            malformed,
        })
    }

    /// What of a text is beyond the text that is known.
    fn cut(&self, mut text: Text) -> Option<Text> {
        let Some(view) = self.snapshot.turn(&text.turn) else {
            return Some(text);
        };
        if view.attempt != text.attempt || view.bytes <= text.at_byte {
            return Some(text);
        }
        let known = usize::try_from(view.bytes - text.at_byte).unwrap_or(usize::MAX);
        let rest = text
            .data
            .get(known..)
            .filter(|rest| !rest.is_empty())?
            .to_owned();
        text.at_byte = view.bytes;
        text.data = rest;
        Some(text)
    }

    /// Puts a snapshot in the place of what lies before it. False when all of that is known.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(super) fn gap(&mut self, gap: &Gap) -> Result<bool, String> {
        if gap.from > gap.to || gap.snapshot.turns_ended > INTEGER_MAX {
            return Err(format!("a gap covers {} to {}", gap.from, gap.to));
        }
        if gap.epoch == self.cursor.epoch && gap.to <= self.cursor.seq {
            self.duplicates += 1;
            return Ok(false);
        }
        self.cursor = Cursor {
            epoch: gap.epoch,
            seq: gap.to,
        };
        self.snapshot = gap.snapshot.clone();
        self.unacked += 1;
        Ok(true)
    }

    /// Forgets everything, because another participant's log begins.
    pub(super) fn start(&mut self, epoch: Epoch) {
        self.cursor = Cursor {
            epoch,
            seq: Seq::ZERO,
        };
        self.snapshot = Snapshot::default();
    }
}

/// Whether the fold may count with it.
const fn is_sound(event: &keel_wire::Event) -> bool {
    match event {
        keel_wire::Event::Text(text) => text.at_byte <= INTEGER_MAX,
        keel_wire::Event::SessionCreated(_)
        | keel_wire::Event::ParticipantJoined(_)
        | keel_wire::Event::ParticipantLeft(_)
        | keel_wire::Event::ParamsChanged(_)
        | keel_wire::Event::ParamsApplied(_)
        | keel_wire::Event::Message(_)
        | keel_wire::Event::TurnAccepted(_)
        | keel_wire::Event::TurnStarted(_)
        | keel_wire::Event::Item(_)
        | keel_wire::Event::TurnWaiting(_)
        | keel_wire::Event::TurnAnswered(_)
        | keel_wire::Event::TurnEnded(_)
        | keel_wire::Event::TurnMoved(_)
        | keel_wire::Event::TurnSteered(_)
        | keel_wire::Event::TurnRetrying(_)
        | keel_wire::Event::TurnCancelling(_)
        | keel_wire::Event::AgentBound(_)
        | keel_wire::Event::SessionDescribed(_)
        | keel_wire::Event::TrackPublished(_)
        | keel_wire::Event::TrackUnpublished(_)
        | keel_wire::Event::TrackMuted(_)
        | keel_wire::Event::SessionEnded(_) => true,
    }
}
