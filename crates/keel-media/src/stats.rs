//! How transports are doing, and what passes on them: counted as it passes, and told to whoever asks. What only
//! the other side can know of it (the round trip, what it missed) comes from checks and reports, which are
//! looked at every [`limits::STATS_EVERY`](crate::limits::STATS_EVERY).

use std::time::Duration;

use crate::{layers::Layer, packet::Kind, path::Protocol, plane::PeerId, plane::TrackId};

/// One transport.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerStats {
    /// Which.
    pub peer: PeerId,
    /// Whether what is sent now arrives, as far as is known.
    pub reachable: bool,
    /// Over what it is reached; absent before anything was heard.
    pub protocol: Option<Protocol>,
    /// There and back, as it was measured last; absent before.
    pub round_trip: Option<Duration>,
    /// The share of what was sent that the other side missed of late, 0 to 1, before it was sent again; absent
    /// while it reports nothing.
    pub missed: Option<f32>,
    /// What its way is believed to carry, in bits a second.
    pub estimate_bps: u64,
    /// What it publishes.
    pub publishes: Vec<TrackStats>,
    /// What it is sent.
    pub receives: Vec<SentStats>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets (RTP), those that were sent again not among them.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Counted {
    pub(crate) const fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// A track, as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackStats {
    /// Which.
    pub track: TrackId,
    /// Of what.
    pub kind: Kind,
    /// Peers that have a line for it and can show it.
    pub audience: usize,
    /// Its layers, in the order in which they came first; one without simulcast, none before the first packet.
    pub layers: Vec<LayerStats>,
}

/// One layer of a track, as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStats {
    /// Which.
    pub layer: Layer,
    /// Since it was published.
    pub counted: Counted,
    /// Payload, in bits a second; absent when nothing comes.
    pub bps: Option<u64>,
    /// Keyframes that came.
    pub keyframes: u64,
}

/// A track, as one peer is sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentStats {
    /// Which.
    pub track: TrackId,
    /// The layer that it is sent, or is to be from the next keyframe on.
    pub layer: Option<Layer>,
    /// Since it was subscribed to.
    pub counted: Counted,
}
