//! What is said to the driver, and what it keeps of those who said it.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::Duration,
};

use keel_core::node::{Answer, Ask, ConnId, Input, Progress};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{socket::Out, tickets::Handshake};

/// What is said to the driver.
#[derive(Debug)]
pub(crate) enum Event {
    /// A WebSocket is open.
    Opened {
        /// Names it.
        conn: ConnId,
        /// Takes what is to be written.
        outbox: mpsc::UnboundedSender<Out>,
        /// The page that it came from.
        origin: Option<String>,
        /// Held until it has shown a token.
        handshake: Handshake,
    },
    /// Something happened.
    Input(Input),
    /// A question.
    Ask {
        /// What.
        question: Ask,
        /// Takes the answer.
        reply: oneshot::Sender<Answer>,
    },
    /// How long has it waited?
    Probe {
        /// Since when.
        sent: Instant,
    },
    /// Hand every session over to another server.
    HandOver {
        /// Which, by its name.
        peer: String,
        /// Where clients find it.
        address: String,
        /// What runs may end within this.
        within: Duration,
        /// Is told when all have gone, or stay.
        handed_over: oneshot::Sender<Progress>,
    },
    /// Take no new work, move the old, stop.
    Drain {
        /// Within this.
        within: Duration,
        /// Where sessions go on.
        target: Option<String>,
        /// Is told when it is done.
        drained: oneshot::Sender<()>,
    },
}

/// Connections by their numbers.
pub(super) type Conns = HashMap<ConnId, Conn, BuildHasherDefault<ByNumber>>;

/// Hashes the running numbers of this process, which nobody outside chooses.
#[derive(Debug, Default)]
pub(super) struct ByNumber(u64);

impl Hasher for ByNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Knuth's multiplicative hash: neighbours get far apart.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A connection, as the driver knows it.
pub(super) struct Conn {
    pub(super) outbox: mpsc::UnboundedSender<Out>,
    pub(super) origin: Option<Arc<str>>,
    pub(super) handshake: Option<Handshake>,
}

/// Who wants an answer.
pub(super) enum Asker {
    Caller(oneshot::Sender<Answer>),
    Gauges,
}
