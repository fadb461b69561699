//! A TCP proxy that breaks connections: between a client that cannot tell it from the network and a
//! server that cannot either.
//!
//! A cut strikes every connection that is open at that moment; new ones pass untouched, unless the
//! link is down. Nothing is decided by time inside: whoever drills says when.

mod frames;
mod relay;

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What is done to the connections that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides are reset (N01).
    Reset,
    /// Both streams end without a close frame (N02).
    Fin,
    /// The server's stream is given a close frame with this code, then ends (N03, N16).
    Close(u16),
    /// Nothing passes any more, and nobody is told (N04).
    BlackHole,
    /// Nothing passes from the client to the server (N05).
    DeafServer,
    /// Nothing passes from the server to the client (N06).
    DeafClient,
    /// What comes is held for so long, then passes at once (N08).
    Hold(Duration),
    /// The server's next frame is cut in half, then both sides are reset (N21).
    HalfFrame,
    /// What comes passes at so many bytes a second, each way (N09, N10).
    Trickle(u32),
}

impl Cut {
    /// The kinds that the heart goes through, in turn.
    pub const HEART: [Self; 8] = [
        Self::Reset,
        Self::Fin,
        Self::HalfFrame,
        Self::BlackHole,
        Self::DeafServer,
        Self::DeafClient,
        Self::Close(1012),
        Self::Hold(Duration::from_millis(250)),
    ];
}

/// What new connections meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The server.
    Up,
    /// A reset.
    Refusing,
    /// Nothing: the connection is taken, and that is all (N12).
    Silent,
    /// An HTTP answer that is no upgrade (N15).
    Answers(&'static str),
    /// The server, but nothing of what it says.
    Deaf,
    /// The server, but of what it says only the answer to the upgrade.
    Mute,
    /// The server, until its first frame is cut in half (N21).
    HalfWelcome,
    /// The server, which is not told that an upgrade is wanted (N15).
    StripsUpgrade,
    /// The server, for as long as something passes at least so often (N14).
    Impatient(Duration),
}

/// Arrivals that are remembered; the oldest go first.
const ARRIVALS_MAX: usize = 4_096;

type Table = Arc<Mutex<BTreeMap<u64, watch::Sender<Option<Cut>>>>>;

/// A running proxy. Dropping it ends every connection through it.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    table: Table,
    link: watch::Sender<Link>,
    accepted: watch::Receiver<u64>,
    arrivals: Arc<Mutex<VecDeque<Instant>>>,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy on a port of its own, to `target`.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let table = Table::default();
        let arrivals = Arc::<Mutex<VecDeque<Instant>>>::default();
        let (link, link_seen) = watch::channel(Link::Up);
        let (count, accepted) = watch::channel(0);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(
            listener,
            target,
            Arc::clone(&table),
            link_seen,
            (count, Arc::clone(&arrivals)),
        ));
        Ok(Self {
            addr,
            table,
            link,
            accepted,
            arrivals,
            tasks,
        })
    }

    /// Where clients connect to.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Strikes every open connection; how many there were.
    pub fn cut(&self, cut: Cut) -> usize {
        strike(&self.table, cut)
    }

    /// The same, by itself, after a while: a network that breaks what nobody told it to break.
    pub(crate) fn cut_after(&mut self, span: Duration, cut: Cut) {
        let table = Arc::clone(&self.table);
        self.tasks.spawn(async move {
            tokio::time::sleep(span).await;
            strike(&table, cut);
        });
    }

    /// What new connections meet from here on.
    pub fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        lock(&self.table).len()
    }

    /// Connections that ever came.
    pub fn accepted(&self) -> u64 {
        *self.accepted.borrow()
    }

    /// When the last few thousand of them came.
    pub fn arrivals(&self) -> Vec<Instant> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().copied().collect()
    }
}

fn arrived(arrivals: &Mutex<VecDeque<Instant>>) {
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    if arrivals.len() == ARRIVALS_MAX {
        arrivals.pop_front();
    }
    arrivals.push_back(Instant::now());
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    table: Table,
    link: watch::Receiver<Link>,
    (count, arrivals): (watch::Sender<u64>, Arc<Mutex<VecDeque<Instant>>>),
) {
    let mut conns = JoinSet::new();
    let mut next = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                next += 1;
                arrived(&arrivals);
                count.send_replace(next);
                let (cut, cuts) = watch::channel(None);
                let link = *link.borrow();
                let (id, table) = (next, Arc::clone(&table));
                lock(&table).insert(id, cut);
                conns.spawn(async move {
                    pass(client, target, link, cuts).await;
                    lock(&table).remove(&id);
                });
            }
            Some(_) = conns.join_next(), if !conns.is_empty() => {}
        }
    }
}

fn strike(table: &Table, cut: Cut) -> usize {
    let table = lock(table);
    for conn in table.values() {
        conn.send_replace(Some(cut));
    }
    table.len()
}

fn lock(table: &Table) -> std::sync::MutexGuard<'_, BTreeMap<u64, watch::Sender<Option<Cut>>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    link: Link,
    mut cuts: watch::Receiver<Option<Cut>>,
) {
    match link {
        Link::Up
        | Link::Deaf
        | Link::Mute
        | Link::HalfWelcome
        | Link::StripsUpgrade
        | Link::Impatient(_) => {}
        Link::Refusing => return reset(client),
        Link::Silent => {
            // Until somebody strikes it, or the client goes.
            let mut sink = [0; 1024];
            loop {
                tokio::select! {
                    _ = cuts.changed() => return reset(client),
                    read = client.read(&mut sink) => if !matches!(read, Ok(1..)) { return },
                }
            }
        }
        Link::Answers(answer) => {
            let mut head = [0; 4096];
            let _ = client.read(&mut head).await;
            let _ = client.write_all(answer.as_bytes()).await;
            let _ = client.shutdown().await;
            return;
        }
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return reset(client);
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    if link == Link::StripsUpgrade && strip(&mut client, &mut server).await.is_err() {
        return reset(client);
    }
    relay::relay(client, server, link, cuts).await;
}

/// Passes a request's head on without what is only for the next hop, as an old proxy does.
async fn strip(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 * 1024 {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let hop = ["upgrade:", "connection:"];
    let kept = head.split_inclusive("\r\n").filter(|line| {
        let line = line.to_ascii_lowercase();
        !hop.iter().any(|name| line.starts_with(name))
    });
    server.write_all(kept.collect::<String>().as_bytes()).await
}

/// Ends a connection with a reset instead of a FIN.
fn reset(stream: TcpStream) {
    if let Ok(stream) = stream.into_std() {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}
