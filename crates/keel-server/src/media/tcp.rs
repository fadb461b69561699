//! Media over TCP, for networks without UDP: the client connects (RFC 6544), and datagrams are framed by
//! their length (RFC 4571).
//!
//! A connection is nobody's until the plane answers on it, which it does only to a check that proves to
//! know a password: one that is not answered in time is closed. Each way is bounded: who sends faster
//! than the plane takes is read slower, and who reads too slowly is closed, since media that waits is
//! of no use.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// What strangers may take of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Connections at once; further ones are closed unheard.
    pub(super) connections_max: usize,
    /// Of one address, those that have proven nothing yet; further ones are closed unheard.
    pub(super) strangers_max: usize,
    /// From a connection to the plane's first answer on it; then it is closed.
    pub(super) proven_within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            strangers_max: 64,
            proven_within: Duration::from_secs(10),
        }
    }
}

/// A connection that says nothing for so long is closed: checks come every few seconds.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// A write that takes so long is of no use.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// Datagrams that wait to be written; who lets more wait is closed.
const WAITING_MAX: usize = 512;
/// Datagrams of all connections that wait for the plane; then they are read slower.
const ARRIVED_MAX: usize = 1_024;
/// The largest datagram that is taken; a longer one ends the connection.
const DATAGRAM_BYTES_MAX: usize = 2_048;

/// What becomes of connections.
#[derive(Debug)]
pub(super) enum Arrived {
    /// There is one.
    Opened {
        remote: SocketAddr,
        connection: Connection,
    },
    Datagram {
        remote: SocketAddr,
        bytes: Vec<u8>,
    },
    Closed {
        remote: SocketAddr,
    },
}

/// A connection, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    out: mpsc::Sender<Vec<u8>>,
    _open: DropGuard,
}

impl Connection {
    /// Sends a datagram. False when too many wait already, or it is closed.
    pub(super) fn send(&self, bytes: Vec<u8>) -> bool {
        self.out.try_send(bytes).is_ok()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.out.is_closed()
    }
}

/// Connections that have proven nothing yet, by the address that they come from (of IPv6 its network of
/// 64 bits, which is one customer's): one place cannot take all the room there is.
#[derive(Debug, Default)]
struct Strangers {
    table: Mutex<HashMap<IpAddr, usize>>,
}

impl Strangers {
    fn admit(self: &Arc<Self>, remote: SocketAddr, max: usize) -> Option<Stranger> {
        let from = match remote.ip().to_canonical() {
            IpAddr::V6(v6) => {
                let network = v6.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            v4 @ IpAddr::V4(_) => v4,
        };
        let mut table = self.lock();
        let count = table.entry(from).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(table);
        let of = Arc::clone(self);
        Some(Stranger { from, of })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them, until this is dropped.
#[derive(Debug)]
struct Stranger {
    from: IpAddr,
    of: Arc<Strangers>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut table = self.of.lock();
        if let Some(count) = table.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.from);
            }
        }
    }
}

/// Accepts until the server is closed; what arrives comes from the receiver.
pub(super) fn start(
    listener: TcpListener,
    bounds: Bounds,
    closing: CancellationToken,
    tracker: &TaskTracker,
) -> mpsc::Receiver<Arrived> {
    let (arrived, taken) = mpsc::channel(ARRIVED_MAX);
    let connections = tracker.clone();
    tracker.spawn(async move {
        let room = Arc::new(Semaphore::new(bounds.connections_max));
        let strangers = Arc::new(Strangers::default());
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, say: the next one may do.
                    tracing::debug!(%error, "a connection for media cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            let Some(stranger) = strangers.admit(remote, bounds.strangers_max) else {
                continue;
            };
            let (arrived, closing) = (arrived.clone(), closing.clone());
            connections.spawn(async move {
                let served = serve(stream, (remote, stranger), bounds, &arrived);
                tokio::select! {
                    () = closing.cancelled() => {}
                    ended = served => if let Err(error) = ended {
                        tracing::debug!(%error, "a connection for media ended");
                    },
                }
                let _ = arrived.send(Arrived::Closed { remote }).await;
                drop(permit);
            });
        }
    });
    taken
}

