//! The client side of a drill: what runs in a client process, around the SDK.
//!
//! It is told what to do by lines on standard input, and writes what it sees as lines of a ledger on
//! standard output. It judges nothing.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use evenkeel::{Client, CommandError, Event, LogEvent, Session, wire};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
};

use crate::ledger::{Line, Seen};

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
}

/// Runs a client until its input ends.
///
/// # Errors
/// When what it was given makes no sense; what happens to the session is in the ledger.
pub async fn main(endpoint: Endpoint) -> Result<()> {
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
    let session = match builder.connect().await {
        Ok(session) => session,
        Err(error) => {
            let fault = &error.fault;
            write(Seen::Failed {
                code: fault.code.to_string(),
                detail: detail(fault),
            });
            return Ok(());
        }
    };
    let mut events = session.events();
    let mut status = session.status();
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut receipts = JoinSet::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(event) => told(event),
                None => break,
            },
            changed = status.changed() => {
                if changed.is_ok() {
                    let status = status.borrow_and_update().clone();
                    let state = serde_json::to_value(&status.state)?["state"].take();
                    let code = status.fault.as_ref().map(|fault| fault.code.to_string());
                    let state = state.as_str().unwrap_or_default().to_owned();
                    write(Seen::Status { state, code });
                }
            }
            line = input.next_line() => match line? {
                Some(line) => obey(&session, &line, &mut receipts).await?,
                None => break,
            },
            Some(_) = receipts.join_next(), if !receipts.is_empty() => {}
        }
    }
    session.close().await;
    Ok(())
}

async fn obey(session: &Session, line: &str, receipts: &mut JoinSet<()>) -> Result<()> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "say" => {
            let key = rest
                .split_whitespace()
                .next()
                .context("say KEY …")?
                .to_owned();
            write(Seen::Note {
                text: format!("said {key}"),
            });
            let receipt = session.say(rest);
            receipts.spawn(async move { answered(key, receipt.await) });
        }
        "set" => {
            let patch: Value = serde_json::from_str(rest)?;
            write(Seen::Note {
                text: format!("said {rest}"),
            });
            let (key, receipt) = (rest.to_owned(), session.set(patch));
            receipts.spawn(async move { answered(key, receipt.await) });
        }
        "cancel" => {
            let receipt = session.cancel(None);
            receipts.spawn(async move { answered("cancel".to_owned(), receipt.await) });
        }
        "inject" => {
            let fault = serde_json::from_str(rest)?;
            let receipt = session.inject(fault, None);
            receipts.spawn(async move { answered("inject".to_owned(), receipt.await) });
        }
        "detach" => session.detach().await,
        "end" => {
            let receipt = session.end();
            receipts.spawn(async move { answered("end".to_owned(), receipt.await) });
        }
        other => anyhow::bail!("no verb {other:?}"),
    }
    Ok(())
}

fn answered(key: String, outcome: Result<evenkeel::Accepted, CommandError>) {
    let (ok, turn, code) = match outcome {
        Ok(accepted) => (true, accepted.turn.map(|turn| turn.to_string()), None),
        Err(error) => (false, None, Some(error.fault().code.to_string())),
    };
    write(Seen::Receipt {
        key,
        ok,
        turn,
        code,
    });
}

fn told(event: Event) {
    let seen = match event {
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
        Event::Media(_) => Seen::Note {
            text: "media".to_owned(),
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
    };
    write(seen);
}

fn raw(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}

fn detail(fault: &wire::Fault) -> Value {
    json!({ "detail": fault.detail, "message": fault.message, "suppressed": fault.suppressed.len() })
}

fn write(what: Seen) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let t = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    // Whoever drills is gone if nobody reads: then there is nobody to tell either.
    if let Ok(text) = serde_json::to_string(&Line { t, what }) {
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}
