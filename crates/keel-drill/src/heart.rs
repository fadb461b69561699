//! The heart: a real program's output to an owner and a viewer, while everything breaks.
//!
//! Every 300 ms the connections are cut, all kinds in turn; every 5 s the server is killed (-9) and
//! started again; the viewer is stopped at random. Every turn that no kill hit must arrive
//! byte-identical to what the program wrote; every other is an exact committed prefix and ends once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use sha2::{Digest, Sha256};

use crate::{
    Options,
    client::Client,
    ledger::{Account, Seen},
    mutant::Mutant,
    proxy::{Cut, Proxy},
    results::{Leaked, Row},
    rig::marked,
    server::{Server, Setup},
};

const CUT_EVERY: Duration = Duration::from_millis(300);
const KILL_EVERY: Duration = Duration::from_secs(5);
/// After the last fault, everything must be delivered within this.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// What the heart went through.
#[derive(Debug, Default)]
struct Tally {
    cuts: u64,
    struck: u64,
    kills: Vec<(u64, u64)>,
    stops: u64,
    turns: u64,
}

/// What must turn the heart red.
pub(crate) const MUTANT: Mutant = Mutant::ReplayDropped;
/// With its mutant, the heart need not beat for long.
const SPOILED_FOR: Duration = Duration::from_secs(15);

/// Runs the heart; `told` is called about once a second.
///
/// # Errors
/// When it could not be run at all; what did not hold is in the row.
pub(crate) async fn run(
    options: &Options,
    mutant: Option<Mutant>,
    told: impl Fn(&str),
) -> Result<Row> {
    let exe = &options.exe;
    let (name, span) = match mutant {
        None => ("heart", options.heart),
        Some(_) => ("heart-mutant", options.heart.min(SPOILED_FOR)),
    };
    let dir = &options.dir.join(name);
    let setup = Setup {
        exe: exe.clone(),
        dir: dir.clone(),
        data: None,
        more: String::new(),
        files_max: None,
    };
    let mut server = Server::start(setup).await?;
    let proxy = Proxy::start(server.addr()).await?;
    let token = server.token(&["--subject", "heart"]).await?;
    let url = format!("ws://{}/v1/connect", proxy.addr());
    let mut args = vec!["--backend", "drill"];
    if let Some(mutant) = mutant {
        args.extend(["--mutant", mutant.name()]);
    }
    let mut owner = Client::start(exe, &url, &token, &args)?;
    let session = owner.session().await?;
    let viewer = Client::start(
        exe,
        &url,
        &token,
        &["--session", &session, "--role", "viewer"],
    )?;
    viewer.session().await?;

    let mut tally = Tally::default();
    let beaten = beat(
        &mut server,
        &proxy,
        &mut owner,
        &viewer,
        span,
        options.seed,
        &mut tally,
        &told,
    )
    .await;
    beaten.with_context(|| server.last_words())?;
    let _ = viewer.signal(Signal::CONT);
    let settled = settle(&owner, &viewer).await;
    let direct = format!("ws://{}/v1/connect", server.addr());
    let reader = Client::start(
        exe,
        &direct,
        &token,
        &["--session", &session, "--role", "viewer"],
    )?;
    reader.session().await?;
    let caught_up = settle(&owner, &reader).await;

    let mut row = Row {
        id: "heart".into(),
        group: "heart".into(),
        fault: "cuts of every kind, kill -9, SIGSTOP".into(),
        phase: "mid-turn".into(),
        role: "owner+viewer".into(),
        backend: "process".into(),
        expected_outcome: "recovered".into(),
        mutant: Some(MUTANT.name().into()),
        ..Row::default()
    };
    for result in [settled, caught_up] {
        if let Err(error) = result {
            row.wrong.push(format!("{error:#}"));
        }
    }
    let (seen, watched, kept) = (owner.account(), viewer.account(), reader.account());
    let said = said_at(&owner);
    judge(
        &seen,
        &watched,
        &kept,
        &said,
        &server.witness(),
        &tally,
        &mut row,
    )?;
    row.leaked = Leaked {
        children: Some(children_left(dir)?),
        ..Leaked::default()
    };
    row.recovered_ms = slowest_recovery(&owner);
    for (client, name) in [(owner, "owner"), (viewer, "viewer"), (reader, "reader")] {
        client.save(&dir.join(format!("{name}.ledger")))?;
        client.close().await?;
    }
    server.kill().await?;
    row.outcome = Some(
        if row.wrong.is_empty() {
            "recovered"
        } else {
            "failed"
        }
        .to_owned(),
    );
    row.pass = row.wrong.is_empty();
    told(&format!(
        "{} turns, {} cuts of {} connections, {} kills, {} stops: lost {}, duplicated {}, reordered {}",
        tally.turns,
        tally.cuts,
        tally.struck,
        tally.kills.len(),
        tally.stops,
        row.lost,
        row.duplicated,
        row.reordered
    ));
    Ok(row)
}

