//! A UDP proxy that breaks the way of media: between a client that cannot tell it from the network and
//! a server that cannot either.
//!
//! Each client address has a socket of its own towards the server, as behind a NAT. What is done to a
//! datagram is a [`Way`], one each direction, and can be changed while it runs; chance comes from a seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Client addresses that are known at once; the datagrams of more are dropped and counted.
const FLOWS_MAX: usize = 64;
/// Datagrams that are held back at once; more are dropped and counted.
const HELD_MAX: usize = 8_192;
/// Datagrams that were read and wait to be passed on.
const READ_MAX: usize = 1_024;
/// How long a datagram waits at most where only so many bits pass.
pub const QUEUE_MAX: Duration = Duration::from_millis(300);
/// The largest datagram.
const BYTES_MAX: usize = 2_048;

/// What a datagram carries (RFC 7983: told by its first byte).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// A check of ICE.
    Stun,
    /// A record of DTLS.
    Dtls,
    /// RTP or RTCP, encrypted.
    Rtp,
    /// Nothing that is known.
    Other,
}

impl Carries {
    /// What these bytes are.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(128..=191) => Self::Rtp,
            Some(_) | None => Self::Other,
        }
    }
}

/// Which datagrams are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// All (M02, M03).
    All,
    /// So many in a thousand (M05).
    PerMille(u32),
    /// Those that are larger than so many bytes (M07).
    Larger(usize),
    /// Those that carry this (M09, M10).
    Only(Carries),
    /// The so manieth DTLS record, once: counted from when the way was set (M10).
    NthDtls(u64),
}

/// What is done to the datagrams of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// Which are lost.
    pub loss: Loss,
    /// How long each is held back.
    pub delay: Duration,
    /// By how much that differs, at most: what overtakes is reordered (M06).
    pub jitter: Duration,
    /// So many in a thousand come twice (M06).
    pub twice_per_mille: u32,
    /// So many in a thousand that carry DTLS have a bit turned over.
    pub corrupt_dtls_per_mille: u32,
    /// So many bits pass in a second, one datagram after the other; what would wait longer than
    /// [`QUEUE_MAX`] is lost, as where a router's queue is full (M16). 0 means as many as there are.
    pub bps: u64,
}

impl Way {
    /// Nothing passes.
    pub const DEAD: Self = Self {
        loss: Loss::All,
        ..Self::CLEAR
    };
    /// Everything passes as it is.
    pub const CLEAR: Self = Self {
        loss: Loss::None,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        twice_per_mille: 0,
        corrupt_dtls_per_mille: 0,
        bps: 0,
    };
}

/// One direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Toward {
    /// What clients send.
    Server,
    /// What the server sends.
    Client,
}

/// What became of the datagrams of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// They came.
    pub came: u64,
    /// They were passed on, each time counted.
    pub passed: u64,
    /// They were lost on purpose.
    pub lost: u64,
    /// They were lost since a bound was reached, or the system did not take them.
    pub overrun: u64,
}

#[derive(Debug)]
struct Lane {
    way: Way,
    /// DTLS records since the way was set.
    dtls: u64,
    /// Until when the way is taken, where only so many bits pass.
    taken: Option<Instant>,
    tally: Tally,
}

impl Lane {
    /// How long a datagram waits and is under way where only so many bits pass; `None` if there is no room.
    fn queue(&mut self, now: Instant, bytes: usize) -> Option<Duration> {
        if self.way.bps == 0 {
            return Some(Duration::ZERO);
        }
        let free = self.taken.map_or(now, |taken| taken.max(now));
        if free - now > QUEUE_MAX {
            return None;
        }
        let taken = free + Duration::from_micros(bytes as u64 * 8_000_000 / self.way.bps);
        self.taken = Some(taken);
        Some(taken - now)
    }
}

#[derive(Debug)]
struct Shared {
    lanes: [Lane; 2],
    rng: fastrand::Rng,
    target: SocketAddr,
}

impl Shared {
    const fn lane(&mut self, toward: Toward) -> &mut Lane {
        let [server, client] = &mut self.lanes;
        match toward {
            Toward::Server => server,
            Toward::Client => client,
        }
    }

