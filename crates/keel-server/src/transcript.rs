//! A log as turns: what was asked, the text that stands, and how it ended.
//!
//! Folds the events of a log, in order, into turns that are whole. It holds those that are open and
//! those that nobody has taken yet, each within its bounds, however long the log is.

use keel_wire::{Event, Fault, ParticipantId, Seq, TurnEnd, TurnId, record::StoredEvent};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Bytes of a turn's text that are told.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Items of a turn that are told.
const ITEMS_MAX: usize = 512;
/// Bytes of a turn's items that are told, as JSON.
const ITEM_BYTES_MAX: usize = 512 * 1024;

/// How far a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Progress {
    /// Accepted, not begun.
    Queued,
    /// An attempt runs.
    Running,
    /// It waits for an answer.
    Waiting,
    /// The provider finished its answer.
    Done,
    /// It did not, and the fault says why.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// The server was cut off while it ran.
    Interrupted,
}

impl Progress {
    /// Whether nothing of the turn follows.
    pub(crate) const fn is_end(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Waiting => false,
            Self::Done | Self::Failed | Self::Cancelled | Self::Interrupted => true,
        }
    }

    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<TurnEnd> for Progress {
    fn from(end: TurnEnd) -> Self {
        match end {
            TurnEnd::Done => Self::Done,
            TurnEnd::Failed => Self::Failed,
            TurnEnd::Cancelled => Self::Cancelled,
            TurnEnd::Interrupted => Self::Interrupted,
        }
    }
}

/// A turn of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Turn {
    /// The turn.
    pub(crate) turn: TurnId,
    /// Where it was accepted in the log; from one below, a transcript begins with it.
    pub(crate) at: Seq,
    /// Who asked.
    pub(crate) by: ParticipantId,
    /// What was asked.
    pub(crate) prompt: String,
    /// The turn that this one is another try at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_of: Option<TurnId>,
    /// The turn that this one goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) continues: Option<TurnId>,
    /// What was added to it while it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steered: Vec<String>,
    /// How far it is.
    pub(crate) state: Progress,
    /// The attempt whose text this is; 0 before the first.
    pub(crate) attempt: u32,
    /// The text of the attempt that stands.
    pub(crate) text: String,
    /// What else that attempt told, as it was told.
    pub(crate) items: Vec<Value>,
    /// There is more text, or there are more items, than are told here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) truncated: bool,
    /// Why the provider stopped, in its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_reason: Option<String>,
    /// Why it failed or was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<Box<Fault>>,
    #[serde(skip)]
    item_bytes: usize,
    /// Bytes of text that were said, told or not.
    #[serde(skip)]
    said: u64,
}

impl Turn {
    /// Bytes that it takes, near enough for bounds.
    pub(crate) fn cost(&self) -> usize {
        let steered: usize = self.steered.iter().map(String::len).sum();
        256 + self.prompt.len() + steered + self.text.len() + self.item_bytes
    }

    fn begin(&mut self, attempt: u32) {
        self.state = Progress::Running;
        self.attempt = attempt;
        self.text.clear();
        self.items.clear();
        (self.item_bytes, self.said, self.truncated) = (0, 0, false);
    }

    /// Text from that byte of the attempt's on. What was put together while the log was read comes
    /// again, from its beginning: only what is new of it is taken.
    fn say(&mut self, at_byte: u64, text: &str) {
        let known = usize::try_from(self.said.saturating_sub(at_byte)).unwrap_or(usize::MAX);
        let Some(new) = text.get(known..).filter(|new| !new.is_empty()) else {
            return;
        };
        self.said = self.said.max(at_byte) + new.len() as u64;
        let room = TEXT_BYTES_MAX - self.text.len();
        let piece = &new[..new.floor_char_boundary(room)];
        self.truncated |= piece.len() < new.len();
        self.text.push_str(piece);
    }

    fn show(&mut self, item: Value) {
        let bytes = keel_wire::json_len(&item);
        if self.items.len() == ITEMS_MAX || self.item_bytes + bytes > ITEM_BYTES_MAX {
            self.truncated = true;
            return;
        }
        self.item_bytes += bytes;
        self.items.push(item);
    }
}

impl From<Vec<Turn>> for Turns {
    fn from(turns: Vec<Turn>) -> Self {
        Self { turns }
    }
}

