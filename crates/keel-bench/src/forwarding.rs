//! Media through a server: what a forwarded packet costs, how long it is under way when the plane is
//! busy, how soon a viewer sees something, and what a media session takes of memory.

mod delay;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::{
    bench::{Bench, Served},
    calls::{Order, Told},
    process::{Process, Share, cpu_us, keep_on, resident_bytes},
    results::Measured,
    samples::Samples,
};
use delay::{Delays, crowd};

/// Viewers of the one publisher.
const VIEWERS: usize = 100;
const VIEWERS_WHOLE: usize = 30;
/// Packets a second of a publisher: about a megabit.
const PER_S: u32 = 120;
/// Of those the cost is measured with: about two megabits.
const PER_S_BUSY: u32 = 250;
/// About four megabits: a large picture.
const PER_S_LARGE: u32 = 500;
const ROUNDS: usize = 5;
/// One round, and what is waited for before the first.
const ROUND: Duration = Duration::from_secs(4);
const SETTLED: Duration = Duration::from_secs(2);
const JOINS: usize = 40;
/// Between two joins: longer than a publisher is spared a second keyframe.
const JOIN_APART: Duration = Duration::from_millis(600);
/// Pairs whose memory is measured, and those that come before.
const PAIRS: usize = 40;
const PAIRS_BEFORE: usize = 10;
/// What the memory of a session is after: its buffers for retransmission are full.
const FULL: Duration = Duration::from_secs(12);

const PER_CORE_MIN: f64 = 60_000.;
const JOIN_P50_MAX_MS: f64 = 150.;
const SESSION_BYTES_MAX: f64 = 600. * 1_024.;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    // Each by itself: what one could not measure is no matter of the others.
    let mut results = costs(bench).await.unwrap_or_else(|error| {
        missing(
            &[
                "forward_cost",
                "forward_per_core",
                "forward_delay",
                "forward_delay_wide",
            ],
            &error,
        )
    });
    let whole = costs_whole(bench).await;
    results.extend(whole.map_or_else(
        |error| missing(&["forward_cost_whole"], &error),
        |m| vec![m],
    ));
    let joins = joins(bench).await;
    results.extend(joins.map_or_else(|error| missing(&["join_first_frame"], &error), |m| vec![m]));
    let memory = memory(bench).await;
    results.extend(memory.map_or_else(
        |error| missing(&["memory_media_session"], &error),
        |m| vec![m],
    ));
    Ok(results)
}

fn missing(names: &[&str], error: &anyhow::Error) -> Vec<Measured> {
    let missing = |name: &&str| Measured::missing(name, &format!("{error:#}"));
    names.iter().map(missing).collect()
}

/// A server that takes media, and the participants to be.
async fn stage(bench: &Bench<'_>, name: &str) -> Result<(Served, Process)> {
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let more =
        format!("[backends.room]\nkind = \"room\"\n[media]\nlisten = \"127.0.0.1:{port}\"\n");
    let served = bench.serve(name, &more).await?;
    let calls = participants(bench, &served)?;
    Ok((served, calls))
}

/// A process of participants.
fn participants(bench: &Bench<'_>, served: &Served) -> Result<Process> {
    let addr = served.server.addr().to_string();
    let args = ["bench-calls", "--addr", &addr];
    Process::start(&bench.options.exe, &args, &served.token)
}

async fn order(calls: &mut Process, order: Order) -> Result<Told> {
    calls.ask(&serde_json::to_string(&order)?).await
}

/// Those who are measured, and the crowd that makes the load: a process each, so that neither waits
/// for the other.
struct Calls {
    own: Process,
    crowd: Option<Process>,
}

impl Calls {
    /// Lets more into the crowd.
    async fn more(&mut self, session: &str, count: usize) -> Result<()> {
        let crowd = self.crowd.as_mut().context("there is a crowd")?;
        let lean = Order::View {
            session: Some(session.to_owned()),
            count,
            whole: false,
            at_once: 8,
        };
        order(crowd, lean).await.map(drop)
    }

    /// Keeps the server on a processor of its own, where there are several.
    fn keep_off(&self, served: &Served) -> Result<()> {
        for process in [Some(&self.own), self.crowd.as_ref()].into_iter().flatten() {
            keep_on(process.pid()?, Share::Others)?;
        }
        keep_on(served.pid()?, Share::First)
    }

    /// What those who are measured have seen, and how many packets came to the crowd.
    async fn look(&mut self) -> Result<(Told, u64)> {
        let own = order(&mut self.own, Order::Look).await?;
        let Some(crowd) = &mut self.crowd else {
            return Ok((own, 0));
        };
        let crowd = order(crowd, Order::Look).await?;
        Ok((own, crowd.came))
    }
}

