//! The shell of the media plane: one task owns the socket and the plane, moves datagrams between them,
//! and tells the driver what became of things. No packet passes through the driver.

mod identity;
mod translate;

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use keel_core::node::{MediaFact, MediaOrder, media::PeerId};
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
            .map_or(local, |advertise| advertise.of(local));
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
        let (task, facts) = self.task(meter);
        tracker.spawn(task.run(taken, closing));
        (orders, facts)
    }

    fn task(self, meter: Meter) -> (Task, Facts) {
        let (told, facts) = mpsc::unbounded_channel();
        let task = Task {
            socket: Arc::new(self.socket),
            advertised: self.advertised,
            plane: Plane::new(self.config.clone()),
            config: self.config,
            open: BTreeSet::new(),
            told,
            meter,
            outputs: Outputs::new(),
            arrived: (0..DATAGRAMS_AT_ONCE)
                .map(|_| vec![0; DATAGRAM_BYTES_MAX])
                .collect(),
        };
        (task, facts)
    }
}

struct Task {
    socket: Arc<UdpSocket>,
    advertised: SocketAddr,
    plane: Plane,
    config: Config,
    /// The transports that the driver has open.
    open: BTreeSet<PeerId>,
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
        match &order {
            MediaOrder::Open { peer } => _ = self.open.insert(*peer),
            MediaOrder::Close { peer } => _ = self.open.remove(peer),
            MediaOrder::Signal { .. }
            | MediaOrder::Subscribe { .. }
            | MediaOrder::Unsubscribe { .. }
            | MediaOrder::Mute { .. }
            | MediaOrder::Restart { .. }
            | MediaOrder::Resume { .. } => {}
        }
        let input = translate::input(order);
        self.step(|plane, now, outputs| plane.handle(now, input, outputs));
    }

    fn tick(&mut self) {
        self.step(|plane, now, outputs| plane.handle(now, keel_media::Input::Tick, outputs));
    }

    /// One step of the plane. Should it panic, then it begins anew: whoever had a transport is told
    /// to make another.
    fn step(&mut self, step: impl FnOnce(&mut Plane, std::time::Instant, &mut Outputs)) {
        let (plane, outputs) = (&mut self.plane, &mut self.outputs);
        let now = std::time::Instant::now();
        let stepped = catch_unwind(AssertUnwindSafe(|| step(plane, now, outputs)));
        if stepped.is_err() {
            tracing::error!(
                transports = self.open.len(),
                "the media plane has panicked and begins anew"
            );
            self.plane = Plane::new(self.config.clone());
            self.outputs.clear();
            for peer in std::mem::take(&mut self.open) {
                let why = "the media plane broke".to_owned();
                let full = false;
                let _ = self.told.send(MediaFact::Failed { peer, full, why });
            }
        }
        self.perform();
    }

    /// Takes what has arrived, as much as is taken at once.
    fn read(&mut self) {
        let mut lengths = [(0, None); DATAGRAMS_AT_ONCE];
        for (buffer, length) in self.arrived.iter_mut().zip(&mut lengths) {
            match self.socket.try_recv_from(buffer) {
                Ok((bytes, from)) => *length = (bytes, Some(from)),
                // An ICMP answer to something that was sent: the socket is as good as before.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(_) => break,
            }
        }
        let local = self.advertised;
        let buffers = std::mem::take(&mut self.arrived);
        let arrived = buffers.iter().zip(lengths);
        let arrived = arrived.filter_map(|(buffer, (bytes, from))| {
            let path = Path {
                protocol: Protocol::Udp,
                local,
                remote: from?,
            };
            Some((path, buffer.get(..bytes)?))
        });
        self.step(|plane, now, outputs| plane.datagrams(now, arrived, outputs));
        self.arrived = buffers;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plane_that_panics_begins_anew_and_every_transport_is_told_m39() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let certificate = keel_media::Certificate::generate();
        let media = Media::bind(&config::Media::default(), listen, certificate).await;
        let (mut task, mut facts) = media.expect("an address").task(Meter::new());
        for peer in [PeerId(1), PeerId(2), PeerId(3)] {
            task.order(MediaOrder::Open { peer });
        }
        task.order(MediaOrder::Close { peer: PeerId(2) });
        task.step(|_, _, _| panic!("on purpose"));
        for lost in [PeerId(1), PeerId(3)] {
            let told = facts.try_recv();
            assert!(
                matches!(told, Ok(MediaFact::Failed { peer, full: false, .. }) if peer == lost),
                "{told:?}"
            );
        }
        task.order(MediaOrder::Open { peer: PeerId(4) });
        assert!(facts.try_recv().is_err(), "and it takes others");
    }
}
