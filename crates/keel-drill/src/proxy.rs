//! A TCP proxy that breaks connections: between a client that cannot tell it from the network and a
//! server that cannot either.
//!
//! A cut strikes every connection that is open at that moment; new ones pass untouched, unless the
//! link is down. Nothing is decided by time inside: whoever drills says when.

use std::{
    collections::{BTreeMap, VecDeque},
    io::ErrorKind,
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
    /// What comes passes a byte at a time, so many a second (N10).
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
    _tasks: JoinSet<()>,
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
            _tasks: tasks,
        })
    }

    /// Where clients connect to.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Strikes every open connection; how many there were.
    pub fn cut(&self, cut: Cut) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for conn in table.values() {
            conn.send_replace(Some(cut));
        }
        table.len()
    }

    /// What new connections meet from here on.
    pub fn set_link(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
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
        Link::Up | Link::Deaf | Link::Mute | Link::HalfWelcome | Link::Impatient(_) => {}
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
    let Ok(server) = TcpStream::connect(target).await else {
        return reset(client);
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    relay(client, server, link, cuts).await;
}

/// How bytes pass in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Passes,
    Stops,
    /// Half of what comes next passes, and that is the end.
    HalfThenReset,
    Trickles(u32),
}

async fn relay(
    client: TcpStream,
    server: TcpStream,
    link: Link,
    mut cuts: watch::Receiver<Option<Cut>>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut up = Flow::Passes;
    let mut down = match link {
        Link::Deaf => Flow::Stops,
        Link::Up
        | Link::Refusing
        | Link::Silent
        | Link::Answers(_)
        | Link::Mute
        | Link::HalfWelcome
        | Link::Impatient(_) => Flow::Passes,
    };
    let patience = if let Link::Impatient(span) = link {
        span
    } else {
        Duration::from_secs(3_600)
    };
    let (mut up_buffer, mut down_buffer) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let mut frames = Frames::default();
    let (mut up_open, mut down_open) = (true, true);
    let mut close_due: Option<u16> = None;
    let reset_both =
        |a: tokio::net::tcp::OwnedReadHalf, b, c: tokio::net::tcp::OwnedReadHalf, d| {
            for (read, write) in [(a, b), (c, d)] {
                if let Ok(stream) = read.reunite(write) {
                    reset(stream);
                }
            }
        };
    loop {
        if let Some(code) = close_due.filter(|_| frames.at_border()) {
            let _ = to_client.write_all(&close_frame(code)).await;
            let _ = to_client.shutdown().await;
            return;
        }
        if frames.upgraded && down == Flow::Passes {
            if link == Link::Mute {
                down = Flow::Stops;
            } else if link == Link::HalfWelcome {
                down = Flow::HalfThenReset;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(patience) => {
                let _ = to_client.shutdown().await;
                let _ = to_server.shutdown().await;
                return;
            }
            changed = cuts.changed() => {
                if changed.is_err() {
                    return;
                }
                let cut = *cuts.borrow_and_update();
                match cut {
                    None => {}
                    Some(Cut::Reset) => {
                        return reset_both(from_client, to_client, from_server, to_server);
                    }
                    Some(Cut::Fin) => {
                        let _ = to_client.shutdown().await;
                        let _ = to_server.shutdown().await;
                        return;
                    }
                    Some(Cut::Close(code)) => close_due = Some(code),
                    Some(Cut::BlackHole) => (up, down) = (Flow::Stops, Flow::Stops),
                    Some(Cut::DeafServer) => up = Flow::Stops,
                    Some(Cut::DeafClient) => down = Flow::Stops,
                    Some(Cut::Hold(span)) => {
                        tokio::select! {
                            () = tokio::time::sleep(span) => {}
                            _ = cuts.changed() => cuts.mark_changed(),
                        }
                    }
                    Some(Cut::HalfFrame) => down = Flow::HalfThenReset,
                    Some(Cut::Trickle(per_s)) => {
                        (up, down) = (Flow::Trickles(per_s), Flow::Trickles(per_s));
                    }
                }
            }
            read = from_client.read(&mut up_buffer), if up_open && up != Flow::Stops => {
                match ended(read) {
                    Some(n) => {
                        if trickle(&mut to_server, &up_buffer[..n], up).await.is_err() {
                            up_open = false;
                        }
                    }
                    None => {
                        up_open = false;
                        let _ = to_server.shutdown().await;
                    }
                }
            }
            read = from_server.read(&mut down_buffer), if down_open && down != Flow::Stops => {
                match ended(read) {
                    Some(n) if down == Flow::HalfThenReset => {
                        let _ = to_client.write_all(&down_buffer[..n.div_ceil(2)]).await;
                        return reset_both(from_client, to_client, from_server, to_server);
                    }
                    Some(n) => {
                        frames.passed(&down_buffer[..n]);
                        if trickle(&mut to_client, &down_buffer[..n], down).await.is_err() {
                            down_open = false;
                        }
                    }
                    None => {
                        down_open = false;
                        let _ = to_client.shutdown().await;
                    }
                }
            }
        }
        if !up_open && !down_open {
            return;
        }
    }
}

fn ended(read: std::io::Result<usize>) -> Option<usize> {
    match read {
        Ok(0) => None,
        Ok(n) => Some(n),
        Err(error) if error.kind() == ErrorKind::Interrupted => Some(0),
        Err(_) => None,
    }
}

async fn trickle(
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    bytes: &[u8],
    flow: Flow,
) -> std::io::Result<()> {
    let Flow::Trickles(per_s) = flow else {
        return to.write_all(bytes).await;
    };
    for byte in bytes {
        to.write_all(std::slice::from_ref(byte)).await?;
        tokio::time::sleep(Duration::from_secs(1) / per_s.max(1)).await;
    }
    Ok(())
}

/// Ends a connection with a reset instead of a FIN.
fn reset(stream: TcpStream) {
    if let Ok(stream) = stream.into_std() {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

fn close_frame(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [0x88, 2, high, low]
}

/// Where a server's stream stands between WebSocket frames (RFC 6455 §5.2), so that a close frame can
/// be put between two.
#[derive(Debug, Default)]
struct Frames {
    /// The end of the HTTP answer was seen.
    upgraded: bool,
    /// Bytes of the answer's end, or of a frame's header, that were seen.
    head: Vec<u8>,
    /// Payload of the current frame that is still to come.
    left: u64,
}

impl Frames {
    const fn at_border(&self) -> bool {
        self.upgraded && self.left == 0 && self.head.is_empty()
    }

    fn passed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !self.upgraded {
                self.head.push(*byte);
                if self.head.ends_with(b"\r\n\r\n") {
                    self.upgraded = true;
                    self.head.clear();
                }
            } else if self.left > 0 {
                self.left -= 1;
            } else {
                self.head.push(*byte);
                if let Some(length) = payload_length(&self.head) {
                    self.left = length;
                    self.head.clear();
                }
            }
        }
    }
}

/// The payload's length, once the header of an unmasked frame is complete.
fn payload_length(head: &[u8]) -> Option<u64> {
    let short = u64::from(*head.get(1)? & 0x7f);
    let big = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    match short {
        126 => head.get(2..4).map(big),
        127 => head.get(2..10).map(big),
        _ => Some(short),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_frame_goes_only_between_frames() {
        let mut frames = Frames::default();
        frames.passed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n");
        assert!(frames.at_border());
        frames.passed(&[0x81, 3, b'a']);
        assert!(!frames.at_border());
        frames.passed(b"bc");
        assert!(frames.at_border());
        frames.passed(&[0x81, 126, 1]);
        frames.passed(&[0]);
        frames.passed(&[7; 255]);
        assert!(!frames.at_border());
        frames.passed(&[7]);
        assert!(frames.at_border());
    }
}
