//! What goes into a plane and what comes out of it.

use std::time::Duration;

use crate::{cadence::Finding, layers::Layer, packet::Kind, path::Path, peer::Refusal};

/// One peer, as the caller numbers them. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// One published track, as the caller numbers them. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u64);

/// Peers that hear each other, as the caller numbers them: one of them speaks at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// Which track is on which m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The line (RFC 8843's `mid`).
    pub mid: String,
    /// What it carries.
    pub track: TrackId,
}

/// What passes between two ends that agree on a transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A description that asks for an answer. From a client, `lines` says what it publishes; from a
    /// server, what it sends.
    Offer {
        /// RFC 8866.
        sdp: String,
        /// See above.
        lines: Vec<Line>,
    },
    /// The answer to an offer; `lines` as above.
    Answer {
        /// RFC 8866.
        sdp: String,
        /// See above.
        lines: Vec<Line>,
    },
    /// A candidate (RFC 8839's attribute); empty when there are no more.
    Candidate {
        /// The attribute's text.
        candidate: String,
    },
    /// What is on which line has changed, and no description has to.
    Lines {
        /// All of them.
        lines: Vec<Line>,
    },
}

/// What a plane is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A transport is wanted.
    Open {
        /// Names it.
        peer: PeerId,
        /// Of these.
        group: GroupId,
    },
    /// The other side takes no offers: none is made to it.
    Settle {
        /// Of which.
        peer: PeerId,
    },
    /// The other side says something about it.
    Signal {
        /// Of which.
        peer: PeerId,
        /// What.
        signal: Signal,
    },
    /// A peer is to be sent a track.
    Subscribe {
        /// Who.
        peer: PeerId,
        /// What.
        track: TrackId,
        /// The largest layer that is wanted; absent means the best that fits.
        max: Option<Layer>,
    },
    /// No longer.
    Unsubscribe {
        /// Who.
        peer: PeerId,
        /// What.
        track: TrackId,
    },
    /// A track's silence is meant, or no longer.
    Mute {
        /// Which.
        track: TrackId,
        /// Whether it is.
        muted: bool,
    },
    /// ICE is to be restarted (RFC 8445 §2.4).
    Restart {
        /// Of which.
        peer: PeerId,
    },
    /// The way over which descriptions pass is new: what was under way on the old one is lost.
    Resume {
        /// Of which.
        peer: PeerId,
    },
    /// Somebody needs a keyframe.
    Keyframe {
        /// Of this track.
        track: TrackId,
    },
    /// A way is no more, as a connection that ended: what goes to it takes another at once.
    Gone {
        /// Which.
        path: Path,
    },
    /// What a peer is sent on some lines does not arrive, or cannot be shown.
    Refresh {
        /// Who.
        peer: PeerId,
        /// The lines' mids; those that carry nothing are passed over.
        mids: Vec<String>,
        /// A keyframe was not enough: what is sent there begins anew with one, and with what was
        /// negotiated looked up again.
        anew: bool,
    },
    /// A transport is no longer wanted.
    Close {
        /// Which.
        peer: PeerId,
    },
    /// Time has passed.
    Tick,
}

/// Why a transport is no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no room for another.
    #[error("there are too many transports")]
    TooManyPeers,
    /// It was never connected: no datagram came through, or DTLS failed.
    #[error("the transport was not connected within its time")]
    NotConnected,
    /// The other side closed it, or it broke.
    #[error("the transport was closed")]
    Closed,
}

/// What leaves a plane.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// Where.
        path: Path,
        /// What.
        bytes: Vec<u8>,
    },
    /// Say something to the other side.
    Signal {
        /// About which transport.
        peer: PeerId,
        /// What.
        signal: Signal,
    },
    /// What the other side said was refused; nothing has changed.
    Refused {
        /// About which transport.
        peer: PeerId,
        /// Why.
        refusal: Refusal,
    },
    /// An offer met one of ours: its maker answers ours, then offers again.
    PassedOver {
        /// About which transport.
        peer: PeerId,
    },
    /// A transport is connected for the first time.
    Connected {
        /// Which.
        peer: PeerId,
        /// From when it was opened.
        after: Duration,
    },
    /// The way to a peer is gone; nothing is sent to it.
    Unreachable {
        /// Which.
        peer: PeerId,
    },
    /// It is back.
    Reachable {
        /// Which.
        peer: PeerId,
    },
    /// A peer has another address, and everything goes on.
    Moved {
        /// Which.
        peer: PeerId,
    },
    /// A transport is no more, and with it every track that it published.
    Failed {
        /// Which.
        peer: PeerId,
        /// Why.
        failure: Failure,
    },
    /// A track is there.
    Published {
        /// By whom.
        peer: PeerId,
        /// Which.
        track: TrackId,
        /// Of what.
        kind: Kind,
    },
    /// A track is no more.
    Unpublished {
        /// Which.
        track: TrackId,
    },
    /// A track's packets stay away, or are back.
    Cadence {
        /// Which.
        track: TrackId,
        /// What was found.
        finding: Finding,
    },
    /// Somebody else of a group speaks, or nobody.
    Speaking {
        /// Which.
        group: GroupId,
        /// Whose voice it is; absent means nobody's.
        track: Option<TrackId>,
    },
    /// A peer cannot be sent a track: it knows no codec of it, took no line for it, or has no room for
    /// another and none is free. Told once.
    Unsupported {
        /// Who.
        peer: PeerId,
        /// What.
        track: TrackId,
    },
}

/// Outputs, in the order in which they are to be performed.
pub type Outputs = Vec<Output>;
