//! One JSON object an event; `docs/results.md` defines them.

use evenkeel::{Accepted, Because, CommandError, Event, LogEvent, Notice};
use serde_json::{Value, json};

pub(super) fn receipt(outcome: &Result<Accepted, CommandError>) -> Value {
    match outcome {
        Ok(accepted) => json!({
            "event": "receipt", "outcome": "ok", "turn": accepted.turn,
            "position": accepted.position, "version": accepted.version, "fault": null,
        }),
        Err(error) => {
            let outcome = match error {
                CommandError::Faulted(_) => "faulted",
                CommandError::Refused(_) => "refused",
                CommandError::Unknown(_) => "unknown",
            };
            json!({
                "event": "receipt", "outcome": outcome, "turn": null, "position": null,
                "version": null, "fault": error.fault(),
            })
        }
    }
}

pub(super) fn event(event: &Event) -> Value {
    match event {
        Event::Joined(membership) => json!({
            "event": "joined", "session": membership.session, "participant": membership.participant,
            "role": membership.role, "how": membership.how, "cursor": membership.cursor,
            "params": membership.params, "params_version": membership.params_version,
        }),
        Event::Log { range, event } => {
            let (kind, data) = match event {
                LogEvent::Known(event) => (event.name().to_owned(), event.encode_data()),
                LogEvent::Unknown { kind, data } => (kind.clone(), data.clone()),
            };
            json!({
                "event": "log", "from": range.from, "to": range.to, "kind": kind,
                "data": raw(data.get()),
            })
        }
        Event::Gap {
            range,
            fault,
            snapshot,
        } => json!({
            "event": "gap", "from": range.from, "to": range.to, "fault": fault,
            "snapshot": snapshot,
        }),
        Event::Ephemeral(told) => json!({
            "event": "ephemeral", "kind": told.kind, "data": raw(told.data.get()),
        }),
        Event::MediaLost { fault } => json!({ "event": "media_lost", "fault": fault }),
        Event::MediaRecovered {
            strategy,
            attempts,
            lost_ms,
        } => json!({
            "event": "media_recovered", "strategy": strategy, "attempts": attempts, "lost_ms": lost_ms,
        }),
        Event::Fault(fault) => json!({ "event": "fault", "fault": fault }),
        Event::ConnectionLost { conn, fault } => json!({
            "event": "connection_lost", "connection": conn.0, "fault": fault,
        }),
        Event::AttemptFailed {
            strategy,
            attempt,
            fault,
        } => json!({
            "event": "attempt_failed", "strategy": strategy, "attempt": attempt, "fault": fault,
        }),
        Event::Recovered {
            strategy,
            attempts,
            lost_ms,
            replayed,
        } => json!({
            "event": "recovered", "strategy": strategy, "attempts": attempts, "lost_ms": lost_ms,
            "replayed": replayed,
        }),
        Event::Queued { position, of } => {
            json!({ "event": "queued", "position": position, "of": of })
        }
        Event::Goaway {
            reason,
            deadline_ms,
            target,
        } => json!({
            "event": "goaway", "reason": reason, "deadline_ms": deadline_ms, "target": target,
        }),
        Event::Ended { reason } => json!({ "event": "ended", "reason": reason }),
        Event::Failed(fault) => json!({ "event": "failed", "fault": fault }),
        Event::ProtocolNotice(notice) => {
            let (what, name, message) = match notice {
                Notice::UnknownFrame { name } => ("unknown_frame", Some(name), None),
                Notice::MalformedEvent { kind, message } => {
                    ("malformed_event", Some(kind), Some(message))
                }
                Notice::NothingToBreak => ("nothing_to_break", None, None),
            };
            json!({ "event": "notice", "notice": what, "name": name, "message": message })
        }
        Event::StillWaiting { because, for_ms } => {
            let (what, waiting_for) = match because {
                Because::Connecting(phase) => ("connecting", json!(phase)),
                Because::Queued => ("queued", Value::Null),
                Because::Recovering(waiting_for) => ("recovering", json!(waiting_for)),
                Because::Receipt { .. } => ("receipt", Value::Null),
            };
            json!({
                "event": "still_waiting", "because": what, "waiting_for": waiting_for,
                "for_ms": for_ms,
            })
        }
    }
}

/// Data that came as JSON.
fn raw(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}
