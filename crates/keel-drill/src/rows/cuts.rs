//! N01 to N06 and N21: a connection breaks, in every way and every phase of its life.

use std::time::Duration;

use anyhow::{Result, bail};

use super::{S, Spec, Witness, Work};
use crate::{
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    proxy::{Cut, Link},
    rig::{Rig, Who, span},
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

const RESET: &str = "transport_error";
const CLOSED: &str = "connection_closed";
const SILENT: &str = "heartbeat_timeout";
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
            Mutant::StatusUntold,
            Mutant::LogMute,
        ],
    },
];

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for case in &CASES {
        let Case { id, fault, cut, .. } = *case;
        for (n, who) in [Who::Owner, Who::Viewer].into_iter().enumerate() {
            let row = network(
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
            let row = network(
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
    rows.extend(closes());
    rows.extend(while_resuming());
    rows.extend(while_closing());
    for (who, mutant) in [
        (Who::Owner, Mutant::ReplayDropped),
        (Who::Viewer, Mutant::LossTwice),
    ] {
        let row = network(
            &format!("N21/mid-turn/{}", who.name()),
            "a frame is cut in half",
            mutant,
            move |rig| Box::pin(in_mid_turn(rig, who, Cut::HalfFrame)),
        );
        rows.push(row.cause(RESET).told_within(500.).back_within(1_500.));
    }
    rows
}

fn network(
    id: &str,
    fault: &str,
    mutant: Mutant,
    work: impl for<'a> Fn(&'a mut Rig) -> Work<'a> + 'static,
) -> Spec {
    Spec::new(id, "network", fault, mutant, work)
}

/// N03: close frames that nobody announced.
fn closes() -> Vec<Spec> {
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
        let row = network(
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
        let row = network(
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

/// What meets a client that comes back, and for how long.
fn while_resuming() -> Vec<Spec> {
    use super::connecting::{BAD_GATEWAY, HTML, LATER};
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
            Mutant::NeverBack,
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
            Mutant::LossTwice,
        ),
    ] {
        let (id, kind) = id
            .split_once('/')
            .map_or((id, String::new()), |(id, kind)| (id, format!("/{kind}")));
        // A black hole is left to time out by itself; the others end with the link.
        let struck_again = id == "N01";
        let row = network(
            &format!("{id}/resuming/owner{kind}"),
            fault,
            mutant,
            move |rig| Box::pin(cut_again(rig, link, down_ms, struck_again)),
        );
        rows.push(row.cause(RESET).told_within(250.).back_within(6_000.));
    }
    rows
}

/// What was said last is not lost with the connection that it was said on.
fn while_closing() -> Vec<Spec> {
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
        let row = network(&format!("{id}/closing/owner"), fault, mutant, move |rig| {
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

async fn in_mid_turn(rig: &mut Rig, who: Who, what: Cut) -> Result<()> {
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
