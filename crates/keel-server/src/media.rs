//! The shell of the media plane: one task owns the socket and the plane, moves datagrams between them,
//! and tells the driver what became of things. No packet passes through the driver.

mod identity;
mod socket;
mod translate;

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use keel_core::node::{MediaFact, MediaOrder, media::PeerId};
use keel_media::{Address, Config, End, Output, Outputs, Path, Plane, Protocol};
use tokio::{
    net::UdpSocket,
    sync::mpsc::{self, error::TrySendError},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub(crate) use identity::identity;
use socket::Socket;

use crate::{config, meter::Meter};

/// A socket for media that is bound, and what clients are told of it.
#[derive(Debug)]
pub(crate) struct Media {
    socket: Socket,
    advertised: SocketAddr,
    config: Config,
}

/// Orders that wait for the plane. What finds no room fails its transport; what must not be lost waits
/// outside, and is bounded by the transports and tracks that there are.
const ORDERS_MAX: usize = 16_384;
/// Of those, when what clients say is no longer taken: each may be as large as a frame.
const ORDERS_BEFORE_SIGNALS: usize = 1_024;

/// Gives the plane its orders.
#[derive(Debug)]
pub(crate) struct Orders {
    orders: mpsc::Sender<MediaOrder>,
    owed: VecDeque<MediaOrder>,
    told: mpsc::UnboundedSender<MediaFact>,
}

impl Orders {
    /// Never waits, since whoever gives orders has sessions without media, too. A plane that is so far
    /// behind that it cannot take an order fails the transport that it is about: its client is told, and
    /// makes another.
    pub(crate) fn give(&mut self, order: MediaOrder) {
        while let Some(owed) = self.owed.pop_front() {
            if let Err(TrySendError::Full(owed)) = self.orders.try_send(owed) {
                self.owed.push_front(owed);
                break;
            }
        }
        let waiting = self.orders.max_capacity() - self.orders.capacity();
        if matches!(order, MediaOrder::Signal { .. }) && waiting >= ORDERS_BEFORE_SIGNALS {
            return self.refuse(order);
        }
        // The plane is gone only with the server.
        if let Err(TrySendError::Full(order)) = self.orders.try_send(order) {
            self.refuse(order);
        }
    }

    fn refuse(&mut self, order: MediaOrder) {
        let peer = match order {
            MediaOrder::Close { .. } | MediaOrder::Mute { .. } => {
                return self.owed.push_back(order);
            }
            MediaOrder::Open { peer, .. }
            | MediaOrder::Signal { peer, .. }
            | MediaOrder::Subscribe { peer, .. }
            | MediaOrder::Unsubscribe { peer, .. }
            | MediaOrder::Restart { peer }
            | MediaOrder::Resume { peer }
            | MediaOrder::Refresh { peer, .. }
            | MediaOrder::Settle { peer } => peer,
        };
        tracing::warn!("the media plane is behind: a transport is given up");
        let why = "the media plane is behind".to_owned();
        let full = false;
        let _ = self.told.send(MediaFact::Failed { peer, full, why });
    }
}

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
        let socket = Socket::new(UdpSocket::bind(listen).await?)?;
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
        let (orders, taken) = mpsc::channel(ORDERS_MAX);
        let (task, facts) = self.task(meter);
        let orders = Orders {
            orders,
            owed: VecDeque::new(),
            told: task.told.clone(),
        };
        tracker.spawn(task.run(taken, closing));
        (orders, facts)
    }

    fn task(self, meter: Meter) -> (Task, Facts) {
        let (told, facts) = mpsc::unbounded_channel();
        let task = Task {
            socket: self.socket,
            meter,
            advertised: self.advertised,
            plane: Plane::new(self.config.clone()),
            config: self.config,
            open: BTreeSet::new(),
            told,
            outputs: Outputs::new(),
        };
        (task, facts)
    }
}

