//! Scenarios that are only there to be recorded: corners that the tests beside them do not pass.

use keel_wire::{Ephemeral, Queued, RawData, StatusFrame};

use super::*;

fn log(rig: &mut Rig, at: &mut u64, kind: &str, data: &Value) {
    *at += 1;
    rig.frame(ConnId(1), event_frame(*at, *at, kind, data));
}

/// A log with everything in it, turns that are forgotten, and a tail that is cut.
pub(super) fn a_whole_log() {
    let mut rig = Rig::live();
    let mut at = 0;
    let mut tell = |kind: &str, data: Value| log(&mut rig, &mut at, kind, &data);
    let queue = json!({"policy": "queue", "max": 2});
    tell(
        "session.created",
        json!({"backend": "b", "project": "x", "busy": queue}),
    );
    tell(
        "participant.joined",
        json!({"participant": "p-1", "role": "owner", "subject": "ada"}),
    );
    tell(
        "participant.joined",
        json!({"participant": "p-2", "role": "viewer", "subject": "bob"}),
    );
    tell(
        "participant.left",
        json!({"participant": "p-2", "reason": "expired"}),
    );
    tell(
        "params.changed",
        json!({"version": 1, "patch": {"a": {"b": 1, "c": null}}, "by": "p-1"}),
    );
    tell(
        "params.changed",
        json!({"version": 2, "patch": {"a": {"b": null}, "__proto__": {"d": 1}}}),
    );
    tell(
        "message",
        json!({"by": "p-1", "command": {"stream": "c-1", "n": 1}, "data": [1, "é"]}),
    );
    for n in 0..10 {
        let turn = format!("t-{n}");
        let command = json!({"stream": "c-1", "n": n + 2});
        let text = "ä".repeat(700);
        let accepted =
            json!({"turn": turn, "by": "p-1", "command": command, "text": text, "position": 0});
        tell("turn.accepted", accepted);
        tell("turn.started", json!({"turn": turn, "attempt": 1}));
        tell(
            "text",
            json!({"turn": turn, "attempt": 1, "at_byte": 0, "data": "日本語".repeat(300)}),
        );
        tell(
            "item",
            json!({"turn": turn, "attempt": 1, "data": {"tool": null}}),
        );
        let action = json!({"id": "a-1", "prompt": "sure?", "options": ["yes", "no"]});
        tell("turn.waiting", json!({"turn": turn, "action": action}));
        tell(
            "turn.answered",
            json!({"turn": turn, "action": "a-1", "by": "p-1", "answer": "yes"}),
        );
        tell("params.applied", json!({"version": 2, "turn": turn}));
        if n != 4 {
            let ended = json!({"turn": turn, "attempt": 1, "end": "done", "bytes": 2_700, "stop_reason": "end"});
            tell("turn.ended", ended);
        }
    }
    tell(
        "turn.ended",
        json!({"turn": "t-none", "attempt": 1, "end": "failed", "bytes": 0, "fault": fault(Code::ProviderCrashed)}),
    );
    tell("session.ended", json!({"reason": "ended"}));
}

/// Text that was put together meanwhile, at borders of characters and between them.
pub(super) fn text_of_many_bytes_is_cut() {
    let mut rig = Rig::live();
    let mut at = 0;
    let mut tell = |kind: &str, data: Value| log(&mut rig, &mut at, kind, &data);
    let command = json!({"stream": "c-1", "n": 1});
    tell(
        "turn.accepted",
        json!({"turn": "t-1", "by": "p-1", "command": command, "text": "?", "position": 0}),
    );
    tell("turn.started", json!({"turn": "t-1", "attempt": 1}));
    tell(
        "text",
        json!({"turn": "t-1", "attempt": 1, "at_byte": 0, "data": "日"}),
    );
    for (to, data) in [(4, "日本"), (5, "aé日本"), (6, "日本語"), (7, "日")] {
        let text = json!({"turn": "t-1", "attempt": 1, "at_byte": 0, "data": data});
        rig.frame(ConnId(1), event_frame(3, to, "text", &text));
    }
    let beyond = json!({"turn": "t-1", "attempt": 1, "at_byte": 1_u64 << 60, "data": "x"});
    rig.frame(ConnId(1), event_frame(8, 8, "text", &beyond));
    let wrong = json!({"turn": "T 1", "attempt": 1, "at_byte": 0, "data": "x"});
    rig.frame(ConnId(1), event_frame(9, 9, "text", &wrong));
}

