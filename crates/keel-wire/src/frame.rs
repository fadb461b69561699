//! The frames of `evenkeel.v1.json`, one JSON object a WebSocket text message.
//!
//! A frame's `type` names its struct; unknown types are tolerated, counted and surfaced raw, and
//! unknown members are ignored (a client that sets a role or a sequence of its own changes nothing).

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::{
    AnswerFrame, BusyPolicy, CandidateFrame, Cursor, EndReason, Fault, IceServersFrame, InstanceId,
    LinesFrame, OfferFrame, ParticipantId, Range, RefreshFrame, Role, Seq, SessionId, Snapshot,
    Status, Strategy, StreamId, TurnId, UnixMillis, tagged::tagged,
};

/// JSON that is passed on as it came.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawData(Box<RawValue>);

impl RawData {
    /// JSON that this process wrote itself.
    ///
    /// # Panics
    /// When it is not JSON, which is a bug of the caller's.
    #[must_use]
    pub fn trusted(json: String) -> Self {
        Self(RawValue::from_string(json).expect("the caller wrote JSON"))
    }

    /// A value of `serde_json`.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self::trusted(value.to_string())
    }

    /// The JSON text.
    #[must_use]
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawData {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for RawData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl JsonSchema for RawData {
    fn schema_name() -> Cow<'static, str> {
        "Data".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "description": "Any JSON; its shape is told by the kind beside it." })
    }
}

tagged! {
    /// What a client sends.
    pub enum ClientFrame {
        /// The first frame, right after the upgrade.
        "hello" => Hello(Box<Hello>),
        /// Asks for something; answered by one receipt.
        "command" => Command(CommandFrame),
        /// Events up to here are applied.
        "ack" => Ack(Ack),
        /// Answers a beat.
        "beat" => Beat(Beat),
        /// A fresh token for the same subject and session.
        "auth" => Auth(Auth),
        /// Leaves; the session's work goes on.
        "detach" => Detach(Detach),
        /// Describes the client's end of a transport for media, and wants an answer.
        "offer" => Offer(OfferFrame),
        /// Answers the server's offer.
        "answer" => Answer(AnswerFrame),
        /// Where the client's end may be reached.
        "candidate" => Candidate(CandidateFrame),
        /// What is sent on some lines does not arrive.
        "refresh" => Refresh(RefreshFrame),
    }
}

tagged! {
    /// What a server sends.
    pub enum ServerFrame {
        /// Answers hello: the session is joined.
        "welcome" => Welcome(Box<Welcome>),
        /// Answers hello: in line for a slot. `welcome` follows on the same connection.
        "queued" => Queued(Queued),
        /// Answers a command.
        "receipt" => Receipt(Receipt),
        /// A fact of the log.
        "event" => Event(EventFrame),
        /// Positions that are not delivered, and what stands in for them.
        "gap" => Gap(Box<Gap>),
        /// What was missed has been delivered.
        "replayed" => Replayed(Replayed),
        /// Told without a sequence, never replayed.
        "ephemeral" => Ephemeral(Ephemeral),
        /// How the session is.
        "status" => Status(StatusFrame),
        /// A sign of life.
        "beat" => Beat(Beat),
        /// This server will stop.
        "goaway" => Goaway(Goaway),
        /// The session, or this participation in it, is over on purpose.
        "ended" => Ended(Ended),
        /// What went wrong.
        "fault" => Fault(FaultFrame),
        /// Describes the server's end of a transport for media, and wants an answer.
        "offer" => Offer(OfferFrame),
        /// Answers the client's offer.
        "answer" => Answer(AnswerFrame),
        /// Where the server's end may be reached.
        "candidate" => Candidate(CandidateFrame),
        /// What is sent on which line.
        "lines" => Lines(LinesFrame),
        /// STUN and TURN servers, with fresh credentials.
        "ice_servers" => IceServers(IceServersFrame),
    }
}