/// What a round has shown.
struct Round {
    cost_us: f64,
    /// Packets a second that came to viewers.
    per_s: f64,
    /// Of the time, what the server took of a processor.
    load: f64,
    delays: Samples,
    datagram: u64,
}

async fn round(served: &Served, calls: &mut Calls, viewers: usize) -> Result<Round> {
    let pid = served.pid()?;
    calls.keep_off(served)?;
    calls.look().await?;
    let (cpu, at) = (cpu_us(pid)?, std::time::Instant::now());
    tokio::time::sleep(ROUND).await;
    let (cpu, took) = (cpu_us(pid)? - cpu, at.elapsed().as_secs_f64());
    let (told, crowd) = calls.look().await?;
    let mut delays = Samples::default();
    for delay in &told.delays_ms {
        delays.push(*delay);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of packets")]
    let (sent, came) = (told.sent as f64, (told.came + crowd) as f64);
    #[expect(clippy::cast_precision_loss, reason = "some viewers")]
    let share = came / (sent * viewers as f64);
    ensure!(
        share > 0.5,
        "only {:.0} % of the packets came",
        share * 100.
    );
    Ok(Round {
        cost_us: cpu / came,
        per_s: came / took,
        load: cpu / 1e6 / took,
        delays,
        datagram: told.datagram,
    })
}

async fn costs(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let rounds = bench.samples(ROUNDS).max(2);
    // Lean ones, and some that are whole beside the publisher: one that was there first, one after each
    // crowd, since a plane serves one after the other.
    let (served, mut own) = stage(bench, "forwarding").await?;
    let session = order(&mut own, Order::Publish).await?.session;
    view(&mut own, 1, true).await?;
    let mut calls = Calls {
        own,
        crowd: Some(participants(bench, &served)?),
    };
    calls.more(&session, VIEWERS).await?;
    view(&mut calls.own, 1, true).await?;
    let viewers = VIEWERS + 2;
    let (mut idle, mut cost, mut per_core) =
        (Samples::default(), Samples::default(), Samples::default());
    let idly = Order::Pace { per_s: PER_S / 10 };
    order(&mut calls.own, idly).await?;
    tokio::time::sleep(SETTLED).await;
    idle.extend(round(&served, &mut calls, viewers).await?.delays);
    let busily = Order::Pace { per_s: PER_S_BUSY };
    order(&mut calls.own, busily).await?;
    tokio::time::sleep(SETTLED).await;
    let mut datagram = 0;
    for n in 1..=rounds {
        (bench.told)(&format!("forwarding to lean viewers, round {n}"));
        let round = round(&served, &mut calls, viewers).await?;
        cost.push(round.cost_us);
        per_core.push(1e6 / round.cost_us);
        datagram = round.datagram;
    }
    let mut at_load = Vec::new();
    let mut viewers = viewers;
    for (name, per_s) in [
        ("forward_delay", PER_S_LARGE),
        ("forward_delay_wide", PER_S_BUSY),
    ] {
        (bench.told)(&format!("{name}: {per_s} packets a second at 80 % load"));
        order(&mut calls.own, Order::Pace { per_s }).await?;
        viewers = crowd(&served, &mut calls, &session, viewers).await?;
        view(&mut calls.own, 1, true).await?;
        viewers += 1;
        let delays = Delays::measure(&served, &mut calls, viewers, per_s, rounds).await?;
        at_load.push(delays.measured(bench, name, viewers, &idle));
    }
    let how = how(datagram);
    let lean = format!(
        "{how}; {VIEWERS} lean viewers that count datagrams and take no congestion control, and two whole, \
         {PER_S_BUSY} packets a second each; {}",
        bench.build()
    );
    let per_core_is = per_core.median();
    let mut results = vec![
        Measured::of("forward_cost", "us", &cost).method(lean.clone()),
        Measured::of("forward_per_core", "per_s", &per_core)
            .target(
                format!("at least {PER_CORE_MIN} a core and second"),
                per_core_is >= PER_CORE_MIN,
            )
            .method(format!("a second by `forward_cost`: {lean}")),
    ];
    results.extend(at_load);
    Ok(results)
}

/// What a forwarded packet costs where viewers say what came, and when.
async fn costs_whole(bench: &Bench<'_>) -> Result<Measured> {
    let rounds = bench.samples(ROUNDS).max(2);
    let (served, mut own) = stage(bench, "forwarding-whole").await?;
    order(&mut own, Order::Publish).await?;
    view(&mut own, VIEWERS_WHOLE, true).await?;
    order(&mut own, Order::Pace { per_s: PER_S }).await?;
    let mut calls = Calls { own, crowd: None };
    tokio::time::sleep(SETTLED).await;
    let (mut whole, mut datagram) = (Samples::default(), 0);
    for n in 1..=rounds {
        (bench.told)(&format!("forwarding to whole viewers, round {n}"));
        let round = round(&served, &mut calls, VIEWERS_WHOLE).await?;
        whole.push(round.cost_us);
        datagram = round.datagram;
    }
    Ok(Measured::of("forward_cost_whole", "us", &whole).method(format!(
        "{}; {VIEWERS_WHOLE} whole viewers with transport-wide congestion control, {PER_S} packets a second \
         each; {}",
        how(datagram),
        bench.build()
    )))
}

/// Where the server and all others run ([`keep_on`]).
fn place() -> &'static str {
    match std::thread::available_parallelism() {
        Ok(processors) if processors.get() > 1 => {
            "the server on one processor and all others on the rest"
        }
        Ok(_) | Err(_) => "all on one processor",
    }
}

