//! What every request handler and connection may use.

use std::sync::{Arc, atomic::AtomicU64};

use keel_core::node::{Answer, Ask};
use keel_store::Store;
use keel_wire::record::Fence;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::Tokens,
    driver::Event,
    edge::Edge,
    health::Health,
    http::{Idempotency, Offered},
    media::Gauges,
    meter::Meter,
    peers::Peers,
    tails::Tails,
    tickets::Tickets,
    tls::Tls,
    whip::Resources,
    workplace::Workplaces,
};

pub(crate) struct Shared {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: Tokens,
    pub(crate) edge: Edge,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) tails: Arc<Tails>,
    pub(crate) health: Arc<Health>,
    pub(crate) meter: Meter,
    pub(crate) tracker: TaskTracker,
    /// Ends connections and streams when the server is closed.
    pub(crate) closing: CancellationToken,
    pub(crate) conns: AtomicU64,
    pub(crate) event_streams: Arc<Semaphore>,
    pub(crate) idempotency: Idempotency,
    pub(crate) whip: Arc<Resources>,
    /// What serves sessions that are opened by WHIP; absent where there is none that takes media.
    pub(crate) media_backend: Option<String>,
    pub(crate) request_within: std::time::Duration,
    pub(crate) faults: bool,
    pub(crate) playground: bool,
    /// What serves sessions, by name.
    pub(crate) backends: Vec<Offered>,
    pub(crate) default_backend: String,
    pub(crate) takes_media: bool,
    /// How transports for media are doing.
    pub(crate) gauges: Gauges,
    /// Where sessions' programs may work.
    pub(crate) workplaces: Workplaces,
    pub(crate) fence: Fence,
    /// The peer that sessions go to, where nobody says otherwise, and how long turns may take to end.
    pub(crate) drain_target: Option<String>,
    pub(crate) drain_within: std::time::Duration,
    /// Other servers.
    pub(crate) peers: Arc<Peers>,
    /// Absent when plain HTTP is spoken.
    pub(crate) tls: Option<Arc<Tls>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Shared {
    /// Asks the Node; `None` when it is there no more.
    pub(crate) async fn ask(&self, question: Ask) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        self.events
            .send(Event::Ask { question, reply })
            .await
            .ok()?;
        answer.await.ok()
    }
}
