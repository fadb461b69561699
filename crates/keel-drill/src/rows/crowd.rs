//! N23: everybody is cut at once.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{S, Spec, Witness};
use crate::{
    client::Client,
    ledger::{Line, Seen},
    mutant::Mutant,
    proxy::Cut,
    rig::{Rig, Via, span, wait},
};

const CLIENTS: usize = 200;
const PROCESSES: usize = 4;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "N23/idle/owner",
            "200 clients are cut at once",
            Mutant::NeverBack,
            |rig| Box::pin(all_at_once(rig)),
        )
        .cause("transport_error")
        .told_within(1_000.)
        .back_within(3_000.)
        // A session each: of none in particular.
        .witness(Witness::Node),
    ]
}

async fn all_at_once(rig: &mut Rig) -> Result<()> {
    let url = rig.url(Via::Proxy);
    let mut crowd = Vec::new();
    for _ in 0..PROCESSES {
        crowd.push(rig.crowd(&url, CLIENTS / PROCESSES)?);
    }
    let joined = |line: &Line| matches!(line.what, Seen::Joined { .. });
    wait("all of them are in", S(60), || {
        count(&crowd, joined) == CLIENTS
    })
    .await?;
    // The pace that they are told to come back at is in the beats.
    tokio::time::sleep(S(4)).await;
    rig.cut(Cut::Reset)?;
    let since = rig.struck_at;
    let back = |line: &Line| matches!(line.what, Seen::Recovered { .. });
    let all_back = wait("recovered, all of them", S(20), || {
        count(&crowd, back) == CLIENTS
    })
    .await;

    let lines: Vec<Line> = crowd.iter().flat_map(Client::lines).collect();
    let (mut told_at, mut back_at) = (since, since);
    let (mut losses, mut causes) = (0, BTreeSet::new());
    for line in &lines {
        match &line.what {
            Seen::Lost { code, .. } => {
                losses += 1;
                told_at = told_at.max(line.t);
                causes.insert(code.clone());
            }
            Seen::Recovered { .. } => back_at = back_at.max(line.t),
            _ => {}
        }
    }
    rig.row.told_ms = Some(span(since, told_at));
    rig.row.recovered_ms = Some(span(since, back_at));
    if causes.len() > 1 {
        rig.wrong(format!("told as {causes:?}"));
    }
    rig.row.cause = causes.pop_first();
    if losses != CLIENTS {
        rig.wrong(format!("{losses} losses were told to {CLIENTS} clients"));
    }
    for client in crowd {
        client.close().await?;
    }
    all_back?;
    rig.recovered();
    Ok(())
}

fn count(crowd: &[Client], is_it: impl Fn(&Line) -> bool + Copy) -> usize {
    let of = |client: &Client| client.lines().iter().filter(|line| is_it(line)).count();
    crowd.iter().map(of).sum()
}
