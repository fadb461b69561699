//! M01 to M16: the way of media breaks, and what becomes of a camera's pictures.

use anyhow::Result;

use super::{S, Spec};
use crate::{
    mutant::Mutant,
    rig::{Camera, Rig},
    udp::{Toward, Way},
};

const BOTH: [Toward; 2] = [Toward::Server, Toward::Client];
const SILENT: &str = "media_stalled";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for (camera, mutant) in [
        (Camera::Native, Mutant::MediaUntold),
        (Camera::Chromium, Mutant::PictureFrozen),
    ] {
        let id = format!("M02/flowing/owner/{}", camera.name());
        let fault = "nothing passes either way for 5 s";
        let row = Spec::new(&id, fault, mutant, |rig| {
            Box::pin(broken(rig, &BOTH, Way::DEAD, 5))
        });
        rows.push(
            row.camera(camera)
                .cause(SILENT)
                .told_within(1_500.)
                .back_within(1_500.),
        );
    }
    rows
}

/// The way is broken for so long, then whole.
async fn broken(rig: &mut Rig, directions: &[Toward], way: Way, for_s: u64) -> Result<()> {
    rig.call().await?;
    rig.break_way(directions, way)?;
    rig.media()?.losses = Some(1);
    rig.media_told(S(10)).await?;
    let left = S(for_s).saturating_sub(std::time::Duration::from_millis(
        crate::heart::unix_ms() - rig.struck_at,
    ));
    tokio::time::sleep(left).await;
    rig.heal()?;
    rig.media_back(S(20)).await?;
    rig.server_noticed(SILENT).await
}
