//! P09, S16, and the queue: no room, said at once.

use std::time::Duration;

use anyhow::Result;

use super::Spec;
use crate::{
    ledger::Seen,
    proxy::Cut,
    rig::{Rig, Via, Who, span},
};

const S: fn(u64) -> Duration = Duration::from_secs;
const ONE_SLOT: &str = r#"
[backends.one]
kind = "process"
command = ["/bin/sh", "-c", "read -r l; echo begun; sleep 2; echo ended"]
capacity = { kind = "session", slots = 1, queue = 4 }

[backends.reject]
kind = "process"
command = ["/bin/sh", "-c", "read -r l; echo begun; sleep 2; echo ended"]
busy = { policy = "reject" }
"#;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "P09/mid-turn/owner/reject",
            "peer",
            "a second turn while one runs",
            |rig| Box::pin(busy(rig)),
        )
        .fails()
        .cause("session_busy")
        .told_within(250.)
        .config(ONE_SLOT),
        Spec::new(
            "P09/mid-turn/owner/queue",
            "peer",
            "more turns while one runs",
            |rig| Box::pin(busy_queue(rig)),
        ),
        Spec::new("S16/hello/owner", "server", "every slot is taken", |rig| {
            Box::pin(at_capacity(rig))
        })
        .fails()
        .cause("at_capacity")
        // From the start of the client's process, which takes most of it.
        .told_within(1_000.)
        .config(ONE_SLOT),
        Spec::new(
            "N01/queued/owner",
            "network",
            "reset while in line",
            |rig| Box::pin(cut_in_line(rig)),
        )
        .cause("transport_error")
        .told_within(250.)
        .config(ONE_SLOT),
    ]
}

async fn busy(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "reject"])
        .await?;
    rig.flow("k1", "").await?;
    rig.strike();
    rig.tell("say k2").await?;
    let (code, at) = rig.receipt("k2").await?;
    rig.row.cause = code;
    rig.row.told_ms = Some(span(rig.struck_at, at));
    rig.row.outcome = Some("failed".to_owned());
    rig.over("k1").await?;
    Ok(())
}

async fn busy_queue(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=100 pace_ms=20").await?;
    rig.strike();
    for key in ["k2", "k3", "k4"] {
        rig.tell(&format!("say {key} lines=10 pace_ms=20")).await?;
        let (code, _) = rig.receipt(key).await?;
        if let Some(code) = code {
            rig.wrong(format!("{key} was refused: {code}"));
        }
    }
    for key in ["k1", "k2", "k3", "k4"] {
        rig.over(key).await?;
    }
    rig.row.outcome = Some("recovered".to_owned());
    Ok(())
}

async fn at_capacity(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "one"])
        .await?;
    rig.flow("k1", "").await?;
    let holder = rig.dismiss(Who::Owner);
    let session = std::mem::take(&mut rig.session);
    rig.strike();
    rig.launch(Who::Owner, Via::Proxy, &["--backend", "one"])?;
    rig.failed(S(10)).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    if rig.proxy.accepted() != 1 {
        rig.wrong(format!(
            "{} connections where one is enough",
            rig.proxy.accepted()
        ));
    }
    rig.session = session;
    if let Some(holder) = holder {
        holder.close().await?;
    }
    Ok(())
}

async fn cut_in_line(rig: &mut Rig) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "one"])
        .await?;
    rig.flow("k1", "").await?;
    let Some(mut holder) = rig.dismiss(Who::Owner) else {
        return Ok(());
    };
    rig.session.clear();
    rig.launch(Who::Owner, Via::Proxy, &["--backend", "one", "--wait"])?;
    let in_line =
        |line: &crate::ledger::Line| matches!(line.what, Seen::Queued { .. }).then_some(line.t);
    rig.client(Who::Owner)?
        .until(S(10), "in line", in_line)
        .await?;
    rig.cut(Cut::Reset)?;
    let since = rig.struck_at;
    rig.told(S(10)).await?;
    let again = |line: &crate::ledger::Line| {
        let after = line.t >= since && matches!(line.what, Seen::Queued { .. });
        after.then_some(line.t)
    };
    let back = rig
        .client(Who::Owner)?
        .until(S(10), "in line again", again)
        .await?;
    rig.row.recovered_ms = Some(span(since, back));
    holder.tell("end").await?;
    rig.session = rig.client(Who::Owner)?.session().await?;
    holder.close().await?;
    rig.flow("k2", "").await?;
    rig.over("k2").await?;
    rig.row.outcome = Some("recovered".to_owned());
    Ok(())
}
