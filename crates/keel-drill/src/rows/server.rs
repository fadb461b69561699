//! S01 to S05, S14, S20, N16: the server and its host.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::{S, Spec, Witness};
use crate::{
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    proxy::{Cut, Link},
    rig::{Rig, Who, span},
    server,
};

const RESET: &str = "transport_error";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (who, after_ms, mutant) in [
        (Who::Owner, 30, Mutant::AckUnwritten),
        (Who::Owner, 170, Mutant::AgentLies),
        (Who::Owner, 410, Mutant::ReplayDropped),
        (Who::Viewer, 250, Mutant::AckUnwritten),
    ] {
        let id = format!("S01/mid-turn/{}/{after_ms}ms", who.name());
        rows.push(
            Spec::new(&id, "kill -9 in mid-turn", mutant, move |rig| {
                Box::pin(killed(rig, who, Some(after_ms)))
            })
            .cause(RESET)
            .told_within(250.)
            .back_within(3_000.),
        );
    }
    for (id, who) in [
        ("S14/mid-turn/owner", Who::Owner),
        ("N16/mid-turn/viewer", Who::Viewer),
    ] {
        rows.push(
            Spec::new(
                id,
                "SIGTERM, and started again",
                Mutant::ToldLate,
                move |rig| Box::pin(drained(rig, who)),
            )
            .cause("server_shutdown")
            .told_within(250.)
            .back_within(3_000.),
        );
    }
    rows.extend(others());
    rows
}

