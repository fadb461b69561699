//! Ten thousand events were missed: how long until the client has them?

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use evenkeel::{Event, Session};
use keel_wire::CancelTurn;

use crate::{
    bench::{Bench, until, within},
    results::Measured,
    samples::{Samples, ms},
};

const MISSED: u64 = 10_000;
const BOUND_MS: f64 = 100.;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = bench.serve("replay", "").await?;
    let addr = served.server.addr();
    let (owner, mut seen) = served.join(addr).await?;
    let id = owner.id().context("it is joined")?;
    let rounds = bench.samples(20);
    let mut replayed = Samples::default();
    for round in 0..rounds {
        (bench.told)(&format!("replay, round {} of {rounds}", round + 1));
        let joining = served.client(addr).session(id.clone());
        let viewer = within("a session", joining.connect()).await??;
        let state = viewer.resume_state().await.context("it is joined")?;
        let from = viewer.cursor().seq.get();
        viewer.close().await;
        drop(viewer);

        // A turn that does not end: its events stay as they are.
        let say = format!(
            "!count={} bytes=12 fail=hang fail_at={MISSED}\n",
            MISSED + 1
        );
        let accepted = within("a receipt", owner.say(say)).await??;
        let to = from + MISSED;
        reach(&owner, &mut seen, to).await?;

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
        let stop = CancelTurn {
            turn: accepted.turn,
        };
        within("a receipt", owner.command(stop)).await??;
    }
    owner.close().await;
    let method = format!(
        "from `connect()` of an SDK client that resumes where {MISSED} events of about 12 bytes of text \
         each are missing, dialling included, to the last of them at the application; {}",
        bench.build()
    );
    let median = replayed.median();
    let result = Measured::of("replay_10000", "ms", &replayed)
        .target("median <= 100 ms", median <= BOUND_MS)
        .method(method);
    Ok(vec![result])
}

/// Waits until the owner has the log up to there.
async fn reach(owner: &Session, seen: &mut evenkeel::Events, to: u64) -> Result<()> {
    if owner.cursor().seq.get() >= to {
        return Ok(());
    }
    until(seen, "the turn's text", |event| match event {
        Event::Log { range, .. } => (range.to.get() >= to).then_some(()),
        _ => None,
    })
    .await
}
