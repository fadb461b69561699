//! Inputs and outputs as JSON, in the words of the wire.

use serde_json::{Map, Value, json};

use keel_wire::MediaSignal;

use super::*;

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("spans of tests are short")
}

/// An object without the members that are null.
fn object(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    let members: Map<_, _> = members
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    Value::Object(members)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

pub(super) fn config(config: &Config) -> Value {
    let backoff = match &config.backoff {
        Backoff::FullJitter { base, cap } => {
            json!({ "kind": "full_jitter", "base_ms": ms(*base), "cap_ms": ms(*cap) })
        }
        Backoff::Table(waits) => {
            let waits: Vec<_> = waits.iter().copied().map(ms).collect();
            json!({ "kind": "table", "waits_ms": waits })
        }
    };
    let mut value = object(json!({
        "addresses": config.addresses,
        "session": config.session,
        "backend": config.backend,
        "project": config.project,
        "busy": config.busy,
        "title": config.title,
        "cwd": config.cwd,
        "tags": config.tags,
        "role": config.role,
        "admission": config.admission,
        "history": config.history,
        "params": config.params,
        "sdk": "under-test",
        "resume": config.resume,
        "backoff": backoff,
        "give_up_after_ms": config.give_up_after.map(ms),
        "retry_first_connect": config.retry_first_connect,
        "connect_within_ms": ms(config.connect_within),
    }));
    value["token"] = match &config.token {
        TokenSource::Fixed(token) => json!(token),
        TokenSource::Fetched => Value::Null,
    };
    value
}

pub(super) fn input(input: &Input) -> Value {
    match input {
        Input::Connect => json!({ "type": "connect" }),
        Input::Opened { conn } => json!({ "type": "opened", "conn": conn.0 }),
        Input::Frame { conn, bytes } => match std::str::from_utf8(bytes) {
            Ok(text) => json!({ "type": "frame", "conn": conn.0, "data": text }),
            Err(_) => json!({ "type": "frame", "conn": conn.0, "bytes": bytes }),
        },
        Input::Closed { conn, end } => {
            json!({ "type": "closed", "conn": conn.0, "end": conn_end(end) })
        }
        Input::Command {
            local,
            command,
            ttl,
        } => object(json!({
            "type": "command",
            "local": local,
            "name": command.name(),
            "json": command.encode_data(),
            "ttl_ms": ttl.map(ms),
        })),
        Input::Media(said) => json!({ "type": "media", "media": media_input(said) }),
        Input::Token(Ok(token)) => json!({ "type": "token", "token": token }),
        Input::Token(Err(error)) => json!({ "type": "token", "error": error }),
        Input::Network { online } => json!({ "type": "network", "online": online }),
        Input::Probe => json!({ "type": "probe" }),
        Input::Detach => json!({ "type": "detach" }),
        Input::Close => json!({ "type": "close" }),
        Input::Simulate(simulate) => {
            let simulate = match simulate {
                Simulate::DropTransport => json!({ "kind": "drop_transport" }),
                Simulate::HalfOpen => json!({ "kind": "half_open" }),
                Simulate::LoseFrames { count } => json!({ "kind": "lose_frames", "count": count }),
            };
            json!({ "type": "simulate", "simulate": simulate })
        }
        Input::Tick => json!({ "type": "tick" }),
    }
}

fn conn_end(end: &ConnEnd) -> Value {
    match end {
        ConnEnd::DialFailed { kind, message } => {
            let mut end = json!({ "kind": "dial_failed", "message": message });
            end["why"] = match kind {
                DialFailure::Refused => "refused",
                DialFailure::Timeout => "timeout",
                DialFailure::Dns => "dns",
                DialFailure::Tls(failure) => {
                    end["tls"] = json!(failure.name());
                    "tls"
                }
                DialFailure::Other => "other",
                DialFailure::NotWebSocket {
                    status,
                    retry_after,
                } => {
                    end["status"] = json!(status);
                    end["retry_after_ms"] = json!(retry_after.map(ms));
                    "not_websocket"
                }
            }
            .into();
            object(end)
        }
        ConnEnd::Close { code, reason } => {
            json!({ "kind": "close", "code": code, "reason": reason })
        }
        ConnEnd::Eof => json!({ "kind": "eof" }),
        ConnEnd::Reset => json!({ "kind": "reset" }),
        ConnEnd::WriteFailed => json!({ "kind": "write_failed" }),
        ConnEnd::Other { message } => json!({ "kind": "other", "message": message }),
    }
}

pub(super) fn output(output: &Output) -> Value {
    match output {
        Output::FetchToken => json!({ "type": "fetch_token" }),
        Output::Dial { conn, address } => {
            json!({ "type": "dial", "conn": conn.0, "address": address })
        }
        Output::Send { conn, bytes } => {
            let mut frame = parsed(std::str::from_utf8(bytes).expect("frames are text"));
            if frame["type"] == "hello" {
                frame["sdk"] = json!("under-test");
            }
            json!({ "type": "send", "conn": conn.0, "frame": frame })
        }
        Output::Hangup { conn, code } => {
            object(json!({ "type": "hangup", "conn": conn.0, "code": code }))
        }
        Output::Receipt { local, outcome } => {
            let outcome = match outcome {
                CommandOutcome::Answered(body) => json!({ "answered": body }),
                CommandOutcome::Refused(fault) => json!({ "refused": fault }),
                CommandOutcome::Unknown(fault) => json!({ "unknown": fault }),
            };
            json!({ "type": "receipt", "local": local, "outcome": outcome })
        }
        Output::Media(order) => json!({ "type": "media", "media": media_order(order) }),
        Output::Event(event) => json!({ "type": "event", "event": told(event) }),
        Output::Status(status) => json!({ "type": "status", "status": status }),
    }
}

fn told(event: &Event) -> Value {
    match event {
        Event::Joined(joined) => json!({
            "type": "joined",
            "session": joined.session,
            "participant": joined.participant,
            "role": joined.role,
            "how": joined.how,
            "cursor": joined.cursor,
            "params": joined.params,
            "params_version": joined.params_version,
        }),
        Event::Log { range, event } => {
            let (known, kind, data) = match event {
                LogEvent::Known(event) => (true, event.name(), event.encode_data()),
                LogEvent::Unknown { kind, data } => (false, kind.as_str(), data.clone()),
            };
            json!({
                "type": "log", "from": range.from, "to": range.to,
                "known": known, "kind": kind, "data": parsed(data.get()),
            })
        }
        Event::Gap {
            range,
            fault,
            snapshot,
        } => object(json!({
            "type": "gap", "from": range.from, "to": range.to, "fault": fault, "snapshot": snapshot,
        })),
        Event::Ephemeral(said) => {
            json!({ "type": "ephemeral", "kind": said.kind, "data": parsed(said.data.get()) })
        }
        Event::MediaLost { fault } => json!({ "type": "media_lost", "fault": fault }),
        Event::MediaRecovered {
            strategy,
            attempts,
            lost_ms,
        } => json!({
            "type": "media_recovered", "strategy": strategy, "attempts": attempts, "lost_ms": lost_ms,
        }),
        Event::Fault(fault) => json!({ "type": "fault", "fault": fault }),
        Event::ConnectionLost { conn, fault } => {
            json!({ "type": "connection_lost", "conn": conn.0, "fault": fault })
        }
        Event::AttemptFailed {
            strategy,
            attempt,
            fault,
        } => json!({
            "type": "attempt_failed", "strategy": strategy, "attempt": attempt, "fault": fault,
        }),
        Event::Recovered {
            strategy,
            attempts,
            lost_ms,
            replayed,
        } => json!({
            "type": "recovered", "strategy": strategy, "attempts": attempts,
            "lost_ms": lost_ms, "replayed": replayed,
        }),
        Event::Queued { position, of } => {
            json!({ "type": "queued", "position": position, "of": of })
        }
        Event::Goaway {
            reason,
            deadline_ms,
            target,
        } => object(json!({
            "type": "goaway", "reason": reason, "deadline_ms": deadline_ms, "target": target,
        })),
        Event::Ended { reason } => json!({ "type": "ended", "reason": reason }),
        Event::Failed(fault) => json!({ "type": "failed", "fault": fault }),
        Event::ProtocolNotice(notice) => match notice {
            Notice::UnknownFrame { name } => {
                json!({ "type": "protocol_notice", "notice": "unknown_frame", "name": name })
            }
            Notice::MalformedEvent { kind, message } => json!({
                "type": "protocol_notice", "notice": "malformed_event",
                "kind": kind, "message": message,
            }),
            Notice::NothingToBreak => {
                json!({ "type": "protocol_notice", "notice": "nothing_to_break" })
            }
        },
        Event::StillWaiting { because, for_ms } => {
            let because = match because {
                Because::Connecting(phase) => json!({ "for": "connecting", "phase": phase }),
                Because::Queued => json!({ "for": "queued" }),
                Because::Recovering(waiting_for) => {
                    object(json!({ "for": "recovering", "waiting_for": waiting_for }))
                }
                Because::Receipt { local } => json!({ "for": "receipt", "local": local }),
            };
            json!({ "type": "still_waiting", "because": because, "for_ms": for_ms })
        }
    }
}

fn media_input(input: &MediaInput) -> Value {
    match input {
        MediaInput::Want(wanted) => json!({ "type": "want", "wanted": wanted }),
        MediaInput::Say(said) => json!({ "type": "say", "signal": signal(said) }),
        MediaInput::Transport { peer, state } => {
            let state = match state {
                TransportState::Connected => "connected",
                TransportState::Disconnected => "disconnected",
                TransportState::Failed => "failed",
            };
            json!({ "type": "transport", "peer": peer, "state": state })
        }
        MediaInput::Sampled { peer, lines } => {
            let lines: Vec<Value> = lines
                .iter()
                .map(|line| {
                    object(json!({
                        "mid": line.mid, "packets": line.packets, "frames": line.frames,
                    }))
                })
                .collect();
            json!({ "type": "sampled", "peer": peer, "lines": lines })
        }
        MediaInput::Retry => json!({ "type": "retry" }),
    }
}

fn media_order(order: &MediaOrder) -> Value {
    match order {
        MediaOrder::Open { peer, ice_servers } => {
            json!({ "type": "open", "peer": peer, "ice_servers": ice_servers })
        }
        MediaOrder::Hear(said) => json!({ "type": "hear", "signal": signal(said) }),
        MediaOrder::Restart { peer, ice_servers } => {
            json!({ "type": "restart", "peer": peer, "ice_servers": ice_servers })
        }
        MediaOrder::Resume { peer } => json!({ "type": "resume", "peer": peer }),
        MediaOrder::Sample { peer } => json!({ "type": "sample", "peer": peer }),
        MediaOrder::Close { peer } => json!({ "type": "close", "peer": peer }),
    }
}

/// What is said of a transport, as its frame.
fn signal(said: &MediaSignal) -> Value {
    let mut frame = match said {
        MediaSignal::Offer(offer) => json!(offer),
        MediaSignal::Answer(answer) => json!(answer),
        MediaSignal::Candidate(candidate) => json!(candidate),
        MediaSignal::Lines(lines) => json!(lines),
        MediaSignal::Refresh(refresh) => json!(refresh),
    };
    frame["type"] = json!(said.name());
    frame
}
