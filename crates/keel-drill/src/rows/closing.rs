//! N01, N02, N04: what was said last is not lost with the connection that it was said on.

use std::time::Duration;

use anyhow::Result;

use super::{
    S, Spec,
    cuts::{RESET, SILENT},
};
use crate::{
    ledger::Seen,
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Who, span},
};

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (id, fault, cut, code, told_ms, mutant) in [
        (
            "N01",
            "reset while the session is being ended",
            Cut::Reset,
            RESET,
            250.,
            Mutant::ToldLate,
        ),
        (
            "N02",
            "FIN while the session is being ended",
            Cut::Fin,
            RESET,
            250.,
            Mutant::CauseChanged,
        ),
        (
            "N04",
            "nothing passes while it is being ended",
            Cut::BlackHole,
            SILENT,
            7_500.,
            Mutant::LossUntold,
        ),
    ] {
        let row = Spec::new(&format!("{id}/closing/owner"), fault, mutant, move |rig| {
            Box::pin(cut_while_closing(rig, cut))
        });
        rows.push(
            row.cause(code)
                .told_within(told_ms)
                .back_within(told_ms + 1_000.),
        );
    }
    rows
}

async fn cut_while_closing(rig: &mut Rig, cut: Cut) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=10 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.proxy.cut(Cut::DeafServer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    rig.tell("end").await?;
    rig.cut(cut)?;
    rig.told(S(10)).await?;
    let ended = rig.sees(S(10), "ended", |line| {
        matches!(line.what, Seen::Ended { .. }).then_some(())
    });
    let ((), at) = ended.await?;
    rig.row.recovered_ms = Some(span(rig.struck_at, at));
    rig.recovered();
    Ok(())
}