/// The turns that a log has shown so far, in the order in which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    turns: Vec<Turn>,
}

impl Turns {
    /// Takes the next event. One of a turn that was not seen to begin changes nothing.
    pub(crate) fn take(&mut self, stored: &StoredEvent) {
        // An event that this version does not know is no part of a transcript.
        let Ok(Some(event)) = Event::decode(&stored.kind, stored.data.get()) else {
            return;
        };
        match event {
            Event::TurnAccepted(accepted) => self.turns.push(Turn {
                turn: accepted.turn,
                at: stored.from,
                by: accepted.by,
                prompt: accepted.text,
                retry_of: accepted.retry_of,
                continues: accepted.continues,
                steered: Vec::new(),
                state: Progress::Queued,
                attempt: 0,
                text: String::new(),
                items: Vec::new(),
                truncated: false,
                stop_reason: None,
                fault: None,
                item_bytes: 0,
                said: 0,
            }),
            Event::TurnSteered(steered) => self.on(&steered.turn, |turn| {
                if turn.cost() < TEXT_BYTES_MAX {
                    turn.steered.push(steered.text);
                } else {
                    turn.truncated = true;
                }
            }),
            Event::TurnStarted(started) => {
                self.on(&started.turn, |turn| turn.begin(started.attempt));
            }
            Event::Text(text) => self.on(&text.turn, |turn| {
                if turn.attempt == text.attempt {
                    turn.say(text.at_byte, &text.data);
                }
            }),
            Event::Item(item) => self.on(&item.turn, |turn| {
                if turn.attempt == item.attempt {
                    turn.show(item.data);
                }
            }),
            Event::TurnWaiting(waiting) => {
                self.on(&waiting.turn, |turn| turn.state = Progress::Waiting);
            }
            Event::TurnAnswered(answered) => {
                self.on(&answered.turn, |turn| turn.state = Progress::Running);
            }
            Event::TurnEnded(ended) => self.on(&ended.turn, |turn| {
                turn.state = ended.end.into();
                turn.stop_reason = ended.stop_reason;
                turn.fault = ended.fault;
            }),
            Event::SessionCreated(_)
            | Event::ParticipantJoined(_)
            | Event::ParticipantLeft(_)
            | Event::ParamsChanged(_)
            | Event::ParamsApplied(_)
            | Event::Message(_)
            | Event::TurnMoved(_)
            | Event::TurnRetrying(_)
            | Event::TurnCancelling(_)
            | Event::AgentBound(_)
            | Event::SessionDescribed(_)
            | Event::TrackPublished(_)
            | Event::TrackUnpublished(_)
            | Event::TrackMuted(_)
            | Event::SessionEnded(_) => {}
        }
    }

    fn on(&mut self, turn: &TurnId, change: impl FnOnce(&mut Turn)) {
        if let Some(turn) = self.turns.iter_mut().rev().find(|of| of.turn == *turn) {
            change(turn);
        }
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.turns.len()
    }

    /// Bytes that those take that are held.
    pub(crate) fn cost(&self) -> usize {
        self.turns.iter().map(Turn::cost).sum()
    }

    /// Whether each that is held has ended.
    pub(crate) fn are_whole(&self) -> bool {
        self.turns.iter().all(|turn| turn.state.is_end())
    }

    /// Takes out those that have ended.
    pub(crate) fn take_ended(&mut self) -> Vec<Turn> {
        let (ended, open) = std::mem::take(&mut self.turns)
            .into_iter()
            .partition(|turn| turn.state.is_end());
        self.turns = open;
        ended
    }

    /// All that are held.
    pub(crate) fn into_turns(self) -> Vec<Turn> {
        self.turns
    }
}

#[cfg(test)]
mod tests {
    use keel_wire::{
        CommandId, Item, StreamId, Text, TurnAccepted, TurnEnded, TurnStarted, TurnWaiting,
    };
    use serde_json::json;

    use super::*;

    fn turn(number: u128) -> TurnId {
        TurnId::from_bits(number)
    }

    fn taken(events: Vec<Event>) -> Turns {
        let mut turns = Turns::default();
        let mut at = Seq::ZERO;
        for event in events {
            at = at.next();
            turns.take(&StoredEvent {
                from: at,
                to: at,
                kind: event.name().into(),
                data: event.encode_data(),
            });
        }
        turns
    }

