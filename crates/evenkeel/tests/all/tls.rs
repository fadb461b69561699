//! `wss://`: a session over it, certificates that are no good, and a new one under way.

use std::{fs, path::Path, time::Duration};

use evenkeel::{Event, wire::Code};
use keel_server::config;
use rcgen::{CertificateParams, CertifiedIssuer, DnType, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::support::{Host, is_turn_end, said, soon, text, text_of, until};

type Root = CertifiedIssuer<'static, KeyPair>;

fn root() -> Root {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "a test's root");
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a root")
}

/// Writes a certificate of this root, and its key.
fn sign(dir: &Path, root: &Root, change: impl FnOnce(&mut CertificateParams)) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let cert = params.signed_by(&key, root).expect("a certificate");
    fs::write(dir.join("cert.pem"), cert.pem()).expect("written");
    fs::write(dir.join("key.pem"), key.serialize_pem()).expect("written");
}

async fn secured(dir: &Path) -> Host {
    Host::start(|config| {
        config.server.tls = Some(config::Tls {
            cert: dir.join("cert.pem"),
            key: Some(dir.join("key.pem")),
        });
    })
    .await
}

fn builder(host: &Host, root: &Root) -> evenkeel::Builder {
    let url = format!("wss://{}", host.running.local_addr());
    let client = evenkeel::Client::builder().url(url).token(host.token());
    client.roots_pem(root.pem())
}

#[tokio::test]
async fn certificates_that_are_no_good_are_told_typed_and_at_once_n13() {
    let (dir, root) = (TempDir::new().expect("a directory"), root());
    sign(dir.path(), &root, |_| ());
    let host = secured(dir.path()).await;
    let refused = async |expected: &str, builder: evenkeel::Builder| {
        let begun = std::time::Instant::now();
        let error = soon(builder.connect()).await.expect_err(expected);
        assert_eq!(error.fault.code, Code::TransportError, "{error}");
        assert_eq!(error.fault.detail["kind"], "tls", "{error}");
        assert_eq!(error.fault.detail["tls"], expected, "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        error.fault.message
    };
    // Signed by somebody who is not trusted.
    refused("untrusted", builder(&host, &self::root())).await;
    // Good, but of another name.
    let other = format!("wss://localhost:{}", host.running.local_addr().port());
    let named = evenkeel::Client::builder().url(other).token(host.token());
    refused("wrong_host", named.roots_pem(root.pem())).await;
    host.close().await;

    sign(dir.path(), &root, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let host = secured(dir.path()).await;
    let message = refused("expired", builder(&host, &root)).await;
    assert!(message.contains("1609459200"), "names the date: {message}");
    host.close().await;

    sign(dir.path(), &root, |params| {
        params.not_before = date_time_ymd(2900, 1, 1);
    });
    let host = secured(dir.path()).await;
    refused("not_yet_valid", builder(&host, &root)).await;
    host.close().await;

    // Signed by itself.
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("params");
    let key = KeyPair::generate().expect("a key");
    let own = params.self_signed(&key).expect("a certificate");
    fs::write(dir.path().join("cert.pem"), own.pem()).expect("written");
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).expect("written");
    let host = secured(dir.path()).await;
    refused("untrusted", builder(&host, &root)).await;
    host.close().await;

    // No TLS there at all.
    let host = Host::memory().await;
    refused("handshake", builder(&host, &root)).await;
    host.close().await;
}

#[tokio::test]
async fn roots_that_are_none_are_refused_before_anything_is_dialed() {
    for pem in [
        "",
        "no PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let builder = evenkeel::Client::builder()
            .url("wss://127.0.0.1:1")
            .token("t");
        let error = soon(builder.roots_pem(pem).connect())
            .await
            .expect_err("no roots");
        assert_eq!(error.fault.code, Code::InvalidRequest, "{error}");
    }
}

#[tokio::test]
async fn a_new_certificate_drops_no_session_that_streams_n13() {
    let (dir, old, new) = (TempDir::new().expect("a directory"), root(), root());
    sign(dir.path(), &old, |_| ());
    let host = secured(dir.path()).await;
    let session = soon(builder(&host, &old).connect())
        .await
        .expect("a session");
    let mut events = session.events();
    let prompt = "!count=40 pace_ms=50";
    session.say(prompt).await.expect("accepted");
    let mut seen = until(&mut events, |event| !text(event).is_empty()).await;

    sign(dir.path(), &new, |_| ());
    host.running.reload().now();
    let begun = std::time::Instant::now();
    let joined = loop {
        match builder(&host, &new)
            .session(session.id().expect("joined"))
            .connect()
            .await
        {
            Ok(joined) => break joined,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(3), "{error}"),
        }
    };
    assert!(
        soon(builder(&host, &old).connect()).await.is_err(),
        "the old one is not shown"
    );
    seen.extend(until(&mut events, is_turn_end).await);
    assert!(
        !seen
            .iter()
            .any(|event| matches!(event, Event::ConnectionLost { .. })),
        "{seen:#?}"
    );
    assert_eq!(text_of(&seen), said(prompt));
    soon(joined.detach()).await;
    let _ = soon(session.end()).await;
    host.close().await;
}
