//! M02, M03, M04, M09: nothing passes, or not what keeps a way open.

use anyhow::Result;

use super::{BACK_MS, BOTH, S, SILENT, Spec, TOLD_MS, Witness, lasts};
use crate::{
    mutant::Mutant,
    rig::{Camera, Rig},
    udp::{Carries, Loss, Toward, Way},
};

/// How long a way may be used that nobody agrees to any more (RFC 7675 §5.1), in seconds.
const CONSENT_S: u64 = 30;

/// The same for the Rust SDK, whose ICE was restarted while nothing passed.
const NATIVE_BACK_MS: f64 = 2_000.;

struct Case {
    id: &'static str,
    fault: &'static str,
    directions: &'static [Toward],
    lasts_s: u64,
    camera: Camera,
    mutant: Mutant,
}

const CASES: [Case; 8] = [
    Case {
        id: "M02/flowing/owner/native",
        fault: "nothing passes either way for 5 s",
        directions: &BOTH,
        lasts_s: 5,
        camera: Camera::Native,
        mutant: Mutant::MediaUntold,
    },
    Case {
        id: "M02/flowing/owner/chromium",
        fault: "nothing passes either way for 5 s",
        directions: &BOTH,
        lasts_s: 5,
        camera: Camera::Chromium,
        mutant: Mutant::PictureFrozen,
    },
    Case {
        id: "M02/flowing/owner/long",
        fault: "nothing passes either way for 25 s",
        directions: &BOTH,
        lasts_s: 25,
        camera: Camera::Native,
        mutant: Mutant::MediaNeverBack,
    },
    Case {
        id: "M03/flowing/owner/to-server",
        fault: "nothing passes to the server for 5 s",
        directions: &[Toward::Server],
        lasts_s: 5,
        camera: Camera::Native,
        mutant: Mutant::MediaTwice,
    },
    Case {
        id: "M03/flowing/owner/to-client",
        fault: "nothing passes to the client for 5 s",
        directions: &[Toward::Client],
        lasts_s: 5,
        camera: Camera::Native,
        mutant: Mutant::MediaNeverBack,
    },
    Case {
        id: "M03/flowing/owner/to-client/chromium",
        fault: "nothing passes to the client for 5 s",
        directions: &[Toward::Client],
        lasts_s: 5,
        camera: Camera::Chromium,
        mutant: Mutant::ToldLate,
    },
    Case {
        id: "M04/flowing/owner/native",
        fault: "nothing passes either way for 9 s",
        directions: &BOTH,
        lasts_s: 9,
        camera: Camera::Native,
        mutant: Mutant::WayBrokenAgain,
    },
    Case {
        id: "M04/flowing/owner/chromium",
        fault: "nothing passes either way for 9 s",
        directions: &BOTH,
        lasts_s: 9,
        camera: Camera::Chromium,
        mutant: Mutant::MediaUntold,
    },
];

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for case in &CASES {
        let (directions, lasts_s) = (case.directions, case.lasts_s);
        let row = Spec::new(case.id, case.fault, case.mutant, move |rig| {
            Box::pin(broken(rig, directions, lasts_s))
        });
        let row = if directions.contains(&Toward::Server) {
            row
        } else {
            row.witness(Witness::Unseen(
                "what the server sends is missed only where it should come",
            ))
        };
        rows.push(
            row.camera(case.camera)
                .cause(SILENT)
                .told_within(TOLD_MS)
                .back_within(match case.camera {
                    Camera::Native => NATIVE_BACK_MS,
                    Camera::Chromium => BACK_MS,
                }),
        );
    }
    rows.push(
        Spec::new(
            "M09/flowing/owner",
            "no check of ICE passes for 40 s",
            Mutant::PictureFrozen,
            |rig| Box::pin(no_consent(rig)),
        )
        .camera(Camera::Native)
        .back_within(5_000.),
    );
    rows
}

/// The way is broken for so long, then whole.
async fn broken(rig: &mut Rig, directions: &[Toward], lasts_s: u64) -> Result<()> {
    rig.call().await?;
    rig.break_way(directions, Way::DEAD)?;
    rig.media()?.losses = Some(1);
    rig.media_told(S(10)).await?;
    if directions.contains(&Toward::Server) {
        rig.server_noticed(SILENT).await?;
    }
    lasts(rig, S(lasts_s)).await;
    rig.heal()?;
    rig.media_back(S(20)).await
}

/// Media passes and checks do not: whoever sends on must know that somebody still wants it, so that stops.
async fn no_consent(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    let way = Way {
        loss: Loss::Only(Carries::Stun),
        ..Way::CLEAR
    };
    rig.break_way(&BOTH, way)?;
    lasts(rig, S(CONSENT_S + 2)).await;
    for toward in BOTH {
        let before = rig.media_ref()?.udp.tally(toward).passed;
        tokio::time::sleep(S(1)).await;
        let sent = rig.media_ref()?.udp.tally(toward).passed - before;
        if sent > 0 {
            rig.wrong(format!(
                "{sent} datagrams in a second to the {toward:?} without consent"
            ));
        }
    }
    lasts(rig, S(CONSENT_S + 10)).await;
    rig.heal()?;
    rig.tell("retry").await?;
    let healed_at = rig.media_ref()?.healed_at;
    let flows_at = rig.pictures_again(healed_at, S(20)).await?;
    rig.row.recovered_ms = Some(crate::rig::span(healed_at, flows_at));
    // What it was told on the way is another row's matter: here it is that sending ends.
    rig.recovered();
    Ok(())
}
