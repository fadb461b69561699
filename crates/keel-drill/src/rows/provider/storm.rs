//! The storm: many sessions whose providers are killed at random, all the time. Every turn that was
//! accepted has exactly one end, told and kept, and at the end no process is left.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Spec;
use crate::{
    mutant::Mutant,
    raw::{Frame, Raw},
    rig::{MARK, Model, Rig, children, is_marked},
    server,
};

/// A provider is killed so often.
const KILL_EVERY: Duration = Duration::from_millis(100);
/// Words of an answer, and the pause before each, in milliseconds.
const WORDS: u32 = 10;
const PACE_MS: u32 = 300;
/// What comes after an end comes within this.
const QUIET: Duration = Duration::from_millis(500);
/// How often 15 s are waited for the end of a turn of 3 s, where everything begins at once.
const LOOKS: u32 = 3;
/// Sessions begin within this, in milliseconds.
const BEGIN_WITHIN_MS: u64 = 2_000;
/// A client that lost more connections proves nothing.
const LOSSES_MAX: u32 = 20;

/// How a turn may end here.
const ENDS: [&str; 3] = ["done", "provider_crashed", "provider_unavailable"];

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
        .backend("all")
        .model(&format!(
            "ok count={WORDS} rate={:.1}",
            1_000. / f64::from(PACE_MS)
        ))
    };
    vec![of(30, 8), of(200, 60)]
}

/// The backends that sessions are served by, in turns.
const BACKENDS: [&str; 4] = ["lines", "json-lines", "agent", "model"];
/// The model's server is killed at each so many kills: with it all turns that it serves.
const MODEL_KILLED_EACH: u32 = 50;

fn backends() -> String {
    let words =
        |op: &str| format!(", \"{op}=word \", \"sleep-ms={PACE_MS}\"").repeat(WORDS as usize);
    let program = |kind: &str, head: &str, op: &str, end: &str| {
        let words = words(op);
        format!(
            "kind = \"{kind}\"\ncommand = [\"{{agent}}\", \"{head}\"{words}{end}]\n\
             env = {{ {MARK} = \"{{dir}}\" }}\n"
        )
    };
    let lines = program("process", "read-line", "say", "");
    let json_lines = program("process", "read-line", "text", ", \"done\"");
    let agent = program("acp", "acp", "text", "");
    format!(
        "[backends.lines]\n{lines}[backends.json-lines]\noutput = \"json_lines\"\n{json_lines}\
         [backends.agent]\n{agent}[backends.model]\nkind = \"openai\"\nbase_url = \"{{model}}/v1\"\n\
         model = \"fake-model\"\ntries = 1\n"
    )
}

/// What one session went through.
#[derive(Debug, Default)]
struct Lived {
    session: String,
    /// How each turn was told to end, as `done` or a code; more than once if it was.
    ends: BTreeMap<String, Vec<String>>,
    /// Connections.
    lost: u32,
    wrong: Vec<String>,
}

async fn run(rig: &mut Rig, storm: Storm) -> Result<()> {
    // The host is as busy for the bystander as for everybody.
    rig.strikes_all = true;
    // All at once: who is in and says nothing for long is given up.
    let entering = (0..storm.sessions).map(|n| enter(rig, n));
    let mut entered = Vec::new();
    for came in join_all(entering).await {
        let (raw, welcome) = came?;
        let session = welcome["session"].as_str().context("a session")?.to_owned();
        rig.also(&welcome);
        entered.push((raw, session));
    }
    let until = Instant::now() + storm.span;
    rig.strike();
    let mut living = JoinSet::new();
    for (n, (raw, session)) in entered.into_iter().enumerate() {
        let (addr, token) = (rig.server.addr(), rig.token.clone());
        let door = Door {
            addr,
            token,
            session,
        };
        living.spawn(live(door, raw, n, until));
    }
    let server = rig.server.pid().context("the server runs")?;
    let mut model = rig.model.take().context("there is a model server")?;
    let killed = kill(server, &mut model, &rig.dir, until).await;
    rig.model = Some(model);
    let kills = killed?;
    let (mut turns, mut failed, mut lost) = (0, 0, 0);
    let mut wrong = Vec::new();
    while let Some(lived) = living.join_next().await {
        let mut lived = lived?;
        lost += lived.lost;
        wrong.append(&mut lived.wrong);
        turns += lived.ends.len();
        let is_failed = |ends: &&Vec<String>| ends.iter().all(|end| end != "done");
        failed += lived.ends.values().filter(is_failed).count();
        let kept = kept(rig, &lived.session).await?;
        judge(&lived, &kept, &mut wrong);
    }
    wrong.truncate(10);
    rig.row.wrong.extend(wrong);
    ensure!(kills > 0, "nothing was killed");
    ensure!(failed > 0, "{kills} kills, and not one turn failed");
    rig.row.fault = format!(
        "{} in {} sessions: {kills} kills, {turns} turns, {failed} failed; {lost} \
         connections lost meanwhile",
        rig.row.fault, storm.sessions
    );
    rig.recovered();
    Ok(())
}

