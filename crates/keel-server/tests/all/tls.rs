//! TLS in front of everything: what is spoken, what is refused, and what a broken file comes to.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use keel_server::{
    Server, StartError,
    config::{self, StoreKind},
};
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::support::{self, Host, PATIENCE};

/// A root, and files with a certificate that it has signed.
struct Pair {
    root: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Pair {
    fn new(dir: &Path, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "a test's root");
        let key = KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(params, key).expect("a root");
        let pair = Self {
            root,
            dir: dir.to_owned(),
        };
        pair.sign(change);
        pair
    }

    /// Writes a fresh certificate and key over the old.
    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.root).expect("a certificate");
        fs::write(self.cert(), cert.pem()).expect("written");
        fs::write(self.key(), key.serialize_pem()).expect("written");
    }

    fn cert(&self) -> PathBuf {
        self.dir.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.join("key.pem")
    }

    fn configured(&self) -> config::Tls {
        config::Tls {
            cert: self.cert(),
            key: Some(self.key()),
        }
    }

    fn client(&self, change: impl FnOnce(&mut ClientConfig)) -> TlsConnector {
        self.client_of(&[&TLS13, &TLS12], change)
    }

    fn client_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        change: impl FnOnce(&mut ClientConfig),
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).expect("a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let mut config = builder
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        change(&mut config);
        Arc::new(config).into()
    }
}

async fn secured(change: impl FnOnce(&mut keel_server::Config)) -> (Host, Pair) {
    let files = tempfile::TempDir::new().expect("a directory").keep();
    let pair = Pair::new(&files, |_| ());
    let host = Host::start(StoreKind::Memory, |config| {
        config.server.tls = Some(pair.configured());
        change(config);
    })
    .await;
    (host, pair)
}

async fn dial(host: &Host, client: &TlsConnector) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(host.address()).await.expect("TCP");
    let name = ServerName::try_from("127.0.0.1").expect("a name");
    timeout(PATIENCE, client.connect(name, stream))
        .await
        .expect("in time")
}

