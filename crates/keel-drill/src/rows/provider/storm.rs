//! The storm: many sessions whose providers are killed at random, all the time. Every turn that was
//! accepted has exactly one end, told and kept, and at the end no process is left.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use super::Spec;
use crate::{
    mutant::Mutant,
    raw::{Frame, Raw},
    rig::{MARK, Rig, marked},
    server,
};

/// A provider is killed so often.
const KILL_EVERY: Duration = Duration::from_millis(100);
/// Words of an answer, and the pause before each, in milliseconds.
const WORDS: u32 = 20;
const PACE_MS: u32 = 150;
/// What comes after an end comes within this.
const QUIET: Duration = Duration::from_millis(500);

/// How many sessions, for how long.
#[derive(Debug, Clone, Copy)]
struct Storm {
    sessions: usize,
    span: Duration,
}

pub(super) fn rows() -> Vec<Spec> {
    let of = |sessions, seconds| {
        let storm = Storm {
            sessions,
            span: Duration::from_secs(seconds),
        };
        Spec::new(
            &format!("storm/{sessions}"),
            "a provider is killed (-9) every 100 ms, at random",
            Mutant::EndlessRun,
            move |rig| Box::pin(run(rig, storm)),
        )
        .config(backends())
        .backend("process")
    };
    vec![of(30, 8), of(200, 60)]
}

/// The backends that sessions are served by, in turns.
const BACKENDS: [&str; 2] = ["lines", "json-lines"];

fn backends() -> String {
    let mut toml = String::new();
    for name in BACKENDS {
        let (framing, end) = match name {
            "json-lines" => ("json_lines", ", \"done\""),
            _ => ("lines", ""),
        };
        let op = if framing == "lines" { "say" } else { "text" };
        let words = format!(", \"{op}=word \", \"sleep-ms={PACE_MS}\"").repeat(WORDS as usize);
        // A String takes everything.
        let _ = writeln!(
            toml,
            "[backends.{name}]\nkind = \"process\"\noutput = \"{framing}\"\n\
             command = [\"{{agent}}\", \"read-line\"{words}{end}]\n\
             env = {{ {MARK} = \"{{dir}}\" }}"
        );
    }
    toml
}

/// What one session went through.
#[derive(Debug, Default)]
struct Lived {
    session: String,
    /// How each turn was told to end, as `done` or a code; more than once if it was.
    ends: BTreeMap<String, Vec<String>>,
    wrong: Vec<String>,
}

async fn run(rig: &mut Rig, storm: Storm) -> Result<()> {
    let until = Instant::now() + storm.span;
    let mut entered = Vec::new();
    for n in 0..storm.sessions {
        let backend = BACKENDS[n % BACKENDS.len()];
        // The stream of commands is each client's own.
        let hello = json!({
            "backend": backend, "instance": format!("i-{n}"),
            "stream": { "id": format!("c-storm-{n}"), "next": 1, "receipts_ack": 0 },
        });
        let (raw, welcome) = rig.by_hand(&hello).await?;
        rig.also(&welcome);
        let session = welcome["session"].as_str().context("a session")?.to_owned();
        entered.push((raw, session));
    }
    rig.strike();
    let living = entered
        .into_iter()
        .enumerate()
        .map(|(n, (raw, session))| live(raw, session, n, until));
    let (lived, kills) = tokio::join!(join_all(living), kill(rig, until));
    let kills = kills?;
    let (mut turns, mut failed) = (0, 0);
    let mut wrong = Vec::new();
    for mut lived in lived {
        wrong.append(&mut lived.wrong);
        turns += lived.ends.len();
        let is_failed = |ends: &&Vec<String>| ends.iter().all(|end| end != "done");
        failed += lived.ends.values().filter(is_failed).count();
        let kept = kept(rig, &lived.session).await?;
        judge(&lived, &kept, &mut wrong);
    }
    wrong.truncate(10);
    rig.row.wrong.extend(wrong);
    let left = marked(&rig.dir)?.len();
    if left > 0 && rig.mutant.is_none() {
        rig.wrong(format!("{left} processes outlived the last turn"));
    }
    ensure!(kills > 0, "nothing was killed");
    ensure!(failed > 0, "{kills} kills, and not one turn failed");
    rig.row.fault = format!(
        "{} in {} sessions: {kills} kills, {turns} turns, {failed} failed",
        rig.row.fault, storm.sessions
    );
    rig.recovered();
    Ok(())
}

