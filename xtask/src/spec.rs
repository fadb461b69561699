//! `spec/`: the protocol as files, generated from the Rust types that speak it.
//!
//! `spec/schema` is JSON Schema; `spec/vectors` are golden vectors that every SDK must pass. Both are
//! checked in, so that a change of the wire shows in review; `--check` fails when they are stale.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use keel_wire::{
    ClientFrame, CloseCode, Code, Command, DecodeError, Event, Fault, ServerFrame, Snapshot,
    Status, codec::Decoded, limits::FRAME_IN_BYTES_MAX, merge_patch,
};
use serde_json::{Value, json};

use crate::shell::root;

pub(crate) fn run(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for (path, content) in files()? {
        let path = root().join("spec").join(path);
        let fresh = fs::read_to_string(&path).is_ok_and(|there| there == content);
        if fresh {
            continue;
        }
        if check {
            stale.push(path.display().to_string());
            continue;
        }
        let folder = path.parent().context("spec files lie in folders")?;
        fs::create_dir_all(folder)?;
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        eprintln!("wrote {}", path.display());
    }
    if !stale.is_empty() {
        bail!("stale, run `cargo xtask spec`: {}", stale.join(", "));
    }
    Ok(())
}

fn files() -> Result<BTreeMap<PathBuf, String>> {
    let schema =
        |value: Value| -> Result<String> { Ok(serde_json::to_string_pretty(&value)? + "\n") };
    let union = |schemas: Vec<(&'static str, _)>| -> Result<Value> {
        let mut union = serde_json::Map::new();
        for (name, body) in schemas {
            union.insert(name.to_owned(), serde_json::to_value(body)?);
        }
        Ok(Value::Object(union))
    };
    let mut files = BTreeMap::new();
    let mut add = |name: &str, value: Value| -> Result<()> {
        files.insert(PathBuf::from(name), schema(value)?);
        Ok(())
    };
    add("schema/client-frames.json", union(ClientFrame::schemas())?)?;
    add("schema/server-frames.json", union(ServerFrame::schemas())?)?;
    add("schema/commands.json", union(Command::schemas())?)?;
    add("schema/events.json", union(Event::schemas())?)?;
    add(
        "schema/fault.json",
        serde_json::to_value(schema_of::<Fault>())?,
    )?;
    add(
        "schema/status.json",
        serde_json::to_value(schema_of::<Status>())?,
    )?;
    add(
        "schema/snapshot.json",
        serde_json::to_value(schema_of::<Snapshot>())?,
    )?;
    add("vectors/codes.json", codes())?;
    add("vectors/close.json", close())?;
    add("vectors/decode.json", decode())?;
    add("vectors/merge-patch.json", merges())?;
    add("vectors/fold.json", folds()?)?;
    Ok(files)
}

fn schema_of<T: keel_wire::JsonSchema>() -> Value {
    serde_json::to_value(keel_wire::schema_for::<T>()).unwrap_or(Value::Null)
}

/// The closed list of fault codes, with what each means.
fn codes() -> Value {
    let rows = Code::ALL.iter().map(|code| {
        json!({
            "code": code.name(),
            "scope": code.scope(),
            "retry": code.retry(),
            "close": code.close(),
            "says": code.says(),
        })
    });
    rows.collect()
}

/// What a client makes of a close code that nothing better explains.
fn close() -> Value {
    let received = (1000..=1015).chain([3000, 3999]);
    let ours = Code::ALL
        .iter()
        .filter_map(|code| code.close())
        .map(|code| code.0);
    let rows = received
        .chain(ours)
        .chain([4200, 4599, 4600, 4999])
        .map(|code| json!({ "close": code, "verdict": CloseCode(code).verdict() }));
    rows.collect()
}

/// Bytes that arrive, and what they are.
fn decode() -> Value {
    let inputs = [
        r#"{"type":"ack","seq":7}"#,
        r#"{"type":"ack","seq":9007199254740991}"#,
        r#"{"type":"ack","seq":9007199254740992}"#,
        r#"{"type":"ack","seq":-1}"#,
        r#"{"type":"ack","seq":1.5}"#,
        r#"{"type":"ack","seq":"7"}"#,
        r#"{"type":"ack"}"#,
        r#"{"type":"ack","seq":1,"seq":2}"#,
        r#"{"type":"ack","seq":1,"role":"owner"}"#,
        r#"{"type":"detach"}"#,
        r#"{"type":"teleport","to":"mars"}"#,
        r#"{"type":7}"#,
        r#"["ack"]"#,
        r#"{}"#,
        "",
        "null",
        r#"{"type":"beat","n":1,"seq":4}"#,
        r#"{"type":"command","n":1,"name":"say","data":{"text":"hi"}}"#,
        r#"{"type":"command","n":1,"name":"say","ttl_ms":50,"receipts_ack":3,"data":{"text":"\u0000\ud83d\ude00"}}"#,
        r#"{"type":"command","n":1,"name":"say"}"#,
    ];
    let rows = inputs.iter().map(|input| {
        let verdict = match ClientFrame::decode(input.as_bytes(), FRAME_IN_BYTES_MAX) {
            Ok(Decoded::Known(frame)) => {
                let again: Value = serde_json::from_slice(&frame.encode()).unwrap_or(Value::Null);
                json!({ "frame": again })
            }
            Ok(Decoded::Unknown { name }) => json!({ "unknown": name }),
            Err(DecodeError::TooLarge { .. }) => json!({ "error": "too_large" }),
            Err(DecodeError::NotUtf8 { .. }) => json!({ "error": "not_utf8" }),
            Err(DecodeError::TooDeep) => json!({ "error": "too_deep" }),
            Err(DecodeError::Shape(_)) => json!({ "error": "shape" }),
        };
        json!({ "input": input, "is": verdict })
    });
    rows.collect()
}

