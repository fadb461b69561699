//! Two hundred clients are cut at once: how they come back, and what others see of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use evenkeel::{Event, Events, Session};
use keel_core::limits;
use keel_drill::proxy::{Cut, Proxy};
use tokio::task::JoinSet;

use crate::{
    baseline::Listening,
    bench::{Bench, Served, recovered, until, within},
    process::Process,
    results::Measured,
    resume::{connect_and_echo, cut_and_back},
    samples::{Samples, ms},
};

const CLIENTS: usize = 200;
const LAST_BACK_MS: f64 = 3_000.;
/// In which attempts are counted.
const WINDOW: Duration = Duration::from_millis(100);
/// The turn that the bystander reads.
const TURN: &str = "!count=1000000 bytes=24 pace_ms=20\n";
/// What may be added to the bystander's gaps, where twice of them is less (DESIGN §2.12).
const BYSTANDER_SLACK_MS: f64 = 20.;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = bench.serve("herd", "").await?;
    let mut results = vec![lone_client(bench, &served).await?];
    results.extend(herd(bench, &served).await?);
    Ok(results)
}

/// Where clients are few, none is made to wait.
async fn lone_client(bench: &Bench<'_>, served: &Served) -> Result<Measured> {
    let mut bare = Process::start(&bench.options.exe, &["bench-baseline"], "")?;
    let listening: Listening = bare.answer().await?;
    let ours = Proxy::start(served.server.addr()).await?;
    let theirs = Proxy::start(listening.addr).await?;
    let (session, mut events) = served.join(ours.addr()).await?;
    // Whatever the server asks of it, it asks with a beat.
    tokio::time::sleep(limits::BEAT_IDLE * 2).await;
    let (mut resumed, mut echoed) = (Samples::default(), Samples::default());
    for _ in 0..bench.samples(100) {
        resumed.push(cut_and_back(&ours, &session, &mut events).await?);
        echoed.push(connect_and_echo(theirs.addr()).await?);
    }
    session.close().await;
    let method = format!(
        "as resume_after_reset, of the only client of the herd's server, after two of its beats; {}",
        bench.build()
    );
    Ok(Measured::of("herd_lone_client", "ms", &resumed)
        .beside(echoed.median())
        .costs_at_most(3.)
        .method(method))
}

async fn herd(bench: &Bench<'_>, served: &Served) -> Result<Vec<Measured>> {
    let proxy = Proxy::start(served.server.addr()).await?;
    let mut herd = gather(served, &proxy).await?;
    let (bystander, mut seen) = served.join(served.server.addr()).await?;
    within("a receipt", bystander.say(TURN)).await??;
    let rounds = bench.samples(5).max(1);
    let (mut peaks, mut backs) = (Samples::default(), Samples::default());
    let (mut control, mut beside) = (Samples::default(), Samples::default());
    for round in 0..rounds {
        (bench.told)(&format!("herd, round {} of {rounds}", round + 1));
        // Beats, which carry the pace; connections that lasted, so that each round is a first loss; and
        // what the bystander sees meanwhile.
        let quiet = limits::STABLE_AFTER + Duration::from_millis(500);
        control.extend(gaps(&mut seen, quiet).await?);
        let struck = Instant::now();
        let cut = proxy.cut(Cut::Reset);
        if cut != CLIENTS {
            bail!("{cut} connections were cut, not {CLIENTS}");
        }
        let others = gaps(&mut seen, Duration::from_millis(2_500));
        let (last, others) = tokio::join!(all_back(herd, struck), others);
        let last_back;
        (herd, last_back) = last?;
        backs.push(last_back);
        beside.extend(others?);
        peaks.push(peak_per_s(&proxy, struck));
    }
    while let Some((session, _)) = herd.pop() {
        session.close().await;
    }
    bystander.close().await;
    Ok(told(bench, &peaks, &backs, &control, &beside))
}

