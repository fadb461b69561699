//! What leaves an Evenkeel process: frames to the network, records to the store.
//!
//! Everything here is a value. There is no clock, socket, task or randomness in this crate, and no
//! decision about the protocol: who may send what, and when, is `keel-core`'s business.
//!
//! - [`ClientFrame`] and [`ServerFrame`] cross the WebSocket; [`codec`] bounds what is read.
//! - [`Event`] is what a session's log is made of, [`Snapshot`] is its fold.
//! - [`Fault`] is an outside failure as a value; [`Code`] is the closed list of them.
//! - [`record`] holds what is committed to a store, [`journal`] what is kept beside the log.

mod close;
mod code;
pub mod codec;
mod command;
mod event;
mod fault;
mod fit;
mod frame;
mod grant;
pub mod handover;
mod ids;
pub mod item;
pub mod journal;
pub mod limits;
mod media;
mod merge;
pub mod record;
mod seq;
mod snapshot;
mod status;
mod tagged;

pub use close::{CloseCode, Verdict};
pub use code::{Code, FaultCode};
pub use codec::DecodeError;
pub use command::{
    Answer, CancelTurn, Command, ContinueTurn, DescribeSession, EndSession, InjectFault, Injected,
    Injection, PromoteTurn, RetryTurn, Say, Send, SetParams,
};
pub use event::{
    Action, AgentBound, CancelStep, Choice, ChoiceKind, Event, Item, LeaveReason, Message,
    ParamsApplied, ParamsChanged, ParticipantJoined, ParticipantLeft, SessionCreated,
    SessionDescribed, SessionEnded, Text, TurnAccepted, TurnAnswered, TurnCancelling, TurnEnd,
    TurnEnded, TurnMoved, TurnRetrying, TurnStarted, TurnSteered, TurnWaiting,
};
pub use fault::{Fault, Leg, Origin, Retry, Scope, Todo};
pub use fit::json_len;
pub use frame::{
    Ack, Admission, Auth, Beat, BeatPlan, ClientFrame, CommandFrame, Detach, Ended, Ephemeral,
    EventFrame, Evidence, FaultFrame, Gap, Goaway, Hello, History, Joined, Queued, RawData,
    Receipt, ReceiptBody, Replayed, Resume, ServerFrame, SessionLimits, StatusFrame, StreamState,
    Welcome,
};
pub use grant::{Grant, Role};
pub use ids::{
    ActionId, CommandId, FaultId, HandoverId, InstanceId, InvalidId, ParticipantId, SessionId,
    StreamId, TurnId,
};
pub use media::{
    AnswerFrame, CandidateFrame, IceServer, IceServersFrame, LayerSize, LinesFrame, MediaLine,
    MediaSignal, MuteTrack, OfferFrame, PublishTrack, RefreshFrame, SubscribeTrack, TrackKind,
    TrackMuted, TrackName, TrackPublished, TrackUnpublished, TrackView, UnpublishTrack,
};
pub use merge::merge_patch;
pub use seq::{Cursor, Epoch, Range, Seq};
pub use snapshot::{AgentView, BusyPolicy, ParticipantView, Snapshot, TurnState, TurnView};
pub use status::{EndReason, LegState, LegStatus, Phase, State, Status, Strategy, WaitingFor};

pub use schemars::JsonSchema;

/// The JSON Schema of a type of this crate.
#[must_use]
pub fn schema_for<T: JsonSchema>() -> schemars::Schema {
    schemars::schema_for!(T)
}

/// Milliseconds since the Unix epoch, by the wall clock of whoever wrote it.
///
/// Never used for ordering or for timers; sequences and monotonic time do that.
pub type UnixMillis = u64;

/// The WebSocket subprotocol this crate describes.
pub const SUBPROTOCOL: &str = "evenkeel.v1.json";
