//! A connection through which nothing passes any more, while a turn runs: when is it told on either
//! side?

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use evenkeel::{Event, Session};
use keel_drill::{
    proxy::{Cut, Proxy},
    server,
};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    bench::{Bench, Served, recovered, until, within},
    results::Measured,
    samples::{Samples, ms},
};

const TOLD_MS: f64 = 3_000.;
const CLIENTS: usize = 10;
const TURN: &str = "!count=1000000 bytes=24 pace_ms=20\n";
/// How long the server may take to put its journal away.
const JOURNAL_WITHIN: Duration = Duration::from_secs(10);

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = Arc::new(bench.serve("black-hole", "").await?);
    let rounds = bench.samples(100).div_ceil(CLIENTS);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let proxy = Proxy::start(served.server.addr()).await?;
        clients.spawn(holes(Arc::clone(&served), proxy, rounds));
    }
    let (mut by_client, mut by_server) = (Samples::default(), Samples::default());
    while let Some(told) = clients.join_next().await {
        let (client, server) = told??;
        by_client.extend(client);
        by_server.extend(server);
    }
    let what = format!(
        "a proxy passes nothing of an SDK client's connection any more while a turn of 50 events a \
         second runs, at a random moment; {CLIENTS} clients with proxies of their own; {}",
        bench.build()
    );
    let of = |name: &str, samples: &Samples, until: &str| {
        Measured::of(name, "ms", samples)
            .target("max <= 3000 ms", samples.max() <= TOLD_MS)
            .method(format!("from then to {until}; {what}"))
    };
    Ok(vec![
        of(
            "black_hole_told_client",
            &by_client,
            "the client's event `connection_lost`",
        ),
        of(
            "black_hole_told_server",
            &by_server,
            "the entry of the server's journal that names the loss, by its own time: `connection_lost`, or \
             `connected` with the evidence of a client that came back before the server gave it up",
        ),
    ])
}

async fn holes(served: Arc<Served>, proxy: Proxy, rounds: usize) -> Result<(Samples, Samples)> {
    let (session, mut events) = served.join(proxy.addr()).await?;
    within("a receipt", session.say(TURN)).await??;
    let (mut by_client, mut by_server) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        // Anywhere between two beats.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..1_000))).await;
        // A connection that lives: what a machine that stood still had lost before is another fault.
        while events.try_next().is_some() {}
        let is_log = |event| matches!(event, Event::Log { .. }).then_some(());
        until(&mut events, "the turn's text", is_log).await?;
        let (struck, struck_at) = (Instant::now(), unix_ms());
        if proxy.cut(Cut::BlackHole) == 0 {
            bail!("there was no connection to cut");
        }
        let is_loss = |event| matches!(event, Event::ConnectionLost { .. }).then_some(());
        until(&mut events, "told of the loss", is_loss).await?;
        by_client.push(ms(struck.elapsed()));
        recovered(&mut events).await?;
        by_server.push(told_by_server(&served, &session, struck_at).await?);
    }
    session.close().await;
    Ok((by_client, by_server))
}

/// How long after then the journal says that a connection of this session was lost: as the server saw
/// it, or as a client did that was sooner.
async fn told_by_server(served: &Served, session: &Session, since: f64) -> Result<f64> {
    let id = session.id().context("it is joined")?;
    let path = format!("/v1/sessions/{id}/journal");
    let until = Instant::now() + JOURNAL_WITHIN;
    loop {
        let (_, body) = server::get(served.server.addr(), &path, Some(&served.token)).await?;
        let journal: Value = serde_json::from_str(&body).context("a journal")?;
        let entries = journal["entries"].as_array().context("entries")?;
        let told = entries
            .iter()
            .filter(|entry| {
                entry["fact"] == "connection_lost" || entry["evidence"]["code"].is_string()
            })
            .filter_map(|entry| entry["at"].as_f64())
            .find(|at| *at >= since);
        if let Some(at) = told {
            if at - since > TOLD_MS {
                // Whoever wants to know why has it beside the server's log.
                std::fs::write(
                    served.server.witness().join(format!("{id}-{at}.json")),
                    &body,
                )?;
            }
            return Ok(at - since);
        }
        if Instant::now() > until {
            bail!("the server's journal tells of no loss: {body}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn unix_ms() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    ms(now.unwrap_or_default()).floor()
}
