//! M11: what comes is of no use, though the way is whole.

use anyhow::Result;

use super::{BACK_MS, S, SILENT, Spec, TOLD_MS, lasts};
use crate::{
    mutant::Mutant,
    rig::{Camera, Rig},
    udp::{Loss, Toward, Way},
};

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (camera, mutant) in [
        (Camera::Native, Mutant::MediaTwice),
        (Camera::Chromium, Mutant::MediaNeverBack),
    ] {
        let id = format!("M11/flowing/owner/frozen/{}", camera.name());
        let fault = "the camera makes no pictures for 6 s";
        let row = Spec::new(&id, fault, mutant, |rig| Box::pin(frozen(rig)));
        rows.push(
            row.camera(camera)
                .cause(SILENT)
                .told_within(TOLD_MS)
                .back_within(BACK_MS),
        );
    }
    rows.push(
        Spec::new(
            "M11/flowing/owner/keyless",
            "packets flow, and no keyframe is made for 8 s while some were lost",
            Mutant::MediaNeverBack,
            |rig| Box::pin(keyless(rig)),
        )
        .camera(Camera::Native)
        .cause(SILENT)
        .witness(super::Witness::Unseen(
            "what flows cannot be shown: only a decoder sees that",
        ))
        .told_within(6_000.)
        .back_within(3_000.),
    );
    rows
}

/// Told as silent, whatever the transport says; nothing is rebuilt that is whole.
async fn frozen(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.excuse()?;
    rig.strike();
    rig.tell("freeze on").await?;
    rig.media()?.losses = Some(1);
    rig.media_told(S(10)).await?;
    rig.server_noticed(SILENT).await?;
    lasts(rig, S(6)).await;
    rig.tell("freeze off").await?;
    rig.heal()?;
    rig.media_back(S(20)).await
}

/// Connected, flowing, and nothing to see: the ladder is climbed, and ends when there is a keyframe.
async fn keyless(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.tell("keyless on").await?;
    let way = Way {
        loss: Loss::PerMille(400),
        ..Way::CLEAR
    };
    rig.break_way(&[Toward::Server, Toward::Client], way)?;
    // Longer than what was lost can be asked for again.
    tokio::time::sleep(S(2)).await;
    // The way is whole; pictures are excused until there is a keyframe again.
    rig.media()?.udp.set_both(Way::CLEAR);
    rig.media()?.losses = Some(1);
    rig.media_told(S(10)).await?;
    lasts(rig, S(8)).await;
    rig.tell("keyless off").await?;
    rig.heal()?;
    rig.media_back(S(20)).await
}
