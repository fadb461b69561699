//! A server's HTTP API, one request a connection.

use std::{io::Write, time::Duration};

use evenkeel::wire::Fault;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    exit::Failure,
    target::{Target, authority},
};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const BYTES_MAX: usize = 16 * 1024 * 1024;

pub(crate) struct Api(Target);

impl Api {
    pub(crate) const fn new(target: Target) -> Self {
        Self(target)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::DELETE, path, None).await
    }

    /// Writes an answer of any length as it comes. Each piece has as long as an answer may take.
    pub(crate) async fn download(
        &self,
        path: &str,
        sink: &mut (dyn Write + Send),
    ) -> Result<(), Failure> {
        let exchange = Box::pin(self.exchange(Method::GET, path, None, Some(sink)));
        let (status, bytes) = exchange.await?;
        if status.is_success() {
            return Ok(());
        }
        Err(self.refusal(status, &bytes))
    }

    fn late(&self) -> Failure {
        Failure::temporary(format!("{} did not answer in time", self.0.url))
    }

    fn refusal(&self, status: StatusCode, bytes: &[u8]) -> Failure {
        match serde_json::from_slice::<Fault>(bytes) {
            Ok(fault) => Failure::from(&fault),
            Err(_) => Failure::unavailable(format!("{} answered {status}", self.0.url)),
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let exchange = Box::pin(self.exchange(method, path, body, None));
        let (status, bytes) = timeout(WITHIN, exchange).await.map_err(|_| self.late())??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| {
                Failure::temporary(format!("an answer that is no JSON: {error}"))
            });
        }
        Err(self.refusal(status, &bytes))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        sink: Option<&mut (dyn Write + Send)>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let url = &self.0.url;
        let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
        let (secure, port) = match scheme {
            "http" | "ws" => (false, 80),
            "https" | "wss" => (true, 443),
            _ => return Err(Failure::usage(format!("{url}: want http:// or https://"))),
        };
        let host = authority(url);
        let address = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| self.gone(&error))?;
        let request = self.prepare(method, path, host, body)?;
        if secure {
            let stream = tls::over(stream, &address, self.0.ca.as_deref()).await;
            let stream = stream.map_err(|error| self.gone(&error))?;
            self.converse(TokioIo::new(stream), request, sink).await
        } else {
            self.converse(TokioIo::new(stream), request, sink).await
        }
    }

    fn gone(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::unavailable(format!("{}: {error}", self.0.url))
    }

    fn prepare(
        &self,
        method: Method,
        path: &str,
        host: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let token = &self.0.token;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
        request
            .body(body)
            .map_err(|error| Failure::usage(format!("not a request: {error}")))
    }

    async fn pour(&self, mut body: Incoming, sink: &mut (dyn Write + Send)) -> Result<(), Failure> {
        let late = |_| Failure::temporary(format!("{} stopped in the midst", self.0.url));
        while let Some(frame) = timeout(WITHIN, body.frame()).await.map_err(late)? {
            let frame = frame.map_err(|error| self.gone(&error))?;
            if let Some(bytes) = frame.data_ref() {
                sink.write_all(bytes)
                    .map_err(|error| Failure::temporary(format!("cannot be written: {error}")))?;
            }
        }
        Ok(())
    }

    async fn converse<I>(
        &self,
        io: I,
        request: Request<Full<Bytes>>,
        sink: Option<&mut (dyn Write + Send)>,
    ) -> Result<(StatusCode, Bytes), Failure>
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin,
    {
        let (mut sender, connection) = http1::handshake(io)
            .await
            .map_err(|error| self.gone(&error))?;
        let asked = async {
            let response = timeout(WITHIN, sender.send_request(request)).await;
            let response = response.map_err(|_| self.late())?;
            let response = response.map_err(|error| self.gone(&error))?;
            let status = response.status();
            if let Some(sink) = sink.filter(|_| status.is_success()) {
                self.pour(response.into_body(), sink).await?;
                return Ok((status, Bytes::new()));
            }
            let body = Limited::new(response.into_body(), BYTES_MAX).collect();
            let body = timeout(WITHIN, body).await.map_err(|_| self.late())?;
            let body = body.map_err(|error| self.gone(&error))?;
            Ok((status, body.to_bytes()))
        };
        // The connection lives as long as the exchange, in the same task.
        tokio::pin!(asked);
        let mut connection = Some(Box::pin(connection));
        loop {
            match &mut connection {
                Some(driving) => tokio::select! {
                    done = &mut asked => return done,
                    _ = driving => connection = None,
                },
                None => return asked.await,
            }
        }
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::{io, sync::Arc};

    use rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    };
    use tokio::net::TcpStream;
    use tokio_rustls::{TlsConnector, client::TlsStream};

    pub(super) async fn over(
        stream: TcpStream,
        address: &str,
        ca: Option<&[u8]>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(io::Error::other)?;
                    roots.add(certificate).map_err(io::Error::other)?;
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

#[cfg(not(feature = "tls"))]
mod tls {
    use std::io;

    use tokio::net::TcpStream;

    #[expect(clippy::unused_async, reason = "with TLS it waits")]
    pub(super) async fn over(_: TcpStream, _: &str, _: Option<&[u8]>) -> io::Result<TcpStream> {
        Err(io::Error::other("this build speaks no TLS"))
    }
}
