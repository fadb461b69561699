//! S15: a server that has more to do than it can, and whom it serves.
//!
//! A host that is too busy for the server would be too busy for the drill: the server is made to handle
//! late what it is told (`slow_server`), which is what overload looks like from inside.

use anyhow::{Result, bail};
use serde_json::json;

use super::{S, Spec, Witness};
use crate::{
    client::Client,
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    rig::{Rig, Via, Who, span},
    server,
};

/// How long it is slow.
const SLOW_MS: u64 = 6_000;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "S15/mid-turn/owner",
            "what the server is told waits for over 300 ms",
            Mutant::TextDropped,
            |rig| Box::pin(slowed(rig)),
        )
        .cause("at_capacity")
        // A second of it counts as overload; then a newcomer has to come, as a process of its own.
        .told_within(4_000.)
        .back_within(4_000.)
        .witness(Witness::Node),
    ]
}

/// Who is here goes on, however slowly; newcomers are refused, with the reason, until it is over.
async fn slowed(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=300 pace_ms=20").await?;
    let fault =
        json!({ "session": rig.session, "fault": { "kind": "slow_server" }, "for_ms": SLOW_MS });
    let (addr, token) = (rig.server.addr(), rig.token.clone());
    let path = "/v1/debug/faults";
    rig.strike();
    let (status, said) = server::ask(addr, "POST", path, Some(&token), &fault.to_string()).await?;
    if status != 200 {
        bail!("it cannot be made slow: {status} {said}");
    }
    let refused = async {
        loop {
            if let Some(refused) = newcomer(rig).await? {
                return anyhow::Ok(refused);
            }
        }
    };
    let (code, at) = tokio::time::timeout(S(10), refused).await??;
    rig.row.cause = Some(code);
    rig.row.told_ms = Some(span(rig.struck_at, at));
    rig.over("k1").await?;
    let lifted_at = rig.struck_at + SLOW_MS;
    rig.row.recovered_ms = Some(until_let_in(rig, lifted_at).await?);
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

/// Waits until a newcomer is let in: milliseconds since then.
async fn until_let_in(rig: &Rig, since: u64) -> Result<f64> {
    let let_in = async {
        while newcomer(rig).await?.is_some() {}
        anyhow::Ok(span(since, unix_ms()))
    };
    tokio::time::timeout(S(15), let_in).await?
}

/// Somebody who wants a session; as what it was refused, if it was.
async fn newcomer(rig: &Rig) -> Result<Option<(String, u64)>> {
    let url = rig.url(Via::Direct);
    let client = Client::start(&rig.exe, &url, &rig.token, &["--backend", "echo"])?;
    let verdict = client.until(S(20), "a verdict", |line| match &line.what {
        Seen::Joined { .. } => Some(None),
        Seen::Failed { code, detail } => {
            let overloaded = detail.to_string().contains("overloaded");
            let code = if overloaded {
                code.clone()
            } else {
                format!("{code}, not for overload")
            };
            Some(Some((code, line.t)))
        }
        _ => None,
    });
    let verdict = verdict.await?;
    client.close().await?;
    Ok(verdict)
}
