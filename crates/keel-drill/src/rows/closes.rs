//! N03: close frames that nobody announced.

use anyhow::Result;

use super::{S, Spec, Witness, cuts::in_mid_turn};
use crate::{
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Who},
};

const CLOSED: &str = "connection_closed";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (code, who, fault, back_ms, mutant) in [
        (
            1001,
            Who::Owner,
            "a close frame: going away",
            1_250.,
            Mutant::ReplayDropped,
        ),
        (
            1011,
            Who::Owner,
            "a close frame: an error",
            1_250.,
            Mutant::LossTwice,
        ),
        (
            1012,
            Who::Owner,
            "a close frame: restarting",
            1_250.,
            Mutant::NeverBack,
        ),
        (
            1012,
            Who::Viewer,
            "a close frame: restarting",
            1_250.,
            Mutant::TextDoubled,
        ),
        (
            1013,
            Who::Owner,
            "a close frame: try again later",
            2_500.,
            Mutant::ToldLate,
        ),
    ] {
        let row = Spec::new(
            &format!("N03/mid-turn/{}/{code}", who.name()),
            fault,
            mutant,
            move |rig| Box::pin(in_mid_turn(rig, who, Cut::Close(code))),
        );
        rows.push(row.cause(CLOSED).told_within(250.).back_within(back_ms));
    }
    for (code, fault, mutant) in [
        (1008, "a close frame: a policy", Mutant::LossUntold),
        (1000, "a close frame: all is well", Mutant::CauseChanged),
    ] {
        let row = Spec::new(
            &format!("N03/mid-turn/owner/{code}"),
            fault,
            mutant,
            move |rig| Box::pin(closed_for_good(rig, code)),
        );
        rows.push(
 row
                .fails()
                .cause(CLOSED)
                .told_within(250.)
                .witness(Witness::Unseen(
                    "who comes between closes towards the client, which does not come back to say so",
                )),
        );
    }
    rows
}

async fn closed_for_good(rig: &mut Rig, code: u16) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=100 pace_ms=20").await?;
    rig.cut(Cut::Close(code))?;
    rig.told(S(10)).await?;
    rig.failed(S(10)).await?;
    // What it was told of a turn that goes on without it is a prefix.
    rig.dismiss(Who::Owner);
    rig.over("k1").await.map(drop)
}
