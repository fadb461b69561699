//! A plane, clients, and the network between them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use keel_media::{
    Address, Certificate, Config, End, GroupId, Input, Output, Path, PeerId, Plane, Protocol,
    Signal, TrackId,
};

use crate::client::Client;

/// What becomes of datagrams to and from a client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    pub(crate) up_blocked: bool,
    pub(crate) down_blocked: bool,
    pub(crate) loss_percent: u8,
    pub(crate) twice_percent: u8,
    pub(crate) jitter: Duration,
    /// What it carries to the client, in bits a second; absent means anything.
    pub(crate) down_bps: Option<u64>,
}

impl Link {
    pub(crate) const DOWN: Self = Self {
        up_blocked: true,
        down_blocked: true,
        loss_percent: 0,
        twice_percent: 0,
        jitter: Duration::ZERO,
        down_bps: None,
    };
}

/// One way.
const DELAY: Duration = Duration::from_millis(5);

/// What waits before a link that carries less is dropped beyond so long.
const QUEUE_MAX: Duration = Duration::from_millis(300);

/// When it arrives, a number that keeps the order, where, from where, what.
type Flight = (Instant, u64, To, SocketAddr, Vec<u8>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Server,
    Client(usize),
}

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) plane: Plane,
    pub(crate) clients: Vec<Client>,
    pub(crate) links: Vec<Link>,
    pub(crate) told: Vec<(Instant, Output)>,
    /// The same with what was said to clients, in order.
    pub(crate) said: Vec<Output>,
    /// The address that the server sees a client at, where that is another one.
    pub(crate) seen_at: BTreeMap<usize, SocketAddr>,
    /// Until when a link carries what waits before it.
    busy: BTreeMap<usize, Instant>,
    /// Steps after which the plane had more to put out.
    pub(crate) behind: u32,
    /// Steps after which the plane was due again at once.
    pub(crate) due_again: u32,
    flying: BinaryHeap<Reverse<Flight>>,
    sent: u64,
    /// Addresses from which something has come to the plane.
    heard_from: BTreeSet<SocketAddr>,
    /// First records of DTLS handshakes that clients have sent.
    pub(crate) hellos: Vec<Vec<u8>>,
    /// Bytes that went to each client.
    down: BTreeMap<usize, usize>,
    chance: fastrand::Rng,
}

pub(crate) const fn server() -> SocketAddr {
    SocketAddr::new(
        std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        7081,
    )
}

