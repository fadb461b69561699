//! One transport with its sockets: datagrams in, datagrams out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use keel_media::{
    Path, Protocol,
    client::{Client, Frame, Output, SourceId},
};
use keel_wire::{ParticipantId, TrackName};
use tokio::net::UdpSocket;

/// From being opened to being connected; then it has failed.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Datagrams that are taken at once, before anything else has its turn.
const DATAGRAMS_AT_ONCE: usize = 64;
/// The largest datagram that is read: what is larger is no media.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// Frames that wait for the server to say what is on their line.
const UNNAMED_MAX: usize = 64;
/// Sockets of a transport: one for each kind of address.
const SOCKETS_MAX: usize = 4;

/// Whose track is on a line.
pub(super) type Name = (ParticipantId, TrackName);

#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    /// What it is bound to.
    bound: IpAddr,
    /// The address that the transport knows it by at present.
    local: SocketAddr,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) peer: u32,
    pub(super) client: Client,
    sockets: Vec<Socket>,
    /// What is on which line, by the server's word.
    pub(super) names: BTreeMap<String, Name>,
    /// Lines with another name than before, which have not begun.
    beginning: BTreeSet<String>,
    /// Frames on lines of which nothing was said yet.
    unnamed: VecDeque<Frame>,
    /// Sources of which a keyframe was asked for its beginning.
    pub(super) begun: BTreeSet<SourceId>,
    opened: Instant,
    told_late: bool,
    outputs: Vec<Output>,
    buffer: Box<[u8]>,
}

impl Transport {
    pub(super) fn new(now: Instant, peer: u32, client: Client) -> Self {
        Self {
            peer,
            client,
            sockets: Vec::new(),
            names: BTreeMap::new(),
            beginning: BTreeSet::new(),
            unnamed: VecDeque::new(),
            begun: BTreeSet::new(),
            opened: now,
            told_late: false,
            outputs: Vec::new(),
            buffer: vec![0; DATAGRAM_BYTES_MAX].into(),
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        let own = self.client.deadline();
        if self.client.was_connected() || self.told_late {
            return own;
        }
        own.min(self.opened + CONNECT_WITHIN)
    }

    /// It was not connected within its time. Told once.
    pub(super) fn is_late(&mut self, now: Instant) -> bool {
        let late = !self.client.was_connected() && now >= self.opened + CONNECT_WITHIN;
        late && !std::mem::replace(&mut self.told_late, true)
    }

    /// Performs what the transport wants done by itself; the rest is the caller's.
    pub(super) fn drain(&mut self, now: Instant, out: &mut Vec<Output>) {
        let mut reached = true;
        while reached {
            reached = false;
            self.client.drain(now, &mut self.outputs);
            for output in std::mem::take(&mut self.outputs) {
                match output {
                    Output::Transmit { path, bytes } => self.send(path, &bytes),
                    Output::Reach { remote } => {
                        self.reach(now, remote);
                        reached = true;
                    }
                    Output::Offer { .. }
                    | Output::Answer { .. }
                    | Output::Connected
                    | Output::Reachable(_)
                    | Output::KeyframeWanted { .. }
                    | Output::Frame(_)
                    | Output::Over => out.push(output),
                }
            }
        }
    }

    /// Keeps a frame until its line has a name. False if an older one had to go for it.
    pub(super) fn keep_unnamed(&mut self, frame: Frame) -> bool {
        self.unnamed.push_back(frame);
        let fits = self.unnamed.len() <= UNNAMED_MAX;
        if !fits {
            self.unnamed.pop_front();
        }
        fits
    }

    /// The server says what is on which line. Frames that waited for it are given back.
    pub(super) fn name(&mut self, names: BTreeMap<String, Name>) -> Vec<Frame> {
        let is_new = |(mid, name): &(&String, &Name)| self.names.get(*mid) != Some(*name);
        let renamed = names.iter().filter(is_new).map(|(mid, _)| mid.clone());
        self.beginning.extend(renamed.collect::<Vec<_>>());
        self.names = names;
        let (named, unnamed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unnamed)
            .into_iter()
            .partition(|frame| self.names.contains_key(&frame.mid));
        self.unnamed = unnamed.into();
        named
    }

    /// Whether a frame is of what is on its line by now. A picture begins with a keyframe: what is before
    /// it is of the track that was on the line until then.
    pub(super) fn begins(&mut self, frame: &Frame) -> bool {
        if frame.key {
            self.beginning.remove(&frame.mid);
        }
        !self.beginning.contains(&frame.mid)
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let readable = |socket: &Socket| socket.socket.poll_recv_ready(cx).is_ready();
        // Every socket is asked, so that each wakes this task.
        let ready = self.sockets.iter().map(readable);
        if ready.fold(false, |any, ready| any | ready) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Takes what has arrived, as much as is taken at once.
    pub(super) fn read(&mut self, now: Instant) {
        for socket in &self.sockets {
            for _ in 0..DATAGRAMS_AT_ONCE {
                let (bytes, remote) = match socket.socket.try_recv_from(&mut self.buffer) {
                    Ok(arrived) => arrived,
                    // An ICMP answer to something that was sent: the socket is as good as before.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                    Err(_) => break,
                };
                let path = Path {
                    protocol: Protocol::Udp,
                    local: socket.local,
                    remote,
                };
                self.client
                    .datagram(now, path, self.buffer.get(..bytes).unwrap_or_default());
            }
        }
    }

    fn send(&self, path: Path, bytes: &[u8]) {
        let mut sockets = self.sockets.iter();
        let own = sockets.find(|socket| socket.local == path.local);
        let family = |socket: &&Socket| socket.local.is_ipv4() == path.remote.is_ipv4();
        if let Some(socket) = own.or_else(|| self.sockets.iter().find(family)) {
            // A datagram that the system does not take is lost, as on any way.
            let _ = socket.socket.try_send_to(bytes, path.remote);
        }
    }

    /// Finds the own address from which the server is reached, and a socket for it.
    fn reach(&mut self, now: Instant, remote: SocketAddr) {
        let ip = match own_ip(remote) {
            Ok(ip) => ip,
            Err(error) => {
                tracing::debug!(%error, "an address of the server is not reached from here");
                return;
            }
        };
        let any = unspecified(remote);
        let fits =
            |socket: &&mut Socket| socket.bound == ip || (socket.bound == any && !ip.is_loopback());
        if let Some(socket) = self.sockets.iter_mut().find(fits) {
            let local = SocketAddr::new(ip, socket.local.port());
            if local != socket.local {
                socket.local = local;
                self.client.reach_from(now, local);
            }
            return;
        }
        if self.sockets.len() >= SOCKETS_MAX {
            return;
        }
        // On all addresses, so that it outlives a change of them; but nobody else reaches loopback.
        let bound = if ip.is_loopback() { ip } else { any };
        match bind(bound) {
            Ok(socket) => {
                let port = socket.local_addr().map_or(0, |addr| addr.port());
                let local = SocketAddr::new(ip, port);
                self.sockets.push(Socket {
                    socket,
                    bound,
                    local,
                });
                self.client.reach_from(now, local);
            }
            Err(error) => tracing::warn!(%error, "no socket for media"),
        }
    }
}

const fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// The address that the system sends from to another. Nothing is sent.
fn own_ip(remote: SocketAddr) -> io::Result<IpAddr> {
    let socket = std::net::UdpSocket::bind((unspecified(remote), 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

fn bind(ip: IpAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((ip, 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
