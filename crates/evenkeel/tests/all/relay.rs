//! A UDP relay between a client and a server, which can be told to pass nothing.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::UdpSocket,
    task::{JoinHandle, JoinSet},
};

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    /// Where the server is to listen.
    pub(crate) target: SocketAddr,
    blocked: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// A port that nobody has at present.
pub(crate) fn free_port() -> SocketAddr {
    let socket = std::net::UdpSocket::bind(SocketAddr::from(LOOPBACK)).expect("a socket");
    socket.local_addr().expect("an address")
}

impl Relay {
    pub(crate) async fn start() -> Self {
        let front = UdpSocket::bind(SocketAddr::from(LOOPBACK)).await;
        let front = Arc::new(front.expect("a socket"));
        let addr = front.local_addr().expect("an address");
        let target = free_port();
        let blocked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(front, target, Arc::clone(&blocked)));
        Self {
            addr,
            target,
            blocked,
            task,
        }
    }

    /// Whether nothing passes, either way.
    pub(crate) fn block(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(front: Arc<UdpSocket>, target: SocketAddr, blocked: Arc<AtomicBool>) {
    let mut clients = BTreeMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut tasks = JoinSet::new();
    let mut buffer = [0; 2_048];
    loop {
        let Ok((bytes, from)) = front.recv_from(&mut buffer).await else {
            continue;
        };
        if let Entry::Vacant(client) = clients.entry(from) {
            let back = UdpSocket::bind(SocketAddr::from(LOOPBACK)).await;
            let back = Arc::new(back.expect("a socket"));
            client.insert(Arc::clone(&back));
            let (front, blocked) = (Arc::clone(&front), Arc::clone(&blocked));
            tasks.spawn(async move {
                let mut buffer = [0; 2_048];
                loop {
                    if let Ok((bytes, _)) = back.recv_from(&mut buffer).await
                        && !blocked.load(Ordering::Relaxed)
                    {
                        let _ = front.send_to(&buffer[..bytes], from).await;
                    }
                }
            });
        }
        if let Some(back) = clients.get(&from)
            && !blocked.load(Ordering::Relaxed)
        {
            let _ = back.send_to(&buffer[..bytes], target).await;
        }
    }
}
