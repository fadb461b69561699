//! What a session's participants agree on about media: tracks as facts of the log, and the words of
//! their transports' signaling, which are told and forgotten.
//!
//! Media itself never comes here. A track belongs to its participant and outlives any transport: who
//! comes back on a new one goes on publishing the same track, and who watches it keeps its line.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{InvalidId, ParticipantId, ids};

/// A participant's own name for a track of its, as `camera`: of `[a-z0-9-]{1,64}`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct TrackName(#[schemars(regex(pattern = "^[a-z0-9-]{1,64}$"))] std::sync::Arc<str>);

impl TrackName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrackName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        ids::check(text).map(|()| Self(text.into()))
    }
}

impl TryFrom<String> for TrackName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<TrackName> for String {
    fn from(name: TrackName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for TrackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// A picture.
    Video,
}

/// What is on an m-line of a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaLine {
    /// The line's `a=mid` (RFC 8843).
    pub mid: String,
    /// Whose track it is; absent in a client's frames, which speak of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant: Option<ParticipantId>,
    /// Which of that participant's tracks.
    pub track: TrackName,
}

/// `offer`, both ways: a description that wants an answer (RFC 8829). Of two that meet, the client's
/// yields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfferFrame {
    /// Counts the attachment's transports, from 1. A higher one than the server knows opens another
    /// and closes the one before; a lower one is of a transport that is gone.
    pub peer: u32,
    /// RFC 8866.
    pub sdp: String,
    /// What its maker sends on which line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<MediaLine>,
    /// From a client: it takes no offers. What finds no line is not sent to it, it restarts ICE itself,
    /// and a way to it that is gone for longer than the resume window ends its transport.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
}

/// `answer`, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerFrame {
    /// Of which transport.
    pub peer: u32,
    /// RFC 8866.
    pub sdp: String,
    /// What its maker sends on which line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<MediaLine>,
}

/// `candidate`, both ways (RFC 8838).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CandidateFrame {
    /// Of which transport.
    pub peer: u32,
    /// The attribute's text (RFC 8839); empty when there are no more.
    pub candidate: String,
}

/// `lines`: what the server sends on which line of a description has changed, and no description has to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinesFrame {
    /// Of which transport.
    pub peer: u32,
    /// All of them; a line that is not here carries nothing.
    pub lines: Vec<MediaLine>,
}

/// `refresh`, from a client: what it is sent on these lines does not arrive, or cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefreshFrame {
    /// Of which transport.
    pub peer: u32,
    /// The lines' mids.
    pub mids: Vec<String>,
    /// A keyframe was not enough: what is sent there is to begin anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
}

/// A STUN or TURN server that a transport may use (RFC 7064, RFC 7065), as a browser takes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceServer {
    /// Its addresses, as `turn:turn.example.org:3478?transport=udp`.
    pub urls: Vec<String>,
    /// Who one is to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The proof of that: good for a while only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// `ice_servers`, from a server: those of the welcome with credentials that are good for longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceServersFrame {
    /// All of them.
    pub ice_servers: Vec<IceServer>,
}

/// `track.publish`: a participant will send a track. Publishing one again changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishTrack {
    /// Its name.
    pub track: TrackName,
    /// What it carries.
    pub kind: TrackKind,
}

/// `track.unpublish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnpublishTrack {
    /// Which.
    pub track: TrackName,
}

/// `track.mute`: a track's silence is meant, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MuteTrack {
    /// Which.
    pub track: TrackName,
    /// Whether it is.
    pub muted: bool,
}

/// `track.subscribe`: whether a track of another's is wanted, and how large. What was not said is wanted as
/// large as the way allows. Kept as long as the track and the participant are there, whatever becomes of
/// connections and transports; after a welcome that resumes, what is kept is told as `subscriptions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SubscribeTrack {
    /// Whose.
    pub participant: ParticipantId,
    /// Which.
    pub track: TrackName,
    /// Whether it is wanted at all.
    pub wanted: bool,
    /// The largest layer that is wanted of a track with several; absent means the best that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<LayerSize>,
}

/// A simulcast layer, by how large its picture is. Of a track with fewer, the next smaller one is meant.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LayerSize {
    /// The smallest.
    Low,
    /// The second.
    Medium,
    /// The third.
    High,
}

/// `track.published`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackPublished {
    /// By whom.
    pub participant: ParticipantId,
    /// Its name.
    pub track: TrackName,
    /// What it carries.
    pub kind: TrackKind,
}

/// `track.unpublished`. Whoever leaves takes the own tracks along without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackUnpublished {
    /// By whom.
    pub participant: ParticipantId,
    /// Its name.
    pub track: TrackName,
}

/// `track.muted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackMuted {
    /// By whom.
    pub participant: ParticipantId,
    /// Its name.
    pub track: TrackName,
    /// Whether its silence is meant.
    pub muted: bool,
}

/// A track, in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrackView {
    /// Whose.
    pub participant: ParticipantId,
    /// Its name.
    pub track: TrackName,
    /// What it carries.
    pub kind: TrackKind,
    /// Its silence is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub muted: bool,
}

/// The words of a transport's signaling, as one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaSignal {
    /// A description that wants an answer.
    Offer(OfferFrame),
    /// The answer.
    Answer(AnswerFrame),
    /// Where its maker may be reached.
    Candidate(CandidateFrame),
    /// What is sent on which line; from a server only.
    Lines(LinesFrame),
    /// What is sent on some lines does not arrive; from a client only.
    Refresh(RefreshFrame),
}

impl MediaSignal {
    /// The type of its frame.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Offer(_) => "offer",
            Self::Answer(_) => "answer",
            Self::Candidate(_) => "candidate",
            Self::Lines(_) => "lines",
            Self::Refresh(_) => "refresh",
        }
    }

    /// Of which transport it speaks.
    #[must_use]
    pub const fn peer(&self) -> u32 {
        match self {
            Self::Offer(offer) => offer.peer,
            Self::Answer(answer) => answer.peer,
            Self::Candidate(candidate) => candidate.peer,
            Self::Lines(lines) => lines.peer,
            Self::Refresh(refresh) => refresh.peer,
        }
    }

    /// The frame in which a client says it; `None` for what only a server says.
    #[must_use]
    pub fn into_client_frame(self) -> Option<crate::ClientFrame> {
        match self {
            Self::Offer(offer) => Some(offer.into()),
            Self::Answer(answer) => Some(answer.into()),
            Self::Candidate(candidate) => Some(candidate.into()),
            Self::Refresh(refresh) => Some(refresh.into()),
            Self::Lines(_) => None,
        }
    }
}
