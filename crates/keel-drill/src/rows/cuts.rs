//! N01, N02, N04 to N06, N21: a connection breaks, in mid-turn and while nothing runs.

use anyhow::Result;

use super::{S, Spec};
use crate::{
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Who},
};

/// One way of breaking, in mid-turn and idle, for both roles.
struct Case {
    id: &'static str,
    fault: &'static str,
    cut: Cut,
    code: &'static str,
    told_ms: f64,
    /// In mid-turn for the owner and the viewer, then idle.
    mutants: [Mutant; 4],
}

pub(super) const RESET: &str = "transport_error";
pub(super) const SILENT: &str = "heartbeat_timeout";
/// What idle silence may take longer to be noticed, where nothing is at stake.
const IDLE_LATER_MS: f64 = 4_500.;

const CASES: [Case; 5] = [
    Case {
        id: "N01",
        fault: "both sides are reset",
        cut: Cut::Reset,
        code: RESET,
        told_ms: 250.,
        mutants: [
            Mutant::ReplayDropped,
            Mutant::TextDoubled,
            Mutant::NeverBack,
            Mutant::LossTwice,
        ],
    },
    Case {
        id: "N02",
        fault: "FIN without a close frame",
        cut: Cut::Fin,
        code: RESET,
        told_ms: 250.,
        mutants: [
            Mutant::LossTwice,
            Mutant::ReplayDropped,
            Mutant::CauseChanged,
            Mutant::ToldLate,
        ],
    },
    Case {
        id: "N04",
        fault: "nothing passes either way",
        cut: Cut::BlackHole,
        code: SILENT,
        told_ms: 3_000.,
        mutants: [
            Mutant::ToldLate,
            Mutant::LossUntold,
            Mutant::NeverBack,
            Mutant::CauseChanged,
        ],
    },
    Case {
        id: "N05",
        fault: "nothing passes to the server",
        cut: Cut::DeafServer,
        code: SILENT,
        told_ms: 3_000.,
        mutants: [
            Mutant::CauseChanged,
            Mutant::LossTwice,
            Mutant::LossUntold,
            Mutant::JournalLost,
        ],
    },
    Case {
        id: "N06",
        fault: "nothing passes to the client",
        cut: Cut::DeafClient,
        code: SILENT,
        told_ms: 3_000.,
        mutants: [
            Mutant::NeverBack,
            Mutant::ToldLate,
            Mutant::CauseChanged,
            Mutant::LogMute,
        ],
    },
];

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for case in &CASES {
        let Case { id, fault, cut, .. } = *case;
        for (n, who) in [Who::Owner, Who::Viewer].into_iter().enumerate() {
            let row = Spec::new(
                &format!("{id}/mid-turn/{}", who.name()),
                fault,
                case.mutants[n],
                move |rig| Box::pin(in_mid_turn(rig, who, cut)),
            );
            rows.push(
                row.cause(case.code)
                    .told_within(case.told_ms)
                    .back_within(case.told_ms + 1_000.),
            );
        }
        for (n, who) in [Who::Owner, Who::Viewer].into_iter().enumerate() {
            let later = if case.code == SILENT {
                IDLE_LATER_MS
            } else {
                0.
            };
            let row = Spec::new(
                &format!("{id}/idle/{}", who.name()),
                fault,
                case.mutants[n + 2],
                move |rig| Box::pin(while_idle(rig, who, cut)),
            );
            rows.push(
                row.cause(case.code)
                    .told_within(case.told_ms + later)
                    .back_within(case.told_ms + later + 1_000.),
            );
        }
    }
    for (who, mutant) in [
        (Who::Owner, Mutant::ReplayDropped),
        (Who::Viewer, Mutant::LossTwice),
    ] {
        let row = Spec::new(
            &format!("N21/mid-turn/{}", who.name()),
            "a frame is cut in half",
            mutant,
            move |rig| Box::pin(in_mid_turn(rig, who, Cut::HalfFrame)),
        );
        rows.push(row.cause(RESET).told_within(500.).back_within(1_500.));
    }
    rows
}

pub(super) async fn in_mid_turn(rig: &mut Rig, who: Who, what: Cut) -> Result<()> {
    rig.enter(who).await?;
    rig.flow("k1", "lines=250 pace_ms=20").await?;
    rig.cut(what)?;
    rig.losses = Some(1);
    rig.told(S(20)).await?;
    rig.back(rig.struck_at, S(20)).await?;
    rig.over("k1").await.map(drop)
}

async fn while_idle(rig: &mut Rig, who: Who, what: Cut) -> Result<()> {
    rig.enter(who).await?;
    rig.flow("k1", "lines=5 pace_ms=20").await?;
    rig.over("k1").await?;
    rig.cut(what)?;
    rig.losses = Some(1);
    rig.told(S(20)).await?;
    rig.back(rig.struck_at, S(20)).await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await.map(drop)
}
