//! One connection as the network sees it: two lanes of bytes, each of which can be slow, deaf or dead.

use keel_core::{
    client::{ConnEnd as ClientEnd, ConnId},
    node::ConnEnd as ServerEnd,
};
use std::sync::Arc;

/// What arrives at a server.
#[derive(Debug)]
pub(crate) enum Up {
    Frame(Vec<u8>),
    End(ServerEnd),
}

/// What arrives at a client.
#[derive(Debug)]
pub(crate) enum Down {
    Opened,
    Frame(Arc<[u8]>),
    End(ClientEnd),
}

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// When the last thing on it arrives: a lane keeps its order.
    pub(crate) last_at: u64,
    /// Since when nothing gets through.
    pub(crate) dead_since: Option<u64>,
    /// Nothing arrives before.
    pub(crate) held_until: u64,
    /// Bytes a second.
    pub(crate) rate: Option<u64>,
    /// What is on its way when it dies arrives all the same, late.
    pub(crate) late: bool,
}

impl Lane {
    /// When `bytes` that are sent now arrive; `None` for never.
    pub(crate) fn arrives(&mut self, now: u64, latency: u64, bytes: usize) -> Option<u64> {
        if self.dead_since.is_some() {
            return None;
        }
        let pace = self.rate.map_or(0, |rate| bytes as u64 * 1_000_000 / rate);
        let at = (now + latency).max(self.held_until).max(self.last_at + 1) + pace;
        self.last_at = at;
        Some(at)
    }

    pub(crate) fn kill(&mut self, now: u64) {
        self.dead_since.get_or_insert(now);
    }
}

/// How far a connection is, as the client has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Dialing,
    Greeting,
    Queued,
    Welcomed,
    Replayed,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) client: usize,
    pub(crate) client_life: u32,
    pub(crate) conn: ConnId,
    pub(crate) server: usize,
    pub(crate) server_life: u32,
    pub(crate) stage: Stage,
    /// Whether each end still has it.
    pub(crate) client_open: bool,
    pub(crate) server_open: bool,
    pub(crate) up: Lane,
    pub(crate) down: Lane,
    /// Something was done to it, or to what it stands on, that may end it.
    pub(crate) touched: bool,
    /// Frames from the client come twice.
    pub(crate) twice: u32,
    /// The client's shell has seen its end.
    pub(crate) ending: bool,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        self.client_open && self.stage != Stage::Dialing
    }
}