    /// When a datagram is to be passed on, each time; its bytes may be changed.
    fn fate(&mut self, toward: Toward, bytes: &mut [u8]) -> [Option<Duration>; 2] {
        let Self { lanes, rng, .. } = self;
        let [server, client] = lanes;
        let lane = match toward {
            Toward::Server => server,
            Toward::Client => client,
        };
        let mut chance = |per_mille: u32| per_mille > 0 && rng.u32(0..1_000) < per_mille;
        let carries = Carries::of(bytes);
        lane.tally.came += 1;
        lane.dtls += u64::from(carries == Carries::Dtls);
        let way = lane.way;
        let is_lost = match way.loss {
            Loss::None => false,
            Loss::All => true,
            Loss::PerMille(of) => chance(of),
            Loss::Larger(than) => bytes.len() > than,
            Loss::Only(what) => carries == what,
            Loss::NthDtls(nth) => carries == Carries::Dtls && lane.dtls == nth,
        };
        if is_lost {
            lane.tally.lost += 1;
            return [None, None];
        }
        if carries == Carries::Dtls && chance(way.corrupt_dtls_per_mille) {
            // Past the record's header (RFC 6347 §4.1): what is in it is no longer what was said.
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 0x10;
            }
        }
        let Some(queued) = lane.queue(Instant::now(), bytes.len()) else {
            lane.tally.lost += 1;
            return [None, None];
        };
        let twice = chance(way.twice_per_mille);
        let jitter = u64::try_from(way.jitter.as_micros()).unwrap_or(u64::MAX);
        let mut held = || queued + way.delay + Duration::from_micros(rng.u64(0..=jitter));
        [Some(held()), twice.then(held)]
    }
}

/// A datagram on its way.
#[derive(Debug)]
struct Datagram {
    flow: u64,
    toward: Toward,
    bytes: Vec<u8>,
}

enum Order {
    Rebind,
    Spare { done: oneshot::Sender<()> },
    Inject { toward: Toward, bytes: Vec<u8> },
}

/// A running proxy. Dropping it ends every flow through it.
#[derive(Debug)]
pub struct UdpProxy {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    orders: mpsc::Sender<Order>,
    _task: JoinSet<()>,
}

impl UdpProxy {
    /// A proxy on a port of its own, to `target`.
    pub async fn start(target: SocketAddr, seed: u64) -> Result<Self> {
        let front = UdpSocket::bind("127.0.0.1:0").await?;
        let addr = front.local_addr()?;
        let lane = || Lane {
            way: Way::CLEAR,
            dtls: 0,
            taken: None,
            tally: Tally::default(),
        };
        let shared = Arc::new(Mutex::new(Shared {
            lanes: [lane(), lane()],
            rng: fastrand::Rng::with_seed(seed),
            target,
        }));
        let (orders, taken) = mpsc::channel(16);
        let mut task = JoinSet::new();
        task.spawn(Relay::new(front, Arc::clone(&shared)).run(taken));
        Ok(Self {
            addr,
            shared,
            orders,
            _task: task,
        })
    }

    /// Where clients send to.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What is done from here on, in one direction.
    pub fn set(&self, toward: Toward, way: Way) {
        let mut shared = lock(&self.shared);
        let lane = shared.lane(toward);
        (lane.way, lane.dtls, lane.taken) = (way, 0, None);
    }

    /// The same, both ways.
    pub fn set_both(&self, way: Way) {
        self.set(Toward::Server, way);
        self.set(Toward::Client, way);
    }

    /// Breaks both ways later on, for a while.
    pub(crate) fn break_later(&self, after: Duration, lasts: Duration) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            for (wait, way) in [(after, Way::DEAD), (lasts, Way::CLEAR)] {
                tokio::time::sleep(wait).await;
                for toward in [Toward::Server, Toward::Client] {
                    lock(&shared).lane(toward).way = way;
                }
            }
        });
    }

    /// Where the server is from here on; what flows already goes on to where it was, until it is rebound.
    pub fn set_target(&self, target: SocketAddr) {
        lock(&self.shared).target = target;
    }

    /// Every client has another address from here on, as the server sees it; what it sends to the old
    /// one is lost (M08).
    pub async fn rebind(&self) {
        let _ = self.orders.send(Order::Rebind).await;
    }

    /// Whoever is known by now is passed on untouched from here on, whatever is done to others.
    pub async fn spare(&self) {
        let (done, is_done) = oneshot::channel();
        let _ = self.orders.send(Order::Spare { done }).await;
        let _ = is_done.await;
    }

    /// Says something in the name of the other end, to every flow that is not spared.
    pub async fn inject(&self, toward: Toward, bytes: Vec<u8>) {
        let _ = self.orders.send(Order::Inject { toward, bytes }).await;
    }

    /// What became of everything in one direction so far.
    pub fn tally(&self, toward: Toward) -> Tally {
        lock(&self.shared).lane(toward).tally
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client, and the socket that the server sees in its place.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    spared: bool,
    back: Arc<UdpSocket>,
    /// Ends when it is dropped.
    _reader: JoinSet<()>,
}

struct Relay {
    front: UdpSocket,
    shared: Arc<Mutex<Shared>>,
    flows: BTreeMap<u64, Flow>,
    by_client: BTreeMap<SocketAddr, u64>,
    last: u64,
    held: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: BTreeMap<u64, Datagram>,
    numbered: u64,
    read: mpsc::Sender<Datagram>,
    arrived: mpsc::Receiver<Datagram>,
}

