//! What a connection's bytes go over: TCP, or TLS on it. It never blocks, and says what it waits
//! for.
//!
//! TLS is driven here by hand, and not by a stream of its own: what was taken for writing is then
//! counted as it is for TCP, and the last words of a connection (its close, its alert, its
//! half-close) go out in their order.

use std::{
    io::{self, IoSlice, Read, Write},
    task::{Context, Poll},
};

use rustls::ServerConnection;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::server::TlsStream;

/// Reads of the socket at one go that may bring no text (alerts, empty records, new keys).
const READS_AT_ONCE: usize = 16;

#[derive(Debug)]
pub(crate) enum Transport {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

/// TLS, its handshake done.
#[derive(Debug)]
pub(crate) struct Tls {
    tcp: TcpStream,
    session: ServerConnection,
    /// Bytes that are deciphered and not read: the socket does not tell of them.
    unread: usize,
}

impl From<TcpStream> for Transport {
    fn from(tcp: TcpStream) -> Self {
        Self::Plain(tcp)
    }
}

impl From<TlsStream<TcpStream>> for Transport {
    fn from(stream: TlsStream<TcpStream>) -> Self {
        let (tcp, mut session) = stream.into_inner();
        // What came along with the request is there already. An error comes again at the read.
        let state = session.process_new_packets();
        let unread = state.map_or(0, |state| state.plaintext_bytes_to_read());
        Self::Tls(Box::new(Tls {
            tcp,
            session,
            unread,
        }))
    }
}

impl Transport {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.tcp,
        }
    }

    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) if tls.unread > 0 => Poll::Ready(Ok(())),
            Self::Plain(_) | Self::Tls(_) => self.tcp().poll_read_ready(cx),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Whether something is taken that the socket has not got.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.session.wants_write(),
        }
    }

    /// Zero at the end. `WouldBlock` when there is nothing for now.
    pub(super) fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read(buf),
            Self::Tls(tls) => tls.try_read(buf),
        }
    }

    /// `WouldBlock` when nothing is taken for now.
    pub(super) fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(pieces),
            Self::Tls(tls) => {
                tls.flush()?;
                let taken = tls.session.writer().write_vectored(pieces)?;
                tls.flush_for_now()?;
                Ok(taken)
            }
        }
    }

    /// Gives the socket what it takes of what was taken before.
    pub(super) fn flush_for_now(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush_for_now(),
        }
    }

    /// Writes what was taken, says that nothing more will come, and half-closes.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        if let Self::Tls(tls) = self {
            tls.session.send_close_notify();
            while tls.session.wants_write() {
                tls.tcp.writable().await?;
                tls.flush_for_now()?;
            }
        }
        match self {
            Self::Plain(tcp) => tcp.shutdown().await,
            Self::Tls(tls) => tls.tcp.shutdown().await,
        }
    }

    /// Takes bytes off the socket and forgets them, deciphered or not; `false` at the end.
    pub(super) fn discard(&self) -> bool {
        let mut scrap = [0; 8192];
        match self.tcp().try_read(&mut scrap) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl Tls {
    fn try_read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        for _ in 0..READS_AT_ONCE {
            match self.session.reader().read(buf) {
                Ok(count) => {
                    self.unread = self.unread.saturating_sub(count);
                    return Ok(count);
                }
                // Many hang up without the word for it. Every message says its own length, so
                // nothing can be cut short unnoticed.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.session.read_tls(&mut Socket(&self.tcp))?;
            match self.session.process_new_packets() {
                Ok(state) => self.unread = state.plaintext_bytes_to_read(),
                Err(error) => {
                    // The alert; whether the peer takes it is its own affair.
                    let _ = self.flush_for_now();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut Socket(&self.tcp))?;
        }
        Ok(())
    }

    fn flush_for_now(&mut self) -> io::Result<()> {
        match self.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }
}

/// A socket as rustls takes it.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
