//! The client side of a drill: what runs in a client process, around the SDK.
//!
//! It is told what to do by lines on standard input, and writes what it sees as lines of a ledger on
//! standard output. It judges nothing.

mod camera;
mod voice;

use anyhow::{Context, Result};
use evenkeel::{Client, CommandError, Event, LogEvent, Receipt, Session, wire};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};

use crate::{ledger::Seen, mutant::Mutant};
use camera::{Camera, Trick};
use voice::Voice;

/// What a client process is to be.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where to.
    pub url: String,
    /// With what.
    pub token: String,
    /// The session to join; absent opens one.
    pub session: Option<String>,
    /// What a new session is served by.
    pub backend: Option<String>,
    /// As what.
    pub role: wire::Role,
    /// What to do when there is no slot.
    pub wait: bool,
    /// It has a camera and a screen, or only a screen if it may not publish.
    pub camera: bool,
    /// How many clients of this kind the process is; one obeys its input, more only watch.
    pub crowd: u32,
    /// What is wrong on purpose with what the app is told.
    pub mutant: Option<Mutant>,
}

/// Runs a client, or a crowd of them, until its input ends.
///
/// # Errors
/// When what it was given makes no sense; what happens to the session is in the ledger.
pub async fn main(endpoint: Endpoint) -> Result<()> {
    let voice = Voice::new(endpoint.mutant);
    if endpoint.crowd > 1 {
        return crowd(&endpoint, &voice).await;
    }
    let Some(session) = connect(&endpoint, &voice).await? else {
        return Ok(());
    };
    let mut events = session.events();
    let mut status = session.status();
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut receipts = JoinSet::new();
    let publishes = endpoint.role != wire::Role::Viewer;
    let mut camera = match endpoint.camera {
        true => Some(Camera::start(&session, &voice, publishes).await?),
        false => None,
    };
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => voice.tell(seen(event)),
                None => break,
            },
            changed = status.changed() => {
                if changed.is_ok() {
                    let status = status.borrow_and_update().clone();
                    let state = serde_json::to_value(&status.state)?["state"].take();
                    let code = status.fault.as_ref().map(|fault| fault.code.to_string());
                    let state = state.as_str().unwrap_or_default().to_owned();
                    let media = leg(&status, wire::Leg::Media);
                    voice.tell(Seen::Status { state, code, media });
                }
            }
            line = input.next_line() => match line? {
                Some(line) if trick(&session, camera.as_mut(), &line).await => {}
                Some(line) => obey(&session, &line, &voice, &mut receipts).await?,
                None => break,
            },
            Some(_) = receipts.join_next(), if !receipts.is_empty() => {}
        }
    }
    session.close().await;
    Ok(())
}

/// How a leg is, in the word of the wire.
fn leg(status: &wire::Status, of: wire::Leg) -> Option<String> {
    let leg = status.legs.iter().find(|leg| leg.leg == of)?;
    let told = serde_json::to_value(&leg.state).ok()?;
    told["health"].as_str().map(str::to_owned)
}

/// Connects; `None` if it was told why not.
async fn connect(endpoint: &Endpoint, voice: &Voice) -> Result<Option<Session>> {
    let mut builder = Client::builder()
        .url(&endpoint.url)
        .token(&endpoint.token)
        .role(endpoint.role);
    if let Some(session) = &endpoint.session {
        builder = builder.session(session.parse()?);
    }
    if let Some(backend) = &endpoint.backend {
        builder = builder.backend(backend);
    }
    if endpoint.wait {
        builder = builder.admission(wire::Admission::Wait { max_ms: None });
    }
    match builder.connect().await {
        Ok(session) => Ok(Some(session)),
        Err(error) => {
            let fault = &error.fault;
            voice.tell(Seen::Failed {
                code: fault.code.to_string(),
                detail: detail(fault),
            });
            Ok(None)
        }
    }
}

/// Many clients, a session each; all write to the one ledger.
async fn crowd(endpoint: &Endpoint, voice: &Voice) -> Result<()> {
    let mut watching = JoinSet::new();
    let (leave, left) = tokio::sync::watch::channel(false);
    for _ in 0..endpoint.crowd {
        let Some(session) = connect(endpoint, voice).await? else {
            continue;
        };
        let (mut events, voice, mut left) = (session.events(), voice.clone(), left.clone());
        watching.spawn(async move {
            loop {
                tokio::select! {
                    event = events.next() => match event {
                        Some(event) => voice.tell(seen(event)),
                        None => break,
                    },
                    _ = left.changed() => break,
                }
            }
            session.close().await;
        });
    }
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    while input.next_line().await?.is_some() {}
    leave.send_replace(true);
    while watching.join_next().await.is_some() {}
    Ok(())
}

