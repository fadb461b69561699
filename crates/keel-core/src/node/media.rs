//! Media, as far as a Node has to know of it: which transport is whose, and what becomes of tracks.
//!
//! Packets never come here. The shell runs a plane that forwards them; the Node says who may publish
//! what and who is sent what ([`MediaOrder`]), and is told what came of it ([`MediaFact`]).

use std::collections::BTreeMap;

use keel_wire::{LayerSize, SessionId, TrackKind};

/// One transport for media, as the Node numbers them. Never used twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// One track on one transport, as the Node numbers them. Never used twice by one process: a participant
/// that comes back on another transport publishes the same track under another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Transports that hear each other: those of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// What is sent on an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its `a=mid`.
    pub mid: String,
    /// What it carries.
    pub stream: StreamId,
}

/// What passes between the two ends of a transport while they agree on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// A description that wants an answer.
    Offer {
        /// RFC 8866.
        sdp: String,
        /// What its maker sends on which line.
        lines: Vec<Line>,
    },
    /// The answer.
    Answer {
        /// RFC 8866.
        sdp: String,
        /// What its maker sends on which line.
        lines: Vec<Line>,
    },
    /// Where its maker may be reached.
    Candidate {
        /// RFC 8839.
        candidate: String,
    },
    /// What is sent on which line has changed.
    Lines {
        /// All of them.
        lines: Vec<Line>,
    },
}

/// What a plane is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaOrder {
    /// Open a transport.
    Open {
        /// Names it.
        peer: PeerId,
        /// One of those of whom one speaks at a time.
        group: GroupId,
    },
    /// A transport's client takes no offers: none is made to it.
    Settle {
        /// Of which.
        peer: PeerId,
    },
    /// The client says something about a transport.
    Signal {
        /// Which.
        peer: PeerId,
        /// What.
        signal: Signal,
    },
    /// Send a stream to a peer, or no larger than this.
    Subscribe {
        /// To whom.
        peer: PeerId,
        /// What.
        stream: StreamId,
        /// The largest layer that is wanted; absent means the best that fits.
        max: Option<LayerSize>,
    },
    /// No longer.
    Unsubscribe {
        /// To whom.
        peer: PeerId,
        /// What.
        stream: StreamId,
    },
    /// A stream's silence is meant, or no longer.
    Mute {
        /// Of whose.
        peer: PeerId,
        /// Which.
        stream: StreamId,
        /// Whether it is.
        muted: bool,
    },
    /// Restart ICE.
    Restart {
        /// Of which.
        peer: PeerId,
    },
    /// The client's connection is another one: say again what may have been lost with the one before.
    Resume {
        /// About which.
        peer: PeerId,
    },
    /// What is sent to a peer on some lines does not arrive, or cannot be shown.
    Refresh {
        /// To whom.
        peer: PeerId,
        /// The lines' mids.
        mids: Vec<String>,
        /// A keyframe was not enough: what is sent there is to begin anew.
        anew: bool,
    },
    /// Close a transport.
    Close {
        /// Which.
        peer: PeerId,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaFact {
    /// Tell the client something about its transport.
    Signal {
        /// Which.
        peer: PeerId,
        /// What.
        signal: Signal,
    },
    /// What the client said of its transport was refused; nothing has changed.
    Refused {
        /// Which.
        peer: PeerId,
        /// It was a description: where the transport has none before, nothing comes of it.
        description: bool,
        /// Why, for a person.
        why: String,
    },
    /// A transport is connected for the first time.
    Connected {
        /// Which.
        peer: PeerId,
        /// Milliseconds since it was opened.
        after_ms: u64,
    },
    /// The way to a peer is gone, or back.
    Reachable {
        /// Which.
        peer: PeerId,
        /// Whether it is there.
        reachable: bool,
    },
    /// A transport is no more.
    Failed {
        /// Which.
        peer: PeerId,
        /// Whether there was no room for it.
        full: bool,
        /// Why, for a person.
        why: String,
    },
    /// A stream is there: it can be sent to others.
    Published {
        /// Which.
        stream: StreamId,
        /// Of what.
        kind: TrackKind,
    },
    /// A stream comes no longer: its line carries it no more. It may come again.
    Unpublished {
        /// Which.
        stream: StreamId,
    },
    /// Somebody else speaks, or nobody.
    Speaking {
        /// Where.
        group: GroupId,
        /// Whose voice it is; absent means nobody's.
        stream: Option<StreamId>,
    },
    /// A stream does not flow, or flows again.
    Flow {
        /// Which.
        stream: StreamId,
        /// Whether it does.
        flows: bool,
        /// Milliseconds in which nothing came, where it flows again.
        gap_ms: u64,
    },
    /// A peer does not know a stream's codec, and is not sent it.
    Unsupported {
        /// Who.
        peer: PeerId,
        /// What.
        stream: StreamId,
    },
}

impl MediaFact {
    /// The transport or the stream that it is about.
    const fn about(&self) -> About {
        match self {
            Self::Signal { peer, .. }
            | Self::Refused { peer, .. }
            | Self::Connected { peer, .. }
            | Self::Reachable { peer, .. }
            | Self::Failed { peer, .. }
            | Self::Unsupported { peer, .. } => About::Peer(*peer),
            Self::Published { stream, .. }
            | Self::Unpublished { stream }
            | Self::Flow { stream, .. } => About::Stream(*stream),
            Self::Speaking { group, .. } => About::Group(*group),
        }
    }
}

enum About {
    Peer(PeerId),
    Stream(StreamId),
    Group(GroupId),
}

/// Which session a transport, and a stream, is of.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    peers: BTreeMap<PeerId, SessionId>,
    streams: BTreeMap<StreamId, SessionId>,
    /// Of the sessions that have transports.
    groups: BTreeMap<GroupId, SessionId>,
    last: u64,
}

impl Peers {
    pub(crate) fn open(&mut self, session: &SessionId) -> PeerId {
        self.last += 1;
        let peer = PeerId(self.last);
        self.peers.insert(peer, session.clone());
        peer
    }

    pub(crate) fn stream(&mut self, session: &SessionId) -> StreamId {
        self.last += 1;
        let stream = StreamId(self.last);
        self.streams.insert(stream, session.clone());
        stream
    }

    pub(crate) fn group(&mut self, session: &SessionId) -> GroupId {
        self.last += 1;
        let group = GroupId(self.last);
        self.groups.insert(group, session.clone());
        group
    }

    pub(crate) fn disband(&mut self, group: GroupId) {
        self.groups.remove(&group);
    }

    pub(crate) fn close(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    pub(crate) fn end(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    pub(crate) fn session(&self, fact: &MediaFact) -> Option<&SessionId> {
        match fact.about() {
            About::Peer(peer) => self.peers.get(&peer),
            About::Stream(stream) => self.streams.get(&stream),
            About::Group(group) => self.groups.get(&group),
        }
    }

    /// A session's transports, all of them forgotten with its streams: its machine is gone.
    pub(crate) fn take_of(&mut self, session: &SessionId) -> Vec<PeerId> {
        self.streams.retain(|_, of| of != session);
        self.groups.retain(|_, of| of != session);
        let taken: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, of)| *of == session)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in &taken {
            self.peers.remove(peer);
        }
        taken
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }
}