/// What to do when there is no free slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "policy", rename_all = "snake_case")]
pub enum Admission {
    /// Refuse with `at_capacity`.
    #[default]
    Fail,
    /// Stand in line.
    Wait {
        /// For no longer than this, in milliseconds; absent means the server's bound.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_ms: Option<u64>,
    },
}

/// What a joining participant wants of the past.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Every event that is kept.
    #[default]
    All,
    /// A snapshot, and what follows it.
    Snapshot,
}

/// Proof of an earlier attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resume {
    /// Who.
    pub participant: ParticipantId,
    /// The key of the last welcome.
    pub key: String,
    /// How far the log was applied.
    pub cursor: Cursor,
    /// What is to be rebuilt.
    pub strategy: Strategy,
}

/// Where a client's commands stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StreamState {
    /// The stream.
    pub id: StreamId,
    /// The number that the next new command will have.
    pub next: Seq,
    /// Receipts up to here were read; the server may forget them.
    pub receipts_ack: Seq,
}

/// What a client saw of the loss that it comes back from, for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The code of the fault that the loss was told as.
    pub code: crate::FaultCode,
    /// Milliseconds from the last byte received to being told.
    pub silent_ms: u64,
    /// Milliseconds from being told to this hello.
    pub lost_ms: u64,
    /// Connections tried since then, this one included.
    pub attempts: u32,
}

/// `hello`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// A JWT.
    pub token: String,
    /// The SDK instance.
    pub instance: InstanceId,
    /// Counts the instance's connections, from 1: of two, the higher is the one meant.
    pub attempt: u32,
    /// The session to join; absent opens a new one. One that is not there is opened under that name
    /// if the token is an owner's and for this session alone, and `backend` is named too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// What a new session is to be served by; absent means the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The project of a new session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// What happens to a `say` while a turn runs; for a new session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy: Option<BusyPolicy>,
    /// What a person calls a new session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Where a new session's programs work; beneath one of the backend's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Words to find a new session by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The role wanted.
    pub role: Role,
    /// What to do when there is no slot.
    #[serde(default)]
    pub admission: Admission,
    /// What is wanted of the past, without `resume`.
    #[serde(default)]
    pub history: History,
    /// Proof of an earlier attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
    /// Where this client's commands stand.
    pub stream: StreamState,
    /// The params of a new session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// Name and version of the SDK.
    pub sdk: String,
    /// What was seen of the loss before this hello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandFrame {
    /// Its number in the stream that hello named.
    pub n: Seq,
    /// Which command.
    pub name: String,
    /// Milliseconds from when it is sent after which it is not to be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Receipts up to here were read; the server may forget them.
    #[serde(default)]
    pub receipts_ack: Seq,
    /// The command's own.
    pub data: RawData,
}

/// `ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// Events up to here are applied.
    pub seq: Seq,
}

/// `beat`, both ways. The server's asks, the client's answers with the same `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Beat {
    /// Counts the server's beats on this connection.
    pub n: Seq,
    /// The last position that the sender has: the log's end, or the client's cursor.
    pub seq: Seq,
    /// From the server: silence from here on, in milliseconds, after which it is to be suspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect_ms: Option<u64>,
    /// From the server: where this client's first retry lies after a loss that hits all, in
    /// milliseconds. 0 while the clients are few.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pace_ms: Option<u64>,
}

/// `auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Auth {
    /// A JWT for the same subject and session.
    pub token: String,
}

/// `detach`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Detach {}

/// How a participant came to be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Joined {
    /// A new session, with a new participant.
    Created,
    /// A new participant of a session that was there.
    Joined,
    /// The same attachment, on a new connection.
    Resumed,
    /// The same participant, with a new attachment.
    Rejoined,
}

/// How often to expect a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BeatPlan {
    /// Milliseconds between beats.
    pub every_ms: u64,
    /// Milliseconds of silence after which the other side is suspected.
    pub suspect_ms: u64,
}

