//! The shell of the media plane: one task owns the socket and the plane, moves datagrams between them,
//! and tells the driver what became of things. No packet passes through the driver.

mod identity;
mod translate;

use std::{io, net::SocketAddr, sync::Arc};

use keel_core::node::{MediaFact, MediaOrder};
use keel_media::{Address, Config, End, Output, Outputs, Path, Plane, Protocol};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub(crate) use identity::identity;

use crate::{config, meter::Meter};

/// Datagrams that are taken at once, before anything else has its turn.
const DATAGRAMS_AT_ONCE: usize = 64;
/// The largest datagram that is read: what is larger is no media.
const DATAGRAM_BYTES_MAX: usize = 2_048;

/// A socket for media that is bound, and what clients are told of it.
#[derive(Debug)]
pub(crate) struct Media {
    socket: UdpSocket,
    advertised: SocketAddr,
    config: Config,
}

/// Gives the plane its orders. They are bounded by the frames that connections may send.
pub(crate) type Orders = mpsc::UnboundedSender<MediaOrder>;
/// What the plane tells: an answer an order, and one for each change of a track's flow.
pub(crate) type Facts = mpsc::UnboundedReceiver<MediaFact>;

impl Media {
    /// Binds the socket.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) async fn bind(
        config: &config::Media,
        listen: SocketAddr,
        certificate: keel_media::Certificate,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen).await?;
        let local = socket.local_addr()?;
        let advertised = config
            .advertise
            .map_or(local, |ip| SocketAddr::new(ip, local.port()));
        let plane = Config {
            end: End::Server {
                lite: config.ice_lite,
            },
            certificate,
            addresses: vec![Address {
                protocol: Protocol::Udp,
                local,
                advertised,
            }],
        };
        Ok(Self {
            socket,
            advertised,
            config: plane,
        })
    }

    /// Where it is reached.
    pub(crate) const fn advertised(&self) -> SocketAddr {
        self.advertised
    }

    /// Runs until the server is closed. The orders go to the first, what is told comes from the second.
    pub(crate) fn start(
        self,
        meter: Meter,
        closing: CancellationToken,
        tracker: &tokio_util::task::TaskTracker,
    ) -> (Orders, Facts) {
        let (orders, taken) = mpsc::unbounded_channel();
        let (told, facts) = mpsc::unbounded_channel();
        let task = Task {
            socket: Arc::new(self.socket),
            advertised: self.advertised,
            plane: Plane::new(self.config),
            told,
            meter,
            outputs: Outputs::new(),
            arrived: (0..DATAGRAMS_AT_ONCE)
                .map(|_| vec![0; DATAGRAM_BYTES_MAX])
                .collect(),
        };
        tracker.spawn(task.run(taken, closing));
        (orders, facts)
    }
}

struct Task {
    socket: Arc<UdpSocket>,
    advertised: SocketAddr,
    plane: Plane,
    told: mpsc::UnboundedSender<MediaFact>,
    meter: Meter,
    outputs: Outputs,
    /// Buffers, used again and again.
    arrived: Vec<Vec<u8>>,
}

impl Task {
    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<MediaOrder>,
        closing: CancellationToken,
    ) {
        let socket = Arc::clone(&self.socket);
        loop {
            let due = self.plane.deadline().map(|deadline| deadline.at);
            tokio::select! {
                () = closing.cancelled() => return,
                order = orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                readable = socket.readable() => match readable {
                    Ok(()) => self.read(),
                    Err(error) => tracing::warn!(%error, "the media socket cannot be read"),
                },
                () = until(due) => self.tick(),
            }
        }
    }

    fn order(&mut self, order: MediaOrder) {
        let input = translate::input(order);
        let now = std::time::Instant::now();
        self.plane.handle(now, input, &mut self.outputs);
        self.perform();
    }

    fn tick(&mut self) {
        let now = std::time::Instant::now();
        self.plane
            .handle(now, keel_media::Input::Tick, &mut self.outputs);
        self.perform();
    }

    /// Takes what has arrived, as much as is taken at once.
    fn read(&mut self) {
        let mut lengths = [(0, None); DATAGRAMS_AT_ONCE];
        let mut count = 0;
        for (buffer, length) in self.arrived.iter_mut().zip(&mut lengths) {
            match self.socket.try_recv_from(buffer) {
                Ok((bytes, from)) => *length = (bytes, Some(from)),
                // An ICMP answer to something that was sent: the socket is as good as before.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(_) => break,
            }
            count += 1;
        }
        let now = std::time::Instant::now();
        let local = self.advertised;
        let arrived = self.arrived.iter().zip(lengths).take(count);
        let arrived = arrived.filter_map(|(buffer, (bytes, from))| {
            let path = Path {
                protocol: Protocol::Udp,
                local,
                remote: from?,
            };
            Some((path, buffer.get(..bytes)?))
        });
        self.plane.datagrams(now, arrived, &mut self.outputs);
        self.perform();
    }

    fn perform(&mut self) {
        for output in self.outputs.drain(..) {
            if let Output::Transmit { path, bytes } = output {
                // A datagram that the system does not take is lost, as on any way.
                if self.socket.try_send_to(&bytes, path.remote).is_err() {
                    self.meter.datagram_dropped();
                }
                continue;
            }
            if let Some(fact) = translate::fact(output) {
                // The driver is gone only with the server.
                let _ = self.told.send(fact);
            }
        }
    }
}

async fn until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(Instant::from_std(at)).await,
        None => std::future::pending().await,
    }
}
