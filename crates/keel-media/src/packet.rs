//! One RTP packet on its way through: what a router has to know of it, and a payload that is shared.

use std::{sync::Arc, time::Instant};

use crate::{
    layers::Layer,
    peer::{Extensions, Format},
};

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Sound.
    Audio,
    /// A picture.
    Video,
}

/// How a payload is to be read, as far as routing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// The AOM's RTP payload for AV1.
    Av1,
    /// Anything else: passed on, never switched between layers.
    Other,
}

/// A packet as a publisher sent it.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) layer: Layer,
    pub(crate) codec: Codec,
    pub(crate) format: Format,
    /// Who numbers it (RFC 3550's SSRC): another one begins anew, wherever it was.
    pub(crate) source: u32,
    /// Extended: it never wraps.
    pub(crate) seq: u64,
    /// In the codec's clock.
    pub(crate) time: u32,
    /// Ticks of that clock a second.
    pub(crate) clock: u32,
    pub(crate) marker: bool,
    pub(crate) extensions: Extensions,
    pub(crate) payload: Arc<[u8]>,
    pub(crate) at: Instant,
    /// It begins a keyframe: a decoder can start here.
    pub(crate) starts_keyframe: bool,
}
