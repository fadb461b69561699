//! The listening socket: one task that accepts, and one for each HTTP connection.
//!
//! It must never spin and never die: without file descriptors it answers from a reserve and waits.

use std::{fs::File, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::{server::conn::http1, service::Service, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use keel_core::limits::LINGER;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    http::Peer,
    shared::Shared,
    socket::tune,
    tickets::{Full, Ticket},
};

/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long accepting pauses when it failed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a request under way may take when the server is being closed.
const LAST_REQUEST_WITHIN: Duration = Duration::from_secs(2);

const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
content-length: 0\r\n\r\n";
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\n\
content-length: 0\r\n\r\n";
const PLAIN: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\n\
content-length: 35\r\n\r\nthis port speaks TLS: use https://\n";
/// The first byte of what a client of TLS says.
const HANDSHAKE: u8 = 0x16;

/// Accepts until the server is closed.
pub(crate) async fn listen(listener: TcpListener, router: Router, shared: Arc<Shared>) {
    let mut reserve = File::open("/dev/null").ok();
    let mut out_of_files = false;
    loop {
        let accepted = tokio::select! {
            () = shared.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if std::mem::take(&mut out_of_files) {
                    tracing::warn!("file descriptors are free again");
                }
                admit(stream, peer, &router, &shared).await;
            }
            Err(error) if is_out_of_files(&error) => {
                if !std::mem::replace(&mut out_of_files, true) {
                    tracing::error!(%error, "no file descriptor is free; accepting pauses");
                }
                shared.meter.refused("fds");
                drop(reserve.take());
                if let Ok(Ok((stream, _))) = timeout(PAUSE, listener.accept()).await {
                    turn_away(stream, BUSY).await;
                }
                sleep(PAUSE).await;
                reserve = File::open("/dev/null").ok();
            }
            Err(error) => {
                // The peer of a connection in the backlog is gone, or the like.
                tracing::debug!(%error, "accepting failed");
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let errno = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    matches!(
        errno,
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}

async fn admit(stream: TcpStream, peer: SocketAddr, router: &Router, shared: &Arc<Shared>) {
    let address = peer.ip().to_canonical();
    let counted = (!shared.edge.is_proxy(address)).then_some(address);
    match shared.tickets.connect(counted) {
        Ok(ticket) => {
            let serving = serve(stream, peer, ticket, router.clone(), Arc::clone(shared));
            shared.tracker.spawn(Box::pin(serving));
        }
        Err(full) => {
            let (why, answer) = match full {
                Full::Address => ("address", TOO_MANY),
                Full::Server | Full::Unauthenticated => ("server", BUSY),
            };
            shared.meter.refused(why);
            // A peer that wants TLS cannot read the answer; a handshake for it would cost more.
            let answer = if shared.tls.is_some() { b"" } else { answer };
            turn_away(stream, answer).await;
        }
    }
}

/// Writes what fits into the socket's buffer and hangs up.
async fn turn_away(mut stream: TcpStream, answer: &'static [u8]) {
    let _ = timeout(PAUSE, stream.write_all(answer)).await;
    let _ = timeout(PAUSE, stream.shutdown()).await;
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    ticket: Ticket,
    router: Router,
    shared: Arc<Shared>,
) {
    tune(&stream);
    let peer = Peer::new(peer, ticket);
    let Some(tls) = &shared.tls else {
        return http(TokioIo::new(stream), peer, router, &shared).await;
    };
    if let Some(stream) = secure(stream, tls.config(), &shared).await {
        http(TokioIo::new(stream), peer, router, &shared).await;
    }
}

/// The handshake of TLS. It counts as a connection that has shown no token, and has as long as a
/// request's header.
async fn secure(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    shared: &Shared,
) -> Option<Box<TlsStream<TcpStream>>> {
    let Ok(_handshake) = shared.tickets.handshake() else {
        shared.meter.refused("unauthenticated");
        return None;
    };
    let mut first = [0];
    let shaken = async {
        if !matches!(stream.peek(&mut first).await, Ok(1)) {
            return None;
        }
        if first != [HANDSHAKE] {
            hang_up_on_writer(stream, PLAIN).await;
            return None;
        }
        match TlsAcceptor::from(config)
            .accept(stream)
            .into_fallible()
            .await
        {
            Ok(stream) => Some(Box::new(stream)),
            Err((error, stream)) => {
                tracing::debug!(%error, "no TLS");
                // An alert has said to the peer what is wrong.
                hang_up_on_writer(stream, b"").await;
                None
            }
        }
    };
    let shaken = tokio::select! {
        shaken = timeout(shared.request_within, Box::pin(shaken)) => shaken.unwrap_or_default(),
        () = shared.closing.cancelled() => None,
    };
    if shaken.is_none() {
        shared.meter.refused("tls");
    }
    shaken
}

/// As [`turn_away`], for a peer that may still be writing: a reset would eat what was said to it.
async fn hang_up_on_writer(mut stream: TcpStream, answer: &'static [u8]) {
    let _ = timeout(PAUSE, stream.write_all(answer)).await;
    let _ = timeout(PAUSE, stream.shutdown()).await;
    let discarded = async {
        let mut scrap = [0; 1024];
        while let Ok(1..) = stream.read(&mut scrap).await {}
    };
    let _ = timeout(LINGER, discarded).await;
}

async fn http<I>(io: I, peer: Peer, router: Router, shared: &Shared)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.request_within)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    // An error here is a peer that hung up, was too slow or spoke no HTTP: it has been answered.
    tokio::select! {
        _ = &mut connection => {}
        () = shared.closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = timeout(LAST_REQUEST_WITHIN, connection).await;
        }
    }
}
