//! What befalls the other legs, or all of them, while a camera runs: N01, S01, P01 to P03.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::{BOTH, NIGHT_S, Preload, S, Spec, lasts};
use crate::{
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    proxy::{Cut, Link},
    rig::{Camera, Rig, Who, span},
    udp::Way,
};

const RESET: &str = "transport_error";
/// How often a server is killed in one row: fewer times than a client makes transports anew in a row.
const KILLS: u32 = 5;

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (camera, mutant) in [
        (Camera::Native, Mutant::PictureDropped),
        (Camera::Chromium, Mutant::LossTwice),
    ] {
        let id = format!("N01/flowing/owner/{}", camera.name());
        let fault = "signaling is reset while a camera runs";
        let row = Spec::new(&id, fault, mutant, |rig| Box::pin(signaling(rig)));
        rows.push(
            row.camera(camera)
                .cause(RESET)
                .told_within(250.)
                .back_within(1_250.),
        );
    }
    rows.push(
        Spec::new(
            "N01/flowing/owner/both",
            "signaling is reset and refused, and no datagram passes, for 5 s",
            Mutant::PictureFrozen,
            |rig| Box::pin(both(rig)),
        )
        .camera(Camera::Native)
        .cause(RESET)
        .told_within(250.)
        .back_within(5_000.),
    );
    for (camera, mutant) in [
        (Camera::Native, Mutant::NeverBack),
        (Camera::Chromium, Mutant::LossTwice),
    ] {
        let id = format!("S01/flowing/owner/{}", camera.name());
        let fault = format!("kill -9 while a camera runs, {KILLS} times");
        let row = Spec::new(&id, &fault, mutant, |rig| Box::pin(killed(rig)));
        rows.push(
            row.camera(camera)
                .cause(RESET)
                .told_within(250.)
                .back_within(3_000.),
        );
    }
    for (camera, mutant) in [
        (Camera::Native, Mutant::NeverBack),
        (Camera::Chromium, Mutant::LossTwice),
    ] {
        let id = format!("P02/flowing/owner/{}", camera.name());
        let fault = "the client is stopped for 6 s while its camera runs";
        let row = Spec::new(&id, fault, mutant, |rig| Box::pin(stopped(rig, None)));
        rows.push(
            row.camera(camera)
                .cause("heartbeat_timeout")
                .told_within(1_500.)
                .back_within(4_000.),
        );
    }
    rows.push(
        Spec::new(
            "P03/flowing/owner",
            "its machine sleeps for 8 h while its camera runs, of which the server sees 6 s",
            Mutant::PictureFrozen,
            |rig| Box::pin(stopped(rig, Some(NIGHT_S))),
        )
        .camera(Camera::Native)
        .preload(Preload::ClientsClock)
        .cause("heartbeat_timeout")
        .told_within(1_500.)
        .back_within(4_000.),
    );
    rows.push(
        Spec::new(
            "P01/flowing/owner/chromium",
            "the browser is killed (-9) while its camera runs, and another comes",
            Mutant::PictureDoubled,
            |rig| Box::pin(replaced(rig)),
        )
        .camera(Camera::Chromium)
        .cause("connection_closed")
        .told_within(1_000.)
        .back_within(4_000.),
    );
    rows
}

/// The later of two times.
fn later(one: Option<f64>, other: f64) -> Option<f64> {
    Some(one.map_or(other, |one| one.max(other)))
}

/// Media does not notice.
async fn signaling(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    let before = lost_by_count(rig).await?;
    rig.cut(Cut::Reset)?;
    rig.losses = Some(1);
    rig.media()?.losses = Some(0);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.pictures_again(unix_ms() + 1_500, S(10)).await?;
    let after = lost_by_count(rig).await?;
    if before != after {
        rig.wrong(format!(
            "{before:?} packets were lost before, {after:?} after"
        ));
    }
    Ok(())
}

/// What a browser itself counted as lost; nothing without a browser.
async fn lost_by_count(rig: &mut Rig) -> Result<Option<u64>> {
    if rig.media_ref()?.camera == Camera::Native {
        return Ok(None);
    }
    let since = unix_ms();
    rig.tell("stats").await?;
    let counted = rig
        .client(Who::Owner)?
        .until(S(10), "its counts", |line| match line.what {
            Seen::Stats { packets_lost, .. } if line.t >= since => Some(packets_lost),
            _ => None,
        });
    Ok(Some(counted.await?))
}

/// Nothing is left to say it by; and everything comes back.
async fn both(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.proxy.set_link(Link::Refusing);
    rig.break_way(&BOTH, Way::DEAD)?;
    rig.cut(Cut::Reset)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    lasts(rig, S(5)).await;
    rig.proxy.set_link(Link::Up);
    rig.heal()?;
    let healed_at = rig.media_ref()?.healed_at;
    rig.back(healed_at, S(20)).await?;
    let flows_at = rig.pictures_again(healed_at, S(20)).await?;
    rig.row.recovered_ms = later(rig.row.recovered_ms, span(healed_at, flows_at));
    Ok(())
}

/// The picture is back, each time, without anybody's doing.
async fn killed(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.call().await?;
    let mut slowest: Option<f64> = None;
    let mut told_latest: Option<f64> = None;
    for n in 0..KILLS {
        rig.excuse()?;
        rig.strike();
        rig.server.kill().await?;
        rig.told(S(10)).await?;
        told_latest = later(told_latest, rig.row.told_ms.unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(500)).await;
        rig.server.launch().await?;
        let listens_at = unix_ms();
        rig.back(listens_at, S(20)).await?;
        let flows_at = rig.pictures_again(listens_at, S(20)).await?;
        slowest = later(slowest, span(listens_at, flows_at));
        rig.heal()?;
        rig.pictures_again(flows_at + 500, S(10)).await?;
        // A client that gets nowhere between two losses waits longer: this one gets somewhere.
        let patch = format!("{{\"alive\":{n}}}");
        rig.tell(&format!("set {patch}")).await?;
        rig.receipt(&patch).await?;
    }
    rig.row.told_ms = told_latest;
    rig.row.recovered_ms = slowest;
    rig.losses = Some(1);
    Ok(())
}

/// The journal says who is gone; whoever comes in its place is seen.
async fn replaced(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.strike();
    rig.client(Who::Owner)?.signal(Signal::KILL)?;
    rig.dismiss(Who::Owner);
    rig.journaled_loss(S(10)).await?;
    let session = format!("--session={}", rig.session);
    rig.dial_in_with(&[session]).await?;
    // How long a browser takes to start is its own affair.
    let joined_at = unix_ms();
    rig.flows().await?;
    let flows_at = rig.pictures_again(joined_at, S(10)).await?;
    rig.row.recovered_ms = Some(span(joined_at, flows_at));
    rig.pictures_again(unix_ms() + 1_000, S(10)).await?;
    rig.recovered();
    Ok(())
}

async fn stopped(rig: &mut Rig, slept_s: Option<i64>) -> Result<()> {
    rig.call().await?;
    rig.excuse()?;
    rig.client(Who::Owner)?.signal(Signal::STOP)?;
    tokio::time::sleep(S(6)).await;
    if let Some(slept_s) = slept_s {
        rig.clock_is_ahead(slept_s)?;
    }
    // Nobody can be told who is stopped: the clock runs from when it goes on.
    rig.strike();
    rig.client(Who::Owner)?.signal(Signal::CONT)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    let flows_at = rig.pictures_again(rig.struck_at, S(10)).await?;
    rig.row.recovered_ms = later(rig.row.recovered_ms, span(rig.struck_at, flows_at));
    rig.heal()
}
