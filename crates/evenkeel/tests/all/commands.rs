//! Commands and their receipts across cuts: each run once, each answered once.

use std::{collections::BTreeMap, time::Duration};

use evenkeel::{CommandError, Event, Simulate, wire};
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    fake::{Fake, Wire},
    support::{Host, assert_contiguous, fact, is_turn_end, soon, turn_end, until},
};

/// Messages with a number each, over a connection that is cut again and again (M5, M24).
#[tokio::test(flavor = "multi_thread")]
async fn commands_are_run_once_each_whatever_is_cut_m5_m24() {
    const COMMANDS: u64 = 300;
    let host = Host::memory().await;
    let session = host.session().await;
    let mut events = session.events();
    let cutter = tokio::spawn({
        let session = session.clone();
        async move {
            for _ in 0..20 {
                session.simulate(Simulate::DropTransport).await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
    });
    let mut receipts = Vec::new();
    for n in 0..COMMANDS {
        receipts.push(session.send(json!({ "n": n })));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for (n, receipt) in soon(join_all(receipts)).await.into_iter().enumerate() {
        receipt.unwrap_or_else(|error| panic!("command {n}: {error}"));
    }
    soon(cutter).await.expect("cut");

    soon(session.send(json!("last"))).await.expect("sent");
    let is_last = |event: &Event| message(event) == Some(json!("last"));
    let seen = until(&mut events, is_last).await;
    assert_contiguous(&seen);
    let numbers: Vec<u64> = seen
        .iter()
        .filter_map(message)
        .filter_map(|data| data["n"].as_u64())
        .collect();
    assert_eq!(
        numbers,
        (0..COMMANDS).collect::<Vec<_>>(),
        "once each, in order"
    );
    soon(session.close()).await;
    host.close().await;
}

fn message(event: &Event) -> Option<serde_json::Value> {
    if let Some(wire::Event::Message(message)) = fact(event) {
        Some(message.data.clone())
    } else {
        None
    }
}

#[tokio::test]
async fn a_dropped_receipt_takes_nothing_back() {
    let host = Host::memory().await;
    let session = host.session().await;
    let mut events = session.events();
    for n in 0..10 {
        // Cancelled at the first await.
        drop(session.send(json!(n)));
    }
    let seen = until(&mut events, |event| message(event) == Some(json!(9))).await;
    assert_eq!(seen.iter().filter_map(message).count(), 10);
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test]
async fn params_set_while_the_connection_is_down_are_in_force_afterwards_m26() {
    let host = Host::memory().await;
    let session = host.session().await;
    let mut events = session.events();
    session.simulate(Simulate::DropTransport).await;
    let accepted = soon(session.set(json!({ "strength": 0.5 })))
        .await
        .expect("set");
    assert!(accepted.version.is_some());
    let is_change = |event: &Event| matches!(fact(event), Some(wire::Event::ParamsChanged(_)));
    until(&mut events, is_change).await;
    let snapshot = session.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.params["strength"], 0.5);
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test]
async fn a_full_outbox_refuses_and_never_drops() {
    let fake = Fake::upgraded(|_, mut wire: Wire| async move {
        wire.welcome("created", 0).await;
        // Takes commands and answers none.
        wire.stay().await;
    })
    .await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let mut receipts = Vec::new();
    for n in 0..600 {
        receipts.push(session.send(json!(n)));
        if n % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    session.close().await;
    let mut codes = BTreeMap::new();
    for outcome in soon(join_all(receipts)).await {
        let error = outcome.expect_err("nobody answers");
        let kind = match error {
            CommandError::Faulted(_) => "faulted",
            CommandError::Refused(_) => "refused",
            CommandError::Unknown(_) => "unknown",
        };
        *codes
            .entry(format!("{kind} {}", error.fault().code))
            .or_insert(0) += 1;
    }
    assert!(codes["refused outbox_full"] > 0, "{codes:?}");
    assert_eq!(
        codes["unknown connection_closed"], 64,
        "as many as the server takes: {codes:?}"
    );
    assert_eq!(codes.values().sum::<i32>(), 600);
}

#[tokio::test]
async fn a_command_after_the_end_is_refused_m5() {
    let host = Host::memory().await;
    let session = host.session().await;
    soon(session.end()).await.expect("ended");
    assert_eq!(soon(session.over()).await, Ok(wire::EndReason::Ended));
    soon(session.close()).await;
    let error = soon(session.say("too late")).await.expect_err("over");
    assert!(matches!(error, CommandError::Refused(_)), "{error}");
    host.close().await;
}

/// A turn that failed is tried again, one that was stopped is gone on with, and one that waits is next.
#[tokio::test]
async fn turns_are_tried_again_gone_on_with_and_promoted_over_a_cut_connection_m24_e11() {
    let host = Host::memory().await;
    let builder = host.builder().busy(wire::BusyPolicy::Queue { max: 4 });
    let session = soon(builder.connect()).await.expect("a session");
    let mut events = session.events();
    let turn = |accepted: evenkeel::Accepted| accepted.turn.expect("a turn");

    let failed = turn(soon(session.say("!fail=crash\nx")).await.expect("said"));
    until(&mut events, is_turn_end).await;
    session.simulate(Simulate::DropTransport).await;
    let retry = session.retry(failed.clone());
    let again = turn(soon(retry).await.expect("tried again"));
    assert_ne!(again, failed);
    let seen = until(&mut events, is_turn_end).await;
    let accepted = seen.iter().find_map(|event| match fact(event) {
        Some(wire::Event::TurnAccepted(accepted)) => Some(accepted.clone()),
        _ => None,
    });
    assert_eq!(accepted.expect("accepted").retry_of, Some(failed));

    let hung = turn(soon(session.say("!fail=hang\nx")).await.expect("said"));
    let first = turn(soon(session.say("first")).await.expect("said"));
    let second = turn(soon(session.say("second")).await.expect("said"));
    let promoted = soon(session.promote(second.clone())).await;
    assert_eq!(promoted.expect("promoted").position, Some(1));
    soon(session.cancel(Some(hung.clone())))
        .await
        .expect("cancelled");
    let mut order = Vec::new();
    for _ in 0..3 {
        let seen = until(&mut events, is_turn_end).await;
        order.extend(seen.last().and_then(turn_end).map(|end| end.turn.clone()));
    }
    assert_eq!(order, [hung.clone(), second.clone(), first]);

    let on = turn(soon(session.continue_turn(hung)).await.expect("gone on"));
    let seen = until(&mut events, is_turn_end).await;
    assert_eq!(
        seen.last().and_then(turn_end).map(|end| &end.turn),
        Some(&on)
    );
    let refused = soon(session.continue_turn(second)).await;
    assert!(
        matches!(&refused, Err(CommandError::Faulted(fault)) if fault.code == wire::Code::InvalidRequest),
        "{refused:?}"
    );
    let about = wire::DescribeSession {
        title: Some("boats".into()),
        ..wire::DescribeSession::default()
    };
    soon(session.describe(about)).await.expect("described");
    let fold = session.snapshot().await.expect("a snapshot");
    assert_eq!(fold.title.as_deref(), Some("boats"));
    soon(session.close()).await;
    host.close().await;
}
