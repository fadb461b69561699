//! P09, S16, and the queue: no room, said at once.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{S, Spec, Witness};
use crate::{
    client::Client,
    heart::unix_ms,
    ledger::{Line, Seen},
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Via, Who, span},
};

/// Its sender is told, and nothing has become of it.
const BY_RECEIPT: Witness =
    Witness::Unseen("a refused command is answered by its receipt, and leaves no other trace");
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
    let mut rows = vec![
        Spec::new(
            "P09/mid-turn/owner/reject",
            "a second turn while one runs",
            Mutant::CauseChanged,
            |rig| Box::pin(busy(rig)),
        )
        .fails()
        .cause("session_busy")
        .told_within(250.)
        .witness(BY_RECEIPT)
        .config(ONE_SLOT),
        Spec::new(
            "P09/mid-turn/owner/queue",
            "more turns while one runs",
            Mutant::SaysTwice,
            |rig| Box::pin(busy_queue(rig)),
        ),
        Spec::new(
            "S16/hello/owner",
            "every slot is taken",
            Mutant::ToldLate,
            |rig| Box::pin(at_capacity(rig)),
        )
        .fails()
        .cause("at_capacity")
        // From the start of the client's process, which takes most of it.
        .told_within(1_000.)
        .witness(Witness::Node)
        .config(ONE_SLOT),
        Spec::new(
            "S01/queued/owner",
            "kill -9 while somebody is in line",
            Mutant::CauseChanged,
            |rig| Box::pin(killed_while_in_line(rig)),
        )
        .cause("transport_error")
        .told_within(250.)
        .back_within(3_000.)
        .config(ONE_SLOT),
    ];
    for (id, fault, cut, code, told_ms, mutant) in [
        (
            "N01",
            "reset while in line",
            Cut::Reset,
            "transport_error",
            250.,
            Mutant::LossTwice,
        ),
        (
            "N02",
            "FIN while in line",
            Cut::Fin,
            "transport_error",
            250.,
            Mutant::ToldLate,
        ),
        (
            "N04",
            "nothing passes while in line",
            Cut::BlackHole,
            "heartbeat_timeout",
            7_500.,
            Mutant::LossUntold,
        ),
    ] {
        let id = format!("{id}/queued/owner");
        let row = Spec::new(&id, fault, mutant, move |rig| {
            Box::pin(cut_in_line(rig, cut))
        });
        rows.push(
            row.cause(code)
                .told_within(told_ms)
                .back_within(told_ms + 1_000.)
                .config(ONE_SLOT),
        );
    }
    rows
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
    rig.recovered();
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

/// Somebody holds the one slot, and another is in line behind: the holder.
async fn stand_in_line(rig: &mut Rig) -> Result<Client> {
    rig.witnessed = false;
    rig.join(Who::Owner, Via::Direct, &["--backend", "one"])
        .await?;
    rig.flow("k1", "").await?;
    let holder = rig.dismiss(Who::Owner).context("it was started")?;
    rig.session.clear();
    rig.launch(Who::Owner, Via::Proxy, &["--backend", "one", "--wait"])?;
    let in_line = |line: &Line| matches!(line.what, Seen::Queued { .. }).then_some(());
    rig.client(Who::Owner)?
        .until(S(10), "in line", in_line)
        .await?;
    rig.losses = Some(1);
    Ok(holder)
}

/// Waits until it is in line again, first as before; then the slot is given back, and it gets it.
async fn gets_the_slot(rig: &mut Rig, since: u64, mut holder: Client) -> Result<()> {
    let again = rig.sees(S(20), "in line again", |line| match line.what {
        Seen::Queued { position, .. } => Some(position),
        _ => None,
    });
    let (position, at) = again.await?;
    if position != 1 {
        rig.wrong(format!(
            "it was the first in line, and is at place {position}"
        ));
    }
    rig.row.recovered_ms = Some(span(since, at));
    holder.tell("end").await?;
    rig.session = rig.client(Who::Owner)?.session().await?;
    holder.close().await?;
    rig.flow("k2", "").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

async fn cut_in_line(rig: &mut Rig, cut: Cut) -> Result<()> {
    let holder = stand_in_line(rig).await?;
    rig.cut(cut)?;
    rig.told(S(10)).await?;
    gets_the_slot(rig, rig.struck_at, holder).await
}

async fn killed_while_in_line(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    let holder = stand_in_line(rig).await?;
    rig.strike();
    rig.server.kill().await?;
    rig.told(S(10)).await?;
    rig.server.launch().await?;
    gets_the_slot(rig, unix_ms(), holder).await
}
