//! M01 to M16, and what else may befall a camera: what becomes of the pictures.
//!
//! Every row has a call beside it that goes through the same proxy and must not notice. Pictures may be
//! missing only while the way is broken; none may come twice or late, whatever the way does.

mod joining;
mod legs;
mod outages;
mod relays;
mod signals;
mod sources;
mod ways;

use std::time::Duration;

use anyhow::{Result, bail};

use super::{NIGHT_S, Preload, S, Spec, Witness};
use crate::{
    heart::unix_ms,
    ledger::{Line, Seen},
    rig::{Rig, Who},
    udp::Toward,
};

const BOTH: [Toward; 2] = [Toward::Server, Toward::Client];
const SILENT: &str = "media_stalled";
const FAILED: &str = "media_failed";
/// How soon a loss of media is told to a client, and its pictures flow again once they can, in milliseconds.
const TOLD_MS: f64 = 1_500.;
const BACK_MS: f64 = 1_500.;

pub(super) fn rows() -> Vec<Spec> {
    let groups = [
        joining::rows(),
        outages::rows(),
        ways::rows(),
        sources::rows(),
        signals::rows(),
        legs::rows(),
        relays::rows(),
    ];
    groups.into_iter().flatten().collect()
}

/// Lets a fault last for so long, counted from when it landed.
async fn lasts(rig: &Rig, span: Duration) {
    let since = Duration::from_millis(unix_ms().saturating_sub(rig.struck_at));
    tokio::time::sleep(span.saturating_sub(since)).await;
}

/// What a client was told since the fault that names trouble with media.
fn troubles(lines: &[Line], since: u64) -> usize {
    let is_trouble = |line: &&Line| {
        line.t >= since && matches!(line.what, Seen::MediaLost { .. } | Seen::Fault { .. })
    };
    lines.iter().filter(is_trouble).count()
}

/// How many pictures the struck client was shown since a time.
fn shown_since(rig: &Rig, since: u64) -> Result<usize> {
    let lines = rig.client(Who::Owner)?.lines();
    let shown = |line: &&Line| line.t >= since && matches!(line.what, Seen::Frame { .. });
    Ok(lines.iter().filter(shown).count())
}

/// The longest span without a picture since a time, until now, in milliseconds.
fn longest_gap(rig: &Rig, since: u64) -> Result<u64> {
    let lines = rig.client(Who::Owner)?.lines();
    let mut last = since;
    let mut longest = 0;
    for line in &lines {
        if line.t >= since && matches!(line.what, Seen::Frame { .. }) {
            longest = longest.max(line.t - last);
            last = line.t;
        }
    }
    Ok(longest.max(unix_ms() - last))
}

/// The session itself lives: it takes a command and says so.
async fn lives(rig: &mut Rig) -> Result<()> {
    rig.tell("set {\"alive\":true}").await?;
    match rig.receipt("{\"alive\":true}").await? {
        (None, _) => Ok(()),
        (Some(code), _) => bail!("the session takes no command: {code}"),
    }
}
