//! M12: the TURN server that carries a call dies, with every relay that it had; or what it was opened with
//! has expired meanwhile.

use std::time::Instant;

use anyhow::Result;

use super::{S, SILENT, Spec, TOLD_MS, lasts, lives};
use crate::{
    ledger::Seen,
    mutant::Mutant,
    rig::{Camera, Rig, Who, span},
};

/// From a TURN server that is there again to pictures. A relay is to be opened anew: the next transport
/// does, which is tried after a wait that grows with each that came to nothing.
const BACK_MS: f64 = 10_000.;
/// How long credentials last, in seconds: long, and the shortest.
const TTL_S: u64 = 3_600;
const TTL_S_MIN: u64 = 30;
/// A recovery comes to a verdict within this.
const VERDICT_MS: f64 = 40_000.;

pub(super) fn rows() -> Vec<Spec> {
    let row = |id: &str,
               fault: &str,
               mutant,
               ttl_s,
               back_ms,
               work: fn(&mut Rig) -> super::super::Work<'_>| {
        Spec::new(id, fault, mutant, work)
            .camera(Camera::Chromium)
            .turn(ttl_s)
            .cause(SILENT)
            .told_within(TOLD_MS)
            .back_within(back_ms)
    };
    vec![
        row(
            "M12/flowing/owner/restarted",
            "kill -9 of the TURN server that carries the call, which is there again after 4 s",
            Mutant::MediaNeverBack,
            TTL_S,
            BACK_MS,
            |rig| Box::pin(restarted(rig)),
        ),
        row(
            "M12/flowing/owner/expired",
            "the same, when the credentials that the call was made with have expired",
            Mutant::PictureFrozen,
            TTL_S_MIN,
            BACK_MS,
            |rig| Box::pin(expired(rig)),
        ),
        row(
            "M12/flowing/owner/gone",
            "kill -9 of the TURN server that carries the call, which is gone until a person tries again",
            Mutant::MediaUntold,
            TTL_S,
            BACK_MS,
            |rig| Box::pin(gone(rig)),
        ),
    ]
}

/// A call that goes through the relay, and through nothing else.
async fn call(rig: &mut Rig) -> Result<()> {
    rig.call_beside().await?;
    rig.dial_in_with(&["--policy=relay".to_owned()]).await?;
    rig.flows().await
}

async fn kill(rig: &mut Rig) -> Result<()> {
    rig.excuse()?;
    rig.strike();
    rig.media()?.turn()?.kill().await?;
    rig.media()?.losses = Some(1);
    rig.media_told(S(10)).await?;
    rig.server_noticed(SILENT).await
}

async fn restarted(rig: &mut Rig) -> Result<()> {
    call(rig).await?;
    kill(rig).await?;
    lasts(rig, S(4)).await;
    rig.media()?.turn()?.launch().await?;
    rig.heal()?;
    rig.media_back(S(40)).await
}

/// The relay is opened with credentials that were handed out since.
async fn expired(rig: &mut Rig) -> Result<()> {
    let welcomed = Instant::now();
    call(rig).await?;
    tokio::time::sleep(S(TTL_S_MIN + 2).saturating_sub(welcomed.elapsed())).await;
    kill(rig).await?;
    lasts(rig, S(4)).await;
    rig.media()?.turn()?.launch().await?;
    rig.heal()?;
    rig.media_back(S(40)).await
}

/// A typed verdict within its bound; the session lives, and a person's trying again is enough.
async fn gone(rig: &mut Rig) -> Result<()> {
    call(rig).await?;
    kill(rig).await?;
    let given_up = rig.sees(S(60), "the verdict of media", |line| match &line.what {
        Seen::Fault { code } => Some(code.clone()),
        _ => None,
    });
    let (code, at) = given_up.await?;
    if !["media_failed", "rejoin_limit"].contains(&code.as_str()) {
        rig.wrong(format!("given up as {code}"));
    }
    let after = span(rig.struck_at, at);
    if after > VERDICT_MS {
        rig.wrong(format!("given up after {after} ms"));
    }
    lives(rig).await?;
    rig.client(Who::Owner)?;
    rig.media()?.turn()?.launch().await?;
    rig.heal()?;
    rig.tell("retry").await?;
    rig.media_back(S(20)).await
}