async fn serve(
    stream: TcpStream,
    (remote, stranger): (SocketAddr, Stranger),
    bounds: Bounds,
    arrived: &mpsc::Sender<Arrived>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (out, waiting) = mpsc::channel(WAITING_MAX);
    let given_up = CancellationToken::new();
    let connection = Connection {
        out,
        _open: given_up.clone().drop_guard(),
    };
    let opened = Arrived::Opened { remote, connection };
    if arrived.send(opened).await.is_err() {
        return Ok(());
    }
    tokio::select! {
        // With what waits: nobody has a use for that any more.
        () = given_up.cancelled() => Ok(()),
        ended = write_out(write, waiting, (stranger, bounds)) => ended,
        ended = read_in(read, remote, arrived) => ended,
    }
}

/// Ends when nothing was proven in time, or when what is given is not read in time.
async fn write_out(
    write: OwnedWriteHalf,
    mut waiting: mpsc::Receiver<Vec<u8>>,
    (stranger, bounds): (Stranger, Bounds),
) -> io::Result<()> {
    let mut write = BufWriter::new(write);
    let mut next = timeout(bounds.proven_within, waiting.recv()).await?;
    drop(stranger);
    while let Some(bytes) = next {
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        let written = async {
            write.write_all(&length.to_be_bytes()).await?;
            write.write_all(&bytes).await?;
            // Together, what waits together.
            if waiting.is_empty() {
                write.flush().await?;
            }
            Ok::<_, io::Error>(())
        };
        timeout(WRITE_WITHIN, written).await??;
        next = waiting.recv().await;
    }
    Ok(())
}