fn how(datagram: u64) -> String {
    format!(
        "user and system time of the server's process (/proc/PID/stat) by packets of 1,100 bytes of \
         payload (datagrams of {datagram} bytes, AES-GCM) that came to viewers of one publisher, over \
         loopback, {}, rounds of {} s, beats and acknowledgements included",
        place(),
        ROUND.as_secs()
    )
}

async fn view(calls: &mut Process, count: usize, whole: bool) -> Result<Told> {
    let at_once = 8;
    order(
        calls,
        Order::View {
            session: None,
            count,
            whole,
            at_once,
        },
    )
    .await
}

async fn joins(bench: &Bench<'_>) -> Result<Measured> {
    let (_served, mut calls) = stage(bench, "joining").await?;
    order(&mut calls, Order::Publish).await?;
    let mut samples = Samples::default();
    (bench.told)("viewers that join");
    for _ in 0..bench.samples(JOINS) {
        tokio::time::sleep(JOIN_APART).await;
        let one = Order::View {
            session: None,
            count: 1,
            whole: true,
            at_once: 1,
        };
        for join in order(&mut calls, one).await?.joins_ms {
            samples.push(join);
        }
    }
    let holds = samples.median() <= JOIN_P50_MAX_MS;
    Ok(Measured::of("join_first_frame", "ms", &samples)
        .target(format!("p50 at most {JOIN_P50_MAX_MS} ms"), holds)
        .method(format!(
            "from a viewer's TCP connect, upgrade, hello, offer, ICE and DTLS to the first packet of a keyframe \
             of a publisher of {} frames a second, decrypted; one after the other, {} ms apart, over loopback, all \
             of them staying; {}",
            PER_S / 4,
            JOIN_APART.as_millis(),
            bench.build()
        )))
}

async fn memory(bench: &Bench<'_>) -> Result<Measured> {
    let (served, mut calls) = stage(bench, "memory-media").await?;
    order(&mut calls, Order::Pace { per_s: PER_S }).await?;
    let pairs = bench.samples(PAIRS);
    (bench.told)(&format!("memory of {pairs} media sessions"));
    // The first pay for what is there once.
    grow(&mut calls, PAIRS_BEFORE.min(pairs)).await?;
    tokio::time::sleep(FULL).await;
    let before = resident_bytes(served.pid()?)?;
    grow(&mut calls, pairs).await?;
    tokio::time::sleep(FULL).await;
    let after = resident_bytes(served.pid()?)?;
    let told = order(&mut calls, Order::Look).await?;
    ensure!(told.came > 0, "nothing flows");
    #[expect(clippy::cast_precision_loss, reason = "tens")]
    let each = (after - before) / pairs as f64;
    Ok(Measured::figure("memory_media_session", "bytes", pairs, each)
        .target(format!("at most {SESSION_BYTES_MAX} bytes"), each <= SESSION_BYTES_MAX)
        .method(format!(
            "growth of the server's resident memory (/proc/PID/status) by {pairs} sessions of a publisher of \
             {PER_S} packets a second of 1,100 bytes and a whole viewer, both connected by WebSocket and by \
             transport, when all of them have sent for {} s; {}",
            FULL.as_secs(),
            bench.build()
        )))
}

async fn grow(calls: &mut Process, pairs: usize) -> Result<()> {
    for _ in 0..pairs {
        order(calls, Order::Publish).await.context("a publisher")?;
        view(calls, 1, true).await.context("a viewer")?;
    }
    Ok(())
}
