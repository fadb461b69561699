//! What `connect` comes to when the server refuses, closes or is not there.

use std::time::{Duration, Instant};

use evenkeel::{
    ConnectError, Event,
    wire::{Admission, Code, State},
};
use keel_server::config::{Capacity, CapacityKind};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    fake::{self, Fake, Wire},
    support::{Host, soon, until},
};

async fn refused(fake: &Fake) -> (ConnectError, Duration) {
    let begun = Instant::now();
    let error = soon(fake.builder().connect()).await.expect_err("a refusal");
    (error, begun.elapsed())
}

#[tokio::test]
async fn nobody_listening_is_told_at_once_and_not_retried_m1() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a socket");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let builder = evenkeel::Client::builder()
        .url(address.to_string())
        .token("token");
    let begun = Instant::now();
    let error = soon(builder.connect()).await.expect_err("nobody");
    assert_eq!(error.fault.code, Code::TransportError);
    assert_eq!(error.fault.detail["kind"], "refused");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// A fault frame beats the close code, and both come at once: E1, M1, M8.
#[tokio::test]
async fn capacity_before_the_client_has_sent_anything_is_one_fault_on_one_socket_e1_m8() {
    let fake = Fake::upgraded(|_, mut wire: Wire| async move {
        wire.send(fake::fault(
            "at_capacity",
            &json!({ "when": "after", "ms": 5_000 }),
        ))
        .await;
        wire.close(4503, "at_capacity").await;
    })
    .await;
    let (error, took) = refused(&fake).await;
    assert_eq!(error.fault.code, Code::AtCapacity);
    assert!(took < Duration::from_millis(200), "{took:?}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fake.sockets(), 1);
}

#[tokio::test]
async fn capacity_of_a_real_server_reaches_the_caller_m8() {
    let host = Host::start(|config| {
        let echo = config.backends.get_mut("echo").expect("echo");
        echo.capacity = Some(Capacity {
            kind: CapacityKind::Session,
            slots: 1,
            queue: 8,
        });
    })
    .await;
    let first = host.session().await;
    let begun = Instant::now();
    let error = soon(host.builder().connect()).await.expect_err("no slot");
    assert_eq!(error.fault.code, Code::AtCapacity, "{error}");
    assert!(begun.elapsed() < Duration::from_millis(200));

    let waiting = host.builder().admission(Admission::Wait { max_ms: None });
    let waiting = soon(waiting.connect()).await.expect("a place in line");
    let mut events = waiting.events();
    assert!(matches!(
        waiting.status().borrow().state,
        State::Queued { position: 1, .. }
    ));
    assert!(waiting.id().is_none());
    soon(first.end()).await.expect("ended");
    until(&mut events, |event| matches!(event, Event::Joined(_))).await;
    assert!(waiting.id().is_some());
    soon(waiting.close()).await;
    host.close().await;
}

/// E2, M2: a close without a fault, at each phase, ends `connect` at once with code and reason.
#[tokio::test]
async fn a_close_at_each_phase_is_told_at_once_with_its_code_e2_m2() {
    for after_hello in [false, true] {
        let fake = Fake::upgraded(move |_, mut wire: Wire| async move {
            if after_hello {
                wire.hello().await;
            }
            wire.close(1008, "not you").await;
        })
        .await;
        let (error, took) = refused(&fake).await;
        assert_eq!(error.fault.code, Code::ConnectionClosed, "{error}");
        assert_eq!(error.fault.message, "not you");
        assert_eq!(error.fault.detail["close_code"], 1008);
        assert_eq!(error.fault.detail["phase"], "hello");
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

#[tokio::test]
async fn a_close_while_queued_fails_the_session_with_its_code_e2() {
    let fake = Fake::upgraded(|_, mut wire: Wire| async move {
        wire.hello().await;
        wire.send(fake::queued()).await;
        wire.close(1008, "closed for today").await;
    })
    .await;
    let session = soon(fake.builder().connect()).await.expect("a place");
    let fault = soon(session.over()).await.expect_err("a fault");
    assert_eq!(fault.detail["close_code"], 1008);
    assert_eq!(fault.message, "closed for today");
    soon(session.close()).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_told_with_its_status() {
    for (head, code) in [
        ("403 Forbidden", Code::OriginNotAllowed),
        ("426 Upgrade Required", Code::UnsupportedVersion),
        ("502 Bad Gateway", Code::TransportError),
    ] {
        let fake = Fake::start(move |_, stream: TcpStream| fake::answer(stream, head)).await;
        let (error, _) = refused(&fake).await;
        assert_eq!(error.fault.code, code, "{head}: {error}");
        assert_eq!(error.fault.detail["kind"], "not_websocket");
        assert_eq!(
            error.fault.detail["status"].as_u64(),
            head[..3].parse().ok()
        );
    }
}

#[tokio::test]
async fn a_connection_cut_during_the_upgrade_is_told_as_such() {
    for reset in [false, true] {
        let fake = Fake::start(move |_, stream: TcpStream| async move {
            if reset {
                fake::reset(stream);
            }
        })
        .await;
        let (error, took) = refused(&fake).await;
        assert_eq!(error.fault.code, Code::TransportError, "{error}");
        assert_eq!(error.fault.detail["phase"], "dial");
        assert!(took < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn hostile_input_of_the_caller_is_a_fault_and_no_panic() {
    for url in ["", "ftp://x", "ws://a?token=b", "ws://"] {
        let error = evenkeel::Client::builder()
            .url(url)
            .token("token")
            .connect()
            .await;
        assert_eq!(
            error.expect_err("refused").fault.code,
            Code::InvalidRequest,
            "{url:?}"
        );
    }
    let error = evenkeel::Client::builder()
        .url("ws://127.0.0.1:1")
        .connect()
        .await;
    assert_eq!(
        error.expect_err("refused").fault.code,
        Code::Unauthenticated
    );
    let error = evenkeel::Client::builder().token("token").connect().await;
    assert_eq!(error.expect_err("refused").fault.code, Code::InvalidRequest);
}

#[tokio::test]
async fn a_token_provider_that_hangs_holds_connect_up_no_longer_than_it_may_take_m3() {
    let host = Host::memory().await;
    let builder = evenkeel::Client::builder().url(host.url());
    let never = builder.token_provider(std::future::pending::<Result<String, String>>);
    let limit = Duration::from_millis(300);
    let error = soon(never.connect_within(limit).connect()).await;
    error.expect_err("there is no token");
    host.close().await;
}

#[tokio::test]
async fn a_token_provider_is_asked_and_its_failures_are_faults() {
    let host = Host::memory().await;
    let token = host.token();
    let builder = evenkeel::Client::builder().url(host.url());
    let fetched = builder.clone().token_provider(move || {
        let token = token.clone();
        async move { Ok::<_, String>(token) }
    });
    let session = soon(fetched.connect()).await.expect("a session");
    soon(session.close()).await;

    let broken = builder
        .clone()
        .token_provider(|| async { Err("the house is closed") });
    let error = soon(broken.connect()).await.expect_err("no token");
    assert_eq!(error.fault.code, Code::Unauthenticated);
    assert_eq!(error.fault.message, "the house is closed");

    let panics =
        builder.token_provider(|| async { panic!("on purpose") as Result<String, String> });
    let error = soon(panics.connect()).await.expect_err("no token");
    assert_eq!(error.fault.message, "the token provider panicked");
    host.close().await;
}