/// Does something to media; false if that is not what the line is about.
async fn trick(session: &Session, camera: Option<&mut Camera>, line: &str) -> bool {
    let Some(camera) = camera else {
        return false;
    };
    let change = |change: fn(&mut Trick)| camera.trick.send_modify(change);
    if let Some(name) = line.strip_prefix("extra ") {
        // What is refused is not shown either.
        return camera.extra(session, name).await.is_ok();
    }
    match line {
        "freeze on" => change(|trick| trick.frozen = true),
        "freeze off" => change(|trick| trick.frozen = false),
        "keyless on" => change(|trick| trick.keyless = true),
        "keyless off" => change(|trick| trick.keyless = false),
        "retry" => session.media().retry().await,
        _ => return false,
    }
    true
}

async fn obey(
    session: &Session,
    line: &str,
    voice: &Voice,
    receipts: &mut JoinSet<()>,
) -> Result<()> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut answer = |key: &str, receipt: Receipt| {
        let (voice, key) = (voice.clone(), key.to_owned());
        receipts.spawn(async move { voice.tell(answered(key, receipt.await)) });
    };
    let said = |what: &str| {
        let text = format!("said {what}");
        voice.tell(Seen::Note { text });
    };
    match verb {
        "say" => {
            let key = rest.split_whitespace().next().context("say KEY …")?;
            said(key);
            answer(key, session.say(rest));
            if voice.says_twice() {
                answer(key, session.say(rest));
            }
        }
        "set" => {
            let patch: Value = serde_json::from_str(rest)?;
            said(rest);
            answer(rest, session.set(patch));
        }
        "cancel" => answer("cancel", session.cancel(None)),
        "detach" => session.detach().await,
        "end" => answer("end", session.end()),
        other => anyhow::bail!("no verb {other:?}"),
    }
    Ok(())
}

fn answered(key: String, outcome: Result<evenkeel::Accepted, CommandError>) -> Seen {
    let (ok, turn, code) = match outcome {
        Ok(accepted) => (true, accepted.turn.map(|turn| turn.to_string()), None),
        Err(error) => (false, None, Some(error.fault().code.to_string())),
    };
    Seen::Receipt {
        key,
        ok,
        turn,
        code,
    }
}

fn seen(event: Event) -> Seen {
    match event {
        Event::Joined(joined) => Seen::Joined {
            session: joined.session.to_string(),
            participant: joined.participant.to_string(),
        },
        Event::Log { range, event } => {
            let (kind, data) = match &event {
                LogEvent::Known(event) => (event.name().to_owned(), raw(event.encode_data().get())),
                LogEvent::Unknown { kind, data } => (kind.clone(), raw(data.get())),
            };
            Seen::Event {
                from: range.from.get(),
                to: range.to.get(),
                kind,
                data,
            }
        }
        Event::Gap { range, fault, .. } => Seen::Gap {
            from: range.from.get(),
            to: range.to.get(),
            code: fault.map(|fault| fault.code.to_string()),
        },
        Event::Ephemeral(told) => Seen::Ephemeral {
            kind: told.kind,
            data: raw(told.data.get()),
        },
        Event::MediaLost { fault } => Seen::MediaLost {
            code: fault.code.to_string(),
            id: fault.id.to_string(),
            detail: detail(&fault),
        },
        Event::MediaRecovered {
            strategy, lost_ms, ..
        } => Seen::MediaRecovered {
            how: format!("{strategy:?}").to_lowercase(),
            lost_ms,
        },
        Event::Fault(fault) => Seen::Fault {
            code: fault.code.to_string(),
        },
        Event::ConnectionLost { fault, .. } => Seen::Lost {
            code: fault.code.to_string(),
            id: fault.id.to_string(),
            detail: detail(&fault),
        },
        Event::AttemptFailed { fault, .. } => Seen::AttemptFailed {
            code: fault.code.to_string(),
        },
        Event::Recovered {
            strategy,
            attempts,
            lost_ms,
            replayed,
        } => {
            let strategy = format!("{strategy:?}").to_lowercase();
            Seen::Recovered {
                strategy,
                attempts,
                lost_ms,
                replayed,
            }
        }
        Event::Queued { position, of } => Seen::Queued { position, of },
        Event::Goaway { reason, .. } => Seen::Note {
            text: format!("goaway {reason}"),
        },
        Event::Ended { reason } => Seen::Ended {
            reason: format!("{reason:?}").to_lowercase(),
        },
        Event::Failed(fault) => Seen::Failed {
            code: fault.code.to_string(),
            detail: detail(&fault),
        },
        Event::ProtocolNotice(notice) => Seen::Note {
            text: format!("notice {notice:?}"),
        },
        Event::StillWaiting { because, for_ms } => Seen::StillWaiting {
            because: format!("{because:?}"),
            for_ms,
        },
    }
}

fn raw(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}

fn detail(fault: &wire::Fault) -> Value {
    json!({ "detail": fault.detail, "message": fault.message, "suppressed": fault.suppressed.len() })
}