struct Task {
    socket: Socket,
    advertised: SocketAddr,
    plane: Plane,
    config: Config,
    /// The transports that the driver has open.
    open: BTreeSet<PeerId>,
    told: mpsc::UnboundedSender<MediaFact>,
    outputs: Outputs,
    meter: Meter,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<MediaOrder>, closing: CancellationToken) {
        loop {
            let due = self.plane.deadline().map(|deadline| deadline.at);
            tokio::select! {
                () = closing.cancelled() => return,
                order = orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                ready = self.socket.ready() => match ready {
                    Ok(()) => self.read(),
                    Err(error) => tracing::warn!(%error, "the media socket cannot be read"),
                },
                () = until(due) => self.tick(),
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

    fn tick(&mut self) {
        self.step(|plane, now, outputs| plane.handle(now, keel_media::Input::Tick, outputs));
    }

    fn read(&mut self) {
        self.socket.send_waiting();
        let (local, mut step) = (
            self.advertised,
            Step::of(&mut self.plane, &mut self.outputs),
        );
        self.socket.receive(|datagrams| {
            let arrived = datagrams.map(|(remote, bytes)| {
                let protocol = Protocol::Udp;
                let path = Path {
                    protocol,
                    local,
                    remote,
                };
                (path, bytes)
            });
            step.run(|plane, now, outputs| plane.datagrams(now, arrived, outputs));
        });
        let panicked = step.panicked;
        self.perform(panicked);
    }

    /// One step of the plane.
    fn step(&mut self, run: impl FnOnce(&mut Plane, std::time::Instant, &mut Outputs)) {
        let mut step = Step::of(&mut self.plane, &mut self.outputs);
        step.run(run);
        let panicked = step.panicked;
        self.perform(panicked);
    }

    fn perform(&mut self, panicked: bool) {
        if panicked {
            self.begin_anew();
        }
        for output in self.outputs.drain(..) {
            if let Output::Transmit { path, bytes } = output {
                self.socket.send(path.remote, bytes);
                continue;
            }
            if let Some(fact) = translate::fact(output) {
                // The driver is gone only with the server.
                let _ = self.told.send(fact);
            }
        }
        self.socket.flush();
        let lost = self.socket.take_lost();
        if lost > 0 {
            self.meter.datagrams_dropped(lost);
        }
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
            let _ = self.told.send(MediaFact::Failed { peer, full, why });
        }
    }
}

/// One step of the plane, and whether it panicked.
struct Step<'a> {
    plane: &'a mut Plane,
    outputs: &'a mut Outputs,
    panicked: bool,
}

impl<'a> Step<'a> {
    const fn of(plane: &'a mut Plane, outputs: &'a mut Outputs) -> Self {
        Self {
            plane,
            outputs,
            panicked: false,
        }
    }

    fn run(&mut self, run: impl FnOnce(&mut Plane, std::time::Instant, &mut Outputs)) {
        let (plane, outputs) = (&mut *self.plane, &mut *self.outputs);
        let now = std::time::Instant::now();
        let ran = catch_unwind(AssertUnwindSafe(|| run(plane, now, outputs)));
        self.panicked = ran.is_err();
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
    use keel_core::node::media::GroupId;

    use super::*;

    #[tokio::test]
    async fn a_plane_that_panics_begins_anew_and_every_transport_is_told_m39() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let certificate = keel_media::Certificate::generate();
        let media = Media::bind(&config::Media::default(), listen, certificate).await;
        let (mut task, mut facts) = media.expect("an address").task(Meter::new());
        for peer in [PeerId(1), PeerId(2), PeerId(3)] {
            let group = GroupId(1);
            task.order(MediaOrder::Open { peer, group });
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
        let (peer, group) = (PeerId(4), GroupId(1));
        task.order(MediaOrder::Open { peer, group });
        assert!(facts.try_recv().is_err(), "and it takes others");
    }

    #[tokio::test]
    async fn a_plane_that_is_behind_fails_transports_and_never_holds_up_sessions() {
        let (orders, mut taken) = mpsc::channel(ORDERS_MAX);
        let (told, mut facts) = mpsc::unbounded_channel();
        let owed = VecDeque::new();
        let mut given = Orders { orders, owed, told };
        let peer = PeerId(1);
        for _ in 0..ORDERS_BEFORE_SIGNALS {
            given.give(MediaOrder::Resume { peer });
        }
        assert!(facts.try_recv().is_err(), "there is room");
        let candidate = String::new();
        let signal = keel_core::node::media::Signal::Candidate { candidate };
        given.give(MediaOrder::Signal { peer, signal });
        let told = facts.try_recv();
        assert!(matches!(told, Ok(MediaFact::Failed { .. })), "{told:?}");
        // Nothing that ends something is lost, however far behind it is.
        for _ in 0..2 * ORDERS_MAX {
            given.give(MediaOrder::Close { peer });
        }
        let mut closes = 0;
        while let Ok(order) = taken.try_recv() {
            closes += usize::from(matches!(order, MediaOrder::Close { .. }));
            if taken.is_empty() {
                given.give(MediaOrder::Close { peer });
            }
            if closes > 2 * ORDERS_MAX {
                return;
            }
        }
        panic!("{closes} came through");
    }
}
