//! What a session's log is made of: one struct a kind of event.
//!
//! An event is a fact that was committed. Facts that nobody needs afterwards (levels, progress,
//! status) are ephemeral and never come here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ActionId, BusyPolicy, CommandId, EndReason, Fault, ParticipantId, Role, Seq, TrackMuted,
    TrackPublished, TrackUnpublished, TurnId, UnixMillis, codec::DecodeError, frame::RawData,
    tagged::tagged,
};

tagged! {
    /// An event, by kind.
    pub enum Event {
        /// The first event of every log.
        "session.created" => SessionCreated(SessionCreated),
        /// A participant became a member.
        "participant.joined" => ParticipantJoined(ParticipantJoined),
        /// A participant is no longer a member.
        "participant.left" => ParticipantLeft(ParticipantLeft),
        /// The params have a new version.
        "params.changed" => ParamsChanged(ParamsChanged),
        /// A version of the params is in force at the backend.
        "params.applied" => ParamsApplied(ParamsApplied),
        /// A participant told the others something.
        "message" => Message(Message),
        /// A turn will run; it ends exactly once.
        "turn.accepted" => TurnAccepted(TurnAccepted),
        /// An attempt at a turn begins; a later one supersedes what earlier ones said.
        "turn.started" => TurnStarted(TurnStarted),
        /// Text of a turn.
        "text" => Text(Text),
        /// Anything else of a turn.
        "item" => Item(Item),
        /// A turn waits for somebody.
        "turn.waiting" => TurnWaiting(TurnWaiting),
        /// Somebody answered.
        "turn.answered" => TurnAnswered(TurnAnswered),
        /// A turn has another place in line.
        "turn.moved" => TurnMoved(TurnMoved),
        /// What somebody said was added to the turn that runs.
        "turn.steered" => TurnSteered(TurnSteered),
        /// The provider failed and will be tried again, in a while.
        "turn.retrying" => TurnRetrying(TurnRetrying),
        /// A step on the way to the end of a turn that is being stopped.
        "turn.cancelling" => TurnCancelling(TurnCancelling),
        /// A turn is over; nothing of it follows.
        "turn.ended" => TurnEnded(TurnEnded),
        /// The agent keeps the conversation under a name of its own.
        "agent.bound" => AgentBound(AgentBound),
        /// The session's description changed.
        "session.described" => SessionDescribed(SessionDescribed),
        /// A participant will send a track.
        "track.published" => TrackPublished(TrackPublished),
        /// It no longer will.
        "track.unpublished" => TrackUnpublished(TrackUnpublished),
        /// A track's silence is meant, or no longer.
        "track.muted" => TrackMuted(TrackMuted),
        /// The session is over; nothing follows.
        "session.ended" => SessionEnded(SessionEnded),
    }
}

impl Event {
    /// Reads the `data` of an event frame; `Ok(None)` when the kind is not known here.
    ///
    /// # Errors
    /// When the data is not what the kind wants.
    pub fn decode(kind: &str, data: &str) -> Result<Option<Self>, DecodeError> {
        Self::decode_body(kind, data).map_err(DecodeError::from)
    }

    /// The `data` of an event frame.
    #[must_use]
    pub fn encode_data(&self) -> RawData {
        let mut out = Vec::new();
        self.encode_body(&mut out);
        RawData::trusted(String::from_utf8(out).expect("JSON is UTF-8"))
    }
}

/// `session.created`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionCreated {
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
    /// Where its programs work: a canonical path beneath one of the backend's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// `session.described`: absent keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionDescribed {
    /// Who; absent for the server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantId>,
    /// What a person calls it; empty for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it is marked to be found soon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starred: Option<bool>,
    /// Whether it is put away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
}

/// `participant.joined`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParticipantJoined {
    /// Who.
    pub participant: ParticipantId,
    /// As what.
    pub role: Role,
    /// Whose token it came with.
    pub subject: String,
}

/// Why a participant is no longer a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It detached.
    Detached,
    /// It was away for longer than the resume window.
    Expired,
    /// It was put out.
    Removed,
}

/// `participant.left`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParticipantLeft {
    /// Who.
    pub participant: ParticipantId,
    /// Why.
    pub reason: LeaveReason,
}

/// `params.changed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParamsChanged {
    /// The version that the patch makes, +1 each.
    pub version: Seq,
    /// What was patched.
    pub patch: Value,
    /// Who; absent for what came with the session's creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantId>,
}

