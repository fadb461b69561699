//! What an idle session costs in memory, beside an idle WebSocket of a bare server.

use std::time::Duration;

use anyhow::Result;

use crate::{
    baseline::Listening,
    bench::Bench,
    process::{Process, resident_bytes},
    results::Measured,
    swarm::{More, Seen},
};

const SESSIONS: usize = 5_000;
/// Ours and the bare ones come in turns of so many.
const STEPS: usize = 10;
/// Memory is read when nothing has come or gone for so long, beats excepted.
const SETTLED: Duration = Duration::from_secs(4);

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let exe = &bench.options.exe;
    let served = bench.serve("memory", "").await?;
    let mut bare = Process::start(exe, &["bench-baseline"], "")?;
    let listening: Listening = bare.answer().await?;
    let (ours, theirs) = (served.server.addr().to_string(), listening.addr.to_string());
    let join = ["bench-swarm", "--addr", &ours, "--path", "/v1/connect"];
    let look = ["bench-swarm", "--addr", &theirs, "--path", "/echo"];
    let mut sessions = Process::start(exe, &join, &served.token)?;
    let mut sockets = Process::start(exe, &look, "")?;

    let step = bench.samples(SESSIONS) / STEPS;
    let pids = (served.pid()?, bare.pid()?);
    // The first of each pay for what is there once.
    grow(&mut sessions, step).await?;
    grow(&mut sockets, step).await?;
    tokio::time::sleep(SETTLED).await;
    let before = (resident_bytes(pids.0)?, resident_bytes(pids.1)?);
    for n in 1..=STEPS {
        (bench.told)(&format!("memory: {} of each", (n + 1) * step));
        grow(&mut sessions, step).await?;
        grow(&mut sockets, step).await?;
    }
    tokio::time::sleep(SETTLED).await;
    let after = (resident_bytes(pids.0)?, resident_bytes(pids.1)?);
    let open: Seen = sessions.ask(&order(0)?).await?;
    anyhow::ensure!(
        open.open == ((STEPS + 1) * step) as u64,
        "only {} sessions are left",
        open.open
    );
    let count = STEPS * step;
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each = |before: f64, after: f64| (after - before) / count as f64;
    let method = format!(
        "growth of the server's resident memory (/proc/PID/status), by {count} sessions with one \
         connection each that do nothing but answer beats, after {step} more that came before; beside the \
         same of an axum WebSocket server with read_buffer_size 4096 and write_buffer_size 0; in turns of \
         {step}; {}",
        bench.build()
    );
    let result = Measured::figure(
        "memory_idle_session",
        "bytes",
        count,
        each(before.0, after.0),
    )
    .beside(each(before.1, after.1))
    .costs_at_most(2.)
    .method(method);
    Ok(vec![result])
}

fn order(clients: usize) -> Result<String> {
    Ok(serde_json::to_string(&More { clients })?)
}

async fn grow(swarm: &mut Process, clients: usize) -> Result<Seen> {
    swarm.ask(&order(clients)?).await
}
