//! M01, M07, M10: a transport that cannot be made, or only with trouble.

use anyhow::{Result, bail};
use serde_json::Value;

use super::{BOTH, FAILED, S, Spec, lives};
use crate::{
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    rig::{Camera, Rig, Who, span},
    udp::{Loss, Toward, Way},
};

/// From joining to the first picture over a way that loses some of a handshake (DTLS repeats after a second).
const HANDSHAKE_MS: f64 = 10_000.;
/// Records of a handshake, each of which is lost once.
const RECORDS: u64 = 2;

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = vec![
        Spec::new(
            "M01/joining/owner/native",
            "no datagram ever passes, for 20 s",
            Mutant::CauseChanged,
            |rig| Box::pin(blocked(rig, 20)),
        )
        .camera(Camera::Native)
        .cause(FAILED)
        .witness(super::Witness::Unseen(
            "no datagram of it ever came to the server",
        ))
        .told_within(5_500.)
        .back_within(3_000.),
        Spec::new(
            "M01/joining/owner/chromium",
            "no datagram ever passes, for 20 s",
            Mutant::MediaUntold,
            |rig| Box::pin(blocked(rig, 20)),
        )
        .camera(Camera::Chromium)
        .cause(FAILED)
        .witness(super::Witness::Unseen(
            "no datagram of it ever came to the server",
        ))
        .told_within(5_500.)
        .back_within(3_000.),
    ];
    for (camera, mutant) in [
        (Camera::Native, Mutant::PictureDropped),
        (Camera::Chromium, Mutant::PictureDoubled),
    ] {
        let id = format!("M07/joining/owner/{}", camera.name());
        let fault = "what is larger than 1,200 bytes is lost";
        let row = Spec::new(&id, fault, mutant, |rig| Box::pin(narrow(rig)));
        rows.push(row.camera(camera).back_within(HANDSHAKE_MS));
    }
    for (toward, name) in [(Toward::Server, "to-server"), (Toward::Client, "to-client")] {
        for record in 1..=RECORDS {
            let id = format!("M10/joining/owner/{name}/{record}");
            let fault = format!("record {record} of the handshake {name} is lost");
            let row = Spec::new(&id, &fault, Mutant::PictureDoubled, move |rig| {
                Box::pin(lost_record(rig, toward, record))
            });
            rows.push(row.camera(Camera::Native).back_within(HANDSHAKE_MS));
        }
    }
    for (id, fault, spoiled) in [
        (
            "M10/joining/owner/noise",
            "garbage comes between the records of the handshake",
            0,
        ),
        (
            "M10/joining/owner/garbage",
            "every record of the handshake is spoiled for 3 s, and garbage comes between",
            1_000,
        ),
    ] {
        let row = Spec::new(id, fault, Mutant::PictureDropped, move |rig| {
            Box::pin(garbage(rig, spoiled))
        });
        rows.push(row.camera(Camera::Native).back_within(HANDSHAKE_MS));
    }
    rows
}

/// Told by a typed fault that says why, while the session lives; once datagrams pass, pictures flow.
async fn blocked(rig: &mut Rig, for_s: u64) -> Result<()> {
    rig.call_beside().await?;
    rig.break_way(&BOTH, Way::DEAD)?;
    rig.dial_in().await?;
    // Nothing is broken for it before it has begun.
    rig.struck_at = unix_ms();
    let told = rig.sees(S(20), "told of the loss of media", |line| {
        match &line.what {
            Seen::MediaLost { code, detail, .. } => Some((code.clone(), detail["detail"].clone())),
            _ => None,
        }
    });
    let ((code, detail), at) = told.await?;
    rig.row.cause = Some(code);
    rig.row.told_ms = Some(span(rig.struck_at, at));
    let why = detail.get("why").and_then(Value::as_str);
    if why != Some("udp_blocked") {
        rig.wrong(format!("told why: {why:?}"));
    }
    super::lasts(rig, S(for_s)).await;
    lives(rig).await?;
    rig.heal()?;
    rig.tell("retry").await?;
    let healed_at = rig.media_ref()?.healed_at;
    let flows_at = rig.pictures_again(healed_at, S(20)).await?;
    rig.row.recovered_ms = Some(span(healed_at, flows_at));
    rig.media()?.judged_from = flows_at + 1_000;
    rig.media()?.losses = Some(1);
    rig.recovered();
    rig.media_stays().await
}

/// Everything that is needed fits.
async fn narrow(rig: &mut Rig) -> Result<()> {
    rig.call_beside().await?;
    let way = Way {
        loss: Loss::Larger(1_200),
        ..Way::CLEAR
    };
    rig.break_way(&BOTH, way)?;
    rig.dial_in().await?;
    joined(rig).await
}

/// Pictures flow within the bound, and nothing was told.
async fn joined(rig: &mut Rig) -> Result<()> {
    let since = rig.struck_at;
    let flows_at = rig.pictures_again(since, S(30)).await?;
    rig.row.recovered_ms = Some(span(since, flows_at));
    rig.flows().await?;
    // Whatever was lost to get here: from here on nothing is.
    rig.excused_until_now()?;
    rig.pictures_again(unix_ms() + 2_000, S(20)).await?;
    let lost = |seen: &Seen| matches!(seen, Seen::MediaLost { .. } | Seen::Failed { .. });
    if rig
        .client(Who::Owner)?
        .lines()
        .iter()
        .any(|line| lost(&line.what))
    {
        bail!("it was told as lost");
    }
    if rig.media_ref()?.udp.tally(Toward::Server).came == 0 {
        bail!("nothing went through the proxy");
    }
    rig.recovered();
    Ok(())
}

async fn lost_record(rig: &mut Rig, toward: Toward, record: u64) -> Result<()> {
    rig.call_beside().await?;
    let way = Way {
        loss: Loss::NthDtls(record),
        ..Way::CLEAR
    };
    rig.break_way(&[toward], way)?;
    rig.dial_in().await?;
    rig.excused_until_now()?;
    joined(rig).await?;
    let lost = rig.media_ref()?.udp.tally(toward).lost;
    if lost == 0 {
        rig.wrong("no record was lost: nothing was proven");
    }
    Ok(())
}

/// Noise is no word of anybody's. A handshake that was spoiled may end, and the next one stands.
async fn garbage(rig: &mut Rig, spoiled: u32) -> Result<()> {
    rig.call_beside().await?;
    let way = Way {
        corrupt_dtls_per_mille: spoiled,
        ..Way::CLEAR
    };
    rig.break_way(&BOTH, way)?;
    rig.dial_in().await?;
    let noise: [&[u8]; 4] = [
        b"\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x07\x00\x04abcd",
        b"\x14",
        &[22; 1_400],
    ];
    for bytes in noise.iter().cycle().take(120) {
        for toward in BOTH {
            rig.media_ref()?.udp.inject(toward, bytes.to_vec()).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    rig.heal()?;
    if spoiled == 0 {
        return joined(rig).await;
    }
    let healed_at = rig.media_ref()?.healed_at;
    let flows_at = rig.pictures_again(healed_at, S(30)).await?;
    rig.row.recovered_ms = Some(span(healed_at, flows_at));
    rig.flows().await?;
    rig.pictures_again(unix_ms() + 1_000, S(20)).await?;
    rig.recovered();
    Ok(())
}
