//! The network is away for three seconds while a turn streams: when is the first event there?

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use evenkeel::Event;
use keel_drill::proxy::{Cut, Link, Proxy};
use tokio::task::JoinSet;

use crate::{
    bench::{Bench, Served, until, within},
    results::Measured,
    samples::{Samples, ms},
};

const OUTAGE: Duration = Duration::from_secs(3);
/// Clients at once, each with an outage of its own.
const CLIENTS: u32 = 8;
/// Between their outages.
const APART: Duration = Duration::from_millis(150);
/// 200 messages a second, for longer than the benchmark runs.
const TURN: &str = "!count=1000000 bytes=24 pace_ms=5\n";

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = Arc::new(bench.serve("outage", "").await?);
    let rounds = bench.samples(50).div_ceil(CLIENTS as usize);
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let proxy = Proxy::start(served.server.addr()).await?;
        clients.spawn(outages(Arc::clone(&served), proxy, rounds, n));
    }
    let mut back = Samples::default();
    while let Some(samples) = clients.join_next().await {
        back.extend(samples??);
    }
    let method = format!(
        "an SDK client that reads a turn of 200 events a second is reset and each new connection too, in \
         a proxy, for 3 s; from the end of that to the next event of the log at the application; {CLIENTS} \
         such clients with outages of their own; {}",
        bench.build()
    );
    let median = back.median();
    let result = Measured::of("first_event_after_outage", "ms", &back)
        .target("median <= 150 ms", median <= 150.)
        .method(method);
    Ok(vec![result])
}

async fn outages(served: Arc<Served>, proxy: Proxy, rounds: usize, n: u32) -> Result<Samples> {
    let (session, mut events) = served.join(proxy.addr()).await?;
    let is_log = |event| matches!(event, Event::Log { .. }).then_some(());
    within("a receipt", session.say(TURN)).await??;
    let mut back = Samples::default();
    for _ in 0..rounds {
        until(&mut events, "the turn's text", is_log).await?;
        // Not all at the same time: that would be another benchmark.
        tokio::time::sleep(APART * n).await;
        proxy.set_link(Link::Refusing);
        proxy.cut(Cut::Reset);
        tokio::time::sleep(OUTAGE).await;
        while events.try_next().is_some() {}
        proxy.set_link(Link::Up);
        let up = Instant::now();
        until(&mut events, "an event after the outage", is_log).await?;
        back.push(ms(up.elapsed()));
    }
    session.close().await;
    Ok(back)
}
