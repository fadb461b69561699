//! The UDP socket of the media plane: many datagrams a call in (recvmmsg, GRO), and those that go to
//! one place one after the other in one call out (GSO), where the system has that.
//!
//! What the system does not take at once waits in a queue that is bounded; what finds it full is lost,
//! as on any way, and counted.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    net::SocketAddr,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// The largest datagram that is read: what is larger is no media.
const DATAGRAM_BYTES_MAX: usize = 2_048;
/// What is sent in one call: a datagram's own bound (RFC 768), less what its headers take.
const SEND_BYTES_MAX: usize = 60_000;
/// Calls' worth of datagrams that wait for the system to take them.
const WAITING_MAX: usize = 1_024;
/// What the system is asked to hold for us, in bytes; it may give less.
const KERNEL_BYTES: usize = 4 * 1024 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Where datagrams are read to, used again and again: a buffer may hold several of one sender.
    buffers: Vec<Vec<u8>>,
    /// What goes out with the next call.
    held: Option<Held>,
    waiting: VecDeque<Held>,
    lost: usize,
}

/// Datagrams to one place, all but the last of one size.
#[derive(Debug)]
struct Held {
    to: SocketAddr,
    segment: usize,
    /// Of these; more than one, and it is sent in segments.
    count: usize,
    bytes: Vec<u8>,
}

impl Held {
    /// Whether a datagram may go out with these: nothing may follow one that is shorter.
    fn takes(&self, to: SocketAddr, bytes: &[u8], segments_max: usize) -> bool {
        self.to == to
            && self.count < segments_max
            && self.bytes.len() == self.segment * self.count
            && bytes.len() <= self.segment
            && self.bytes.len() + bytes.len() <= SEND_BYTES_MAX
    }
}

