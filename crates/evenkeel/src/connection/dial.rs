//! Name, TCP, TLS, upgrade. How long it may take is the machine's business.

use std::{io, time::Duration};

use keel_core::client::{ConnEnd, DialFailure, TlsFailure};
use keel_wire::{SUBPROTOCOL, limits::FRAME_OUT_BYTES_MAX};
use tokio::net::{TcpStream, lookup_host};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Error,
        client::IntoClientRequest,
        handshake::client::Request,
        http::{HeaderMap, HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use super::{Endpoint, Trust};

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Bytes read at once. Frames are small, and connections many.
const READ_BYTES: usize = 4 * 1024;
/// Bytes that are written together.
const WRITE_BYTES: usize = 16 * 1024;
/// Bytes that wait in the library for the transport to take them; then a write fails.
const WRITE_BYTES_MAX: usize = 1024 * 1024;

/// There is no connection.
#[derive(Debug)]
pub(super) struct Failed {
    kind: DialFailure,
    message: String,
}

impl Failed {
    pub(super) const fn other(message: String) -> Self {
        Self {
            kind: DialFailure::Other,
            message,
        }
    }

    pub(super) fn into_end(self) -> ConnEnd {
        ConnEnd::DialFailed {
            kind: self.kind,
            message: self.message,
        }
    }

    fn of_io(error: &io::Error) -> Self {
        let is = |kind| error.kind() == kind;
        let kind = if is(io::ErrorKind::ConnectionRefused) {
            DialFailure::Refused
        } else if is(io::ErrorKind::TimedOut) {
            DialFailure::Timeout
        } else {
            DialFailure::Other
        };
        Self {
            kind,
            message: error.to_string(),
        }
    }
}

pub(super) async fn dial(endpoint: &Endpoint, trust: &Trust) -> Result<Socket, Failed> {
    let stream = connect(endpoint).await?;
    // Without it a small frame waits for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let request = request(endpoint)?;
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = READ_BYTES;
    config.write_buffer_size = WRITE_BYTES;
    config.max_write_buffer_size = WRITE_BYTES_MAX;
    config.max_message_size = Some(FRAME_OUT_BYTES_MAX);
    config.max_frame_size = Some(FRAME_OUT_BYTES_MAX);
    let upgraded = upgrade(endpoint, trust, request, stream, config).await;
    upgraded.map_err(|error| of_upgrade(endpoint, &error))
}

async fn connect(endpoint: &Endpoint) -> Result<TcpStream, Failed> {
    let no_name = |message: String| Failed {
        kind: DialFailure::Dns,
        message,
    };
    let found = lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let addresses = found.map_err(|error| no_name(error.to_string()))?;
    let mut last = no_name("the name has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Failed::of_io(&error),
        }
    }
    Err(last)
}

fn request(endpoint: &Endpoint) -> Result<Request, Failed> {
    let request = endpoint.url.as_str().into_client_request();
    let mut request = request.map_err(|error| Failed::other(error.to_string()))?;
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    request
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok(request)
}

#[cfg(feature = "tls")]
async fn upgrade(
    _: &Endpoint,
    trust: &Trust,
    request: Request,
    stream: TcpStream,
    config: WebSocketConfig,
) -> Result<Socket, Error> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        // An error says that the process has one already, which is what is wanted.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
    let connector = trust.connector();
    let upgraded =
        tokio_tungstenite::client_async_tls_with_config(request, stream, Some(config), connector);
    let upgraded = upgraded.await;
    upgraded.map(|(socket, _)| socket)
}

#[cfg(not(feature = "tls"))]
async fn upgrade(
    endpoint: &Endpoint,
    _: &Trust,
    request: Request,
    stream: TcpStream,
    config: WebSocketConfig,
) -> Result<Socket, Error> {
    use tokio_tungstenite::tungstenite::error::UrlError;

    if endpoint.tls {
        return Err(Error::Url(UrlError::TlsFeatureNotEnabled));
    }
    let stream = MaybeTlsStream::Plain(stream);
    let upgraded = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
    upgraded.map(|(socket, _)| socket)
}

fn of_upgrade(endpoint: &Endpoint, error: &Error) -> Failed {
    let message = error.to_string();
    let kind = match error {
        Error::Http(response) => {
            let status = response.status().as_u16();
            let retry_after = retry_after(response.headers());
            return Failed {
                kind: DialFailure::NotWebSocket {
                    status,
                    retry_after,
                },
                message: format!("the server answered {}", response.status()),
            };
        }
        Error::Tls(_) | Error::Url(_) => DialFailure::Tls(TlsFailure::Handshake),
        // How the TLS library tells that a certificate or a handshake is no good.
        Error::Io(error) if endpoint.tls && error.kind() == io::ErrorKind::InvalidData => {
            DialFailure::Tls(tls_failure(error))
        }
        Error::Io(error) => return Failed::of_io(error),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Capacity(_)
        | Error::Protocol(_)
        | Error::WriteBufferFull(_)
        | Error::Utf8(_)
        | Error::AttackAttempt
        | Error::HttpFormat(_) => DialFailure::Other,
    };
    Failed { kind, message }
}

#[cfg(feature = "tls")]
fn tls_failure(error: &io::Error) -> TlsFailure {
    super::trust::failure(error).unwrap_or(TlsFailure::Handshake)
}

#[cfg(not(feature = "tls"))]
const fn tls_failure(_: &io::Error) -> TlsFailure {
    TlsFailure::Handshake
}

/// In seconds; a date is passed over, because clocks differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}
