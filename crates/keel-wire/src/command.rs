//! What a client asks of a session: one struct a command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ActionId, CloseCode, Code, FaultId, MuteTrack, PublishTrack, SubscribeTrack, TurnId,
    UnixMillis, UnpublishTrack, codec::DecodeError, tagged::tagged,
};

tagged! {
    /// A command, by name. Unknown names are answered with a fault, not a closed connection.
    pub enum Command {
        /// Begins a turn.
        "say" => Say(Say),
        /// Tells every participant something; no turn begins.
        "send" => Send(Send),
        /// Patches the params.
        "params.set" => SetParams(SetParams),
        /// Stops a turn, running or queued.
        "turn.cancel" => CancelTurn(CancelTurn),
        /// Begins a turn with the prompt of one that is over.
        "turn.retry" => RetryTurn(RetryTurn),
        /// Begins a turn that goes on where one that did not come to its end stopped.
        "turn.continue" => ContinueTurn(ContinueTurn),
        /// Makes a queued turn the next one.
        "turn.promote" => PromoteTurn(PromoteTurn),
        /// Answers what a turn waits for.
        "turn.answer" => Answer(Answer),
        /// Begins to publish a track.
        "track.publish" => PublishTrack(PublishTrack),
        /// Ceases to.
        "track.unpublish" => UnpublishTrack(UnpublishTrack),
        /// Says that a track's silence is meant, or no longer.
        "track.mute" => MuteTrack(MuteTrack),
        /// Says whether somebody else's track is wanted.
        "track.subscribe" => SubscribeTrack(SubscribeTrack),
        /// Changes how the session is described.
        "session.describe" => DescribeSession(DescribeSession),
        /// Ends the session for everybody.
        "session.end" => EndSession(EndSession),
        /// Breaks something on purpose, where that is switched on.
        "debug.fault" => InjectFault(InjectFault),
    }
}

impl Command {
    /// Reads the `data` of a command frame; `Ok(None)` when the name is not known here.
    ///
    /// # Errors
    /// When the data is not what the name wants.
    pub fn decode(name: &str, data: &str) -> Result<Option<Self>, DecodeError> {
        Self::decode_body(name, data).map_err(DecodeError::from)
    }

    /// The `data` of a command frame.
    #[must_use]
    pub fn encode_data(&self) -> String {
        let mut out = Vec::new();
        self.encode_body(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }
}

/// `say`: begins a turn with a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Say {
    /// The prompt.
    pub text: String,
}

/// `send`: a message to every participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Send {
    /// The application's own.
    pub data: Value,
}

/// `params.set`: a JSON merge patch (RFC 7396).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetParams {
    /// Null clears, absent keeps.
    pub patch: Value,
}

/// `turn.cancel`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelTurn {
    /// Which; absent means the one that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnId>,
}

/// `turn.retry`: a new turn with the prompt of one that is over. Never automatic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RetryTurn {
    /// The turn that is over.
    pub turn: TurnId,
}

/// `turn.continue`: a new turn that goes on where one that failed, or was cancelled or interrupted,
/// stopped. Never automatic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContinueTurn {
    /// The turn that is over.
    pub turn: TurnId,
}

/// `turn.promote`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromoteTurn {
    /// The queued turn that is to be next.
    pub turn: TurnId,
}

/// `session.describe`: absent keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DescribeSession {
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

/// `turn.answer`: the first valid answer wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The turn that waits.
    pub turn: TurnId,
    /// What it waits for.
    pub action: ActionId,
    /// One of the options offered, or free data where none were.
    pub answer: Value,
}

/// `session.end`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndSession {}

/// `debug.fault`: breaks something by the same path as the real fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InjectFault {
    /// What to break.
    pub fault: Injection,
    /// How long, in milliseconds, where the fault lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// What chance decides in it; absent means by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// Something that was broken on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Injected {
    /// Names it: what comes of it has this as `injected` in its detail.
    pub id: FaultId,
    /// What is broken.
    pub fault: Injection,
    /// What chance decided in it; with the same one it is the same again.
    pub seed: u64,
    /// When it ends by itself; one that does not last has ended already.
    pub until: UnixMillis,
}

/// What can be broken on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Injection {
    /// The server drops the connection without a close frame.
    DropConnection,
    /// The server closes with a code and no fault frame.
    CloseConnection {
        /// The code.
        code: CloseCode,
    },
    /// The server tells a fault, then closes as that fault does.
    FaultThenClose {
        /// The code of the fault.
        #[serde(deserialize_with = "known_code", serialize_with = "code_name")]
        code: Code,
    },
    /// The server stops reading and writing the connection without closing it.
    HalfOpen,
    /// The provider of the running turn is killed.
    KillProvider,
    /// The provider of the running turn is no longer read.
    StallProvider,
    /// The store refuses to write.
    FailStore,
    /// The server handles late what it is told, so that it counts as overloaded.
    SlowServer,
    /// The session's machine panics: once, or twice on the same command, which ends the session.
    Panic {
        /// How often, 1 or 2. Over HTTP it is once, whatever this says.
        #[serde(default = "once", skip_serializing_if = "is_once")]
        times: u32,
    },
    /// The token counts as expired.
    ExpireToken,
}

const fn once() -> u32 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape that serde wants"
)]
const fn is_once(times: &u32) -> bool {
    *times == once()
}

fn known_code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Code, D::Error> {
    match crate::FaultCode::deserialize(deserializer)? {
        crate::FaultCode::Known(code) => Ok(code),
        crate::FaultCode::Unknown(name) => Err(serde::de::Error::custom(format_args!(
            "no fault code {name:?}"
        ))),
    }
}

fn code_name<S: serde::Serializer>(code: &Code, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.name())
}
