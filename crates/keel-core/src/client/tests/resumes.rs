//! Golden vectors of resumption: what a client at a cursor makes of the next frame.
//!
//! `spec/vectors/resume.json` is checked here: `EVENKEEL_WRITE_TRACES=1` writes it anew.

use std::{fs, path::PathBuf};

use keel_wire::limits::FRAME_OUT_BYTES_MAX;
use serde_json::Value;

use super::{super::apply::Applied, *};

/// A connection on which a client came back, and the frames that it is sent there one after another.
struct Case {
    says: &'static str,
    /// The epoch of the log that its welcome named.
    epoch: u64,
    frames: Vec<Value>,
}

fn log(epoch: u64) -> Epoch {
    Epoch(Seq::new(epoch).expect("small"))
}

fn text(from: u64, to: u64, at_byte: u64, data: &str) -> Value {
    json!({"type": "event", "from": from, "to": to, "kind": "text",
        "data": {"turn": "t-1", "attempt": 1, "at_byte": at_byte, "data": data}})
}

fn gap(from: u64, to: u64, epoch: u64) -> Value {
    json!({"type": "gap", "from": from, "to": to, "epoch": epoch, "snapshot": {
        "backend": "echo", "busy": {"policy": "reject"}, "params": null, "params_version": 0,
        "params_applied": 0, "participants": [], "turns": [], "turns_ended": 7}})
}

fn cases() -> Vec<Case> {
    let case = |says, epoch, frames| Case {
        says,
        epoch,
        frames,
    };
    vec![
        case("the next one", 1, vec![text(5, 5, 6, "!")]),
        case(
            "several at once, put together",
            1,
            vec![text(5, 9, 6, " and on")],
        ),
        case("one that is known", 1, vec![text(4, 4, 2, "rld")]),
        case(
            "text that was put together anew is cut to what is new, at bytes and not at characters",
            1,
            vec![text(3, 6, 0, "wörld and on")],
        ),
        case(
            "text of which nothing is new moves the cursor on",
            1,
            vec![text(3, 5, 0, "wörld"), text(6, 6, 6, "!")],
        ),
        case("a hole", 1, vec![text(6, 6, 7, "!")]),
        case(
            "a range that ends before it begins",
            1,
            vec![text(6, 5, 6, "!")],
        ),
        case("a range from nothing", 1, vec![text(0, 5, 0, "wörld!")]),
        case(
            "another log without its snapshot",
            2,
            vec![text(1, 1, 0, "w")],
        ),
        case(
            "what is not in the log any more is passed over with a snapshot",
            1,
            vec![gap(5, 40, 1), text(41, 41, 0, "on")],
        ),
        case("a gap that is known", 1, vec![gap(1, 4, 1)]),
        case(
            "another log begins with a snapshot, at a lower position too",
            2,
            vec![gap(1, 2, 2), text(3, 3, 0, "on")],
        ),
        case("a gap that ends before it begins", 1, vec![gap(9, 5, 1)]),
        case(
            "an unknown kind is told raw and counted",
            1,
            vec![
                json!({"type": "event", "from": 5, "to": 5, "kind": "teleport", "data": {"to": "mars"}}),
            ],
        ),
    ]
}

/// A client that has applied four events, the last two of them text.
fn before() -> Fold {
    let events = [
        json!({"type": "event", "from": 1, "to": 1, "kind": "turn.accepted", "data": {
            "turn": "t-1", "by": "p-1", "command": {"stream": "c-1", "n": 1}, "text": "hello", "position": 0}}),
        json!({"type": "event", "from": 2, "to": 2, "kind": "turn.started", "data": {"turn": "t-1", "attempt": 1}}),
        text(3, 3, 0, "wö"),
        text(4, 4, 3, "rld"),
    ];
    let mut fold = Fold::default();
    fold.start(log(1));
    for frame in events {
        take(&mut fold, log(1), &frame);
    }
    fold
}

/// What the client makes of it.
fn take(fold: &mut Fold, epoch: Epoch, frame: &Value) -> Value {
    let bytes = frame.to_string();
    let frame = match ServerFrame::decode(bytes.as_bytes(), FRAME_OUT_BYTES_MAX) {
        Ok(Decoded::Known(frame)) => frame,
        other => panic!("{bytes} is {other:?}"),
    };
    match frame {
        ServerFrame::Event(event) => match fold.event(epoch, event) {
            Ok(Applied::New { range, event, .. }) => {
                let (kind, data) = match *event {
                    LogEvent::Known(event) => (event.name().to_owned(), event.encode_data()),
                    LogEvent::Unknown { kind, data } => (kind, data),
                };
                let data: Value = serde_json::from_str(data.get()).expect("data is JSON");
                json!({"new": {"from": range.from, "to": range.to, "kind": kind, "data": data}})
            }
            Ok(Applied::Known) => json!("known"),
            Err(_) => json!("protocol_error"),
        },
        ServerFrame::Gap(gap) => match fold.gap(&gap) {
            Ok(true) => json!({"new": {"from": gap.from, "to": gap.to}}),
            Ok(false) => json!("known"),
            Err(_) => json!("protocol_error"),
        },
        other => panic!("{other:?} says nothing of the log"),
    }
}

fn vectors() -> Value {
    let rows = cases().into_iter().map(|case| {
        let mut fold = before();
        let (cursor, snapshot) = (fold.cursor, fold.snapshot.clone());
        let frames = case.frames.iter().map(|frame| {
            let is = take(&mut fold, log(case.epoch), frame);
            json!({"frame": frame, "is": is, "cursor": fold.cursor})
        });
        let frames = frames.collect::<Vec<_>>();
        json!({"says": case.says, "cursor": cursor, "snapshot": snapshot, "epoch": case.epoch, "frames": frames})
    });
    rows.collect()
}

#[test]
fn what_is_resent_is_cut_known_or_refused_as_the_vectors_say_m5() {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec/vectors/resume.json"
    ));
    let fresh = serde_json::to_string_pretty(&vectors()).expect("JSON is written") + "\n";
    if std::env::var_os("EVENKEEL_WRITE_TRACES").is_some_and(|value| value == "1") {
        fs::write(&path, fresh).expect("spec can be written");
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == fresh,
        "{} is stale: EVENKEEL_WRITE_TRACES=1 cargo test -p keel-core vectors",
        path.display()
    );
}