fn merges() -> Value {
    let rows = [
        (json!({"a": 1}), json!({"a": null})),
        (json!({"a": 1}), json!({})),
        (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null}})),
        (json!(null), json!({"a": {"b": 1}})),
        (json!({"a": [1, 2]}), json!({"a": [3]})),
    ];
    let rows = rows.into_iter().map(|(target, patch)| {
        let mut merged = target.clone();
        merge_patch(&mut merged, &patch);
        json!({ "target": target, "patch": patch, "merged": merged })
    });
    rows.collect()
}

/// A log, and its fold after each event.
fn folds() -> Result<Value> {
    let log = [
        (
            "session.created",
            json!({"backend": "echo", "busy": {"policy": "queue", "max": 2}, "title": "a start", "cwd": "/srv/work", "tags": ["one"]}),
        ),
        (
            "participant.joined",
            json!({"participant": "p-1", "role": "owner", "subject": "ada"}),
        ),
        (
            "params.changed",
            json!({"version": 1, "patch": {"strength": 3}}),
        ),
        (
            "turn.accepted",
            json!({"turn": "t-1", "by": "p-1", "command": {"stream": "c-1", "n": 1}, "text": "hello", "position": 0}),
        ),
        ("turn.started", json!({"turn": "t-1", "attempt": 1})),
        (
            "text",
            json!({"turn": "t-1", "attempt": 1, "at_byte": 0, "data": "wrong"}),
        ),
        ("turn.started", json!({"turn": "t-1", "attempt": 2})),
        (
            "text",
            json!({"turn": "t-1", "attempt": 2, "at_byte": 0, "data": "wörld"}),
        ),
        (
            "turn.ended",
            json!({"turn": "t-1", "attempt": 2, "end": "done", "bytes": 6}),
        ),
        (
            "session.described",
            json!({"by": "p-1", "title": "", "starred": true, "tags": ["one", "two"]}),
        ),
        (
            "turn.accepted",
            json!({"turn": "t-2", "by": "p-1", "command": {"stream": "c-1", "n": 2}, "text": "hello", "position": 0, "retry_of": "t-1"}),
        ),
        ("turn.started", json!({"turn": "t-2", "attempt": 1})),
        (
            "agent.bound",
            json!({"turn": "t-2", "provider": "acp", "id": "of its own"}),
        ),
        (
            "turn.accepted",
            json!({"turn": "t-3", "by": "p-1", "command": {"stream": "c-1", "n": 3}, "text": "then", "position": 1}),
        ),
        (
            "turn.accepted",
            json!({"turn": "t-4", "by": "p-1", "command": {"stream": "c-1", "n": 4}, "text": "first", "position": 2, "continues": "t-1"}),
        ),
        (
            "turn.moved",
            json!({"turn": "t-4", "position": 1, "by": "p-1"}),
        ),
        (
            "turn.steered",
            json!({"turn": "t-2", "by": "p-1", "command": {"stream": "c-1", "n": 5}, "text": "and this"}),
        ),
        (
            "turn.cancelling",
            json!({"turn": "t-2", "step": "asked", "by": "p-1"}),
        ),
        (
            "turn.ended",
            json!({"turn": "t-2", "attempt": 1, "end": "cancelled", "bytes": 0, "forced": true}),
        ),
        (
            "session.described",
            json!({"starred": false, "archived": true, "tags": []}),
        ),
        (
            "participant.left",
            json!({"participant": "p-1", "reason": "detached"}),
        ),
        ("session.ended", json!({"reason": "ended"})),
    ];
    let mut fold = Snapshot::default();
    let mut rows = Vec::new();
    for (kind, data) in log {
        let event = Event::decode(kind, &data.to_string())?.context("a kind of ours")?;
        fold.apply(&event);
        rows.push(json!({ "kind": kind, "data": data, "fold": fold }));
    }
    Ok(Value::Array(rows))
}