/// Sends a request and reads to the end, which has to be a proper one.
async fn exchange(
    host: &Host,
    client: &TlsConnector,
    path: &str,
    headers: &str,
) -> support::Answer {
    let mut stream = dial(host, client).await.expect("TLS");
    let address = host.address();
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.expect("in time").expect("close_notify, not a cut");
    support::Answer::parse(&answer)
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

#[tokio::test]
async fn http_is_spoken_by_tls_1_2_and_1_3_and_by_http_1_alone_a16() {
    let (host, pair) = secured(|_| ()).await;
    for version in [&TLS13, &TLS12] {
        let client = pair.client_of(&[version], |_| ());
        let answer = exchange(&host, &client, "/healthz", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let offers = |protocols: &[&str]| {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        pair.client(|config| config.alpn_protocols = protocols.collect())
    };
    let both = dial(&host, &offers(&["h2", "http/1.1"]))
        .await
        .expect("TLS");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(dial(&host, &offers(&["h2"])).await.is_err());
    drop(both);
    host.close().await;
}

/// The answer's first record: its type, and of an alert what it says.
async fn answered(host: &Host, bytes: &[u8]) -> Option<(u8, u8)> {
    let answer = host.raw(bytes).await;
    Some((*answer.first()?, *answer.get(6)?))
}

#[tokio::test]
async fn older_versions_and_junk_get_an_alert_and_no_more_a16() {
    const ALERT: u8 = 0x15;
    const PROTOCOL_VERSION: u8 = 70;
    let (host, pair) = secured(|_| ()).await;
    for minor in [1, 2] {
        // A ClientHello of TLS 1.0 or 1.1: version, random, no session, one suite, no compression,
        // and the one extension without which nothing else of it is looked at.
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0xc0, 0x14, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
        let length = u8::try_from(hello.len()).expect("short");
        let mut record = vec![0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);
        let answer = answered(&host, &record).await;
        assert_eq!(
            answer,
            Some((ALERT, PROTOCOL_VERSION)),
            "TLS 1.{}",
            minor - 1
        );
    }
    // A message that claims 16 MiB, and a record that is larger than any may be: not waited for.
    let begun = Instant::now();
    let message = [0x16, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    for head in [&message[..], &[0x16, 3, 1, 0xff, 0xff]] {
        let answer = answered(&host, &[head, &[0; 0x4000]].concat()).await;
        assert!(answer.is_none_or(|(kind, _)| kind == ALERT), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    let answer = exchange(&host, &pair.client(|_| ()), "/healthz", "").await;
    assert_eq!(answer.status, 200);
    host.close().await;
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_so_at_once() {
    let (host, _pair) = secured(|_| ()).await;
    let begun = Instant::now();
    let answer = host.get("/healthz", "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("https://"), "{answer:?}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    host.close().await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut_off_and_counts_as_without_a_token_a16() {
    let (host, pair) = secured(|config| {
        config.limits.request_within_s = 1;
        config.server.max_unauthenticated = 1;
    })
    .await;
    let begun = Instant::now();
    let mut slow = TcpStream::connect(host.address()).await.expect("TCP");
    slow.write_all(&[0x16, 3, 1]).await.expect("sent");
    // There is one place for those without a token, and it is taken.
    while dial(&host, &pair.client(|_| ())).await.is_ok() {
        assert!(
            begun.elapsed() < Duration::from_millis(900),
            "two have a place"
        );
    }
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, slow.read_to_end(&mut rest))
        .await
        .expect("an end");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let answer = exchange(&host, &pair.client(|_| ()), "/healthz", "").await;
    assert_eq!(answer.status, 200);
    host.close().await;
}

#[tokio::test]
async fn the_own_page_of_a_tls_server_is_an_https_origin_a02() {
    let (host, pair) = secured(|_| ()).await;
    let client = pair.client(|_| ());
    let address = host.address();
    for (origin, status) in [
        (format!("https://{address}"), 200),
        (format!("http://{address}"), 403),
        ("https://evil.example".to_owned(), 403),
    ] {
        let header = format!("origin: {origin}\r\n");
        let answer = exchange(&host, &client, "/healthz", &header).await;
        assert_eq!(answer.status, status, "{origin}");
    }
    host.close().await;
}

/// The fault frame, the close and close_notify all come, though the peer goes on writing.
#[tokio::test]
async fn a_last_word_is_not_eaten_over_tls_m2() {
    let (host, pair) = secured(|_| ()).await;
    let stream = dial(&host, &pair.client(|_| ())).await.expect("TLS");
    let address = host.address();
    let mut request = format!("wss://{address}/v1/connect")
        .into_client_request()
        .expect("a request");
    let protocol = keel_wire::SUBPROTOCOL.parse().expect("a value");
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let (mut ws, _) = client_async(request, stream).await.expect("an upgrade");
    let text = "no hello".to_owned();
    futures_util::SinkExt::send(&mut ws, Message::text(text))
        .await
        .expect("sent");
    let junk = Message::text("x".repeat(30_000));
    for _ in 0..8 {
        let _ = futures_util::SinkExt::feed(&mut ws, junk.clone()).await;
    }
    let fault = timeout(PATIENCE, ws.next()).await.expect("in time");
    let fault = fault
        .expect("a frame")
        .expect("read")
        .into_text()
        .expect("text");
    assert!(fault.contains("protocol_error"), "{fault}");
    let close = timeout(PATIENCE, ws.next()).await.expect("in time");
    let Some(Ok(Message::Close(Some(close)))) = close else {
        panic!("want a close, not {close:?}");
    };
    assert!((4000..4600).contains(&u16::from(close.code)), "{close:?}");
    let stream = ws.get_mut();
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("in time");
    read.expect("close_notify, not a cut");
    host.close().await;
}

#[tokio::test]
async fn a_certificate_is_shown_with_its_date_and_its_days() {
    let (host, pair) = secured(|_| ()).await;
    let client = pair.client(|_| ());
    let admin = bearer(&host.admin());
    let node = exchange(&host, &client, "/v1/node", &admin).await.json();
    assert_eq!(node["tls"]["not_after"], "4096-01-01T00:00:00Z", "{node}");
    assert!(node["tls"]["days_left"].as_i64() > Some(300_000), "{node}");
    let metrics = exchange(&host, &client, "/metrics", &admin).await.body;
    assert!(metrics.contains("evenkeel_tls_days_left 7"), "{metrics}");
    host.close().await;
}

#[tokio::test]
async fn an_expired_certificate_is_shown_as_such_n13() {
    let files = tempfile::TempDir::new().expect("a directory");
    let pair = Pair::new(files.path(), |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let host = Host::start(StoreKind::Memory, |config| {
        config.server.tls = Some(pair.configured());
    })
    .await;
    let error = dial(&host, &pair.client(|_| ()))
        .await
        .expect_err("expired");
    assert!(error.to_string().contains("expired"), "{error}");
    // A good one takes its place, and tells that it has.
    pair.sign(|params| params.not_after = date_time_ymd(2090, 1, 1));
    host.running.reload().now();
    let client = pair.client(|_| ());
    let begun = Instant::now();
    let mut stream = dial(&host, &client).await;
    while stream.is_err() && begun.elapsed() < PATIENCE {
        tokio::task::yield_now().await;
        stream = dial(&host, &client).await;
    }
    drop(stream.expect("the good one"));
    let node = exchange(&host, &client, "/v1/node", &bearer(&host.admin())).await;
    assert_eq!(node.json()["tls"]["not_after"], "2090-01-01T00:00:00Z");
    host.close().await;
}

/// Waits until `/v1/node` says so of the certificate.
async fn until_shown(
    host: &Host,
    client: &TlsConnector,
    wanted: impl Fn(&serde_json::Value) -> bool,
) {
    let admin = bearer(&host.admin());
    let begun = Instant::now();
    loop {
        let shown = exchange(host, client, "/v1/node", &admin).await.json()["tls"].take();
        if wanted(&shown) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{shown}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_broken_new_pair_is_told_and_the_old_one_stays_n13() {
    let (host, pair) = secured(|_| ()).await;
    let client = pair.client(|_| ());
    let good = fs::read(pair.cert()).expect("read");
    let before = exchange(&host, &client, "/v1/node", &bearer(&host.admin())).await;
    assert_eq!(before.json()["tls"]["error"], json!(null));
    // The key of another, then nothing at all; each is noticed without being asked for.
    let other = KeyPair::generate().expect("a key");
    let key = fs::read(pair.key()).expect("read");
    // A clock tick may be longer than all of this; so the length is another, too.
    fs::write(pair.key(), other.serialize_pem() + "\n").expect("written");
    let says = |text: &'static str| {
        move |shown: &serde_json::Value| {
            shown["error"]
                .as_str()
                .is_some_and(|error| error.contains(text))
        }
    };
    until_shown(&host, &client, says("the key of another certificate")).await;
    fs::write(pair.cert(), "").expect("written");
    host.running.reload().now();
    until_shown(&host, &client, says("holds no certificate")).await;
    fs::write(pair.cert(), good).expect("written");
    fs::write(pair.key(), key).expect("written");
    until_shown(&host, &client, |shown| shown["error"].is_null()).await;
    host.close().await;
}

#[tokio::test]
async fn a_pair_that_is_no_good_is_refused_with_its_option_and_file() {
    let files = tempfile::TempDir::new().expect("a directory");
    let pair = Pair::new(files.path(), |_| ());
    let start = async |tls: config::Tls| {
        let (mut config, _dir) = support::config(StoreKind::Memory);
        config.server.tls = Some(tls);
        match Server::bind(config).await {
            Err(StartError::Tls(error)) => error.to_string(),
            other => panic!("want an error of TLS, not {other:?}"),
        }
    };
    let with = |cert: &Path, key: &Path| config::Tls {
        cert: cert.to_owned(),
        key: Some(key.to_owned()),
    };
    let nowhere = files.path().join("nowhere.pem");
    let empty = files.path().join("empty.pem");
    fs::write(&empty, "").expect("written");
    let other = files.path().join("other.pem");
    let key = KeyPair::generate().expect("a key");
    fs::write(&other, key.serialize_pem()).expect("written");
    let junk = files.path().join("junk.pem");
    let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&junk, text).expect("written");
    for (tls, option, path, what) in [
        (
            with(&nowhere, &pair.key()),
            "server.tls.cert",
            &nowhere,
            "No such file",
        ),
        (
            with(&pair.cert(), &nowhere),
            "server.tls.key",
            &nowhere,
            "No such file",
        ),
        (
            with(&empty, &pair.key()),
            "server.tls.cert",
            &empty,
            "no certificate",
        ),
        (
            with(&junk, &pair.key()),
            "server.tls.cert",
            &junk,
            "malformed",
        ),
        (
            with(&pair.cert(), &pair.cert()),
            "server.tls.key",
            &pair.cert(),
            "no private key",
        ),
        (
            with(&pair.cert(), &other),
            "server.tls.key",
            &other,
            "another certificate",
        ),
    ] {
        let error = start(tls).await;
        let begin = format!("{option}: {}: ", path.display());
        assert!(error.starts_with(&begin) && error.contains(what), "{error}");
    }
    // One file may hold both.
    let both = files.path().join("both.pem");
    let joined = [fs::read(pair.cert()), fs::read(pair.key())].map(|file| file.expect("read"));
    fs::write(&both, joined.concat()).expect("written");
    let (mut config, _dir) = support::config(StoreKind::Memory);
    config.server.tls = Some(config::Tls {
        cert: both,
        key: None,
    });
    assert!(Server::bind(config).await.is_ok());
    assert_eq!(
        CertificateDer::pem_file_iter(pair.cert())
            .expect("a file")
            .count(),
        1
    );
}
