//! After `close`, `detach`, or the drop of the last handle, nothing is left.

use std::time::{Duration, Instant};

use evenkeel::{Event, wire::EndReason};
use keel_server::Running;

use crate::{
    fake::{Fake, Wire},
    support::{Host, soon},
};

/// Tasks of this test's runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

async fn calm(what: &str, wanted: usize, now: impl Fn() -> usize) {
    let begun = Instant::now();
    while now() > wanted {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{what}: {} > {wanted}",
            now()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn close_comes_back_when_no_task_and_no_socket_is_left_m12_m35() {
    let host = Host::memory().await;
    calm("before", 0, || connections(&host.running)).await;
    let before = tasks();
    for _ in 0..5 {
        let session = host.session().await;
        let mut events = session.events();
        drop(session.send(serde_json::json!("on its way")));
        soon(session.close()).await;
        calm("sockets", 0, || connections(&host.running)).await;
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        assert_eq!(
            last,
            Some(Event::Ended {
                reason: EndReason::Detached
            })
        );
    }
    host.running.drain(None).await;
    calm("tasks", before, tasks).await;
    host.close().await;
}

/// Connections that the server has; its listener is a task too.
fn connections(running: &Running) -> usize {
    running.tasks().saturating_sub(2)
}

/// The number of tasks right after `close`, with a server that is not in this runtime.
#[test]
fn close_is_exact_about_its_own_tasks_m12() {
    let outside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let host = outside.block_on(Host::memory());
    let inside = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    inside.expect("a runtime").block_on(async {
        for how in 0..3 {
            let session = host.session().await;
            drop(session.say("!count=1000 pace_ms=5"));
            assert!(tasks() >= 2, "a driver and a connection");
            match how {
                0 => soon(session.close()).await,
                1 => soon(session.detach()).await,
                _ => {
                    drop(session);
                    calm("dropped", 0, tasks).await;
                }
            }
            assert_eq!(tasks(), 0, "after way {how}");
        }
    });
    outside.block_on(host.close());
}

#[tokio::test]
async fn a_server_that_never_answers_the_closing_handshake_delays_close_by_a_second_at_most() {
    let fake = Fake::upgraded(|_, mut wire: Wire| async move {
        wire.welcome("created", 0).await;
        std::future::pending::<()>().await;
    })
    .await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let begun = Instant::now();
    soon(session.close()).await;
    assert!(
        begun.elapsed() < Duration::from_millis(1_500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_connect_that_is_dropped_leaves_nothing() {
    let fake = Fake::upgraded(|_, mut wire: Wire| async move {
        wire.hello().await;
        wire.stay().await;
    })
    .await;
    let before = tasks();
    let connecting = fake.builder().connect();
    let dropped = tokio::time::timeout(Duration::from_millis(100), connecting).await;
    assert!(dropped.is_err(), "nobody was welcomed");
    calm("tasks", before, tasks).await;
}

#[tokio::test]
async fn detach_is_told_to_the_server_and_quiet_here_e9() {
    let host = Host::memory().await;
    let session = host.session().await;
    let mut events = session.events();
    soon(session.detach()).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        seen.push(event);
    }
    assert!(
        matches!(
            seen.last(),
            Some(Event::Ended {
                reason: EndReason::Detached
            })
        ),
        "{seen:#?}"
    );
    assert!(
        !seen
            .iter()
            .any(|event| matches!(event, Event::ConnectionLost { .. }))
    );
    host.close().await;
}

#[tokio::test]
async fn a_failed_session_can_be_connected_again() {
    let fake = Fake::upgraded(|n, mut wire: Wire| async move {
        if n == 2 {
            wire.hello().await;
            wire.close(4404, "session_not_found").await;
            return;
        }
        wire.welcome("created", 0).await;
        if n == 1 {
            wire.reset();
        } else {
            wire.stay().await;
        }
    })
    .await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let mut events = session.events();
    let fault = soon(session.over()).await.expect_err("a fault");
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    assert_eq!(
        last,
        Some(Event::Failed(fault)),
        "the stream ends with the fault, once"
    );

    soon(session.reconnect()).await.expect("again");
    let mut events = session.events();
    assert!(matches!(soon(events.next()).await, Some(Event::Joined(_))));
    soon(session.close()).await;
}
