//! The shell of one plane: a task owns the socket and the plane, moves datagrams between them, and tells the
//! driver what became of things. It has a thread of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    sync::mpsc as std_mpsc,
    thread,
    time::Duration,
};

use futures_util::FutureExt as _;
use keel_core::node::{MediaFact, MediaOrder, media::PeerId};
use keel_media::{Address, Config, End, Output, Outputs, Path, Plane, Protocol};
use tokio::{
    net::{TcpListener, UdpSocket},
    runtime,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    facts::Teller,
    gauges::{self, Question},
    orders::Orders,
    socket::Socket,
    tcp, translate,
};
use crate::{config, meter::Meter};

/// Between two beginnings of a plane that panics.
const PANICS_APART: Duration = Duration::from_millis(100);
/// Ports that are tried where the system chooses one.
const PORTS_TRIED_MAX: usize = 20;

/// The sockets of a plane, and what clients are told of them.
#[derive(Debug)]
pub(super) struct Bound {
    socket: Socket,
    listener: Option<TcpListener>,
    /// What clients are told. At least one.
    advertised: Vec<SocketAddr>,
    config: Config,
}

impl Bound {
    /// Binds the sockets of the `nth` plane.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(super) async fn bind(
        config: &config::Media,
        nth: u16,
        listen: SocketAddr,
        certificate: keel_media::Certificate,
    ) -> io::Result<Self> {
        let (udp, listener) = bind_both(listen, config.tcp).await?;
        let socket = Socket::new(udp)?;
        let local = socket.local_addr()?;
        let advertised = config.advertised(local, nth);
        let mut protocols = vec![Protocol::Udp];
        protocols.extend(listener.as_ref().map(|_| Protocol::Tcp));
        let addresses = protocols.iter().flat_map(|protocol| {
            advertised.iter().map(|advertised| Address {
                protocol: *protocol,
                local,
                advertised: *advertised,
            })
        });
        let plane = Config {
            end: End::Server {
                lite: config.ice_lite,
            },
            certificate,
            addresses: addresses.collect(),
        };
        Ok(Self {
            socket,
            listener,
            advertised,
            config: plane,
        })
    }

    /// Runs until the server is closed.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub(super) fn start(
        self,
        told: Teller,
        meter: Meter,
        closing: CancellationToken,
        tracker: &TaskTracker,
    ) -> io::Result<(Orders, mpsc::Sender<Question>)> {
        let (orders, taken) = Orders::new();
        let (questions, asked) = gauges::questions();
        let task = self.task(told, meter);
        let (tracker, counted) = (tracker.clone(), tracker.token());
        let (began, begun) = std_mpsc::channel();
        thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || {
                match task.apart(&closing, &tracker) {
                    Ok((runtime, task, arrived)) => {
                        let _ = began.send(Ok(()));
                        let heard = Heard {
                            orders: taken,
                            questions: asked,
                            arrivals: arrived,
                        };
                        runtime.block_on(task.run(heard, closing));
                    }
                    Err(error) => _ = began.send(Err(error)),
                }
                drop(counted);
            })?;
        begun.recv().map_err(io::Error::other)??;
        Ok((orders, questions))
    }

    fn task(self, told: Teller, meter: Meter) -> Task {
        Task {
            socket: self.socket,
            listener: self.listener,
            connections: BTreeMap::new(),
            meter,
            advertised: self.advertised,
            plane: Plane::new(self.config.clone()),
            config: self.config,
            open: BTreeSet::new(),
            told,
            outputs: Outputs::new(),
        }
    }
}

/// What becomes of connections, where they are taken.
type Arrivals = Option<mpsc::Receiver<tcp::Arrived>>;

/// What a plane's task hears besides its socket.
struct Heard {
    orders: mpsc::Receiver<MediaOrder>,
    questions: mpsc::Receiver<Question>,
    arrivals: Arrivals,
}

struct Task {
    socket: Socket,
    /// Until it is listened on.
    listener: Option<TcpListener>,
    /// Connections for media.
    connections: BTreeMap<SocketAddr, tcp::Connection>,
    advertised: Vec<SocketAddr>,
    plane: Plane,
    config: Config,
    /// The transports that the driver has open.
    open: BTreeSet<PeerId>,
    told: Teller,
    outputs: Outputs,
    meter: Meter,
}

