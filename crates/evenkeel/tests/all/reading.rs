//! Readers of events: slow, late, several, none.

use std::time::Duration;

use evenkeel::{EVENTS_MAX, Event, wire::Code};
use serde_json::json;

use crate::{
    fake::{Fake, Wire},
    support::{Host, assert_contiguous, is_turn_end, said, soon, text, text_of, until},
};

fn flood() -> impl Fn(usize, Wire) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone {
    |_, mut wire| {
        Box::pin(async move {
            wire.welcome("created", 0).await;
            for at in 1..=(2 * EVENTS_MAX) {
                wire.send(json!({
                    "type": "event", "from": at, "to": at, "kind": "from.the.future", "data": at,
                }))
                .await;
            }
            wire.stay().await;
        })
    }
}

/// A reader that stands still is waited for; then it gets everything (M24).
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_loses_nothing_and_the_wait_is_told() {
    let fake = Fake::upgraded(flood()).await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let mut events = session.events();
    let mut status = session.status();
    let stuck = status.wait_for(|status| status.code() == Some(Code::SlowConsumer));
    let stuck = soon(stuck).await.expect("a status").clone();
    assert_eq!(stuck.check(), None);
    let held = session.cursor().seq.get();
    assert!(
        (EVENTS_MAX as u64 - 1..=EVENTS_MAX as u64 + 8).contains(&held),
        "{held}"
    );
    let refused = soon(session.say("anybody?"))
        .await
        .expect_err("refused, not silent");
    assert_eq!(refused.fault().code, Code::SlowConsumer);

    let all = 2 * EVENTS_MAX as u64;
    let is_last =
        |event: &Event| matches!(event, Event::Log { range, .. } if range.to.get() == all);
    let seen = until(&mut events, is_last).await;
    assert_contiguous(&seen);
    assert_eq!(fake.sockets(), 1, "one connection all the time");
    soon(status.wait_for(|status| status.fault.is_none()))
        .await
        .expect("live again");
    soon(session.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_waits_for_no_reader() {
    let fake = Fake::upgraded(flood()).await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    let _unread = session.events();
    let mut status = session.status();
    let stuck = status.wait_for(|status| status.code() == Some(Code::SlowConsumer));
    soon(stuck).await.expect("a status");
    soon(session.detach()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_reader_the_session_goes_on_and_a_late_one_begins_with_a_snapshot() {
    let fake = Fake::upgraded(flood()).await;
    let session = soon(fake.builder().connect()).await.expect("a session");
    while session.cursor().seq.get() < 2 * EVENTS_MAX as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut events = session.events();
    let Some(Event::Gap { range, fault, .. }) = soon(events.next()).await else {
        panic!("no snapshot");
    };
    assert_eq!(
        (range.from.get(), range.to.get()),
        (1, 2 * EVENTS_MAX as u64)
    );
    assert_eq!(fault, None);
    soon(session.close()).await;
}

#[tokio::test]
async fn every_reader_gets_everything_and_a_later_one_a_snapshot_first() {
    const PROMPT: &str = "!count=50 pace_ms=2";
    let host = Host::memory().await;
    let session = host.session().await;
    let mut first = session.events();
    soon(session.say(PROMPT)).await.expect("accepted");
    let mut seen = until(&mut first, |event| !text(event).is_empty()).await;
    let mut second = session.events();
    let (rest, late) = tokio::join!(
        until(&mut first, is_turn_end),
        until(&mut second, is_turn_end)
    );
    seen.extend(rest);
    assert_eq!(text_of(&seen), said(PROMPT));
    let Some(Event::Gap {
        range, snapshot, ..
    }) = late.first()
    else {
        panic!("no snapshot in {late:#?}");
    };
    let tail: String = snapshot
        .turns
        .iter()
        .map(|turn| turn.tail.as_str())
        .collect();
    assert_eq!(tail + &text_of(&late), said(PROMPT));
    let range_of = |event: &Event| {
        if let Event::Log { range, .. } = event {
            Some(range.from)
        } else {
            None
        }
    };
    let next = late.iter().find_map(range_of);
    assert_eq!(next, Some(range.to.next()));
    soon(session.close()).await;
    host.close().await;
}

/// Cancel-safety: a reader that gives up between any two polls misses nothing.
#[tokio::test]
async fn reading_can_be_cancelled_at_any_time() {
    const PROMPT: &str = "!count=100 pace_ms=3";
    let host = Host::memory().await;
    let session = host.session().await;
    let mut events = session.events();
    drop(session.say(PROMPT));
    let mut seen = Vec::new();
    while !seen.last().is_some_and(is_turn_end) {
        if let Ok(event) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
            seen.push(event.expect("no end"));
        }
    }
    assert_eq!(text_of(&seen), said(PROMPT));
    assert_contiguous(&seen);
    soon(session.close()).await;
    host.close().await;
}