/// Superseded by a connection of its own that came to nothing: no takeover.
pub(super) fn a_loss_by_a_dropped_attempt_is_no_takeover() {
    let mut rig = Rig::live();
    rig.pass(Duration::from_millis(SUSPECT_MS));
    rig.opened(ConnId(2));
    rig.frame(ConnId(1), beat(1, 0));
    rig.closed(ConnId(2), ConnEnd::Reset);
    rig.frame(ConnId(1), fault_frame(Code::Superseded));
    rig.closed(ConnId(1), close(4409));
    rig.answer(Joined::Resumed, 0, 0);
}

/// More witnesses than are kept: the better ones take the place of the worse.
pub(super) fn many_witnesses_of_one_end() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::WriteFailed);
    for n in 0..9 {
        rig.frame(ConnId(1), goaway(None));
        rig.closed(ConnId(1), ConnEnd::WriteFailed);
        let told = Fault::new(
            FaultId::from_bits(100 + n),
            Code::StoreFailed,
            Origin::Store,
            5,
        );
        rig.frame(
            ConnId(1),
            FaultFrame {
                fault: told.message(format!("word {n}")),
            },
        );
    }
    rig.closed(ConnId(1), close(1001));
    rig.pass(secs(3));
    rig.answer(Joined::Resumed, 0, 0);
}

/// No server can put a client off for long.
pub(super) fn a_pace_has_a_bound() {
    let mut rig = Rig::live();
    let beat = |pace_ms| Beat {
        n: seq(1),
        seq: seq(0),
        suspect_ms: Some(1),
        pace_ms: Some(pace_ms),
    };
    rig.frame(ConnId(1), beat(60_000));
    rig.frame(ConnId(1), event(1));
    rig.closed(ConnId(1), close(1012));
    rig.pass(secs(11));
    rig.answer(Joined::Resumed, 1, 0);
}

/// In line, lost in line, told of its turn.
pub(super) fn a_place_in_line() {
    let mut rig = Rig::new(Config {
        admission: keel_wire::Admission::Wait {
            max_ms: Some(60_000),
        },
        params: Some(json!({"a": 1})),
        backend: Some("b".into()),
        ..config()
    });
    let queued = |position| Queued {
        session: SessionId::from_bits(1),
        participant: ParticipantId::from_bits(1),
        resume_key: format!("key {position}"),
        position,
        of: 3,
        beat: BeatPlan {
            every_ms: BEAT_MS,
            suspect_ms: SUSPECT_MS,
        },
    };
    rig.input(Input::Connect);
    rig.opened(ConnId(1));
    rig.frame(ConnId(1), queued(3));
    rig.command(1, "early", None);
    rig.pass(secs(6));
    rig.frame(ConnId(1), queued(2));
    rig.closed(ConnId(1), ConnEnd::Eof);
    rig.opened(ConnId(2));
    rig.frame(ConnId(2), queued(2));
    rig.frame(ConnId(2), beat(1, 0));
    rig.frame(ConnId(2), queued(1));
    rig.welcomed(ConnId(2), welcome(Joined::Created, 0, 0));
    let level = Ephemeral {
        kind: "level".into(),
        data: RawData::from_value(&json!(0.5)),
    };
    rig.frame(ConnId(2), level);
    rig.frame(ConnId(2), receipt(1));
    rig.frame(ConnId(2), queued(1));
    rig.pass(secs(1));
}

/// Few clients ask often for a server that is away; a table waits as it says.
pub(super) fn an_outage_of_a_server_with_few_clients() {
    let kinds = [
        DialFailure::Refused,
        DialFailure::Tls(TlsFailure::Expired),
        DialFailure::Tls(TlsFailure::WrongHost),
        DialFailure::NotWebSocket {
            status: 502,
            retry_after: None,
        },
        DialFailure::NotWebSocket {
            status: 503,
            retry_after: Some(secs(2)),
        },
    ];
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    for n in 0..30 {
        let conn = rig.dialed();
        let message = "away".into();
        let kind = kinds[if n < 20 { 0 } else { n % kinds.len() }];
        rig.closed(conn, ConnEnd::DialFailed { kind, message });
        while rig.dialed() == conn {
            rig.pass(Duration::from_millis(200));
        }
    }
    rig.answer(Joined::Resumed, 0, 0);
}

/// What is broken on purpose is shown with the status.
pub(super) fn what_is_injected_is_shown() {
    let mut rig = Rig::live();
    let status = |injected| StatusFrame {
        status: Status { injected, ..live() },
    };
    let injected = vec![keel_wire::Injected {
        id: FaultId::from_bits(3),
        fault: keel_wire::Injection::Panic { times: 2 },
        seed: 7,
        until: 5_000,
    }];
    rig.frame(ConnId(1), status(injected.clone()));
    rig.frame(ConnId(1), status(injected));
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.answer(Joined::Resumed, 0, 0);
    rig.frame(ConnId(1), status(Vec::new()));
}