    fn accepted(number: u128) -> Event {
        let data = json!({
            "turn": turn(number), "by": ParticipantId::from_bits(1), "text": "why?", "position": 0,
            "command": CommandId { stream: StreamId::from_bits(1), n: Seq::ZERO },
        });
        let accepted: TurnAccepted = serde_json::from_value(data).expect("accepted");
        accepted.into()
    }

    fn started(number: u128, attempt: u32) -> Event {
        TurnStarted {
            turn: turn(number),
            attempt,
            fault: None,
        }
        .into()
    }

    fn text(number: u128, attempt: u32, at_byte: u64, data: &str) -> Event {
        Text {
            turn: turn(number),
            attempt,
            at_byte,
            data: data.to_owned(),
        }
        .into()
    }

    fn ended(number: u128) -> Event {
        let data = json!({ "turn": turn(number), "attempt": 1, "end": "done", "bytes": 1 });
        let ended: TurnEnded = serde_json::from_value(data).expect("ended");
        ended.into()
    }

    fn item(number: u128, attempt: u32, data: Value) -> Event {
        Item {
            turn: turn(number),
            attempt,
            data,
        }
        .into()
    }

    #[test]
    fn the_text_of_the_attempt_that_stands_is_told_and_no_other() {
        let turns = taken(vec![
            accepted(1),
            accepted(2),
            started(1, 1),
            text(1, 1, 0, "wrong"),
            item(1, 1, json!({ "superseded": true })),
            started(1, 2),
            text(1, 2, 0, "rig"),
            text(1, 1, 5, "of the one before"),
            item(1, 2, json!({ "kept": true })),
            text(1, 2, 3, "ht"),
            ended(1),
            text(7, 1, 0, "of a turn that was not seen to begin"),
            started(2, 1),
        ]);
        assert!(!turns.are_whole());
        let turns = turns.into_turns();
        let told: Vec<_> = turns.iter().map(|t| (t.text.as_str(), t.state)).collect();
        assert_eq!(told, [("right", Progress::Done), ("", Progress::Running)]);
        assert_eq!(turns[0].items, [json!({ "kept": true })]);
        assert_eq!((turns[0].at.get(), turns[1].at.get()), (1, 2));
    }

    #[test]
    fn text_that_was_put_together_meanwhile_is_cut_to_what_is_new() {
        let turns = taken(vec![
            accepted(1),
            started(1, 1),
            text(1, 1, 0, "one, t"),
            text(1, 1, 0, "one, two"),
            text(1, 1, 5, "two"),
            text(1, 1, 8, "!"),
        ]);
        assert_eq!(turns.into_turns()[0].text, "one, two!");
    }

    #[test]
    fn a_turn_is_bounded_and_says_that_more_was_said() {
        let long = "x".repeat(700 * 1024);
        let mut events = vec![accepted(1), started(1, 1), text(1, 1, 0, &long)];
        events.extend([text(1, 1, 700 * 1024, &long), accepted(2), started(2, 1)]);
        let big = json!({ "data": "y".repeat(100 * 1024) });
        events.extend((0..10).map(|_| item(2, 1, big.clone())));
        let turns = taken(events).into_turns();
        assert_eq!(turns[0].text.len(), TEXT_BYTES_MAX);
        assert_eq!(turns[1].items.len(), 5);
        assert!(turns.iter().all(|turn| turn.truncated));
    }

    #[test]
    fn who_has_ended_is_taken_out_and_who_waits_stays() {
        let action = json!({ "turn": turn(2), "action": { "id": "a-1", "prompt": "may I?" } });
        let waiting: TurnWaiting = serde_json::from_value(action).expect("waiting");
        let mut turns = taken(vec![
            accepted(1),
            accepted(2),
            started(1, 1),
            ended(1),
            started(2, 1),
            waiting.into(),
        ]);
        let out: Vec<_> = turns.take_ended().into_iter().map(|t| t.turn).collect();
        assert_eq!((out, turns.len()), (vec![turn(1)], 1));
        assert_eq!(turns.into_turns()[0].state, Progress::Waiting);
    }
}
