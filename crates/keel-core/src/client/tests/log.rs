//! The log: in order, once, and every hole named.

use keel_wire::{Gap, Snapshot};

use super::*;
use crate::limits;

fn text(from: u64, to: u64, at_byte: u64, data: &str) -> ServerFrame {
    let body = json!({ "turn": "t-1", "attempt": 1, "at_byte": at_byte, "data": data });
    event_frame(from, to, "text", &body).into()
}

fn turn(rig: &mut Rig) {
    let accepted = json!({
        "turn": "t-1", "by": "p-1", "command": { "stream": "c-1", "n": 1 }, "text": "hi", "position": 0
    });
    rig.frame(ConnId(1), event_frame(1, 1, "turn.accepted", &accepted));
    rig.frame(
        ConnId(1),
        event_frame(
            2,
            2,
            "turn.started",
            &json!({ "turn": "t-1", "attempt": 1 }),
        ),
    );
}

fn texts(rig: &Rig) -> String {
    let of = |event: &Event| match event {
        Event::Log {
            event: LogEvent::Known(keel_wire::Event::Text(text)),
            ..
        } => Some(text.data.clone()),
        _ => None,
    };
    rig.events().into_iter().filter_map(of).collect()
}

fn gap(from: u64, to: u64, epoch: u64) -> ServerFrame {
    let snapshot = Snapshot {
        backend: "echo".into(),
        ..Snapshot::default()
    };
    ServerFrame::Gap(Box::new(Gap {
        from: seq(from),
        to: seq(to),
        epoch: Epoch(seq(epoch)),
        snapshot,
        fault: None,
    }))
}

#[test]
pub(super) fn events_are_applied_in_order_and_once_e12() {
    let mut rig = Rig::live();
    for at in [1, 2, 2, 1, 3] {
        rig.frame(ConnId(1), event(at));
    }
    assert_eq!(
        (rig.client.cursor().seq, rig.client.duplicates()),
        (seq(3), 2)
    );
    let told = rig
        .events()
        .iter()
        .filter(|event| matches!(event, Event::Log { .. }))
        .count();
    assert_eq!(told, 3);
}

#[test]
pub(super) fn a_hole_is_never_passed_over_m26() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), event(2));
    assert_eq!(
        (rig.client.cursor().seq, rig.lost()),
        (Seq::ZERO, vec!["protocol_error".to_owned()])
    );
    rig.pass(secs(1));
    rig.answer(Joined::Resumed, 0, 0);
    let conn = rig.dialed();
    rig.frame(conn, event(2));
    assert_eq!(
        rig.failed_code(),
        Some(Code::ProtocolError.known()),
        "twice without progress"
    );
}

#[test]
pub(super) fn text_that_was_put_together_meanwhile_is_cut_to_what_is_new_e12() {
    let mut rig = Rig::live();
    turn(&mut rig);
    rig.frame(ConnId(1), text(3, 3, 0, "grüß "));
    rig.frame(ConnId(1), text(4, 4, 7, "di"));
    rig.frame(ConnId(1), text(3, 6, 0, "grüß dich, du"));
    rig.frame(ConnId(1), text(7, 7, 15, "!"));
    assert_eq!(texts(&rig), "grüß dich, du!");
    let view = rig.client.snapshot().turns[0].clone();
    assert_eq!((view.bytes, view.tail.as_str()), (16, "grüß dich, du!"));
    assert_eq!(rig.client.cursor().seq, seq(7));
}