async fn read_in(
    read: OwnedReadHalf,
    remote: SocketAddr,
    arrived: &mpsc::Sender<Arrived>,
) -> io::Result<()> {
    let mut read = BufReader::new(read);
    let mut is_first = true;
    loop {
        let length = timeout(SILENT_MAX, read.read_u16()).await??;
        let length = usize::from(length);
        if length > DATAGRAM_BYTES_MAX {
            return Err(io::Error::other("a datagram is too long"));
        }
        let mut bytes = vec![0; length];
        timeout(SILENT_MAX, read.read_exact(&mut bytes)).await??;
        // RFC 7983: what begins with anything but a check knows nothing of this.
        if std::mem::take(&mut is_first) && !matches!(bytes.first(), Some(0..=3)) {
            return Err(io::Error::other("it does not begin with a check"));
        }
        if arrived
            .send(Arrived::Datagram { remote, bytes })
            .await
            .is_err()
        {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listening {
        addr: SocketAddr,
        taken: mpsc::Receiver<Arrived>,
        _closing: CancellationToken,
    }

    async fn listen() -> Listening {
        listen_within(Bounds::default()).await
    }

    async fn listen_within(bounds: Bounds) -> Listening {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let addr = listener.local_addr().expect("it is bound");
        let closing = CancellationToken::new();
        let taken = start(listener, bounds, closing.clone(), &TaskTracker::new());
        Listening {
            addr,
            taken,
            _closing: closing,
        }
    }

    impl Listening {
        async fn next(&mut self) -> Arrived {
            let next = timeout(Duration::from_secs(20), self.taken.recv()).await;
            next.expect("something happens").expect("it listens")
        }

        async fn connect(&mut self) -> (TcpStream, Connection) {
            let stream = TcpStream::connect(self.addr).await.expect("it listens");
            let Arrived::Opened { connection, .. } = self.next().await else {
                panic!("not opened")
            };
            (stream, connection)
        }
    }

    fn framed(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).expect("it is short");
        [&length.to_be_bytes(), bytes].concat()
    }

    #[tokio::test]
    async fn datagrams_are_framed_by_their_length_v01() {
        let mut listening = listen().await;
        let (mut stream, out) = listening.connect().await;
        let sent = [framed(&[0, 1, 2]), framed(&[22; 1_200]), framed(&[])].concat();
        // However the stream is cut.
        for piece in sent.chunks(7) {
            stream.write_all(piece).await.expect("it is read");
        }
        for expected in [vec![0, 1, 2], vec![22; 1_200], vec![]] {
            let Arrived::Datagram { bytes, .. } = listening.next().await else {
                panic!("no datagram")
            };
            assert_eq!(bytes, expected);
        }
        for bytes in [vec![1; 3], vec![2; 900]] {
            assert!(out.send(bytes.clone()), "it is open");
            let mut came = vec![0; bytes.len() + 2];
            stream.read_exact(&mut came).await.expect("it is written");
            assert_eq!(came, framed(&bytes));
        }
        drop(out);
        assert!(matches!(listening.next().await, Arrived::Closed { .. }));
    }

    #[tokio::test]
    async fn what_is_no_check_and_what_is_too_long_is_closed_a42() {
        let mut listening = listen().await;
        for wrong in [framed(b"GET / HTTP/1.1"), vec![0xff, 0xff, 0, 0]] {
            let (mut stream, _out) = listening.connect().await;
            stream.write_all(&wrong).await.expect("it is read");
            assert!(matches!(listening.next().await, Arrived::Closed { .. }));
            assert_eq!(stream.read(&mut [0; 9]).await.unwrap_or(0), 0, "unanswered");
        }
    }

    #[tokio::test]
    async fn who_proves_nothing_is_closed_in_time_a43() {
        let proven_within = Duration::from_millis(200);
        let mut listening = listen_within(Bounds {
            proven_within,
            ..Bounds::default()
        })
        .await;
        let (mut stream, _out) = listening.connect().await;
        stream
            .write_all(&framed(&[0, 1]))
            .await
            .expect("it is read");
        assert!(matches!(listening.next().await, Arrived::Datagram { .. }));
        assert!(matches!(listening.next().await, Arrived::Closed { .. }));
    }

    #[tokio::test]
    async fn strangers_of_one_address_are_bounded_and_who_proves_itself_is_none_a45() {
        let bounds = Bounds {
            strangers_max: 3,
            ..Bounds::default()
        };
        let mut listening = listen_within(bounds).await;
        let mut held = Vec::new();
        for _ in 0..bounds.strangers_max {
            held.push(listening.connect().await);
        }
        let mut one_more = TcpStream::connect(listening.addr)
            .await
            .expect("it listens");
        let read = timeout(Duration::from_secs(5), one_more.read(&mut [0; 9])).await;
        assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
        let (stream, connection) = &mut held[0];
        assert!(connection.send(vec![1]), "it is open");
        stream.read_exact(&mut [0; 3]).await.expect("it is written");
        held.push(listening.connect().await);
    }

    /// What waits is of no use to it any more, and would be in the way of what it connects anew for.
    #[tokio::test]
    async fn who_reads_too_slowly_is_closed_at_once_with_what_waits() {
        let mut listening = listen().await;
        let (mut stream, out) = listening.connect().await;
        while out.send(vec![7; 1_200]) {
            tokio::task::yield_now().await;
        }
        drop(out);
        let given_up = tokio::time::Instant::now();
        assert!(matches!(listening.next().await, Arrived::Closed { .. }));
        let after = given_up.elapsed();
        assert!(after < WRITE_WITHIN / 2, "closed after {after:?}");
        let mut rest = Vec::new();
        // Reset, or an end: nothing more is written.
        let _ = timeout(WRITE_WITHIN, stream.read_to_end(&mut rest)).await;
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let bounds = Bounds {
            connections_max: 3,
            ..Bounds::default()
        };
        let mut listening = listen_within(bounds).await;
        let mut held = Vec::new();
        for _ in 0..bounds.connections_max {
            held.push(listening.connect().await);
        }
        let mut one_more = TcpStream::connect(listening.addr)
            .await
            .expect("it listens");
        let read = timeout(Duration::from_secs(10), one_more.read(&mut [0; 9])).await;
        assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
        held.pop();
        assert!(matches!(listening.next().await, Arrived::Closed { .. }));
        listening.connect().await;
    }
}
