//! M13 to M16: what is said about media, and what of it is sent.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use super::{S, Spec, longest_gap};
use crate::{
    client::Client,
    heart::unix_ms,
    ledger::{Line, Seen},
    mutant::Mutant,
    rig::{Camera, Rig, Via, Who, span},
    udp::{Toward, Way},
};

/// Candidates that a hostile client names.
const CANDIDATES: u32 = 30;
/// How often both ends offer at once.
const GLARES: u32 = 3;
/// A layer that is gone is left, and another shown, within this.
const LAYER_MS: u64 = 3_000;
/// Pictures of the high layer are so wide, others half of it.
const HIGH: u32 = 640;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "M13/flowing/owner/native",
            "both ends offer at once, three times",
            Mutant::PictureDropped,
            |rig| Box::pin(glare(rig)),
        )
        .camera(Camera::Native),
        Spec::new(
            "M14/flowing/owner/chromium",
            "candidates of others come, late, twice and too many",
            Mutant::PicturesMixed,
            |rig| Box::pin(candidates(rig)),
        )
        .camera(Camera::Chromium),
        Spec::new(
            "M15/flowing/owner/chromium",
            "none: no description has a data channel that could be filled",
            Mutant::PictureDoubled,
            |rig| Box::pin(no_channels(rig)),
        )
        .camera(Camera::Chromium),
        Spec::new(
            "M16/flowing/owner/chromium",
            "the high layer of a simulcast camera is gone for 6 s",
            Mutant::PictureDoubled,
            |rig| Box::pin(layer(rig)),
        )
        .camera(Camera::Chromium)
        .back_within(3_000.),
        Spec::new(
            "M16/flowing/owner/narrow",
            "the way to a simulcast camera's viewer has room for the low layer only, for 12 s",
            Mutant::PictureDoubled,
            |rig| Box::pin(narrow(rig)),
        )
        .camera(Camera::Chromium)
        .back_within(5_000.),
    ]
}

/// The owner publishes at the moment at which the server has a line to offer it; all of it flows.
async fn glare(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.strike();
    for n in 1..=GLARES {
        let session = rig.session.clone();
        let url = rig.url(Via::Direct);
        let args = ["--session", &session, "--role", "publisher", "--camera"];
        let other = Client::start(&rig.exe, &url, &rig.token, &args)?;
        let joined = other.until(S(20), "joined", |line| match &line.what {
            Seen::Joined { participant, .. } => Some(participant.clone()),
            _ => None,
        });
        let participant = joined.await?;
        rig.tell(&format!("extra extra{n}")).await?;
        for track in [format!("{participant}/camera"), format!("/extra{n}")] {
            let what = format!("pictures of {track}");
            rig.sees(S(20), &what, |line| match &line.what {
                Seen::Frame { of, .. } if of.ends_with(&track) => Some(()),
                _ => None,
            })
            .await?;
        }
        other.close().await?;
    }
    rig.pictures_again(unix_ms() + 500, S(10)).await?;
    if !rig.counts("glare").await? {
        rig.wrong("no two offers met");
    }
    rig.media()?.losses = Some(0);
    rig.recovered();
    Ok(())
}

