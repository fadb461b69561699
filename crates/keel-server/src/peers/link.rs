//! A connection to another server: one request after the other, each sealed and bounded.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use keel_wire::Fault;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    PEER_BODY_BYTES_MAX, PEER_WITHIN, Peer, PeerError,
    seal::{self, Digesting, Sealed},
};
use crate::clock;

/// How a peer's certificate is checked.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    pub(super) fn open(ca: Option<&Path>) -> Result<Self, PeerError> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                let malformed = |message: String| PeerError::Authority {
                    path: path.to_owned(),
                    message,
                };
                let found = CertificateDer::pem_file_iter(path);
                for certificate in found.map_err(|error| malformed(error.to_string()))? {
                    let certificate = certificate.map_err(|error| malformed(error.to_string()))?;
                    let added = roots.add(certificate);
                    added.map_err(|error| malformed(error.to_string()))?;
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
            .expect("the provider speaks the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Link {
    peer: Arc<Peer>,
    sender: SendRequest<Full<Bytes>>,
    /// Drives the connection; ends with the link.
    driving: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

impl Link {
    pub(super) async fn open(peer: &Arc<Peer>) -> Result<Self, String> {
        let opened = timeout(PEER_WITHIN, Self::dial(peer)).await;
        opened.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))
    }

    async fn dial(peer: &Arc<Peer>) -> Result<Self, String> {
        let (scheme, host) = peer.url.split_once("://").unwrap_or(("http", &peer.url));
        let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let address = match (has_port, scheme) {
            (true, _) => host.to_owned(),
            (false, "https") => format!("{host}:443"),
            (false, _) => format!("{host}:80"),
        };
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| error.to_string())?;
        // A request is one write, and its answer is waited for.
        let _ = stream.set_nodelay(true);
        match &peer.tls {
            None => Self::over(peer, stream).await,
            Some(Tls(connector)) => {
                let name = address.rsplit_once(':').map_or(host, |(name, _)| name);
                let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
                let name = name.map_err(|error| error.to_string())?;
                let stream = connector.connect(name, stream).await;
                Self::over(peer, stream.map_err(|error| error.to_string())?).await
            }
        }
    }

    async fn over<I>(peer: &Arc<Peer>, stream: I) -> Result<Self, String>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let driving = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a peer broke");
            }
        });
        Ok(Self {
            peer: Arc::clone(peer),
            sender,
            driving,
        })
    }

    /// One request. What comes back that is not a success is an error, in words.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, String> {
        let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
        if body.len() > PEER_BODY_BYTES_MAX {
            return Err(format!("{} bytes are too much for one request", body.len()));
        }
        let answer = timeout(PEER_WITHIN, self.exchange(path, body)).await;
        let (status, bytes) =
            answer.unwrap_or_else(|_| Err("it did not answer in time".to_owned()))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        }
        let fault = serde_json::from_slice::<Fault>(&bytes).ok();
        let why = fault.map_or_else(String::new, |fault| format!(": {}", fault.message));
        Err(format!("it answered {status}{why}"))
    }

    async fn exchange(&mut self, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes), String> {
        let host = self.peer.url.split_once("://").map_or("", |(_, host)| host);
        let digest = Digesting::of(&body);
        let sealed = Sealed {
            host,
            path,
            digest: &digest,
        };
        let seal = self.peer.secret.seal(sealed, clock::wall());
        let request = Request::post(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .header(seal::HEADER, seal)
            .header(seal::DIGEST_HEADER, &digest)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let response = self.sender.send_request(request).await;
        let response = response.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), PEER_BODY_BYTES_MAX);
        let body = body.collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}
