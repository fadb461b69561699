//! P03, P06, S18: clocks that do not go as clocks do.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::{NIGHT_S, Preload, S, Spec, Witness};
use crate::{
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Who},
};

const DAY_S: i64 = 24 * 3_600;

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = vec![
        Spec::new(
            "P03/mid-turn/owner",
            "the owner's machine sleeps for 8 h, of which the server sees 6 s",
            Mutant::NeverBack,
            |rig| Box::pin(slept(rig)),
        )
        .preload(Preload::ClientsClock)
        .cause("heartbeat_timeout")
        .told_within(1_000.)
        .back_within(2_000.),
        Spec::new(
            "P03/mid-turn/owner/unnoticed",
            "the owner's machine sleeps for 8 h, of which the server sees 2 s",
            Mutant::TextDropped,
            |rig| Box::pin(napped(rig)),
        )
        .preload(Preload::ClientsClock),
    ];
    for (name, jump_s, mutants) in [
        ("ahead", DAY_S, [Mutant::ReplayDropped, Mutant::LossTwice]),
        ("back", -DAY_S, [Mutant::CauseChanged, Mutant::ToldLate]),
    ] {
        let whose = [
            ("P06", "client", Preload::ClientsClock),
            ("S18", "server", Preload::ServersClock),
        ];
        for ((row, of, preload), mutant) in whose.into_iter().zip(mutants) {
            let id = format!("{row}/mid-turn/owner/{name}");
            let fault =
                format!("the {of}'s clock jumps a day {name}, then the connection is reset");
            rows.push(
                Spec::new(&id, &fault, mutant, move |rig| {
                    Box::pin(jumped(rig, jump_s))
                })
                .preload(preload)
                .cause("transport_error")
                .told_within(250.)
                .back_within(1_250.)
                .witness(Witness::Session),
            );
        }
    }
    rows
}

/// The owner's machine sleeps for a night, of which others see so much.
async fn sleeps(rig: &mut Rig, seen: Duration) -> Result<()> {
    rig.client(Who::Owner)?.signal(Signal::STOP)?;
    tokio::time::sleep(seen).await;
    rig.clock_is_ahead(NIGHT_S)?;
    // Nobody can be told who sleeps: the clock runs from when it wakes.
    rig.strike();
    rig.client(Who::Owner)?.signal(Signal::CONT)
}

async fn slept(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    sleeps(rig, S(6)).await?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await.map(drop)
}

/// It looks before it believes its timers, and finds everything as it was.
async fn napped(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=300 pace_ms=20").await?;
    sleeps(rig, S(2)).await?;
    rig.losses = Some(0);
    rig.over("k1").await?;
    rig.flow("k2", "lines=30 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

/// The jump itself is no loss; and what is lost after it is recovered as at any other time.
async fn jumped(rig: &mut Rig, by_s: i64) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.strike();
    rig.clock_is_ahead(by_s)?;
    // Longer than anybody is silent who is well, and than silence is borne.
    tokio::time::sleep(Duration::from_secs(6)).await;
    rig.losses = Some(1);
    rig.cut(Cut::Reset)?;
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=30 pace_ms=20").await?;
    rig.over("k2").await.map(drop)
}