/// Kills a random program so often; how many.
async fn kill(rig: &Rig, until: Instant) -> Result<u32> {
    let mut kills = 0;
    let mut tick = tokio::time::interval(KILL_EVERY);
    while Instant::now() < until {
        tick.tick().await;
        let programs = rig.programs()?;
        let Some(victim) = programs.get(fastrand::usize(..programs.len().max(1))) else {
            continue;
        };
        // It may have ended by itself meanwhile.
        kills += u32::from(kill_process(*victim, Signal::KILL).is_ok());
    }
    Ok(kills)
}

/// Says something, waits for its end, and does so again until the storm is over.
async fn live(mut raw: Raw, session: String, of: usize, until: Instant) -> Lived {
    let mut lived = Lived {
        session,
        ..Lived::default()
    };
    for n in 1.. {
        if Instant::now() >= until {
            break;
        }
        let key = format!("k{of}-{n}");
        let turn = async {
            let data = json!({ "text": key });
            let say = json!({ "type": "command", "n": n, "name": "say", "data": data });
            raw.send(&say).await?;
            one_turn(&mut raw, &mut lived.ends).await
        };
        if let Err(error) = turn.await {
            lived.wrong.push(format!("{key}: {error:#}"));
            break;
        }
    }
    // A second end would come now.
    let late = async {
        loop {
            match raw.next().await {
                Ok(Frame::Json(frame)) => note_end(&frame, &mut lived.ends),
                Ok(Frame::Closed(_)) | Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(QUIET, late).await;
    lived
}

async fn one_turn(raw: &mut Raw, ends: &mut BTreeMap<String, Vec<String>>) -> Result<()> {
    raw.find("the end of a turn", |frame| {
        note_end(frame, ends);
        frame["kind"] == "turn.ended" || is_refusal(frame)
    })
    .await
    .and_then(|frame| {
        ensure!(frame["kind"] == "turn.ended", "refused: {frame}");
        Ok(())
    })
}

pub(super) fn is_refusal(frame: &Value) -> bool {
    frame["type"] == "receipt" && !frame["fault"].is_null()
}

fn note_end(frame: &Value, ends: &mut BTreeMap<String, Vec<String>>) {
    if frame["kind"] != "turn.ended" {
        return;
    }
    let turn = frame["data"]["turn"].as_str().unwrap_or_default();
    ends.entry(turn.to_owned())
        .or_default()
        .push(end_of(&frame["data"]));
}

fn end_of(data: &Value) -> String {
    let code = data["fault"]["code"].as_str();
    let end = code.or_else(|| data["end"].as_str());
    end.unwrap_or_default().to_owned()
}

/// The ends of each turn that was accepted, as the store has them.
async fn kept(rig: &Rig, session: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut after = 0;
    loop {
        let path = format!("/v1/sessions/{session}/events?after={after}&limit=2048");
        let (status, body) = server::get(rig.server.addr(), &path, Some(rig.admin())).await?;
        ensure!(status == 200, "the log cannot be read: {status} {body}");
        let page: Value = serde_json::from_str(&body)?;
        for event in page["events"].as_array().into_iter().flatten() {
            let data = &event["data"];
            let turn = data["turn"].as_str().unwrap_or_default();
            if event["kind"] == "turn.accepted" {
                kept.entry(turn.to_owned()).or_default();
            }
            if event["kind"] == "turn.ended" {
                kept.entry(turn.to_owned()).or_default().push(end_of(data));
            }
        }
        let next = page["next"].as_u64().context("a page's end")?;
        if page["head"].as_u64().is_none_or(|head| next >= head) {
            return Ok(kept);
        }
        after = next;
    }
}

/// Each turn has one end, of a kind that a kill can bring about, and the same as it was told.
fn judge(lived: &Lived, kept: &BTreeMap<String, Vec<String>>, wrong: &mut Vec<String>) {
    for (turn, ends) in kept {
        match ends.as_slice() {
            [end] if ["done", "provider_crashed"].contains(&end.as_str()) => {}
            [end] => wrong.push(format!("{turn} ended {end}")),
            ends => wrong.push(format!("{turn} has {} ends: {ends:?}", ends.len())),
        }
        if lived.ends.get(turn) != Some(ends) {
            let told = lived.ends.get(turn);
            wrong.push(format!("{turn}: kept {ends:?}, told {told:?}"));
        }
    }
    for turn in lived.ends.keys().filter(|turn| !kept.contains_key(*turn)) {
        wrong.push(format!("{turn} was told and is not kept"));
    }
}
