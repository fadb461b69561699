//! Losses in the middle of a turn: told once each, recovered from, nothing lost and nothing doubled.

use std::time::Duration;

use evenkeel::{
    Event, Simulate,
    wire::{Code, Injection, Strategy, TurnEnd},
};
use keel_server::config::StoreKind;
use serde_json::json;

use crate::{
    fake::{Fake, Wire},
    support::{
        Host, assert_contiguous, assert_sound, count, is_turn_end, said, soon, text, text_of,
        turn_end, until,
    },
};

const PROMPT: &str = "!count=300 pace_ms=5";

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::ConnectionLost { .. })
}

fn is_recovered(event: &Event) -> bool {
    matches!(event, Event::Recovered { .. })
}

/// The connection goes in each way while a turn runs (N01, N02, M10, M25).
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_byte_identical_whatever_ends_its_connections_m10_m25() {
    let host = Host::start(|config| config.store.kind = StoreKind::Sqlite).await;
    let session = host.session().await;
    let mut events = session.events();
    soon(session.say(PROMPT)).await.expect("accepted");
    let mut seen = Vec::new();

    let injections = [
        Injection::DropConnection,
        Injection::CloseConnection {
            code: evenkeel::wire::CloseCode(1011),
        },
        Injection::FaultThenClose {
            code: Code::Internal,
        },
    ];
    for injection in injections {
        let (receipt, more) = tokio::join!(
            session.inject(injection.clone(), None),
            until(&mut events, is_recovered),
        );
        receipt.unwrap_or_else(|error| panic!("{injection:?}: {error}"));
        seen.extend(more);
    }
    session.simulate(Simulate::DropTransport).await;
    seen.extend(until(&mut events, is_recovered).await);
    if !seen.iter().any(is_turn_end) {
        seen.extend(until(&mut events, is_turn_end).await);
    }

    assert_eq!(text_of(&seen), said(PROMPT));
    assert_contiguous(&seen);
    assert_eq!(
        seen.iter().find_map(turn_end).map(|ended| ended.end),
        Some(TurnEnd::Done)
    );
    assert_eq!(count(&seen, is_lost), 4, "each loss is told once");
    assert_eq!(count(&seen, is_recovered), 4, "and each recovery");
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test]
async fn the_status_is_sound_at_every_change_m31() {
    let host = Host::memory().await;
    let session = host.session().await;
    let mut status = session.status();
    let watching = tokio::spawn(async move {
        let mut states = Vec::new();
        while status.changed().await.is_ok() {
            let status = status.borrow_and_update().clone();
            assert_sound(&status);
            states.push(status.state);
        }
        states
    });
    let mut events = session.events();
    for _ in 0..5 {
        session.simulate(Simulate::DropTransport).await;
        until(&mut events, is_recovered).await;
    }
    soon(session.close()).await;
    drop(session);
    let states = soon(watching).await.expect("no broken law");
    assert!(
        matches!(states.last(), Some(evenkeel::wire::State::Ended { .. })),
        "{states:?}"
    );
    host.close().await;
}

/// A reset in the middle of events: what came before it is applied, the rest is replayed.
#[tokio::test]
async fn a_reset_resumes_from_the_cursor_e6() {
    let fake = Fake::upgraded(|n, mut wire: Wire| async move {
        let event = |at: u64| {
            json!({ "type": "event", "from": at, "to": at, "kind": "from.the.future", "data": { "at": at } })
        };
        if n == 1 {
            wire.welcome("created", 0).await;
            for at in 1..=3 {
                wire.send(event(at)).await;
            }
            // The client has them before the reset throws away what is on its way.
            tokio::time::sleep(Duration::from_millis(100)).await;
            wire.reset();
        } else {
            let hello = wire.hello().await;
            assert_eq!(hello["resume"]["cursor"]["seq"], 3, "{hello}");
            assert_eq!(hello["resume"]["key"], "key");
            assert_eq!(hello["evidence"]["code"], "transport_error");
            wire.send(crate::fake::welcome("resumed", 5)).await;
            for at in 4..=5 {
                wire.send(event(at)).await;
            }
            wire.send(json!({ "type": "replayed", "to": 5 })).await;
            wire.stay().await;
        }
    })
    .await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let mut events = session.events();
    let seen = until(&mut events, is_recovered).await;
    assert_contiguous(&seen);
    assert_eq!(count(&seen, |event| matches!(event, Event::Log { .. })), 5);
    let Some(Event::ConnectionLost { fault, .. }) = seen.iter().find(|event| is_lost(event)) else {
        panic!("no loss in {seen:#?}");
    };
    assert_eq!(fault.code, Code::TransportError);
    assert_eq!(fault.detail["kind"], "reset");
    let Some(Event::Recovered {
        strategy, replayed, ..
    }) = seen.last()
    else {
        panic!("no recovery");
    };
    assert_eq!((*strategy, *replayed), (Strategy::Fast, 2));
    soon(session.close()).await;
}

/// M1: what the server said before it hung up beats the way in which it did.
#[tokio::test]
async fn the_last_words_of_a_server_are_read_before_its_reset_is_believed_m1() {
    let fake = Fake::upgraded(|n, mut wire: Wire| async move {
        if n == 1 {
            wire.welcome("created", 0).await;
            wire.send(crate::fake::fault(
                "superseded",
                &json!({ "when": "never" }),
            ))
            .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            wire.reset();
        }
    })
    .await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let fault = soon(session.over()).await.expect_err("a fault");
    assert_eq!(fault.code, Code::Superseded);
    assert_eq!(fake.sockets(), 1, "what is for good is not tried again");
    soon(session.close()).await;
}

#[tokio::test]
async fn a_later_process_goes_on_where_an_earlier_one_was() {
    let host = Host::memory().await;
    let first = host.session().await;
    let mut events = first.events();
    soon(first.say(PROMPT)).await.expect("accepted");
    let mut seen = until(&mut events, |event| !text(event).is_empty()).await;
    let state = first.resume_state().await.expect("a state");
    while first.cursor().seq < state.cursor.seq {
        tokio::task::yield_now().await;
    }
    first.close().await;
    assert_eq!(
        first.resume_state().await,
        None,
        "nobody asks a closed session"
    );
    while let Some(event) = events.next().await {
        if let Event::Log { range, .. } = &event
            && range.to > state.cursor.seq
        {
            break;
        }
        seen.push(event);
    }

    let second = soon(host.builder().resume(state).connect())
        .await
        .expect("resumed");
    let mut events = second.events();
    seen.extend(until(&mut events, is_turn_end).await);
    assert_eq!(text_of(&seen), said(PROMPT));
    assert_contiguous(&seen);
    soon(second.close()).await;
    host.close().await;
}
