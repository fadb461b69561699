//! P01, P02, P10 to P12: the peer at the other end, and what becomes of it.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{S, Spec};
use crate::{
    heart::unix_ms,
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Via, Who, span},
    server,
};

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "P01/mid-turn/viewer",
            "the owner's process is killed (-9)",
            Mutant::LogMute,
            |rig| Box::pin(killed(rig)),
        )
        .cause("connection_closed")
        .told_within(1_000.),
        Spec::new(
            "P02/mid-turn/viewer",
            "the viewer is stopped for 6 s",
            Mutant::NeverBack,
            |rig| Box::pin(stopped(rig, Who::Viewer, Some(6))),
        )
        .cause("heartbeat_timeout")
        .told_within(1_000.)
        .back_within(2_000.),
        Spec::new(
            "P02/mid-turn/owner",
            "the owner is stopped for 6 s",
            Mutant::CauseChanged,
            |rig| Box::pin(stopped(rig, Who::Owner, Some(6))),
        )
        .cause("heartbeat_timeout")
        .told_within(1_000.)
        .back_within(2_000.),
        Spec::new(
            "P02/idle/viewer",
            "the viewer is stopped for 9 s",
            Mutant::LossTwice,
            |rig| Box::pin(stopped(rig, Who::Viewer, None)),
        )
        .cause("heartbeat_timeout")
        .told_within(1_000.)
        .back_within(2_000.),
        Spec::new(
            "P10/mid-turn/owner/once",
            "a turn is cancelled",
            Mutant::CrashIsDone,
            |rig| Box::pin(cancel(rig, 1)),
        )
        .told_within(2_000.),
        Spec::new(
            "P10/mid-turn/owner/twice",
            "a turn is cancelled twice",
            Mutant::ToldLate,
            |rig| Box::pin(cancel(rig, 2)),
        )
        .told_within(2_000.),
        Spec::new(
            "P10/mid-turn/owner/lost",
            "the cancel is lost with its connection",
            Mutant::LossTwice,
            |rig| Box::pin(cancel_lost(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(4_000.),
        Spec::new(
            "P10/idle/owner/after",
            "cancelled after its end",
            Mutant::TextDropped,
            |rig| Box::pin(cancel_late(rig)),
        ),
        Spec::new(
            "P11/mid-turn/owner",
            "the token expires",
            Mutant::ToldLate,
            |rig| Box::pin(expires(rig)),
        )
        .fails()
        .cause("token_expired")
        .told_within(2_000.),
        Spec::new(
            "P12/mid-turn/owner",
            "the token is revoked",
            Mutant::CauseChanged,
            |rig| Box::pin(revoked(rig)),
        )
        .fails()
        .cause("unauthenticated")
        .told_within(1_000.),
    ]
}

async fn killed(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=150 pace_ms=20").await?;
    rig.strike();
    rig.client(Who::Owner)?.signal(Signal::KILL)?;
    rig.dismiss(Who::Owner);
    rig.over("k1").await?;
    rig.journaled_loss(S(10)).await?;
    rig.recovered();
    Ok(())
}

/// Stopped in mid-turn for so many seconds; or while nothing runs, for longer than that is unheard of.
async fn stopped(rig: &mut Rig, who: Who, in_turn_s: Option<u64>) -> Result<()> {
    rig.enter(who).await?;
    let lines = if in_turn_s.is_some() { 500 } else { 5 };
    rig.flow("k1", &format!("lines={lines} pace_ms=20")).await?;
    if in_turn_s.is_none() {
        rig.over("k1").await?;
    }
    rig.client(who)?.signal(Signal::STOP)?;
    tokio::time::sleep(S(in_turn_s.unwrap_or(9))).await;
    // Nobody can be told who is stopped: the clock runs from when it goes on.
    rig.strike();
    rig.client(who)?.signal(Signal::CONT)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await.map(drop)
}

async fn cancel(rig: &mut Rig, times: u32) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.ends.insert("k1".to_owned(), "cancelled");
    rig.flow("k1", "lines=1000 pace_ms=20").await?;
    rig.strike();
    for _ in 0..times {
        rig.tell("cancel").await?;
    }
    let turn = rig.over("k1").await?;
    rig.row.told_ms = Some(span(rig.struck_at, turn.ended_at));
    rig.flow("k2", "lines=30 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

async fn cancel_late(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=20 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.strike();
    rig.tell("cancel").await?;
    rig.receipt("cancel").await?;
    rig.flow("k2", "lines=30 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

async fn cancel_lost(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.ends.insert("k1".to_owned(), "cancelled");
    rig.flow("k1", "lines=1000 pace_ms=20").await?;
    rig.cut(Cut::DeafServer)?;
    rig.losses = Some(1);
    // Nothing passes by now: the cancel is lost for certain.
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.tell("cancel").await?;
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await.map(drop)
}

async fn expires(rig: &mut Rig) -> Result<()> {
    let token = rig
        .server
        .token(&["--subject", "drill", "--ttl-s", "5"])
        .await?;
    let expires_at = unix_ms() + 5_000;
    let url = rig.url(Via::Direct);
    rig.launch_as(Who::Owner, &url, &token, &[])?;
    rig.session = rig.client(Who::Owner)?.session().await?;
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    rig.struck_at = expires_at.saturating_sub(1_000);
    rig.failed(S(20)).await?;
    rig.row.told_ms = rig.row.told_ms.map(|ms| ms - 1_000.);
    rig.dismiss(Who::Owner);
    rig.over("k1").await.map(drop)
}

async fn revoked(rig: &mut Rig) -> Result<()> {
    let minted = rig.server.token(&["--subject", "drill", "--json"]).await?;
    let minted: Value = serde_json::from_str(&minted)?;
    let token = minted["token"].as_str().context("a token")?.to_owned();
    let admin = rig.server.token(&["--subject", "x", "--admin"]).await?;
    let url = rig.url(Via::Direct);
    rig.launch_as(Who::Owner, &url, &token, &[])?;
    rig.session = rig.client(Who::Owner)?.session().await?;
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.flow("k1", "lines=100 pace_ms=20").await?;
    rig.strike();
    let body = json!({ "token_id": minted["token_id"] }).to_string();
    let addr = rig.server.addr();
    server::ask(addr, "POST", "/v1/tokens/revoke", Some(&admin), &body).await?;
    rig.failed(S(10)).await?;
    rig.dismiss(Who::Owner);
    rig.over("k1").await.map(drop)
}
