//! Ten thousand events were missed: how long until the client has them?

use std::{collections::VecDeque, time::Instant};

use anyhow::{Context, Result, ensure};
use evenkeel::{CommandError, Event, Events, LogEvent, Session};
use keel_wire as wire;
use serde_json::json;

use crate::{
    bench::{Bench, UNHINDERED, until, within},
    results::Measured,
    samples::{Samples, ms},
};

const MISSED: u64 = 10_000;
const BOUND_MS: f64 = 100.;
/// Commands without a receipt.
const AT_ONCE: usize = 200;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = bench.serve("replay", UNHINDERED).await?;
    let addr = served.server.addr();
    let (owner, mut seen) = served.join(addr).await?;
    let id = owner.id().context("it is joined")?;
    let rounds = bench.samples(20);
    let mut replayed = Samples::default();
    for round in 0..rounds {
        (bench.told)(&format!("replay, round {} of {rounds}", round + 1));
        let joining = served.client(addr).session(id.clone());
        let joining = joining.history(wire::History::Snapshot);
        let viewer = within("a session", joining.connect()).await??;
        let mut behind = viewer.events();
        let end = owner.cursor().seq.get();
        until(&mut behind, "the log so far", |event| match event {
            Event::Log { range, .. } | Event::Gap { range, .. } => {
                (range.to.get() >= end).then_some(())
            }
            _ => None,
        })
        .await?;
        let state = viewer.resume_state().await.context("it is joined")?;
        let from = viewer.cursor().seq.get();
        viewer.close().await;
        drop(viewer);

        let to = append(&owner, &mut seen).await?;
        ensure!(to >= from + MISSED, "{} are missing", to - from);

        let begun = Instant::now();
        let resuming = served.client(addr).session(id.clone()).resume(state);
        let back = within("a session", resuming.connect()).await??;
        let mut events = back.events();
        let mut got = 0;
        until(&mut events, "what was missed", |event| match event {
            Event::Log { range, .. } => {
                got += 1;
                (range.to.get() >= to).then_some(Ok(()))
            }
            Event::Gap { range, .. } => Some(Err(anyhow::anyhow!("passed over {range:?}"))),
            _ => None,
        })
        .await??;
        replayed.push(ms(begun.elapsed()));
        ensure!(got >= MISSED, "only {got} events came");
        back.close().await;
        drop(back);
    }
    owner.close().await;
    let method = format!(
        "from `connect()` of an SDK client that resumes where {MISSED} events of 12 bytes of payload \
         each are missing, dialling included, to the last of them at the application; {}",
        bench.build()
    );
    let median = replayed.median();
    let result = Measured::of("replay_10000", "ms", &replayed)
        .target("median <= 100 ms", median <= BOUND_MS)
        .method(method);
    Ok(vec![result])
}

/// Appends the events that will be missed; where the log then ends.
async fn append(owner: &Session, seen: &mut Events) -> Result<u64> {
    let mut receipts = VecDeque::new();
    let (mut told, mut last) = (0, 0);
    let mut count = |event| {
        if let Event::Log { range, event } = event
            && matches!(event, LogEvent::Known(wire::Event::Message(_)))
        {
            told += 1;
            last = range.to.get();
        }
        (told == MISSED).then_some(last)
    };
    for n in 0..MISSED {
        if receipts.len() == AT_ONCE
            && let Some(receipt) = receipts.pop_front()
        {
            within::<Result<_, CommandError>>("a receipt", receipt).await??;
        }
        receipts.push_back(owner.send(json!({ "word": format!("{n:0>12}") })));
        while let Some(event) = seen.try_next() {
            let _ = count(event);
        }
    }
    for receipt in receipts {
        within("a receipt", receipt).await??;
    }
    until(seen, "what was appended", count).await
}
