//! What passes between the client and whoever runs its transport for media.
//!
//! The client decides when a transport is opened, when its ICE is restarted and when it is given up; the
//! shell (a browser's `RTCPeerConnection`, or str0m) does it, agrees on descriptions with the server by
//! perfect negotiation (the client is the polite end), and measures.

use keel_wire::{IceServer, MediaSignal};

/// What the shell tells of media.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaInput {
    /// Whether a transport is wanted: there is something to be published, or to be shown.
    Want(bool),
    /// Say something about a transport to the server; forgotten where no connection stands, since what
    /// was being agreed on is agreed on anew after each recovery ([`MediaOrder::Resume`]).
    Say(MediaSignal),
    /// How a transport is by its own account.
    Transport {
        /// Which.
        peer: u32,
        /// How.
        state: TransportState,
    },
    /// Answers [`MediaOrder::Sample`].
    Sampled {
        /// Of which transport.
        peer: u32,
        /// Every line that something is received on.
        lines: Vec<LineSample>,
    },
    /// Try again, after the leg was given up.
    Retry,
}

/// How a transport is by its own account. It is no proof that anything flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportState {
    /// ICE and DTLS are done.
    Connected,
    /// Checks are not answered; it may come back.
    Disconnected,
    /// It will not come back by itself.
    Failed,
}

/// What has come on a line since its transport was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineSample {
    /// The line (RFC 8843's `mid`).
    pub mid: String,
    /// RTP packets.
    pub packets: u64,
    /// Pictures that were decoded; absent where that is not known, as for sound, or where a page that
    /// nobody sees decodes none.
    pub frames: Option<u64>,
}

/// What the shell is to do about media.
#[derive(Debug, Clone, PartialEq)]
pub enum MediaOrder {
    /// Open a transport with what is published and what is received, and offer it. The one before, if
    /// there is one, is closed when this one is connected, or by [`MediaOrder::Close`].
    Open {
        /// Its number: higher than every one before.
        peer: u32,
        /// What it may use to be reached.
        ice_servers: Vec<IceServer>,
    },
    /// The server says something about a transport.
    Hear(MediaSignal),
    /// Offer a restart of ICE (RFC 8445 §2.4).
    Restart {
        /// Of which.
        peer: u32,
        /// What it may use to be reached.
        ice_servers: Vec<IceServer>,
    },
    /// The client's connection is another one: say again what may have been lost with the one before.
    Resume {
        /// About which.
        peer: u32,
    },
    /// Say what has come ([`MediaInput::Sampled`]).
    Sample {
        /// Over which.
        peer: u32,
    },
    /// Close a transport and forget it.
    Close {
        /// Which.
        peer: u32,
    },
}
