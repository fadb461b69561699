//! N08, N09, N10, N14, N20: the network is late, narrow or impatient, and not broken.

use std::time::Duration;

use anyhow::Result;

use super::{S, Spec};
use crate::{
    mutant::Mutant,
    proxy::{Cut, Link},
    rig::{Rig, Who},
};

/// 16 kbit/s, in bytes.
const NARROW_PER_S: u32 = 2_000;
/// What a server may need more for a client that takes its time.
const NARROW_COSTS_KB: u64 = 16 * 1024;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "N08/mid-turn/owner/2s",
            "everything is held for 2 s",
            Mutant::CutAgain,
            |rig| Box::pin(short_spike(rig)),
        ),
        Spec::new(
            "N08/mid-turn/owner/5s",
            "everything is held for 5 s",
            Mutant::LossTwice,
            |rig| Box::pin(long_spike(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(4_000.),
        Spec::new("N09/mid-turn/owner", "16 kbit/s", Mutant::CutAgain, |rig| {
            Box::pin(narrow(rig))
        }),
        Spec::new(
            "N10/mid-turn/viewer",
            "a byte a second",
            Mutant::NeverBack,
            |rig| Box::pin(byte_by_byte(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(10_000.)
        .back_within(11_000.),
        Spec::new(
            "N14/idle/owner",
            "a proxy cuts what is idle for 10 s",
            Mutant::CutAgain,
            |rig| Box::pin(impatient(rig)),
        ),
        Spec::new(
            "N20/mid-turn/owner",
            "a command of the old connection arrives after the new one",
            Mutant::SaysTwice,
            |rig| Box::pin(old_bytes(rig)),
        )
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(4_000.),
    ]
}

async fn short_spike(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=200 pace_ms=20").await?;
    rig.cut(Cut::Hold(Duration::from_millis(2_000)))?;
    rig.losses = Some(0);
    rig.over("k1").await?;
    rig.recovered();
    no_storm(rig, 1);
    Ok(())
}

async fn long_spike(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.cut(Cut::Hold(S(5)))?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    no_storm(rig, 2);
    Ok(())
}

async fn byte_by_byte(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Viewer).await?;
    rig.flow("k1", "lines=250 pace_ms=20").await?;
    rig.cut(Cut::Trickle(1))?;
    rig.losses = Some(1);
    rig.told(S(20)).await?;
    rig.back(rig.struck_at, S(20)).await?;
    rig.over("k1").await.map(drop)
}

async fn old_bytes(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=300 pace_ms=20").await?;
    rig.cut(Cut::Hold(S(4)))?;
    rig.losses = Some(1);
    rig.tell("say k2 lines=10 pace_ms=20").await?;
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    rig.over("k2").await.map(drop)
}

/// Five times as much is said as passes: it comes late, and costs nobody any memory.
async fn narrow(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=120 pace_ms=20").await?;
    let before_kb = rig.server.resident_kb()?;
    rig.cut(Cut::Trickle(NARROW_PER_S))?;
    rig.losses = Some(0);
    rig.over("k1").await?;
    let more_kb = rig.server.resident_kb()?.saturating_sub(before_kb);
    if more_kb > NARROW_COSTS_KB {
        rig.wrong(format!("the server has {more_kb} KiB more in memory"));
    }
    rig.recovered();
    no_storm(rig, 1);
    Ok(())
}

async fn impatient(rig: &mut Rig) -> Result<()> {
    rig.proxy.set_link(Link::Impatient(S(10)));
    rig.enter(Who::Owner).await?;
    rig.strike();
    rig.losses = Some(0);
    tokio::time::sleep(S(25)).await;
    rig.flow("k1", "lines=10 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.recovered();
    no_storm(rig, 1);
    Ok(())
}

fn no_storm(rig: &mut Rig, most: u64) {
    let conns = rig.proxy.accepted();
    if conns > most {
        rig.wrong(format!("{conns} connections, where {most} are enough"));
    }
}
