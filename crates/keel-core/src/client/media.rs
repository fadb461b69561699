//! The media leg: the transport that stands beside the connection.
//!
//! It belongs to the attachment: while the connection is lost and found again, it goes on.

mod io;

use keel_wire::{IceServer, MediaSignal};

pub use io::{LineSample, MediaInput, MediaOrder, TransportState};

use super::{Client, Cx, Output, path::Stage};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Media {
    wanted: bool,
    /// The number of the last transport.
    last: u32,
    is_open: bool,
    ice_servers: Vec<IceServer>,
}

impl Client {
    pub(super) fn media(&mut self, cx: &mut Cx<'_>, input: MediaInput) {
        match input {
            MediaInput::Want(wanted) => {
                self.media.wanted = wanted;
                self.settle_media(cx);
            }
            MediaInput::Say(signal) => self.signal(cx, signal),
            MediaInput::Transport { .. } | MediaInput::Sampled { .. } | MediaInput::Retry => {}
        }
    }

    /// The server still has a transport of this attachment, or has none.
    pub(super) fn welcomed_media(
        &mut self,
        cx: &mut Cx<'_>,
        peer: Option<u32>,
        ice_servers: Vec<IceServer>,
    ) {
        self.media.ice_servers = ice_servers;
        let peer_is_there = self.media.is_open && peer == Some(self.media.last);
        if peer_is_there {
            let peer = self.media.last;
            cx.out.push(Output::Media(MediaOrder::Resume { peer }));
        } else {
            self.media.is_open = false;
        }
        self.settle_media(cx);
    }

    pub(super) fn hear_media(&self, cx: &mut Cx<'_>, signal: MediaSignal) {
        if self.media.is_open && signal.peer() == self.media.last {
            cx.out.push(Output::Media(MediaOrder::Hear(signal)));
        }
    }

    pub(super) fn ice_servers(&mut self, ice_servers: Vec<IceServer>) {
        self.media.ice_servers = ice_servers;
    }

    fn settle_media(&mut self, cx: &mut Cx<'_>) {
        if self.media.wanted && !self.media.is_open && self.stands() {
            self.media.last += 1;
            self.media.is_open = true;
            cx.out.push(Output::Media(MediaOrder::Open {
                peer: self.media.last,
                ice_servers: self.media.ice_servers.clone(),
            }));
        }
        if !self.media.wanted && std::mem::take(&mut self.media.is_open) {
            let peer = self.media.last;
            cx.out.push(Output::Media(MediaOrder::Close { peer }));
        }
    }

    fn stands(&self) -> bool {
        let path = self.current.as_ref();
        path.is_some_and(|path| matches!(path.stage, Stage::Replaying | Stage::Joined))
    }

    /// To the connection that carries the session, if one does.
    fn signal(&self, cx: &mut Cx<'_>, signal: MediaSignal) {
        let path = self.current.as_ref().filter(|_| self.stands());
        if let (Some(path), Some(frame)) = (path, signal.into_client_frame()) {
            cx.send(path, frame.encode());
        }
    }
}
