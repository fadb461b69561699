//! The fold of a log: what a participant that missed events needs to go on.
//!
//! One function, [`Snapshot::apply`], is used by the server that sends a snapshot, the store that keeps
//! one and the client that shows one, so that fold(snapshot(k), events > k) = fold(all) holds by
//! construction. It must be total and must not depend on how text was cut into events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Action, Event, ParticipantId, Role, Seq, SessionDescribed, SessionEnded, TrackName, TrackView,
    TurnEnded, TurnId, TurnMoved,
    limits::{SNAPSHOT_PROMPT_BYTES_MAX, SNAPSHOT_TEXT_BYTES_MAX, SNAPSHOT_TURNS_MAX},
    merge_patch,
};

/// What happens to a `say` while a turn runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum BusyPolicy {
    /// Refused with `session_busy`.
    #[default]
    Reject,
    /// Queued, up to a bound, then refused.
    Queue {
        /// Turns that may wait.
        #[schemars(range(max = 4_294_967_295_u32))]
        max: u32,
    },
    /// Added to the turn that runs, where the provider can; else that turn is stopped, and the new
    /// one goes on with what was said so far.
    Steer,
    /// The turn that runs is stopped, and forgotten by the provider.
    Replace,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParticipantView {
    /// Who.
    pub participant: ParticipantId,
    /// As what.
    pub role: Role,
    /// Whose token it came with.
    pub subject: String,
}

/// How far a turn is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TurnState {
    /// Accepted, not begun.
    Queued,
    /// An attempt runs.
    Running,
    /// It waits for somebody.
    Waiting {
        /// For what.
        action: Action,
    },
    /// Over.
    Ended {
        /// How.
        ended: Box<TurnEnded>,
    },
}

/// A turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnView {
    /// The turn.
    pub turn: TurnId,
    /// Who asked.
    pub by: ParticipantId,
    /// The beginning of what was asked.
    pub prompt: String,
    /// How far it is.
    #[serde(flatten)]
    pub state: TurnState,
    /// The attempt whose text this is; 0 before the first.
    pub attempt: u32,
    /// Bytes of text so far.
    pub bytes: u64,
    /// The end of the text: its last bytes, from a character's border.
    pub tail: String,
}

impl TurnView {
    /// Whether anything of it may follow.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        !matches!(self.state, TurnState::Ended { .. })
    }
}

/// The agent's own name for the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// The provider's kind.
    pub provider: String,
    /// The name.
    pub id: String,
}

/// The fold of a log up to a position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// What serves the session.
    pub backend: String,
    /// The project it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What happens to a `say` while a turn runs.
    pub busy: BusyPolicy,
    /// What a person calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where its programs work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whether it is marked to be found soon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starred: bool,
    /// Whether it is put away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The agent's own name for the conversation, where it keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentView>,
    /// The members, in the order in which they joined.
    pub participants: Vec<ParticipantView>,
    /// The params.
    pub params: Value,
    /// Their version.
    pub params_version: Seq,
    /// The version in force at the backend.
    pub params_applied: Seq,
    /// The turns that are open, and the last that are not, in the order in which they were accepted.
    pub turns: Vec<TurnView>,
    /// Turns that have ended, those that are no longer listed included.
    pub turns_ended: u64,
    /// The tracks that participants publish, in the order in which they began to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tracks: Vec<TrackView>,
    /// How the session ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<SessionEnded>,
}

impl Snapshot {
    /// The turn of that id, where it is still listed.
    #[must_use]
    pub fn turn(&self, turn: &TurnId) -> Option<&TurnView> {
        // Newest last, and it is the newest that is asked for.
        self.turns.iter().rev().find(|view| view.turn == *turn)
    }

    fn turn_mut(&mut self, turn: &TurnId) -> Option<&mut TurnView> {
        self.turns.iter_mut().rev().find(|view| view.turn == *turn)
    }

    /// A participant's track of that name.
    #[must_use]
    pub fn track(&self, participant: &ParticipantId, track: &TrackName) -> Option<&TrackView> {
        let mut tracks = self.tracks.iter();
        tracks.find(|view| view.participant == *participant && view.track == *track)
    }

    fn track_mut(
        &mut self,
        participant: &ParticipantId,
        track: &TrackName,
    ) -> Option<&mut TrackView> {
        let mut tracks = self.tracks.iter_mut();
        tracks.find(|view| view.participant == *participant && view.track == *track)
    }

