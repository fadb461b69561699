//! N01, N04, N12, N15, N21: what meets a client that comes back, and for how long.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{
    S, Spec,
    connecting::{BAD_GATEWAY, HTML, LATER},
    cuts::RESET,
};
use crate::{
    heart::unix_ms,
    mutant::Mutant,
    proxy::{Cut, Link},
    rig::{Rig, Who},
};

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (id, fault, link, down_ms, mutant) in [
        (
            "N01",
            "reset again while it comes back",
            Link::Mute,
            1_500,
            Mutant::ReplayDropped,
        ),
        (
            "N04",
            "no answer to hello while it comes back",
            Link::Mute,
            3_000,
            Mutant::LossTwice,
        ),
        (
            "N21",
            "the welcome is cut in half",
            Link::HalfWelcome,
            1_000,
            Mutant::TextDoubled,
        ),
        (
            "N12/refused",
            "no connection for 3 s",
            Link::Refusing,
            3_000,
            Mutant::StatusUntold,
        ),
        (
            "N12/silent",
            "dialling is not answered for 6 s",
            Link::Silent,
            6_000,
            Mutant::ToldLate,
        ),
        (
            "N15/200",
            "an HTML page instead of an upgrade",
            Link::Answers(HTML),
            2_000,
            Mutant::CauseChanged,
        ),
        (
            "N15/502",
            "502 instead of an upgrade",
            Link::Answers(BAD_GATEWAY),
            2_000,
            Mutant::ReplayDropped,
        ),
        (
            "N15/503",
            "503 with Retry-After",
            Link::Answers(LATER),
            2_000,
            Mutant::StatusUntold,
        ),
    ] {
        let (id, kind) = id
            .split_once('/')
            .map_or((id, String::new()), |(id, kind)| (id, format!("/{kind}")));
        // A black hole is left to time out by itself; the others end with the link.
        let struck_again = id == "N01";
        let row = Spec::new(
            &format!("{id}/resuming/owner{kind}"),
            fault,
            mutant,
            move |rig| Box::pin(cut_again(rig, link, down_ms, struck_again)),
        );
        rows.push(row.cause(RESET).told_within(250.).back_within(6_000.));
    }
    rows
}

/// Cut, and for `down_ms` nobody gets through.
async fn cut_again(rig: &mut Rig, link: Link, down_ms: u64, struck_again: bool) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.proxy.set_link(link);
    rig.cut(Cut::Reset)?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    tokio::time::sleep(Duration::from_millis(down_ms)).await;
    if rig.proxy.accepted() > 40 {
        bail!("{} connections: a storm", rig.proxy.accepted());
    }
    rig.proxy.set_link(Link::Up);
    if struck_again {
        rig.proxy.cut(Cut::Reset);
    }
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await.map(drop)
}
