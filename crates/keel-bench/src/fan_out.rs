//! One session, five hundred viewers: what a delivered event costs the server's processors, beside a
//! bare broadcast of as many bytes that puts together what it can.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use evenkeel::{Events, Session};

use crate::{
    baseline::{Listening, Publish, Published},
    bench::{Bench, PATIENCE, Served, until, within},
    process::{Process, cpu_us},
    results::Measured,
    samples::Samples,
    swarm::{More, Seen},
};

const VIEWERS: usize = 500;
/// Events of a round.
const EVENTS: u64 = 600;
const PACE_MS: u64 = 5;
/// Ours and the bare one's, in turns.
const ROUNDS: usize = 8;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let exe = &bench.options.exe;
    let served = bench.serve("fan-out", "").await?;
    let mut bare = Process::start(exe, &["bench-baseline"], "")?;
    let listening: Listening = bare.answer().await?;
    let (session, mut events) = served.join(served.server.addr()).await?;
    let mut ours = viewers(bench, &served, &session).await?;
    let theirs_at = listening.addr.to_string();
    let look = ["bench-swarm", "--addr", &theirs_at, "--path", "/viewers"];
    let mut theirs = Process::start(exe, &look, "")?;
    enter(&mut theirs).await?;

    let (mut our_cost, mut their_cost) = (Samples::default(), Samples::default());
    let mut bytes = 0;
    for round in 0..bench.samples(ROUNDS).max(1) {
        (bench.told)(&format!("fan-out, round {}", round + 1));
        let pid = served.pid()?;
        let (before, cpu) = (look_at(&mut ours).await?, cpu_us(pid)?);
        let told = turn(&session, &mut events).await?;
        let after = all_of_it(&mut ours, before, told).await?;
        our_cost.push(cost(cpu_us(pid)? - cpu, before, after));
        bytes = (after.bytes - before.bytes) / (after.messages - before.messages);

        let pid = bare.pid()?;
        let (before, cpu) = (look_at(&mut theirs).await?, cpu_us(pid)?);
        let order = Publish {
            count: EVENTS,
            pace_ms: PACE_MS,
            bytes: usize::try_from(bytes)?,
        };
        let _: Published = bare.ask(&serde_json::to_string(&order)?).await?;
        let after = all_of_it(&mut theirs, before, EVENTS).await?;
        their_cost.push(cost(cpu_us(pid)? - cpu, before, after));
    }
    session.close().await;
    let method = format!(
        "user and system time of the server's process (/proc/PID/stat) by events that {VIEWERS} viewers \
         got, of turns of {EVENTS} events of {bytes} bytes every {PACE_MS} ms, committed, with beats and \
         acknowledgements; beside the same of an axum server that broadcasts as many messages of as many \
         bytes as often, and writes all that is ready for a viewer at once; in turns; viewers are the same \
         cheap readers in processes of their own; {}",
        bench.build()
    );
    let result = Measured::of("fan_out_500", "us", &our_cost)
        .beside(their_cost.median())
        .costs_at_most(1.)
        .method(method);
    Ok(vec![result])
}

async fn viewers(bench: &Bench<'_>, served: &Served, session: &Session) -> Result<Process> {
    let id = session.id().context("it is joined")?.to_string();
    let addr = served.server.addr().to_string();
    let join = [
        "bench-swarm",
        "--addr",
        &addr,
        "--path",
        "/v1/connect",
        "--session",
        &id,
    ];
    let mut swarm = Process::start(&bench.options.exe, &join, &served.token)?;
    enter(&mut swarm).await?;
    Ok(swarm)
}

async fn enter(swarm: &mut Process) -> Result<()> {
    let clients = VIEWERS;
    let _: Seen = swarm
        .ask(&serde_json::to_string(&More { clients })?)
        .await?;
    Ok(())
}

async fn look_at(swarm: &mut Process) -> Result<Seen> {
    swarm
        .ask(&serde_json::to_string(&More { clients: 0 })?)
        .await
}

/// A whole turn, as its owner sees it: how many events it was.
async fn turn(session: &Session, events: &mut Events) -> Result<u64> {
    while events.try_next().is_some() {}
    let mut told = 0;
    let say = format!("!count={EVENTS} bytes=64 pace_ms={PACE_MS}\n");
    within("a receipt", session.say(say)).await??;
    until(events, "the turn's end", |event| {
        let evenkeel::Event::Log { event, .. } = event else {
            return None;
        };
        told += 1;
        let is_end = matches!(
            event,
            evenkeel::LogEvent::Known(keel_wire::Event::TurnEnded(_))
        );
        is_end.then_some(())
    })
    .await?;
    Ok(told)
}

/// Waits until each viewer has got what was sent, all of it and no more.
async fn all_of_it(swarm: &mut Process, before: Seen, each: u64) -> Result<Seen> {
    let due = each * VIEWERS as u64;
    let until = std::time::Instant::now() + PATIENCE;
    let mut last = before.messages;
    loop {
        let seen = look_at(swarm).await?;
        let got = seen.messages - before.messages;
        ensure!(seen.open == VIEWERS as u64, "viewers were lost");
        if got >= due && seen.messages == last {
            ensure!(got == due, "{got} messages came, not {due}");
            return Ok(seen);
        }
        ensure!(
            std::time::Instant::now() < until,
            "{got} of {due} messages came"
        );
        last = seen.messages;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
fn cost(cpu_us: f64, before: Seen, after: Seen) -> f64 {
    cpu_us / (after.messages - before.messages) as f64
}
