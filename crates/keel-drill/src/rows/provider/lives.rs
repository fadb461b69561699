//! K: what every kind of provider owes a session, whatever is behind it: clients that go and come
//! back, a server that is killed, viewers, slots, an end that nobody wanted. A line a kind; the
//! scenarios are generated over all of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{S, Spec, kinds::Kind, storm::is_refusal};
use crate::{
    client::Client,
    heart::{children_left, unix_ms},
    ledger::{Line, Seen},
    mutant::Mutant,
    rig::{Rig, Via, Who, span, wait},
};

/// A program's death is told within this, in milliseconds, whatever it served by.
const DEATH_TOLD_MS: f64 = 100.;
/// Whatever a provider does, a cancelled turn is over within this, in milliseconds.
pub(super) const CANCELLED_MS: f64 = 8_000.;

/// What happens to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Away,
    ServerKilled,
    Viewers,
    Slots,
    Cancelled,
    Dies,
    Hangs,
}

const LIVES: [Life; 7] = [
    Life::Away,
    Life::ServerKilled,
    Life::Viewers,
    Life::Slots,
    Life::Cancelled,
    Life::Dies,
    Life::Hangs,
];

/// Silence is told within this, in milliseconds: 5 s, and what a busy machine takes.
pub(super) const STALLED_MS: f64 = 6_000.;
/// The policy that ends what is silent, later than silence is told.
pub(super) const PATIENT: &str = "clocks = { idle_ms = 6500 }";

const ONE_SLOT: &str = "capacity = { kind = \"turn\", slots = 1 }";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for life in LIVES {
        rows.extend(Kind::ALL.iter().filter_map(|kind| row(life, *kind)));
    }
    rows
}

/// The row of one kind; none where the kind says why not.
fn row(life: Life, kind: Kind) -> Option<Spec> {
    let name = kind.name();
    let id = |life: &str| format!("{life}/mid-turn/owner/{name}");
    let spec = match life {
        Life::Away => Spec::new(
            &id("K01"),
            "everybody goes, and the owner comes back from elsewhere",
            Mutant::TextDoubled,
            move |rig| Box::pin(away(rig, kind)),
        ),
        Life::ServerKilled => Spec::new(
            &id("K02"),
            "the server is killed (-9) and started again",
            Mutant::AckUnwritten,
            move |rig| Box::pin(server_killed(rig, kind)),
        )
        .cause("transport_error")
        .told_within(250.)
        .back_within(3_000.),
        Life::Viewers => Spec::new(
            &id("K03"),
            "two watch, and one of them comes late",
            Mutant::TextDropped,
            move |rig| Box::pin(watched(rig, kind)),
        ),
        Life::Slots => Spec::new(
            &id("K04"),
            "turns end in every way beside one slot",
            Mutant::EndlessRun,
            move |rig| Box::pin(slots(rig, kind)),
        ),
        Life::Cancelled => Spec::new(
            &id("K05"),
            "a turn is cancelled",
            Mutant::ChildLeft,
            move |rig| Box::pin(cancelled(rig, kind)),
        )
        .told_within(CANCELLED_MS),
        Life::Dies => {
            if kind.cannot_be_killed().is_some() {
                return None;
            }
            Spec::new(
                &id("K06"),
                "what serves it is killed (-9)",
                Mutant::CrashIsDone,
                move |rig| Box::pin(dies(rig, kind)),
            )
            .fails()
            .cause(kind.death())
            .told_within(DEATH_TOLD_MS)
        }
        Life::Hangs => Spec::new(
            &id("K07"),
            "it falls silent in the middle of a turn",
            Mutant::CauseChanged,
            move |rig| Box::pin(hangs(rig, kind)),
        )
        .fails()
        .cause("provider_timeout")
        .told_within(STALLED_MS),
    };
    let more = match life {
        Life::Slots => ONE_SLOT,
        Life::Hangs => PATIENT,
        Life::Away | Life::ServerKilled | Life::Viewers | Life::Cancelled | Life::Dies => "",
    };
    Some(kind.onto(spec, more))
}

/// An owner whose next turn takes its time.
async fn enter(rig: &mut Rig, kind: Kind, via: Via) -> Result<()> {
    rig.witnessed = false;
    rig.join(Who::Owner, via, &["--backend", "bad"]).await?;
    kind.slow_down(rig).await
}

/// Begins a turn, and waits until everybody has text of it.
async fn begin(rig: &mut Rig, kind: Kind, key: &str) -> Result<()> {
    let prompt = kind.prompt(key);
    let (_, words) = prompt.split_once(' ').unwrap_or((&prompt, ""));
    rig.flow(key, words).await
}

