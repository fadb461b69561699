//! The media plane of Evenkeel, without sockets.
//!
//! ```text
//! datagram → demux → peer (str0m) → track → forward → subscribers' peers → datagrams
//! ```
//!
//! A [`Plane`] is a machine: [`Plane::handle`] and [`Plane::datagrams`] take what happens,
//! [`Plane::deadline`] says when it wants to be called again. Whoever drives it owns the sockets and the
//! clock. It decides nothing about sessions: who may publish and who is sent what is told to it.
//!
//! Connected is not flowing: each track has a watchdog that learns how often its packets come, and says
//! within a second when they stay away ([`Output::Cadence`]).

mod budget;
mod cadence;
pub mod client;
mod config;
mod consent;
mod demux;
mod forward;
mod keyframes;
mod layers;
pub mod limits;
mod packet;
mod path;
mod peer;
mod plane;
mod speaker;
mod stats;

pub use cadence::Finding;
pub use config::{Address, Certificate, Config, End};
pub use layers::Layer;
pub use packet::{Codec, Kind};
pub use path::{Path, Protocol};
pub use peer::Refusal;
pub use plane::{
    Deadline, Failure, GroupId, Input, Line, Output, Outputs, PeerId, Plane, Refused, Signal,
    TrackId,
};
pub use stats::{Counted, LayerStats, PeerStats, SentStats, TrackStats};