/// They are passed over: nothing is sent to them, and media does not notice.
async fn candidates(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    let stranger = UdpSocket::bind("127.0.0.1:0").await?;
    let port = stranger.local_addr()?.port();
    rig.strike();
    for n in 0..CANDIDATES {
        let named = [
            format!("candidate:{n} 1 udp 2130706431 127.0.0.1 {port} typ host"),
            format!("candidate:1 1 udp 1 192.0.2.{n} 9 typ host"),
            format!("candidate:{n} 1 udp 2130706431 c0ffee-{n}.local 9 typ host"),
            "candidate:nonsense".to_owned(),
        ];
        for candidate in named {
            let frame = json!({ "type": "candidate", "peer": 1, "candidate": candidate });
            rig.tell(&format!("raw {frame}")).await?;
        }
        // A client may say 200 things a second.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    rig.pictures_again(unix_ms() + 500, S(10)).await?;
    let mut bytes = [0; 2_048];
    if let Ok((length, from)) = stranger.try_recv_from(&mut bytes) {
        bail!("{length} bytes were sent to a stranger by {from}");
    }
    rig.media()?.losses = Some(0);
    rig.recovered();
    Ok(())
}

/// Messages go over the WebSocket, whose bounds are other rows' matter.
async fn no_channels(rig: &mut Rig) -> Result<()> {
    rig.call().await?;
    rig.strike();
    rig.tell("stats").await?;
    let counted = rig.sees(S(10), "its counts", |line| match line.what {
        Seen::Stats { channels, .. } => Some(channels),
        _ => None,
    });
    let (channels, _) = counted.await?;
    if channels > 0 {
        rig.wrong(format!("{channels} data channels were agreed on"));
    }
    rig.pictures_again(unix_ms() + 1_000, S(10)).await?;
    rig.recovered();
    Ok(())
}

/// What does not fit is not sent: the low layer is shown instead, and the high one again once there is room.
async fn narrow(rig: &mut Rig) -> Result<()> {
    rig.call_beside().await?;
    rig.dial_in_with(&["--simulcast=yes".to_owned()]).await?;
    rig.flows().await?;
    shows(rig, Layer::High, 0, S(20)).await?;
    // An encoder's first seconds are its own.
    rig.pictures_again(unix_ms() + 5_000, S(10)).await?;
    let (low, high) = layers(&rig.ask_session("/media").await?)?;
    let way = Way {
        bps: low + (high - low) / 3,
        ..Way::CLEAR
    };
    rig.break_way(&[Toward::Client], way)?;
    let struck_at = rig.struck_at;
    let left_at = shows(rig, Layer::Low, struck_at, S(10)).await?;
    rig.row.recovered_ms = Some(span(struck_at, left_at));
    super::lasts(rig, S(12)).await;
    let narrow_until = unix_ms();
    if super::shown_since(rig, narrow_until - 5_000)? < 75 {
        rig.wrong("fewer than 15 pictures a second had room");
    }
    rig.heal()?;
    shows(rig, Layer::High, narrow_until, S(40)).await?;
    rig.recovered();
    Ok(())
}

/// What the low and the high layer of the camera bring, in bits a second, as the server counts.
fn layers(media: &Value) -> Result<(u64, u64)> {
    let transports = media["transports"].as_array().into_iter().flatten();
    let mut tracks = transports.flat_map(|one| one["publishes"].as_array().into_iter().flatten());
    let bps = |track: &Value, layer: u64| {
        let mut all = track["layers"].as_array()?.iter();
        all.find(|one| one["layer"] == layer)?["bps"].as_u64()
    };
    let found = tracks.find_map(|track| Some((bps(track, 0)?, bps(track, 1)?)));
    match found {
        Some((low, high)) if high > 2 * low => Ok((low, high)),
        _ => bail!("not two layers that differ: {media}"),
    }
}

/// A layer of the simulcast camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Low,
    High,
}

/// Waits for a picture of a layer that is shown after a time; when it was.
async fn shows(rig: &Rig, layer: Layer, after: u64, within: Duration) -> Result<u64> {
    let what = format!("the {layer:?} layer");
    let shown = rig.sees(within, &what, |line: &Line| match line.what {
        Seen::Frame { wide, .. } => {
            let is_it = (wide >= HIGH) == (layer == Layer::High);
            (line.t > after && is_it).then_some(())
        }
        _ => None,
    });
    Ok(shown.await?.1)
}

/// Another layer is shown instead, without anything being agreed anew.
async fn layer(rig: &mut Rig) -> Result<()> {
    rig.call_beside().await?;
    rig.dial_in_with(&["--simulcast=yes".to_owned()]).await?;
    rig.flows().await?;
    shows(rig, Layer::High, 0, S(20)).await?;
    rig.excuse()?;
    rig.strike();
    rig.tell("layer high off").await?;
    let struck_at = rig.struck_at;
    let left_at = shows(rig, Layer::Low, struck_at, S(6)).await?;
    super::lasts(rig, S(6)).await;
    rig.tell("layer high on").await?;
    let on_at = unix_ms();
    shows(rig, Layer::High, on_at, S(30)).await?;
    rig.row.recovered_ms = Some(span(struck_at, left_at));
    rig.pictures_again(unix_ms() + 2_000, S(10)).await?;
    rig.excused_until_now()?;
    let gap = longest_gap(rig, rig.struck_at)?;
    if gap > LAYER_MS {
        rig.wrong(format!("{gap} ms without a picture"));
    }
    if !rig
        .client(Who::Owner)?
        .lines()
        .iter()
        .any(|line| matches!(line.what, Seen::Sent { .. }))
    {
        bail!("nothing was published");
    }
    rig.recovered();
    Ok(())
}