impl Socket {
    pub(super) fn new(io: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&io).into())?;
        // Bursts of keyframes are larger than what systems hold unasked.
        let _ = state.set_recv_buffer_size((&io).into(), KERNEL_BYTES);
        let _ = state.set_send_buffer_size((&io).into(), KERNEL_BYTES);
        let bytes = DATAGRAM_BYTES_MAX.max(state.gro_segments() * 1_500);
        Ok(Self {
            io,
            state,
            buffers: (0..BATCH_SIZE).map(|_| vec![0; bytes]).collect(),
            held: None,
            waiting: VecDeque::new(),
            lost: 0,
        })
    }

    /// The same socket, of the runtime that it is called in.
    pub(super) fn moved(mut self) -> io::Result<Self> {
        self.io = UdpSocket::from_std(self.io.into_std()?)?;
        Ok(self)
    }

    /// Returns when something has arrived, or what waits can go on its way.
    pub(super) async fn ready(&self) -> io::Result<()> {
        let interest = if self.waiting.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        self.io.ready(interest).await.map(|_| ())
    }

    /// Takes what has arrived, as much as is taken at once; who sent it, and what.
    pub(super) fn receive(
        &mut self,
        arrived: impl FnOnce(&mut dyn Iterator<Item = (SocketAddr, &[u8])>),
    ) {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices = self
            .buffers
            .iter_mut()
            .map(|buffer| IoSliceMut::new(buffer));
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let took = self.io.try_io(Interest::READABLE, || {
            self.state.recv((&self.io).into(), &mut slices, &mut metas)
        });
        // Nothing, or an ICMP answer to something that was sent: the socket is as good as before.
        let Ok(count) = took else {
            return;
        };
        let filled = self.buffers.iter().zip(metas).take(count);
        let mut datagrams = filled.flat_map(|(buffer, meta)| {
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            let datagrams = bytes.chunks(meta.stride.max(1));
            datagrams
                .filter(|bytes| bytes.len() <= DATAGRAM_BYTES_MAX)
                .map(move |bytes| (meta.addr, bytes))
        });
        arrived(&mut datagrams);
    }

    /// Sends a datagram, at the latest with [`Self::flush`].
    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        let segments_max = self.state.max_gso_segments();
        if let Some(held) = &mut self.held {
            if held.takes(to, &bytes, segments_max) {
                held.bytes.extend_from_slice(&bytes);
                held.count += 1;
                return;
            }
            self.flush();
        }
        self.held = Some(Held {
            to,
            segment: bytes.len(),
            count: 1,
            bytes,
        });
    }

    /// Everything that was given is on its way, or waits for the system, or is lost.
    pub(super) fn flush(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        if !self.waiting.is_empty() || self.pass(&held) == Passed::Waits {
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(held);
            } else {
                self.lost += held.count;
            }
        }
    }

    /// Sends what waits, as far as the system takes it.
    pub(super) fn send_waiting(&mut self) {
        while let Some(held) = self.waiting.pop_front() {
            if self.pass(&held) == Passed::Waits {
                return self.waiting.push_front(held);
            }
        }
    }

    /// Datagrams that were lost since the last call.
    pub(super) fn take_lost(&mut self) -> usize {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn pass(&mut self, held: &Held) -> Passed {
        let transmit = Transmit {
            destination: held.to,
            ecn: None,
            contents: &held.bytes,
            segment_size: (held.count > 1).then_some(held.segment),
            src_ip: None,
        };
        let sent = self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.io).into(), &transmit)
        });
        match sent {
            Ok(()) => Passed::On,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Passed::Waits,
            // Its way is gone, say: a datagram that the system refuses is lost, as on any way.
            Err(_) => {
                self.lost += held.count;
                Passed::On
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    On,
    Waits,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn pair() -> (Socket, UdpSocket, SocketAddr) {
        let here = UdpSocket::bind("127.0.0.1:0").await.expect("an address");
        let there = UdpSocket::bind("127.0.0.1:0").await.expect("an address");
        for socket in [&here, &there] {
            socket.writable().await.expect("it is bound");
        }
        let to = there.local_addr().expect("it is bound");
        (Socket::new(here).expect("a socket"), there, to)
    }

    /// The lengths of what comes.
    async fn lengths(there: &UdpSocket, count: usize) -> Vec<usize> {
        let mut came = Vec::new();
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        while came.len() < count {
            let next = there.recv(&mut buffer);
            let next = tokio::time::timeout(Duration::from_secs(5), next).await;
            came.push(next.expect("it comes").expect("it is read"));
        }
        came
    }

    #[tokio::test]
    async fn datagrams_keep_their_bounds_and_their_order() {
        let (mut socket, there, to) = pair().await;
        let sent = [1_200, 1_200, 1_200, 700, 900, 900, 1_300, 20];
        for length in sent {
            socket.send(to, vec![7; length]);
        }
        socket.flush();
        assert_eq!(lengths(&there, sent.len()).await, sent);
    }

    #[tokio::test]
    async fn a_burst_is_received_datagram_by_datagram() {
        let (mut socket, there, from) = pair().await;
        let to = socket.io.local_addr().expect("it is bound");
        let mut sender = Socket::new(there).expect("a socket");
        for _ in 0..100 {
            sender.send(to, vec![7; 1_000]);
        }
        sender.flush();
        let mut came = 0;
        while came < 100 {
            let ready = tokio::time::timeout(Duration::from_secs(5), socket.ready()).await;
            ready.expect("something comes").expect("it is read");
            socket.receive(|datagrams| {
                for (of, bytes) in datagrams {
                    assert_eq!((of, bytes.len()), (from, 1_000));
                    came += 1;
                }
            });
        }
    }

    #[tokio::test]
    async fn what_the_system_does_not_take_waits_within_a_bound_and_is_counted() {
        let (mut socket, _there, to) = pair().await;
        let blocked = |length| Held {
            to,
            segment: length,
            count: 1,
            bytes: vec![7; length],
        };
        socket.waiting.extend((0..WAITING_MAX).map(|_| blocked(10)));
        socket.send(to, vec![7; 10]);
        socket.flush();
        assert_eq!(socket.waiting.len(), WAITING_MAX);
        assert_eq!(socket.take_lost(), 1);
        socket.send_waiting();
        assert!(socket.waiting.len() < WAITING_MAX, "and the rest goes on");
    }
}