    /// Moves the fold on by one event. Total: an event about something that is not listed changes
    /// nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::SessionCreated(created) => {
                self.backend.clone_from(&created.backend);
                self.project.clone_from(&created.project);
                self.busy = created.busy;
                self.title.clone_from(&created.title);
                self.cwd.clone_from(&created.cwd);
                self.tags.clone_from(&created.tags);
            }
            Event::SessionDescribed(described) => self.describe(described),
            Event::AgentBound(bound) => {
                self.agent = Some(AgentView {
                    provider: bound.provider.clone(),
                    id: bound.id.clone(),
                });
            }
            Event::ParticipantJoined(joined) => {
                self.participants
                    .retain(|view| view.participant != joined.participant);
                self.participants.push(ParticipantView {
                    participant: joined.participant.clone(),
                    role: joined.role,
                    subject: joined.subject.clone(),
                });
            }
            Event::ParticipantLeft(left) => {
                self.participants
                    .retain(|view| view.participant != left.participant);
                self.tracks
                    .retain(|view| view.participant != left.participant);
            }
            Event::ParamsChanged(changed) => {
                merge_patch(&mut self.params, &changed.patch);
                self.params_version = changed.version;
            }
            Event::ParamsApplied(applied) => self.params_applied = applied.version,
            Event::Message(_)
            | Event::Item(_)
            | Event::TurnSteered(_)
            | Event::TurnRetrying(_)
            | Event::TurnCancelling(_) => {}
            Event::TurnMoved(moved) => self.move_turn(moved),
            Event::TurnAccepted(accepted) => self.turns.push(TurnView {
                turn: accepted.turn.clone(),
                by: accepted.by.clone(),
                prompt: beginning(&accepted.text, SNAPSHOT_PROMPT_BYTES_MAX).to_owned(),
                state: TurnState::Queued,
                attempt: 0,
                bytes: 0,
                tail: String::new(),
            }),
            Event::TurnStarted(started) => {
                if let Some(view) = self.turn_mut(&started.turn) {
                    view.state = TurnState::Running;
                    view.attempt = started.attempt;
                    view.bytes = 0;
                    view.tail.clear();
                }
            }
            Event::Text(text) => {
                if let Some(view) = self.turn_mut(&text.turn) {
                    view.bytes = text.at_byte.saturating_add(text.data.len() as u64);
                    view.tail.push_str(&text.data);
                    keep_end(&mut view.tail, SNAPSHOT_TEXT_BYTES_MAX);
                }
            }
            Event::TurnWaiting(waiting) => {
                if let Some(view) = self.turn_mut(&waiting.turn) {
                    view.state = TurnState::Waiting {
                        action: waiting.action.clone(),
                    };
                }
            }
            Event::TurnAnswered(answered) => {
                if let Some(view) = self.turn_mut(&answered.turn) {
                    view.state = TurnState::Running;
                }
            }
            Event::TurnEnded(ended) => {
                if let Some(view) = self.turn_mut(&ended.turn) {
                    view.state = TurnState::Ended {
                        ended: Box::new(ended.clone()),
                    };
                    self.turns_ended = self.turns_ended.saturating_add(1);
                    self.forget_old_turns();
                }
            }
            Event::TrackPublished(published) => self.tracks.push(TrackView {
                participant: published.participant.clone(),
                track: published.track.clone(),
                kind: published.kind,
                muted: false,
            }),
            Event::TrackUnpublished(gone) => self
                .tracks
                .retain(|view| view.participant != gone.participant || view.track != gone.track),
            Event::TrackMuted(muted) => {
                if let Some(view) = self.track_mut(&muted.participant, &muted.track) {
                    view.muted = muted.muted;
                }
            }
            Event::SessionEnded(ended) => self.ended = Some(ended.clone()),
        }
    }

    fn describe(&mut self, described: &SessionDescribed) {
        if let Some(title) = &described.title {
            self.title = Some(title.clone()).filter(|title| !title.is_empty());
        }
        self.starred = described.starred.unwrap_or(self.starred);
        self.archived = described.archived.unwrap_or(self.archived);
        if let Some(tags) = &described.tags {
            self.tags.clone_from(tags);
        }
    }

    /// Puts an open turn behind as many open ones as it now has before it.
    fn move_turn(&mut self, moved: &TurnMoved) {
        let mut turns = self.turns.iter();
        let Some(from) = turns.position(|view| view.turn == moved.turn && view.is_open()) else {
            return;
        };
        let view = self.turns.remove(from);
        let open = self.turns.iter().enumerate();
        let mut open = open.filter(|(_, view)| view.is_open());
        let to = open.nth(moved.position as usize);
        self.turns
            .insert(to.map_or(self.turns.len(), |(index, _)| index), view);
    }

    fn forget_old_turns(&mut self) {
        let ended = self.turns.iter().filter(|view| !view.is_open()).count();
        let mut surplus = ended.saturating_sub(SNAPSHOT_TURNS_MAX);
        self.turns.retain(|view| {
            let forget = surplus > 0 && !view.is_open();
            surplus -= usize::from(forget);
            !forget
        });
    }
}

fn beginning(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn keep_end(text: &mut String, max: usize) {
    let start = text.ceil_char_boundary(text.len().saturating_sub(max));
    text.drain(..start);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{CommandId, StreamId, Text, TurnAccepted, TurnStarted};

    fn turn_of(pieces: &[String]) -> Snapshot {
        let turn = TurnId::from_bits(1);
        let command = CommandId {
            stream: StreamId::from_bits(1),
            n: Seq::ZERO,
        };
        let by = ParticipantId::from_bits(1);
        let text = "hello".to_owned();
        let mut fold = Snapshot::default();
        fold.apply(
            &TurnAccepted {
                turn: turn.clone(),
                by,
                command,
                text,
                position: 0,
                begin_by: None,
                retry_of: None,
                continues: None,
            }
            .into(),
        );
        fold.apply(
            &TurnStarted {
                turn: turn.clone(),
                attempt: 1,
                fault: None,
            }
            .into(),
        );
        let mut at_byte = 0;
        for piece in pieces {
            let data = piece.clone();
            let length = data.len() as u64;
            fold.apply(
                &Text {
                    turn: turn.clone(),
                    attempt: 1,
                    at_byte,
                    data,
                }
                .into(),
            );
            at_byte += length;
        }
        fold
    }

    proptest! {
        /// Coalescing and compaction put text events together; the fold must not notice.
        #[test]
        fn fold_does_not_depend_on_how_text_was_cut(
            pieces in proptest::collection::vec(".{0,600}", 0..12),
        ) {
            prop_assert_eq!(turn_of(&pieces), turn_of(&[pieces.concat()]));
        }
    }
}