pub(crate) fn config(end: End, addr: SocketAddr) -> Config {
    Config {
        end,
        certificate: Certificate::generate(),
        addresses: [Protocol::Udp, Protocol::Tcp]
            .map(|protocol| Address {
                protocol,
                local: addr,
                advertised: addr,
            })
            .to_vec(),
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(seed, End::Server { lite: false })
    }

    pub(crate) fn of(seed: u64, end: End) -> Self {
        let now = Instant::now();
        Self {
            start: now,
            now,
            plane: Plane::new(config(end, server())),
            clients: Vec::new(),
            links: Vec::new(),
            told: Vec::new(),
            said: Vec::new(),
            seen_at: BTreeMap::new(),
            busy: BTreeMap::new(),
            behind: 0,
            due_again: 0,
            flying: BinaryHeap::new(),
            sent: 0,
            heard_from: BTreeSet::new(),
            hellos: Vec::new(),
            down: BTreeMap::new(),
            chance: fastrand::Rng::with_seed(seed),
        }
    }

    /// A client that publishes these, and has lines to receive so many.
    pub(crate) fn join(&mut self, cameras: &[TrackId], receives: usize) -> usize {
        self.join_with(cameras, receives, false)
    }

    /// A client in a network without UDP.
    pub(crate) fn join_tcp(&mut self, cameras: &[TrackId], receives: usize) -> usize {
        let nth = self.join_with(&[], 0, false);
        let (addr, now) = (self.clients[nth].addr, self.now);
        self.clients[nth] = Client::over_tcp(addr, now);
        self.clients[nth].offer(now, cameras, receives);
        nth
    }

    /// A client that has one line, and no congestion control.
    pub(crate) fn join_plain(&mut self) -> usize {
        let nth = self.join_with(&[], 0, false);
        self.clients[nth].is_plain = true;
        let now = self.now;
        self.clients[nth].offer(now, &[], 1);
        nth
    }

    /// A client that publishes these in several layers.
    pub(crate) fn join_simulcast(&mut self, cameras: &[TrackId]) -> usize {
        self.join_with(cameras, 0, true)
    }

    /// A client with a microphone and nothing else.
    pub(crate) fn join_speaking(&mut self, microphone: TrackId) -> usize {
        let nth = self.join_with(&[], 0, false);
        let now = self.now;
        self.clients[nth].offer_microphone(now, microphone);
        nth
    }

    fn join_with(&mut self, cameras: &[TrackId], receives: usize, simulcast: bool) -> usize {
        let nth = self.clients.len();
        let last = u8::try_from(nth + 1).unwrap();
        let mut client = Client::new(SocketAddr::from(([10, 0, 1, last], 5_000)), self.now);
        if !cameras.is_empty() || receives > 0 {
            client.offer_of(self.now, cameras, receives, simulcast);
        }
        self.clients.push(client);
        self.links.push(Link::default());
        self.tell(Input::Open {
            peer: peer(nth),
            group: GroupId(1),
        });
        nth
    }

    pub(crate) fn tell(&mut self, input: Input) {
        let mut out = Vec::new();
        self.plane.handle(self.now, input, &mut out);
        self.perform(out);
    }

    pub(crate) fn subscribe(&mut self, client: usize, track: TrackId) {
        let (peer, max) = (peer(client), None);
        self.tell(Input::Subscribe { peer, track, max });
    }

    pub(crate) fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            if !matches!(output, Output::Transmit { .. }) {
                self.said.push(output.clone());
            }
            match output {
                Output::Transmit { path, bytes } => self.transmit_down(path, bytes),
                Output::Signal { peer, signal } => {
                    let nth = usize::try_from(peer.0).unwrap();
                    if let Some(client) = self.clients.get_mut(nth) {
                        client.hear(self.now, signal);
                    }
                }
                told => self.told.push((self.now, told)),
            }
        }
    }

    fn transmit_down(&mut self, path: Path, bytes: Vec<u8>) {
        assert!(
            self.heard_from.contains(&path.remote),
            "sent to {}, which nothing has come from",
            path.remote
        );
        assert_eq!(path.protocol, self.protocol_of(path.remote));
        let seen = |nth: usize| self.seen_at.get(&nth).copied();
        let mut known = 0..self.clients.len();
        let nth = known.find(|nth| seen(*nth).unwrap_or(self.clients[*nth].addr) == path.remote);
        if let Some(nth) = nth.filter(|nth| !self.links[*nth].down_blocked) {
            *self.down.entry(nth).or_default() += bytes.len();
            self.fly(nth, To::Client(nth), path.local, bytes);
        }
    }

    fn fly(&mut self, nth: usize, to: To, from: SocketAddr, bytes: Vec<u8>) {
        let link = self.links[nth];
        if self.chance.u8(..100) < link.loss_percent {
            return;
        }
        let mut waits = Duration::ZERO;
        if let (To::Client(_), Some(bps)) = (to, link.down_bps) {
            let busy = self.busy.get(&nth).map_or(self.now, |at| self.now.max(*at));
            if busy - self.now > QUEUE_MAX {
                return;
            }
            let bits = u64::try_from(bytes.len() * 8).unwrap();
            let through = busy + Duration::from_micros(bits * 1_000_000 / bps);
            self.busy.insert(nth, through);
            waits = through - self.now;
        }
        let copies = 1 + u8::from(self.chance.u8(..100) < link.twice_percent);
        for _ in 0..copies {
            let jitter = u64::try_from(link.jitter.as_micros()).unwrap();
            let jitter = Duration::from_micros(self.chance.u64(..=jitter));
            self.sent += 1;
            let at = self.now + waits + DELAY + jitter;
            let flight = (at, self.sent, to, from, bytes.clone());
            self.flying.push(Reverse(flight));
        }
    }

    /// Lets everything happen for so long.
    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        self.run_until(span, |world| world.now >= until);
        self.now = until;
    }

    /// Lets everything happen until something holds; panics if it does not within a bound.
    pub(crate) fn run_until(&mut self, within: Duration, holds: impl Fn(&Self) -> bool) {
        let until = self.now + within;
        let mut steps = 0_u64;
        while !holds(self) {
            assert!(
                self.now <= until,
                "not within {within:?}: {:?}",
                self.told.last()
            );
            steps += 1;
            assert!(steps < 5_000_000, "a timer does not advance");
            self.step(until);
        }
    }

    fn step(&mut self, until: Instant) {
        for nth in 0..self.clients.len() {
            self.drive(nth);
        }
        let flying = self.flying.peek().map(|Reverse((at, ..))| *at);
        let plane = self.plane.deadline().map(|deadline| deadline.at);
        let clients = self.clients.iter().map(Client::wakes_at);
        let next = clients.chain(flying).chain(plane).min();
        let next = next.unwrap_or(until).min(until);
        self.now = next.max(self.now + Duration::from_micros(50));
        let mut arrived = Vec::new();
        while self
            .flying
            .peek()
            .is_some_and(|Reverse((at, ..))| *at <= self.now)
        {
            let Reverse((_, _, to, from, bytes)) = self.flying.pop().unwrap();
            match to {
                To::Server => {
                    let path = Path {
                        protocol: self.protocol_of(from),
                        local: server(),
                        remote: from,
                    };
                    self.heard_from.insert(from);
                    // A handshake's record with a ClientHello (RFC 6347 §4.2.2).
                    if bytes.first() == Some(&22) && bytes.get(13) == Some(&1) {
                        self.hellos.push(bytes.clone());
                    }
                    arrived.push((path, bytes));
                }
                To::Client(nth) => {
                    self.clients[nth].receive(self.now, from, &bytes);
                    self.drive(nth);
                }
            }
        }
        let mut out = Vec::new();
        let datagrams = arrived
            .iter()
            .map(|(path, bytes)| (*path, bytes.as_slice()));
        self.plane.datagrams(self.now, datagrams, &mut out);
        self.behind += u32::from(self.plane.is_behind());
        let due = self.plane.deadline().is_some_and(|due| due.at <= self.now);
        self.due_again += u32::from(due);
        self.perform(out);
    }

    /// Bytes that went to a client until now.
    pub(crate) fn sent_to(&self, client: usize) -> usize {
        self.down.get(&client).copied().unwrap_or(0)
    }

    /// What the client at an address speaks.
    fn protocol_of(&self, addr: SocketAddr) -> Protocol {
        let tcp = self.clients.iter().any(|c| c.addr == addr && c.tcp);
        if tcp { Protocol::Tcp } else { Protocol::Udp }
    }

    fn drive(&mut self, nth: usize) {
        let sent = self.clients[nth].drive(self.now);
        let from = self.seen_at.get(&nth).copied();
        let from = from.unwrap_or(self.clients[nth].addr);
        for (to, bytes) in sent {
            assert_eq!(to, server());
            if !self.links[nth].up_blocked {
                self.fly(nth, To::Server, from, bytes);
            }
        }
        let said: Vec<Signal> = std::mem::take(&mut self.clients[nth].said);
        for signal in said {
            let peer = peer(nth);
            self.tell(Input::Signal { peer, signal });
        }
    }

    /// What the plane told, and how long after a moment.
    pub(crate) fn told_after(
        &self,
        since: Instant,
        is: impl Fn(&Output) -> bool,
    ) -> Option<Duration> {
        let mut told = self.told.iter();
        let found = told.find(|(at, output)| *at >= since && is(output));
        found.map(|(at, _)| *at - since)
    }
}

pub(crate) fn peer(client: usize) -> PeerId {
    PeerId(u64::try_from(client).unwrap())
}