/// What this server bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionLimits {
    /// Bytes of a frame that it reads.
    pub frame_bytes: u64,
    /// Commands without a receipt.
    pub commands: u32,
    /// Frames a second, averaged.
    pub frames_per_s: u32,
}

/// `welcome`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// The session.
    pub session: SessionId,
    /// Who you are in it.
    pub participant: ParticipantId,
    /// As what.
    pub role: Role,
    /// How.
    pub how: Joined,
    /// Proof of this attachment, for the next hello.
    pub resume_key: String,
    /// How long an attachment is kept without a connection, in milliseconds.
    pub resume_window_ms: u64,
    /// The end of the log now. What is missing up to it is replayed, then `replayed` comes.
    pub cursor: Cursor,
    /// Commands of the client's stream up to here were taken.
    pub consumed: Seq,
    /// How often to expect a sign of life.
    pub beat: BeatPlan,
    /// What this server bounds.
    pub limits: SessionLimits,
    /// The params in force.
    pub params: Value,
    /// Their version.
    pub params_version: Seq,
    /// How the session is.
    pub status: Status,
    /// The attachment's transport that this server still has, by its number; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// STUN and TURN servers that a transport for media may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ice_servers: Vec<crate::IceServer>,
}

/// `queued`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Queued {
    /// The session that waits.
    pub session: SessionId,
    /// Who you are in it.
    pub participant: ParticipantId,
    /// Proof of the place in line, for the next hello.
    pub resume_key: String,
    /// Place in line, from 1.
    pub position: u32,
    /// How long the line is.
    pub of: u32,
    /// How often to expect a sign of life.
    pub beat: BeatPlan,
}

/// `receipt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The command's number.
    pub n: Seq,
    /// What became of it.
    #[serde(flatten)]
    pub body: ReceiptBody,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptBody {
    /// It was done.
    Ok {
        /// The turn that it began or concerns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn: Option<TurnId>,
        /// Turns before that one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u32>,
        /// The version of the params that it made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Seq>,
    },
    /// It was not done.
    Fault(Box<Fault>),
}

impl ReceiptBody {
    /// Done, with nothing to add.
    #[must_use]
    pub const fn ok() -> Self {
        Self::Ok {
            turn: None,
            position: None,
            version: None,
        }
    }
}

/// `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventFrame {
    /// The first position that it covers. A client demands its cursor + 1.
    pub from: Seq,
    /// The last position that it covers: above `from` where events were put together.
    pub to: Seq,
    /// What kind of event.
    pub kind: String,
    /// The kind's own.
    pub data: RawData,
}

/// `gap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The first position that is not delivered.
    pub from: Seq,
    /// The last; the snapshot is the fold up to here.
    pub to: Seq,
    /// The log that these are positions of.
    pub epoch: crate::Epoch,
    /// What stands in for them.
    pub snapshot: Snapshot,
    /// Why; absent where a snapshot was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
}

/// `replayed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// Delivered up to here; what follows is live.
    pub to: Seq,
}

/// `ephemeral`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ephemeral {
    /// What kind.
    pub kind: String,
    /// The kind's own.
    pub data: RawData,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusFrame {
    /// How the session is.
    pub status: Status,
}

/// `goaway`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Goaway {
    /// Why.
    pub reason: String,
    /// Milliseconds until this server closes the connection.
    pub deadline_ms: u64,
    /// Where the session goes on; absent means here, later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// `ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// By the server's wall clock.
    pub at: UnixMillis,
}

/// `fault`: a fault that ends no command and is no event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultFrame {
    /// The fault.
    pub fault: Fault,
}

impl Range {
    /// The positions that an event frame covers.
    #[must_use]
    pub const fn of(frame: &EventFrame) -> Self {
        Self {
            from: frame.from,
            to: frame.to,
        }
    }
}