impl Relay {
    fn new(front: UdpSocket, shared: Arc<Mutex<Shared>>) -> Self {
        let (read, arrived) = mpsc::channel(READ_MAX);
        Self {
            front,
            shared,
            flows: BTreeMap::new(),
            by_client: BTreeMap::new(),
            last: 0,
            held: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            numbered: 0,
            read,
            arrived,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut buffer = vec![0; BYTES_MAX];
        loop {
            let due = self.held.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                read = self.front.recv_from(&mut buffer) => {
                    // An ICMP answer is no datagram.
                    let Ok((length, from)) = read else { continue };
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    match self.flow_of(from).await {
                        Some(flow) => self.take(Datagram { flow, toward: Toward::Server, bytes }).await,
                        None => lock(&self.shared).lane(Toward::Server).tally.overrun += 1,
                    }
                }
                Some(datagram) = self.arrived.recv() => self.take(datagram).await,
                () = until(due) => self.pass_due().await,
                order = orders.recv() => match order {
                    Some(Order::Rebind) => self.rebind().await,
                    Some(Order::Spare { done }) => {
                        for flow in self.flows.values_mut() {
                            flow.spared = true;
                        }
                        let _ = done.send(());
                    }
                    Some(Order::Inject { toward, bytes }) => {
                        for (flow, _) in self.struck() {
                            self.pass(&Datagram { flow, toward, bytes: bytes.clone() }).await;
                        }
                    }
                    None => return,
                },
            }
        }
    }

    async fn flow_of(&mut self, client: SocketAddr) -> Option<u64> {
        if let Some(flow) = self.by_client.get(&client) {
            return Some(*flow);
        }
        if self.flows.len() >= FLOWS_MAX {
            return None;
        }
        self.last += 1;
        let flow = self.open(self.last, client).await.ok()?;
        self.by_client.insert(client, self.last);
        self.flows.insert(self.last, flow);
        Some(self.last)
    }

    async fn open(&self, id: u64, client: SocketAddr) -> Result<Flow> {
        let target = lock(&self.shared).target;
        let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        back.connect(target).await?;
        let mut reader = JoinSet::new();
        reader.spawn(read(id, Arc::clone(&back), self.read.clone()));
        Ok(Flow {
            client,
            spared: false,
            back,
            _reader: reader,
        })
    }

    async fn rebind(&mut self) {
        for (id, client) in self.struck() {
            if let Ok(flow) = self.open(id, client).await {
                self.flows.insert(id, flow);
            }
        }
    }

    /// The flows that are not spared, and whose they are.
    fn struck(&self) -> Vec<(u64, SocketAddr)> {
        let struck = self.flows.iter().filter(|(_, flow)| !flow.spared);
        struck.map(|(id, flow)| (*id, flow.client)).collect()
    }

    async fn take(&mut self, mut datagram: Datagram) {
        let flow = self.flows.get(&datagram.flow);
        if flow.is_some_and(|flow| flow.spared) {
            return self.pass(&datagram).await;
        }
        let toward = datagram.toward;
        let fates = lock(&self.shared).fate(toward, &mut datagram.bytes);
        for after in fates.into_iter().flatten() {
            let copy = Datagram {
                bytes: datagram.bytes.clone(),
                ..datagram
            };
            if after.is_zero() {
                self.pass(&copy).await;
            } else if self.held.len() < HELD_MAX {
                self.numbered += 1;
                self.held
                    .push(Reverse((Instant::now() + after, self.numbered)));
                self.waiting.insert(self.numbered, copy);
            } else {
                lock(&self.shared).lane(toward).tally.overrun += 1;
            }
        }
    }

    async fn pass_due(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, number))) = self.held.peek().copied() {
            if at > now {
                return;
            }
            self.held.pop();
            if let Some(datagram) = self.waiting.remove(&number) {
                self.pass(&datagram).await;
            }
        }
    }

    async fn pass(&self, datagram: &Datagram) {
        let Some(flow) = self.flows.get(&datagram.flow) else {
            return;
        };
        let sent = match datagram.toward {
            Toward::Server => flow.back.send(&datagram.bytes).await,
            Toward::Client => self.front.send_to(&datagram.bytes, flow.client).await,
        };
        if flow.spared {
            return;
        }
        let mut shared = lock(&self.shared);
        let tally = &mut shared.lane(datagram.toward).tally;
        match sent {
            Ok(_) => tally.passed += 1,
            Err(_) => tally.overrun += 1,
        }
    }
}

/// Takes what the server sends to one flow, until the flow is dropped.
async fn read(flow: u64, back: Arc<UdpSocket>, read: mpsc::Sender<Datagram>) {
    let mut buffer = vec![0; BYTES_MAX];
    loop {
        // Nobody listens at the moment: that may change.
        let Ok(length) = back.recv(&mut buffer).await else {
            tokio::task::yield_now().await;
            continue;
        };
        let bytes = buffer.get(..length).unwrap_or_default().to_vec();
        let toward = Toward::Client;
        if read
            .send(Datagram {
                flow,
                toward,
                bytes,
            })
            .await
            .is_err()
        {
            return;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