fn told(
    bench: &Bench<'_>,
    peaks: &Samples,
    backs: &Samples,
    control: &Samples,
    beside: &Samples,
) -> Vec<Measured> {
    let what = format!(
        "{CLIENTS} idle SDK clients of one server, reset at once in a proxy, {} rounds; {}",
        peaks.len(),
        bench.build()
    );
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let paced = limits::PACE_PER_S as f64;
    let bound = (control.p99() * 2.).max(control.p99() + BYSTANDER_SLACK_MS);
    vec![
        Measured::of("herd_attempts_peak", "per_s", peaks)
            .beside(paced)
            .target(
                "median of the rounds' peaks <= 1.5 x the pace",
                peaks.median() <= paced * 1.5,
            )
            .method(format!(
                "connections at the proxy in the fullest 100 ms of a round, times ten, beside the rate \
                 that the server asks its clients to keep to; {what}"
            )),
        Measured::of("herd_last_back", "ms", backs)
            .target("max <= 3000 ms", backs.max() <= LAST_BACK_MS)
            .method(format!(
                "from the resets to the event `recovered` at the last client; {what}"
            )),
        Measured::of("herd_bystander", "ms", beside)
            .beside(control.median())
            .target(
                format!("p99 <= {bound:.0} ms, which is max(2 x, + 20 ms) of before"),
                beside.p99() <= bound,
            )
            .method(format!(
                "between two events of a turn paced at 20 ms, at a client beside the herd in the 2.5 s \
                 after the resets, beside the 10.5 s before; {what}"
            )),
    ]
}

async fn gather(served: &Served, proxy: &Proxy) -> Result<Vec<(Session, Events)>> {
    let mut joining = JoinSet::new();
    let mut herd = Vec::new();
    for n in 0..CLIENTS {
        // A dozen at once: this is not the herd yet.
        if n >= 12
            && let Some(joined) = joining.join_next().await
        {
            herd.push(joined??);
        }
        let client = served.client(proxy.addr());
        joining.spawn(async move {
            let session = within("a session", client.connect()).await??;
            let events = session.events();
            anyhow::Ok((session, events))
        });
    }
    while let Some(joined) = joining.join_next().await {
        herd.push(joined??);
    }
    Ok(herd)
}

type Herd = Vec<(Session, Events)>;

/// Waits until each is back; when the last was, in milliseconds.
async fn all_back(herd: Herd, struck: Instant) -> Result<(Herd, f64)> {
    let mut coming = JoinSet::new();
    for (session, mut events) in herd {
        coming.spawn(async move {
            recovered(&mut events).await?;
            anyhow::Ok((session, events, ms(struck.elapsed())))
        });
    }
    let (mut herd, mut last) = (Herd::new(), 0_f64);
    while let Some(back) = coming.join_next().await {
        let (session, events, took) = back??;
        herd.push((session, events));
        last = last.max(took);
    }
    Ok((herd, last))
}

/// Spans between the events that come within a while, in milliseconds.
async fn gaps(events: &mut Events, span: Duration) -> Result<Samples> {
    while events.try_next().is_some() {}
    let is_log = |event| matches!(event, Event::Log { .. }).then_some(());
    until(events, "the bystander's text", is_log).await?;
    let (begun, mut gaps) = (Instant::now(), Samples::default());
    let mut last = begun;
    while begun.elapsed() < span {
        until(events, "the bystander's text", is_log).await?;
        gaps.push(ms(last.elapsed()));
        last = Instant::now();
    }
    Ok(gaps)
}

/// Connections in the fullest window since then, as a rate a second.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn peak_per_s(proxy: &Proxy, since: Instant) -> f64 {
    let arrivals: Vec<_> = proxy
        .arrivals()
        .into_iter()
        .filter(|at| *at >= since)
        .collect();
    let in_window = |from: &Instant| {
        let inside = |at: &&Instant| **at >= *from && **at < *from + WINDOW;
        arrivals.iter().filter(inside).count()
    };
    let peak = arrivals.iter().map(in_window).max().unwrap_or(0);
    peak as f64 / WINDOW.as_secs_f64()
}