pub(crate) fn unix_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::too_many_arguments,
    reason = "the one place where everything meets"
)]
async fn beat(
    server: &mut Server,
    proxy: &Proxy,
    owner: &mut Client,
    viewer: &Client,
    span: Duration,
    seed: u64,
    tally: &mut Tally,
    told: &impl Fn(&str),
) -> Result<()> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let began = Instant::now();
    let mut cut_at = began + CUT_EVERY;
    let mut kill_at = began + KILL_EVERY;
    let mut stop_at = began + Duration::from_millis(rng.u64(500..4_000));
    let mut go_on_at: Option<Instant> = None;
    let mut say_at = began;
    let mut tell_at = began;
    let mut key = String::new();
    while began.elapsed() < span {
        let now = Instant::now();
        if now >= say_at {
            if key.is_empty() || has_ended(owner, &key) {
                tally.turns += 1;
                key = format!("turn-{}", tally.turns);
                let lines = rng.u32(10..120);
                owner
                    .tell(&format!("say {key} lines={lines} pace_ms=20"))
                    .await?;
            }
            say_at = now + Duration::from_millis(20);
        }
        if now >= cut_at {
            let kind = Cut::HEART[usize::try_from(tally.cuts)? % Cut::HEART.len()];
            tally.struck += proxy.cut(kind) as u64;
            tally.cuts += 1;
            cut_at += CUT_EVERY;
        }
        if now >= kill_at {
            let from = unix_ms();
            server.kill().await?;
            server.launch().await?;
            tally.kills.push((from, unix_ms()));
            kill_at = Instant::now() + KILL_EVERY;
            cut_at = Instant::now() + CUT_EVERY;
        }
        if go_on_at.is_some_and(|at| now >= at) {
            viewer.signal(Signal::CONT)?;
            go_on_at = None;
            stop_at = now + Duration::from_millis(rng.u64(500..4_000));
        } else if go_on_at.is_none() && now >= stop_at {
            viewer.signal(Signal::STOP)?;
            tally.stops += 1;
            go_on_at = Some(now + Duration::from_millis(rng.u64(200..3_000)));
        }
        if now >= tell_at {
            let left = span.saturating_sub(began.elapsed()).as_secs();
            told(&format!(
                "{left:>4} s left: turn {}, {} cuts, {} kills",
                tally.turns,
                tally.cuts,
                tally.kills.len()
            ));
            tell_at = now + Duration::from_secs(1);
        }
        if let Some(status) = server.exited()? {
            bail!(
                "the server ended by itself with {status}: {}",
                server.last_words()
            );
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

fn has_ended(client: &Client, key: &str) -> bool {
    client
        .account()
        .turn(key)
        .is_some_and(|turn| turn.end.is_some())
}

/// Waits until both have seen every turn's end and stand at the same position.
async fn settle(a: &Client, b: &Client) -> Result<()> {
    let until = Instant::now() + SETTLES_WITHIN;
    loop {
        let (x, y) = (a.account(), b.account());
        let over = x.turns.values().all(|turn| turn.end.is_some());
        if over && x.cursor == y.cursor && unanswered(a).is_none() {
            return Ok(());
        }
        if Instant::now() > until {
            let open = x
                .turns
                .values()
                .find(|turn| turn.end.is_none())
                .map(|turn| &turn.key);
            bail!(
                "not settled {SETTLES_WITHIN:?} after the last fault: at {} and {}, open turn {open:?}, \
                 unanswered {:?}",
                x.cursor,
                y.cursor,
                unanswered(a)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A turn that was asked for under a key and has no receipt.
fn unanswered(client: &Client) -> Option<String> {
    let mut open = said_at(client);
    for line in client.lines() {
        if let Seen::Receipt { key, .. } = line.what {
            open.remove(&key);
        }
    }
    open.into_keys().next()
}

/// When the owner said what, by key.
fn said_at(owner: &Client) -> BTreeMap<String, u64> {
    let mut said = BTreeMap::new();
    for line in owner.lines() {
        if let Seen::Note { text } = line.what
            && let Some(key) = text.strip_prefix("said ")
        {
            said.insert(key.to_owned(), line.t);
        }
    }
    said
}

fn judge(
    seen: &Account,
    watched: &Account,
    kept: &Account,
    said: &BTreeMap<String, u64>,
    witness: &Path,
    tally: &Tally,
    row: &mut Row,
) -> Result<()> {
    for account in [seen, watched] {
        row.lost += account.lost;
        row.duplicated += account.duplicated;
        row.reordered += account.reordered;
        if account.gaps > 0 {
            row.wrong
                .push(format!("{} gaps where everything is kept", account.gaps));
        }
    }
    row.duplicated += seen.run_twice() as u64;
    let mut done = 0;
    for (id, turn) in &seen.turns {
        // Told of late, it may have been accepted before the kill that hit it.
        let from = said.get(&turn.key).copied().unwrap_or(turn.accepted_at);
        let wrote = fs::read(witness.join(&turn.key)).unwrap_or_default();
        let mut no = |why: &str| row.wrong.push(format!("{}: {why}", turn.key));
        for (who, other) in [("the viewer", watched), ("the store", kept)] {
            match other.turns.get(id) {
                Some(same) if same.text == turn.text && same.end == turn.end => {}
                Some(_) => no(&format!("{who} has another text or end")),
                None => no(&format!("{who} has no such turn")),
            }
        }
        if turn.ends != 1 {
            no(&format!("ended {} times", turn.ends));
        }
        let killed = tally
            .kills
            .iter()
            .any(|(killed, back)| *back >= from && *killed <= turn.ended_at);
        match turn.end.as_deref() {
            Some("done") => {
                done += 1;
                if Sha256::digest(&turn.text) != Sha256::digest(&wrote) {
                    let (told, wrote) = (turn.text.len(), wrote.len());
                    no(&format!(
                        "{told} bytes told, {wrote} written, and they differ"
                    ));
                    row.lost += wrote.saturating_sub(told) as u64;
                }
            }
            Some("interrupted") if killed => {
                if !wrote.starts_with(&turn.text) {
                    row.wrong
                        .push(format!("{}: what was told was not written", turn.key));
                }
            }
            other => {
                let code = &turn.end_code;
                row.wrong
                    .push(format!("{}: ended {other:?} ({code:?})", turn.key));
            }
        }
    }
    if done == 0 {
        row.wrong
            .push("no turn was done: nothing was proven".to_owned());
    }
    if row.lost + row.duplicated + row.reordered > 0 {
        row.wrong.push(format!(
            "lost {}, duplicated {}, reordered {}",
            row.lost, row.duplicated, row.reordered
        ));
    }
    Ok(())
}

fn slowest_recovery(client: &Client) -> Option<f64> {
    let mut slowest = None;
    for line in client.lines() {
        if let Seen::Recovered { lost_ms, .. } = line.what {
            slowest = slowest.max(Some(lost_ms));
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    slowest.map(|ms| ms as f64)
}

/// Processes that still carry this drill's folder in their command line or its mark in their
/// environment, the server's own excepted.
pub(crate) fn children_left(dir: &Path) -> Result<u64> {
    let needle = dir.display().to_string();
    let mut left: BTreeSet<i32> = marked(dir)?.into_iter().collect();
    for entry in fs::read_dir("/proc").context("processes are listed")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line.contains("drill-agent") && line.contains(&needle) {
            left.insert(pid);
        }
    }
    Ok(left.len() as u64)
}