impl Task {
    /// The same with a runtime of its own on this thread, which its sockets are of.
    fn apart(
        mut self,
        closing: &CancellationToken,
        tracker: &TaskTracker,
    ) -> io::Result<(runtime::Runtime, Self, Arrivals)> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let there = runtime.enter();
        self.socket = self.socket.moved()?;
        let arrivals = match self.listener.take() {
            Some(listener) => {
                let listener = TcpListener::from_std(listener.into_std()?)?;
                let bounds = tcp::Bounds::default();
                Some(tcp::start(listener, bounds, closing.clone(), tracker))
            }
            None => None,
        };
        drop(there);
        Ok((runtime, self, arrivals))
    }

    async fn run(mut self, mut heard: Heard, closing: CancellationToken) {
        self.keep_at(async |task| task.turns(&mut heard, &closing).await)
            .await;
    }

    /// Does something until it is over. What panics in it has the plane begin anew, and it is done again: the
    /// thread lives as long as the server.
    async fn keep_at(&mut self, mut something: impl AsyncFnMut(&mut Self)) {
        while AssertUnwindSafe(something(self))
            .catch_unwind()
            .await
            .is_err()
        {
            self.begin_anew();
            // Whatever panics at once again does not keep a processor busy with it.
            sleep(PANICS_APART).await;
        }
    }

    async fn turns(&mut self, heard: &mut Heard, closing: &CancellationToken) {
        let Heard {
            orders,
            questions,
            arrivals,
        } = heard;
        loop {
            let due = self.plane.deadline().map(|deadline| deadline.at);
            let goes_on = !self.told.is_behind();
            tokio::select! {
                () = closing.cancelled() => return,
                () = self.told.catch_up() => {}
                order = orders.recv(), if goes_on => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                Some(question) = questions.recv() => self.answer(question),
                ready = self.socket.ready(), if goes_on => match ready {
                    Ok(()) => self.read(),
                    Err(error) => tracing::warn!(%error, "the media socket cannot be read"),
                },
                Some(arrived) = next_of(arrivals), if goes_on => self.arrived(arrived),
                () = until(due), if goes_on => self.tick(),
            }
        }
    }

    fn order(&mut self, order: MediaOrder) {
        match &order {
            MediaOrder::Open { peer, .. } => _ = self.open.insert(*peer),
            MediaOrder::Close { peer } => _ = self.open.remove(peer),
            MediaOrder::Signal { .. }
            | MediaOrder::Settle { .. }
            | MediaOrder::Subscribe { .. }
            | MediaOrder::Unsubscribe { .. }
            | MediaOrder::Mute { .. }
            | MediaOrder::Restart { .. }
            | MediaOrder::Refresh { .. }
            | MediaOrder::Resume { .. } => {}
        }
        let input = translate::input(order);
        self.step(|plane, now, outputs| plane.handle(now, input, outputs));
    }

    fn answer(&self, Question { peers, reply }: Question) {
        let peers = peers.into_iter().map(|peer| keel_media::PeerId(peer.0));
        let peers: Vec<_> = peers.collect();
        let stats = self.plane.stats(std::time::Instant::now(), &peers);
        // Whoever asked may have gone.
        let _ = reply.send(stats);
    }

    fn tick(&mut self) {
        self.step(|plane, now, outputs| plane.handle(now, keel_media::Input::Tick, outputs));
    }

    fn read(&mut self) {
        self.socket.send_waiting();
        let (plane, outputs) = (&mut self.plane, &mut self.outputs);
        let advertised = &self.advertised;
        self.socket.receive(|datagrams| {
            let arrived = datagrams.map(|(remote, bytes)| {
                let path = path_of(Protocol::Udp, advertised, remote);
                (path, bytes)
            });
            plane.datagrams(std::time::Instant::now(), arrived, outputs);
        });
        self.perform();
        self.catch_up();
    }

    /// Something has become of a connection.
    fn arrived(&mut self, arrived: tcp::Arrived) {
        match arrived {
            tcp::Arrived::Opened { remote, connection } => {
                self.connections.insert(remote, connection);
            }
            tcp::Arrived::Datagram { remote, bytes } => {
                let path = path_of(Protocol::Tcp, &self.advertised, remote);
                let arrived = [(path, bytes.as_slice())];
                self.step(|plane, now, outputs| plane.datagrams(now, arrived, outputs));
            }
            tcp::Arrived::Closed { remote } => {
                if let Some(connection) = self.connections.remove(&remote)
                    && !connection.is_closed()
                {
                    // Another one from there has taken its place meanwhile.
                    self.connections.insert(remote, connection);
                    return;
                }
                let path = path_of(Protocol::Tcp, &self.advertised, remote);
                let gone = keel_media::Input::Gone { path };
                self.step(|plane, now, outputs| plane.handle(now, gone, outputs));
            }
        }
    }

    /// A step of the plane, and those that it leaves for at once.
    fn step(&mut self, run: impl FnOnce(&mut Plane, std::time::Instant, &mut Outputs)) {
        self.step_once(run);
        self.catch_up();
    }

    fn step_once(&mut self, run: impl FnOnce(&mut Plane, std::time::Instant, &mut Outputs)) {
        let now = std::time::Instant::now();
        run(&mut self.plane, now, &mut self.outputs);
        self.perform();
    }

    /// What the plane has left for later is done as soon as what it put out is on its way.
    fn catch_up(&mut self) {
        while self.plane.is_behind() {
            self.step_once(|plane, now, outputs| {
                plane.handle(now, keel_media::Input::Tick, outputs);
            });
        }
    }

    fn perform(&mut self) {
        for output in self.outputs.drain(..) {
            if let Output::Transmit { path, bytes } = output {
                if path.protocol == Protocol::Udp {
                    self.socket.send(path.remote, bytes);
                } else if let Some(connection) = self.connections.get(&path.remote)
                    && !connection.send(bytes)
                {
                    // It reads too slowly, or is gone: it is closed by that, with what waits.
                    self.connections.remove(&path.remote);
                    self.meter.datagrams_dropped(1);
                }
                continue;
            }
            if let Output::PassedOver { .. } = output {
                self.meter.offer_passed_over();
            }
            if let Output::Failed { peer, .. } = output {
                self.open.remove(&PeerId(peer.0));
            }
            if let Some(fact) = translate::fact(output) {
                self.told.tell(fact);
            }
        }
        self.socket.flush();
        let lost = self.socket.take_lost();
        if lost > 0 {
            self.meter.datagrams_dropped(lost);
        }
        self.meter.datagrams_refused(self.plane.take_refused());
    }

    /// The plane has panicked: whoever had a transport is told to make another.
    fn begin_anew(&mut self) {
        tracing::error!(
            transports = self.open.len(),
            "the media plane has panicked and begins anew"
        );
        self.plane = Plane::new(self.config.clone());
        self.outputs.clear();
        for peer in std::mem::take(&mut self.open) {
            let why = "the media plane broke".to_owned();
            let full = false;
            self.told.tell(MediaFact::Failed { peer, full, why });
        }
    }
}

