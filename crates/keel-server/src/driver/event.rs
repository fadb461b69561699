//! What is said to the driver, and what it keeps of those who said it.

use std::{sync::Arc, time::Duration};

use keel_core::node::{Answer, Ask, ConnId, Input};
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