/// Says something, and waits until all of it was answered.
async fn whole(rig: &mut Rig, kind: Kind, key: &str) -> Result<()> {
    begin(rig, kind, key).await?;
    rig.over(key).await?;
    kind.check(rig, key)
}

/// The turn goes on while nobody is there; who comes back has all of it, once.
async fn away(rig: &mut Rig, kind: Kind) -> Result<()> {
    enter(rig, kind, Via::Direct).await?;
    begin(rig, kind, "k1").await?;
    rig.strike();
    let gone = rig.dismiss(Who::Owner);
    let seen = gone.as_ref().map(|client| client.account().cursor);
    drop(gone);
    // The provider goes on: the log grows while nobody listens.
    let seen = seen.unwrap_or_default();
    let until = std::time::Instant::now() + S(10);
    loop {
        let head = rig.ask_session("/events?after=0&limit=1").await?["head"].as_u64();
        if head.is_some_and(|head| head > seen) {
            break;
        }
        ensure!(std::time::Instant::now() < until, "nothing goes on alone");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.join(Who::Owner, Via::Direct, &[]).await?;
    rig.over("k1").await?;
    kind.check(rig, "k1")?;
    rig.recovered();
    Ok(())
}

/// The turn is interrupted, once; nothing of it lives on, and the next one is whole.
async fn server_killed(rig: &mut Rig, kind: Kind) -> Result<()> {
    rig.strikes_all = true;
    enter(rig, kind, Via::Proxy).await?;
    rig.ends.insert("k1".to_owned(), "interrupted");
    begin(rig, kind, "k1").await?;
    rig.strike();
    rig.server.kill().await?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    let lifted_at = unix_ms();
    rig.server.launch().await?;
    let left = children_left(&rig.dir)?;
    if left > 0 {
        rig.wrong(format!("{left} processes outlived the server"));
    }
    rig.back(lifted_at, S(20)).await?;
    rig.over("k1").await?;
    whole(rig, kind, "k2").await
}

/// Owner and viewers see the same, whenever they come; the verdict compares them with the store.
async fn watched(rig: &mut Rig, kind: Kind) -> Result<()> {
    enter(rig, kind, Via::Direct).await?;
    begin(rig, kind, "k1").await?;
    rig.strike();
    rig.join(Who::Viewer, Via::Direct, &[]).await?;
    rig.over("k1").await?;
    kind.check(rig, "k1")?;
    whole(rig, kind, "k2").await?;
    let logs = [Who::Owner, Who::Viewer].map(|who| rig.client(who).map(log_of));
    let [owner, viewer] = logs;
    if owner? != viewer? {
        rig.wrong("owner and viewer have different logs");
    }
    rig.recovered();
    Ok(())
}

/// What happened in a session, in order: text is compared by the verdict, byte by byte.
fn log_of(client: &Client) -> Vec<String> {
    let lines = client.lines();
    let facts = lines.iter().filter_map(|line| match &line.what {
        Seen::Event { kind, data, .. } if kind != "text" && !kind.starts_with("participant") => {
            Some(format!("{kind} {data}"))
        }
        _ => None,
    });
    facts.collect()
}

/// However a turn ends, its slot is free for the next, of another session too.
async fn slots(rig: &mut Rig, kind: Kind) -> Result<()> {
    enter(rig, kind, Via::Direct).await?;
    rig.strike();
    whole(rig, kind, "k1").await?;
    free(rig, "done").await?;
    rig.ends.insert("k2".to_owned(), "cancelled");
    begin(rig, kind, "k2").await?;
    rig.tell("cancel").await?;
    rig.over("k2").await?;
    free(rig, "cancelled").await?;
    rig.ends.insert("k3".to_owned(), "failed");
    if kind.cannot_be_killed().is_some() {
        kind.crash_next(rig).await?;
        begin(rig, kind, "k3").await?;
    } else {
        begin(rig, kind, "k3").await?;
        rig.kill_what_serves().await?;
    }
    rig.over("k3").await?;
    free(rig, "failed").await?;
    let (mut raw, welcome) = rig.by_hand(&json!({ "backend": "bad" })).await?;
    rig.also(&welcome);
    let data = json!({ "text": kind.prompt("other") });
    raw.send(&json!({ "type": "command", "n": 1, "name": "say", "data": data }))
        .await?;
    let started = raw.find("the other session's turn", |frame| {
        frame["kind"] == "turn.started" || is_refusal(frame)
    });
    let started = started.await?;
    ensure!(started["kind"] == "turn.started", "refused: {started}");
    rig.recovered();
    Ok(())
}

/// Waits until no slot is held.
async fn free(rig: &Rig, after: &str) -> Result<()> {
    let until = std::time::Instant::now() + S(2);
    loop {
        let held = rig.ask_node().await?["census"]["runs"].as_u64();
        let taken = rig.ask_node().await?["census"]["slots_held"].as_u64();
        // The bystander has a run, and no slot.
        if taken == Some(0) && held <= Some(1) {
            return Ok(());
        }
        ensure!(
            std::time::Instant::now() < until,
            "after a turn that was {after}: {taken:?} slots are held, {held:?} run"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn cancelled(rig: &mut Rig, kind: Kind) -> Result<()> {
    enter(rig, kind, Via::Direct).await?;
    rig.ends.insert("k1".to_owned(), "cancelled");
    begin(rig, kind, "k1").await?;
    rig.strike();
    rig.tell("cancel").await?;
    let turn = rig.over("k1").await?;
    rig.row.told_ms = Some(span(rig.struck_at, turn.ended_at));
    if rig.mutant.is_none() {
        let dir = rig.dir.clone();
        // The bystander's program carries the folder in its arguments, and an agent that stopped as it
        // was asked is kept for the next turn.
        let kept = 1 + u64::from(kind == Kind::Acp);
        let gone = || children_left(&dir).is_ok_and(|left| left <= kept);
        wait("nothing of the turn lives on", rest_of_cancel(rig), gone).await?;
    }
    whole(rig, kind, "k2").await?;
    rig.recovered();
    Ok(())
}

/// What is left of the time that a cancel has, since the strike.
pub(super) fn rest_of_cancel(rig: &Rig) -> Duration {
    let rest = CANCELLED_MS - span(rig.struck_at, unix_ms());
    Duration::from_secs_f64(rest.max(0.) / 1_000.)
}

/// Its death is told at once, with its cause; what was said is kept, and the session goes on.
async fn dies(rig: &mut Rig, kind: Kind) -> Result<()> {
    enter(rig, kind, Via::Direct).await?;
    rig.join(Who::Viewer, Via::Proxy, &[]).await?;
    rig.ends.insert("k1".to_owned(), "failed");
    begin(rig, kind, "k1").await?;
    rig.strike();
    rig.kill_what_serves().await?;
    let turn = rig.over("k1").await?;
    rig.row.told_ms = Some(span(rig.struck_at, turn.ended_at));
    rig.row.told_bound_ms = Some(DEATH_TOLD_MS + rig.crowd_ms());
    rig.row.cause.clone_from(&turn.end_code);
    if turn.text.is_empty() || !kind.answer("k1").as_bytes().starts_with(&turn.text) {
        rig.wrong("what was said before is not kept");
    }
    whole(rig, kind, "k2").await?;
    rig.row.outcome = Some("failed".to_owned());
    Ok(())
}

/// Silence is told, and then ended by the policy, with what was said before.
async fn hangs(rig: &mut Rig, kind: Kind) -> Result<()> {
    enter(rig, kind, Via::Direct).await?;
    rig.join(Who::Viewer, Via::Proxy, &[]).await?;
    let words = kind.hang_next(rig).await?;
    falls_silent(rig, &words).await
}

/// A turn of a provider that falls silent once it has said something.
pub(super) async fn falls_silent(rig: &mut Rig, words: &str) -> Result<()> {
    rig.ends.insert("k1".to_owned(), "failed");
    rig.flow("k1", words).await?;
    rig.strike();
    let stalled = rig.sees(S(10), "told of the silence", |line| match &line.what {
        Seen::Ephemeral { kind, .. } if kind == "turn.stalled" => Some(()),
        _ => None,
    });
    let ((), told_at) = stalled.await?;
    let lines = rig.client(Who::Owner)?.lines();
    let is_text = |line: &&Line| matches!(&line.what, Seen::Event { kind, .. } if kind == "text");
    let last_word = lines.iter().rev().find(is_text).map_or(0, |line| line.t);
    rig.row.told_ms = Some(span(last_word, told_at));
    let turn = rig.over("k1").await?;
    rig.row.cause.clone_from(&turn.end_code);
    if turn.text.is_empty() || turn.ended_at < told_at {
        rig.wrong("it was not told before it was ended, or what was said is not kept");
    }
    rig.row.outcome = Some("failed".to_owned());
    Ok(())
}