/// A socket for UDP, and one for TCP at the same port.
async fn bind_both(listen: SocketAddr, tcp: bool) -> io::Result<(UdpSocket, Option<TcpListener>)> {
    let mut tries = 0;
    loop {
        let udp = UdpSocket::bind(listen).await?;
        if !tcp {
            return Ok((udp, None));
        }
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(listener) => return Ok((udp, Some(listener))),
            // A port that the system chose is free for UDP, and not always for TCP.
            Err(_) if listen.port() == 0 && tries < PORTS_TRIED_MAX => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// The way to a client, as the plane knows it: our end is one of the addresses that clients are told,
/// whichever of them they used.
fn path_of(protocol: Protocol, advertised: &[SocketAddr], remote: SocketAddr) -> Path {
    let remote_ip = remote.ip().to_canonical();
    let fits = |addr: &&SocketAddr| addr.is_ipv4() == remote_ip.is_ipv4();
    let local = advertised.iter().find(fits).or_else(|| advertised.first());
    Path {
        protocol,
        local: local.copied().unwrap_or(remote),
        remote,
    }
}

async fn next_of(arrivals: &mut Arrivals) -> Option<tcp::Arrived> {
    match arrivals {
        Some(arrivals) => arrivals.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(Instant::from_std(at)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
