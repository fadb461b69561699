//! Participants with media in a process of their own: one that publishes, many that are sent it. What
//! they cost is nobody's figure.
//!
//! A *whole* viewer is a transport as a browser's: it decrypts what comes and says what arrived, and
//! when (transport-wide congestion control). A *lean* one agrees on none of that, and counts datagrams
//! without opening them, so that a small machine can stand many.

mod call;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::Semaphore,
    task::JoinSet,
};

use call::{Call, Part};

/// Viewers that join at once, where there is no hurry.
const AT_ONCE: usize = 8;
/// How long one may take until it sees something.
const IN_WITHIN: Duration = Duration::from_secs(30);

/// Where the participants go.
#[derive(Debug, Clone)]
pub struct Calls {
    /// The server's address.
    pub addr: SocketAddr,
    /// What they say hello with.
    pub token: String,
}

/// What is to be done; each order is answered with [`Told`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Order {
    /// A session of its own for a publisher.
    Publish,
    /// So many viewers of a session, by default the last that began here, and how many of them join
    /// at once.
    View {
        session: Option<String>,
        count: usize,
        whole: bool,
        at_once: usize,
    },
    /// Every publisher sends so many packets a second.
    Pace { per_s: u32 },
    /// What has come since the last look.
    Look,
}

/// What there is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The last session that began here.
    pub(crate) session: String,
    /// Packets that were sent by publishers, and that came to viewers, since the last look.
    pub(crate) sent: u64,
    pub(crate) came: u64,
    /// Bytes of a datagram of media, as it came.
    pub(crate) datagram: u64,
    /// From a packet's writing to its coming, at whole viewers, since the last look.
    pub(crate) delays_ms: Vec<f64>,
    /// From a viewer's first dial to its first keyframe, of those that this order let in.
    pub(crate) joins_ms: Vec<f64>,
}

/// What all of them share.
#[derive(Debug)]
struct Shared {
    calls: Calls,
    start: Instant,
    sent: AtomicU64,
    came: AtomicU64,
    datagram: AtomicU64,
    per_s: AtomicU64,
    delays_ms: Mutex<Vec<f64>>,
    /// Numbers the participants.
    last: AtomicU64,
}

/// Runs participants until standard input ends: each line is an order, and is answered.
///
/// # Errors
/// When one cannot get in, or an order makes no sense.
pub async fn main(calls: Calls) -> Result<()> {
    let shared = Arc::new(Shared {
        calls,
        start: Instant::now(),
        sent: AtomicU64::new(0),
        came: AtomicU64::new(0),
        datagram: AtomicU64::new(0),
        per_s: AtomicU64::new(120),
        delays_ms: Mutex::new(Vec::new()),
        last: AtomicU64::new(0),
    });
    let mut session = String::new();
    let mut running = JoinSet::new();
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        let mut joins_ms = Vec::new();
        match serde_json::from_str(&order).context("an order that is none")? {
            Order::Publish => {
                let (call, _) = Box::pin(enter(&shared, Part::Publisher)).await?;
                session = call.session().to_owned();
                running.spawn(call.run());
            }
            Order::View {
                session: of,
                count,
                whole,
                at_once,
            } => {
                let of = of.unwrap_or_else(|| session.clone());
                let gate = Arc::new(Semaphore::new(at_once.clamp(1, AT_ONCE)));
                let mut entering = JoinSet::new();
                for _ in 0..count {
                    let (shared, gate) = (Arc::clone(&shared), Arc::clone(&gate));
                    let session = of.clone();
                    entering.spawn(async move {
                        let _permit = gate.acquire().await?;
                        Box::pin(enter(&shared, Part::Viewer { session, whole })).await
                    });
                }
                while let Some(entered) = entering.join_next().await {
                    let (call, after) = entered??;
                    joins_ms.push(crate::samples::ms(after));
                    running.spawn(call.run());
                }
            }
            Order::Pace { per_s } => shared.per_s.store(per_s.into(), Relaxed),
            Order::Look => {}
        }
        let told = Told {
            session: session.clone(),
            sent: shared.sent.swap(0, Relaxed),
            came: shared.came.swap(0, Relaxed),
            datagram: shared.datagram.load(Relaxed),
            delays_ms: shared
                .delays_ms
                .lock()
                .map(|mut all| std::mem::take(&mut *all))
                .unwrap_or_default(),
            joins_ms,
        };
        while let Some(ended) = running.try_join_next() {
            ended??;
        }
        crate::baseline::say(&told)?;
    }
    Ok(())
}

/// Lets one in: returns when it has seen a keyframe, or may send, and how long that took.
async fn enter(shared: &Arc<Shared>, part: Part) -> Result<(Call, Duration)> {
    let dialled = Instant::now();
    let entering = async {
        let mut call = Box::pin(Call::dial(Arc::clone(shared), part)).await?;
        call.until_in().await?;
        Ok::<_, anyhow::Error>(call)
    };
    let call = tokio::time::timeout(IN_WITHIN, Box::pin(entering));
    let call = call.await.context("a participant does not get in")??;
    Ok((call, dialled.elapsed()))
}