/// `params.applied`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ParamsApplied {
    /// The version in force.
    pub version: Seq,
    /// Since which turn.
    pub turn: TurnId,
}

/// `message`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Who sent it.
    pub by: ParticipantId,
    /// The command that it came with.
    pub command: CommandId,
    /// The application's own.
    pub data: Value,
}

/// `turn.accepted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnAccepted {
    /// The turn.
    pub turn: TurnId,
    /// Who asked.
    pub by: ParticipantId,
    /// The command that it came with.
    pub command: CommandId,
    /// What was asked.
    pub text: String,
    /// Turns before it; 0 means it runs now.
    pub position: u32,
    /// It is not to be begun after this, by the server's wall clock; absent means whenever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_by: Option<UnixMillis>,
    /// The turn that this one is another try at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<TurnId>,
    /// The turn, which did not come to its end, that this one goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<TurnId>,
}

/// `turn.moved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnMoved {
    /// The turn.
    pub turn: TurnId,
    /// Turns before it now.
    pub position: u32,
    /// Who moved it.
    pub by: ParticipantId,
}

/// `turn.steered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnSteered {
    /// The turn that runs.
    pub turn: TurnId,
    /// Who said it.
    pub by: ParticipantId,
    /// The command that it came with.
    pub command: CommandId,
    /// What was said.
    pub text: String,
}

/// `turn.retrying`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnRetrying {
    /// The turn.
    pub turn: TurnId,
    /// The attempt that failed.
    pub attempt: u32,
    /// Milliseconds until the next one.
    pub in_ms: u64,
    /// Why it failed.
    pub fault: Box<Fault>,
}

/// How a provider is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelStep {
    /// It was asked, in its own protocol.
    Asked,
    /// It was sent a signal to end.
    Terminating,
    /// All that is left of it is killed.
    Killing,
}

/// `turn.cancelling`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TurnCancelling {
    /// The turn.
    pub turn: TurnId,
    /// How.
    pub step: CancelStep,
    /// Who stopped it; absent for a step that follows from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantId>,
}

/// `agent.bound`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentBound {
    /// The turn in which it was told.
    pub turn: TurnId,
    /// The provider's kind.
    pub provider: String,
    /// The agent's own name for the conversation.
    pub id: String,
}

/// `turn.started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnStarted {
    /// The turn.
    pub turn: TurnId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Why the attempt before it came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
}

/// `text`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Text {
    /// The turn.
    pub turn: TurnId,
    /// The attempt that it is of.
    pub attempt: u32,
    /// Where it begins in the attempt's text, in bytes of UTF-8.
    pub at_byte: u64,
    /// The text.
    pub data: String,
}

/// `item`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// The turn.
    pub turn: TurnId,
    /// The attempt that it is of.
    pub attempt: u32,
    /// What the provider said, untouched.
    pub data: Value,
}

/// Something that a turn waits for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Names it; an answer must repeat it.
    pub id: ActionId,
    /// What to ask a person.
    pub prompt: String,
    /// The answers there are; empty for free data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// How to show them, where there is more to say than their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// The tool call that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call: Option<String>,
}

/// One of an action's options, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// The option.
    pub option: String,
    /// What to write on it.
    pub label: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ChoiceKind>,
}

/// What choosing an option does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChoiceKind {
    /// Allows it this once.
    AllowOnce,
    /// Allows it from now on.
    AllowAlways,
    /// Refuses it this once.
    RejectOnce,
    /// Refuses it from now on.
    RejectAlways,
}

/// `turn.waiting`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnWaiting {
    /// The turn.
    pub turn: TurnId,
    /// For what.
    pub action: Action,
}

/// `turn.answered`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnAnswered {
    /// The turn.
    pub turn: TurnId,
    /// What it waited for.
    pub action: ActionId,
    /// Who answered; absent when nobody did in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantId>,
    /// The answer.
    pub answer: Value,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TurnEnd {
    /// The provider finished its answer.
    Done,
    /// It did not, and the fault says why.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// The server was cut off while it ran.
    Interrupted,
}

/// `turn.ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TurnEnded {
    /// The turn.
    pub turn: TurnId,
    /// The attempt whose text stands; 0 if none began.
    pub attempt: u32,
    /// How.
    pub end: TurnEnd,
    /// Bytes of text that stand.
    pub bytes: u64,
    /// It was cancelled, and did not stop when asked: it was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// Why the provider stopped, in its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// Why it failed or was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
}

/// `session.ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEnded {
    /// Why.
    pub reason: EndReason,
    /// The fault that ended it, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
}
