//! M05 to M08: the way is bad, narrow, or another one.

use anyhow::Result;

use super::{BACK_MS, BOTH, S, SILENT, Spec, TOLD_MS, lasts, longest_gap, shown_since, troubles};
use crate::{
    heart::unix_ms,
    ledger::{Line, Seen},
    mutant::Mutant,
    rig::{Camera, Rig, Who, span},
    udp::{Loss, Toward, Way},
};

const MS: fn(u64) -> std::time::Duration = std::time::Duration::from_millis;
/// How long a bad way stays so.
const BAD_S: u64 = 8;
/// Pictures that a camera makes in that time.
const MADE: usize = 30 * 8;
/// How long what is of a transport that was given up is under way.
const HELD_S: u64 = 12;

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    // Of each hundred datagrams so many are lost, each way; of each hundred pictures so many must be shown.
    for (percent, shown_percent, camera, mutant) in [
        (1, 95, Camera::Native, Mutant::PictureDropped),
        (5, 85, Camera::Native, Mutant::PictureDoubled),
        (5, 85, Camera::Chromium, Mutant::PicturesMixed),
        (20, 35, Camera::Native, Mutant::PicturesMixed),
        (30, 8, Camera::Native, Mutant::PictureDoubled),
    ] {
        let id = format!("M05/flowing/owner/{percent}%/{}", camera.name());
        let fault = format!("{percent} % are lost each way for {BAD_S} s");
        let row = Spec::new(&id, &fault, mutant, move |rig| {
            Box::pin(lossy(rig, percent, shown_percent))
        });
        rows.push(row.camera(camera).back_within(BACK_MS));
    }
    for (camera, mutant) in [
        (Camera::Native, Mutant::PicturesMixed),
        (Camera::Chromium, Mutant::PictureDoubled),
    ] {
        let id = format!("M06/flowing/owner/{}", camera.name());
        let fault = "each is up to 200 ms late, every tenth comes twice, for 8 s";
        let row = Spec::new(&id, fault, mutant, |rig| Box::pin(restless(rig)));
        rows.push(row.camera(camera).back_within(BACK_MS));
        let id = format!("M08/flowing/owner/{}", camera.name());
        let fault = "the client has another address all at once";
        let row = Spec::new(&id, fault, mutant, |rig| Box::pin(rebound(rig)));
        // A browser checks the way it uses each 2.5 s, and is not reached before it has.
        let back_ms = match camera {
            Camera::Native => 1_000.,
            Camera::Chromium => 4_000.,
        };
        rows.push(row.camera(camera).back_within(back_ms));
    }
    rows.push(
        Spec::new(
            "M06/flowing/owner/late",
            "everything to the server is held for 3 s, and comes then, behind what is new",
            Mutant::PictureDoubled,
            |rig| Box::pin(held(rig)),
        )
        .camera(Camera::Native)
        .back_within(5_000.),
    );
    rows.push(
        Spec::new(
            "M06/flowing/owner/superseded",
            "everything to the server is held for 12 s, and comes when its transport was made anew",
            Mutant::PictureDoubled,
            |rig| Box::pin(superseded(rig)),
        )
        .camera(Camera::Native)
        .cause(SILENT)
        .told_within(TOLD_MS)
        .back_within(2_000.),
    );
    rows
}

/// Loss is repaired, up to what can be.
async fn lossy(rig: &mut Rig, percent: u32, shown_percent: usize) -> Result<()> {
    rig.call().await?;
    let way = Way {
        loss: Loss::PerMille(percent * 10),
        ..Way::CLEAR
    };
    rig.break_way(&BOTH, way)?;
    lasts(rig, S(BAD_S)).await;
    let shown = shown_since(rig, rig.struck_at)?;
    if shown < MADE * shown_percent / 100 {
        rig.wrong(format!("{shown} pictures of about {MADE} were shown"));
    }
    let troubles = troubles(&rig.client(Who::Owner)?.lines(), rig.struck_at);
    if percent <= 5 && troubles > 0 {
        rig.wrong(format!("{troubles} troubles were told of a way that works"));
    }
    flows_on(rig).await
}

/// The way is as it should be again, and pictures flow on it.
async fn flows_on(rig: &mut Rig) -> Result<()> {
    rig.heal()?;
    let healed_at = rig.media_ref()?.healed_at;
    let flows_at = rig.pictures_again(healed_at, S(20)).await?;
    rig.row.recovered_ms = Some(span(healed_at, flows_at));
    // What was on its way when it healed has come by then, and a keyframe after it.
    rig.pictures_again(healed_at + 1_500, S(20)).await?;
    rig.excused_until_now()?;
    rig.pictures_again(unix_ms() + 1_000, S(20)).await?;
    rig.recovered();
    Ok(())
}

async fn restless(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    let way = Way {
        jitter: MS(200),
        twice_per_mille: 100,
        ..Way::CLEAR
    };
    rig.break_way(&BOTH, way)?;
    lasts(rig, S(BAD_S)).await;
    let shown = shown_since(rig, rig.struck_at)?;
    if shown < MADE / 2 {
        rig.wrong(format!("{shown} pictures of about {MADE} were shown"));
    }
    flows_on(rig).await
}

/// What was held comes when nobody waits for it any more: it is not shown again, and not shown late.
async fn held(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    let way = Way {
        delay: S(3),
        ..Way::CLEAR
    };
    rig.break_way(&[Toward::Server], way)?;
    lasts(rig, S(2)).await;
    rig.heal()?;
    let healed_at = rig.media_ref()?.healed_at;
    let flows_at = rig.pictures_again(healed_at, S(20)).await?;
    rig.row.recovered_ms = Some(span(healed_at, flows_at));
    // The last of what was held has come by then.
    rig.pictures_again(healed_at + 4_000, S(20)).await?;
    rig.recovered();
    Ok(())
}

/// What is still under way of a transport that was given up changes nothing of the one in its place.
async fn superseded(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    let way = Way {
        delay: S(HELD_S),
        ..Way::CLEAR
    };
    rig.break_way(&[Toward::Server], way)?;
    rig.media()?.losses = Some(1);
    rig.media_told(S(10)).await?;
    rig.server_noticed(SILENT).await?;
    // Until its client has made another.
    lasts(rig, S(HELD_S - 2)).await;
    rig.heal()?;
    rig.media_back(S(20)).await?;
    let lines = rig.client(Who::Owner)?.lines();
    let anew =
        |line: &Line| matches!(&line.what, Seen::MediaRecovered { how, .. } if how == "rejoin");
    if !lines.iter().any(anew) {
        rig.wrong("no other transport was made".to_owned());
    }
    // The last of what was held has come by then.
    let late = rig.media_ref()?.healed_at + (HELD_S + 1) * 1_000;
    rig.pictures_again(late, S(HELD_S + 10)).await?;
    Ok(())
}

/// Nothing is agreed anew: what was is enough.
async fn rebound(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.excuse()?;
    rig.strike();
    rig.media()?.udp.rebind().await;
    let flows_at = rig.pictures_again(unix_ms() + 50, S(20)).await?;
    rig.pictures_again(flows_at + 1_500, S(20)).await?;
    rig.heal()?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
    let gap = longest_gap(rig, rig.struck_at)? as f64;
    rig.row.recovered_ms = Some(gap);
    rig.recovered();
    Ok(())
}