#[test]
pub(super) fn a_gap_is_told_and_its_snapshot_stands_in_m26() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), event(1));
    rig.frame(ConnId(1), gap(2, 9, 1));
    rig.frame(ConnId(1), gap(2, 9, 1));
    rig.frame(ConnId(1), event(10));
    assert_eq!(
        (
            rig.client.cursor().seq,
            rig.client.snapshot().backend.as_str()
        ),
        (seq(10), "echo")
    );
    let gaps = |rig: &Rig| {
        let of = |event: &Event| match event {
            Event::Gap { fault, .. } => {
                Some(fault.as_ref().map(|fault| fault.code.name().to_owned()))
            }
            _ => None,
        };
        rig.events().into_iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&rig), [None]);
    rig.frame(ConnId(1), gap(1, 4, 2));
    rig.frame(ConnId(1), event(5));
    assert_eq!(gaps(&rig), [None, Some("log_rewound".to_owned())]);
    assert_eq!(
        rig.client.cursor(),
        Cursor {
            epoch: Epoch(seq(2)),
            seq: seq(5)
        }
    );
}

#[test]
pub(super) fn events_of_another_epoch_wait_for_its_snapshot() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), event(1));
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.opened(ConnId(2));
    let mut rewound = welcome(Joined::Rejoined, 1, 0);
    rewound.cursor.epoch = Epoch(seq(2));
    rig.frame(ConnId(2), Box::new(rewound));
    rig.frame(ConnId(2), gap(1, 1, 2));
    rig.frame(ConnId(2), Replayed { to: seq(1) });
    assert_eq!(
        (rig.state(), rig.client.cursor().epoch),
        (&State::Live, Epoch(seq(2)))
    );
}

/// Beats may be seconds behind what was sent before them.
#[test]
pub(super) fn who_is_told_something_is_heard_at_least_once_a_second_n09() {
    let mut rig = Rig::live();
    for at in 1..=10 {
        rig.frame(ConnId(1), event(at));
        rig.pass(Duration::from_millis(500));
    }
    let sent = rig.sent(ConnId(1)).into_iter();
    let acks = sent.filter_map(|frame| match frame {
        ClientFrame::Ack(ack) => Some(ack.seq.get()),
        _ => None,
    });
    assert_eq!(acks.collect::<Vec<_>>(), [3, 5, 7, 9]);
}

#[test]
pub(super) fn applied_events_are_acknowledged_now_and_then() {
    let mut rig = Rig::live();
    for at in 1..=limits::ACK_EVERY_EVENTS * 2 {
        rig.frame(ConnId(1), event(at));
    }
    let acks: Vec<_> = rig
        .sent(ConnId(1))
        .into_iter()
        .filter_map(|frame| match frame {
            ClientFrame::Ack(ack) => Some(ack.seq.get()),
            _ => None,
        })
        .collect();
    assert_eq!(acks, [64, 128]);
}

#[test]
pub(super) fn what_is_not_known_is_told_raw_and_what_is_broken_is_broken_off_m44() {
    let mut rig = Rig::live();
    let bytes = br#"{"type":"teleport"}"#.to_vec();
    rig.input(Input::Frame {
        conn: ConnId(1),
        bytes,
    });
    let notice = Event::ProtocolNotice(Notice::UnknownFrame {
        name: "teleport".into(),
    });
    assert!(rig.events().contains(&&notice));
    rig.frame(ConnId(1), text(1, 1, u64::MAX, "x"));
    assert_eq!(
        (rig.client.cursor().seq, rig.state()),
        (seq(1), &State::Live)
    );
    rig.input(Input::Frame {
        conn: ConnId(1),
        bytes: b"}{".to_vec(),
    });
    assert_eq!(rig.lost(), ["protocol_error"]);
}

/// Found by `keel-sim` (seed 790): a page of the store may be late.
#[test]
pub(super) fn a_replay_is_waited_for_longer_than_an_event_is() {
    let mut rig = Rig::new(config());
    rig.input(Input::Connect);
    let conn = rig.dialed();
    rig.opened(conn);
    rig.frame(conn, Box::new(welcome(Joined::Joined, 9, 0)));
    for n in 1..=4 {
        rig.frame(conn, beat(n, 9));
    }
    assert_eq!(rig.lost(), [""; 0]);
    rig.frame(conn, beat(5, 9));
    assert_eq!(rig.lost(), ["protocol_error"]);
}