fn others() -> Vec<Spec> {
    vec![
        Spec::new(
            "S01/idle/owner",
            "kill -9 while nothing runs",
            Mutant::NeverBack,
            |rig| Box::pin(killed(rig, Who::Owner, None)),
        )
        .cause(RESET)
        .told_within(250.)
        .back_within(3_000.),
        Spec::new(
            "S01/resuming/owner",
            "kill -9 while a client comes back",
            Mutant::LossTwice,
            |rig| Box::pin(killed_while_resuming(rig)),
        )
        .cause(RESET)
        .told_within(250.)
        .back_within(6_000.),
        Spec::new(
            "S01/closing/owner",
            "kill -9 while the session is being ended",
            Mutant::CauseChanged,
            |rig| Box::pin(killed_while_closing(rig)),
        )
        .cause(RESET)
        .told_within(250.)
        .back_within(3_000.),
        Spec::new(
            "S02/mid-turn/owner",
            "the session's machine panics",
            Mutant::NeverBack,
            |rig| Box::pin(panics(rig, Who::Owner)),
        )
        .cause("internal")
        .told_within(1_000.)
        .back_within(3_000.),
        Spec::new(
            "S02/mid-turn/viewer",
            "the session's machine panics",
            Mutant::LossTwice,
            |rig| Box::pin(panics(rig, Who::Viewer)),
        )
        .cause("internal")
        .told_within(1_000.)
        .back_within(3_000.),
        Spec::new(
            "S03/mid-turn/owner",
            "the whole process stands still for 5 s",
            Mutant::ToldLate,
            |rig| Box::pin(stands_still(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(3_000.)
        // It does not know who waited; that it stood still it knows.
        .witness(Witness::Instead("process")),
        Spec::new(
            "S05/mid-turn/owner",
            "no file descriptors are left",
            Mutant::CutAgain,
            |rig| Box::pin(no_files(rig)),
        )
        .files_max(96)
        .back_within(5_000.),
        Spec::new(
            "S20/mid-turn/owner",
            "a second server on the same data",
            Mutant::Unlocked,
            |rig| Box::pin(second(rig)),
        )
        .told_within(10_000.),
    ]
}

async fn killed(rig: &mut Rig, who: Who, after_ms: Option<u64>) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(who).await?;
    if let Some(ms) = after_ms {
        rig.ends.insert("k1".to_owned(), "interrupted");
        rig.flow("k1", "lines=500 pace_ms=20").await?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    } else {
        rig.flow("k1", "lines=5 pace_ms=20").await?;
        rig.over("k1").await?;
    }
    rig.strike();
    rig.server.kill().await?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.server.launch().await?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await.map(drop)
}

/// The connection is cut; what comes back meets a server that does not answer, and is then gone.
async fn killed_while_resuming(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    rig.ends.insert("k1".to_owned(), "interrupted");
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    rig.proxy.set_link(Link::Mute);
    rig.cut(Cut::Reset)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.server.kill().await?;
    rig.proxy.set_link(Link::Up);
    rig.server.launch().await?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await.map(drop)
}

async fn killed_while_closing(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=5 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.proxy.cut(Cut::DeafServer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.tell("end").await?;
    rig.strike();
    rig.server.kill().await?;
    rig.told(S(10)).await?;
    rig.server.launch().await?;
    let launched_at = unix_ms();
    let ended = rig.sees(S(10), "ended", |line| {
        matches!(line.what, Seen::Ended { .. }).then_some(())
    });
    let ((), at) = ended.await?;
    rig.row.recovered_ms = Some(span(launched_at, at));
    rig.recovered();
    Ok(())
}

async fn panics(rig: &mut Rig, who: Who) -> Result<()> {
    rig.enter(who).await?;
    rig.ends.insert("k1".to_owned(), "interrupted");
    rig.strikes_session = true;
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    let body = serde_json::json!({ "session": rig.session, "fault": { "kind": "panic" } });
    let (addr, token) = (rig.server.addr(), rig.token.clone());
    rig.strike();
    // Not as a command, which would be sent again and strike twice. The answer may be lost with it.
    let _ = server::ask(
        addr,
        "POST",
        "/v1/debug/faults",
        Some(&token),
        &body.to_string(),
    )
    .await;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await.map(drop)
}

async fn stands_still(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.strike();
    rig.server.signal(Signal::STOP)?;
    rig.losses = Some(1);
    let told = rig.told(S(10)).await;
    tokio::time::sleep(S(2)).await;
    rig.server.signal(Signal::CONT)?;
    told?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await.map(drop)
}

async fn no_files(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=200 pace_ms=20").await?;
    let addr = rig.server.addr();
    rig.strike();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await);
    }
    rig.losses = Some(0);
    tokio::time::sleep(S(1)).await;
    drop(held);
    let lifted_at = unix_ms();
    let answers = async {
        while !rig.server.is_ready().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(S(10), answers)
        .await
        .context("no answer over HTTP")?;
    rig.row.recovered_ms = Some(span(lifted_at, unix_ms()));
    if !rig.counts("fds").await? {
        rig.wrong("nobody was refused for want of a file");
    }
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

async fn drained(rig: &mut Rig, who: Who) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(who).await?;
    rig.flow("k1", "lines=60 pace_ms=20").await?;
    rig.strike();
    rig.server.signal(Signal::TERM)?;
    let warned = rig.sees(S(10), "told of the drain", |line| {
        let goaway = matches!(&line.what, Seen::Note { text } if text.starts_with("goaway"));
        goaway.then_some(())
    });
    let ((), warned_at) = warned.await?;
    let status = rig.server.stopped(S(20)).await?;
    if status.code() != Some(0) {
        rig.wrong(format!("the server ended with {status}"));
    }
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.row.told_ms = Some(span(rig.struck_at, warned_at));
    rig.server.launch().await?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await.map(drop)
}

async fn second(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=200 pace_ms=20").await?;
    rig.strike();
    rig.losses = Some(0);
    let mut second = tokio::process::Command::new(&rig.exe);
    second.arg("serve").arg("--config").arg(rig.server.config());
    second
        .env("EVENKEEL_SERVER__LISTEN", "127.0.0.1:0")
        .kill_on_drop(true);
    if rig.mutant == Some(Mutant::Unlocked) {
        second.env("EVENKEEL_STORE__PATH", rig.dir.join("elsewhere"));
    }
    let output = tokio::time::timeout(S(15), second.output())
        .await
        .context("the second server was let in")??;
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    if output.status.success() || output.status.code().is_none() {
        rig.wrong(format!("the second server ended with {}", output.status));
    }
    if output.stderr.is_empty() {
        rig.wrong("the second server said nothing");
    }
    rig.over("k1").await?;
    rig.recovered();
    Ok(())
}