async fn enter(rig: &Rig, n: usize) -> Result<(Raw, Value)> {
    let backend = BACKENDS[n % BACKENDS.len()];
    // The stream of commands is each client's own.
    let stream = json!({ "id": format!("c-storm-{n}"), "next": 1, "receipts_ack": 0 });
    let hello = json!({ "backend": backend, "instance": format!("i-{n}"), "stream": stream });
    rig.by_hand(&hello).await
}

/// Kills a random program so often; how many.
async fn kill(server: Pid, model: &mut Model, dir: &Path, until: Instant) -> Result<u32> {
    let mut kills = 0;
    let mut tick = tokio::time::interval(KILL_EVERY);
    while Instant::now() < until {
        tick.tick().await;
        if kills % MODEL_KILLED_EACH == MODEL_KILLED_EACH - 1 {
            model.kill().await?;
            model.launch().await?;
            kills += 1;
            continue;
        }
        let mut programs = children(server)?;
        fastrand::shuffle(&mut programs);
        // The bystander's is not ours.
        let victim = programs.into_iter().find(|pid| is_marked(*pid, dir));
        let Some(victim) = victim.and_then(Pid::from_raw) else {
            continue;
        };
        // It may have ended by itself meanwhile.
        kills += u32::from(kill_process(victim, Signal::KILL).is_ok());
    }
    Ok(kills)
}

/// Says something, waits for its end, and does so again until the storm is over.
async fn live(door: Door, mut raw: Raw, of: usize, until: Instant) -> Lived {
    let mut lived = Lived {
        session: door.session.clone(),
        ..Lived::default()
    };
    let begins = Duration::from_millis(fastrand::u64(..BEGIN_WITHIN_MS));
    let mut number = 0;
    for n in 1.. {
        if n == 1 {
            // Beats are answered on the way.
            raw.beats(begins).await.unwrap_or_default();
        }
        if Instant::now() >= until {
            break;
        }
        let key = format!("k{of}-{n}");
        number += 1;
        let turn = async {
            let data = json!({ "text": key });
            let say = json!({ "type": "command", "n": number, "name": "say", "data": data });
            raw.send(&say).await?;
            one_turn(&mut raw, &mut lived.ends).await
        };
        let Err(error) = turn.await else { continue };
        match door.come_back(&mut lived, error).await {
            Ok(again) => (raw, number) = (again, 0),
            Err(error) => {
                lived.wrong.push(format!("{key}: {error:#}"));
                break;
            }
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

/// How a session is entered again.
struct Door {
    addr: SocketAddr,
    token: String,
    session: String,
}

impl Door {
    /// Comes back from a lost connection: a machine that is too busy for its beats loses connections, and
    /// no turns. Who comes back is told everything again.
    async fn come_back(&self, lived: &mut Lived, mut why: anyhow::Error) -> Result<Raw> {
        loop {
            let lost = format!("{why:#}");
            let is_lost = ["heartbeat_timeout", "closed with"];
            lived.lost += 1;
            if lived.lost > LOSSES_MAX || !is_lost.iter().any(|word| lost.contains(word)) {
                return Err(why);
            }
            lived.ends.clear();
            match self.enter_again(lived).await {
                Ok(raw) => return Ok(raw),
                Err(error) => why = error,
            }
        }
    }

    /// Enters, and waits until nothing runs that was said before.
    async fn enter_again(&self, lived: &mut Lived) -> Result<Raw> {
        let stream = format!("c-back-{}-{}", self.session, lived.lost);
        let hello = json!({
            "session": self.session,
            "stream": { "id": stream, "next": 1, "receipts_ack": 0 },
        });
        let (mut raw, _) = Raw::join(self.addr, &self.token, &hello, None).await?;
        let ends = &mut lived.ends;
        let mut open = 0;
        raw.find("the end of a turn", |frame| {
            note_end(frame, ends);
            open += i32::from(frame["kind"] == "turn.accepted");
            open -= i32::from(frame["kind"] == "turn.ended");
            frame["type"] == "replayed"
        })
        .await?;
        while open > 0 {
            one_turn(&mut raw, ends).await?;
            open -= 1;
        }
        Ok(raw)
    }
}

async fn one_turn(raw: &mut Raw, ends: &mut BTreeMap<String, Vec<String>>) -> Result<()> {
    let mut found = Err(anyhow::anyhow!("nothing was looked for"));
    for _ in 0..LOOKS {
        found = raw
            .find("the end of a turn", |frame| {
                note_end(frame, ends);
                frame["kind"] == "turn.ended" || is_refusal(frame)
            })
            .await;
        let is_late = |error: &anyhow::Error| error.is::<tokio::time::error::Elapsed>();
        if !found.as_ref().is_err_and(is_late) {
            break;
        }
    }
    let frame = found?;
    ensure!(frame["kind"] == "turn.ended", "refused: {frame}");
    Ok(())
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
            [end] if ENDS.contains(&end.as_str()) => {}
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
