//! Journals, and what they are told as.

use keel_wire::{
    CloseCode, Code, Evidence, Fault, FaultId, Joined, Origin, ParticipantId, Range, Seq, Strategy,
    TurnEnd, TurnId, UnixMillis,
    journal::{Entry, Fact},
};

use super::{Observed, Verdict, explain};

const AT: UnixMillis = 43_200_000;

fn fault(code: Code, origin: Origin) -> Box<Fault> {
    Box::new(Fault::new(FaultId::from_bits(1), code, origin, AT))
}

fn entry(at: UnixMillis, fact: Fact) -> Entry {
    let participant = Some(ParticipantId::from_bits(1));
    Entry {
        at,
        participant,
        fact,
    }
}

fn connected(how: Joined, missed: u64, evidence: Option<Evidence>) -> Fact {
    let strategy = (how == Joined::Resumed).then_some(Strategy::Fast);
    Fact::Connected {
        how,
        strategy,
        missed,
        away_ms: None,
        evidence,
    }
}

fn evidence(code: Code) -> Option<Evidence> {
    Some(Evidence {
        code: code.known(),
        silent_ms: 3,
        lost_ms: 40,
        attempts: 1,
    })
}

fn lost(code: Code, origin: Origin, close: Option<CloseCode>) -> Fact {
    Fact::ConnectionLost {
        fault: fault(code, origin),
        silent_ms: 5,
        close,
    }
}

fn journal(end: Fact, back: Fact) -> Vec<Entry> {
    vec![
        entry(AT - 9, connected(Joined::Created, 0, None)),
        entry(AT, end),
        entry(AT + 41, back),
        entry(
            AT + 42,
            Fact::Replayed {
                events: 12,
                took_ms: 1,
            },
        ),
    ]
}

#[test]
fn a_drop_that_was_recovered_is_one_sentence() {
    let end = lost(Code::TransportError, Origin::Network, None);
    let back = connected(Joined::Resumed, 12, evidence(Code::TransportError));
    let why = explain(&journal(end, back));
    assert_eq!(
        why.to_string(),
        "dropped at 12:00:00.000 UTC by transport_error (network), told after 3 ms, recovered by \
         fast in 41 ms after 1 attempt, replayed 12, lost 0, duplicated 0"
    );
    assert_eq!(
        serde_json::to_value(&why).expect("JSON"),
        serde_json::json!({
            "verdict": "recovered", "cause": "transport_error", "blame": "network",
            "observed": { "server": "transport_error", "client": "transport_error" },
            "told_ms": 3, "recovered_ms": 41, "replayed": 12, "lost": 0, "duplicated": 0,
        })
    );
}

#[test]
fn what_a_server_said_is_believed_before_what_a_client_saw() {
    let end = lost(Code::ServerShutdown, Origin::Server, None);
    let back = connected(Joined::Resumed, 0, evidence(Code::TransportError));
    let why = explain(&journal(end, back));
    assert_eq!(why.cause, Some(Code::ServerShutdown.known()));
    assert_eq!(why.blame, Some(Origin::Server));
    assert_eq!(why.observed.client, Some(Code::TransportError.known()));
}

#[test]
fn a_loss_that_only_the_client_noticed_is_told_from_its_evidence() {
    let entries = [
        entry(AT - 9, connected(Joined::Created, 0, None)),
        entry(
            AT + 40,
            connected(Joined::Resumed, 2, evidence(Code::HeartbeatTimeout)),
        ),
    ];
    let why = explain(&entries);
    assert_eq!((why.at, why.verdict), (Some(AT), Verdict::Recovered));
    assert_eq!(why.cause, Some(Code::HeartbeatTimeout.known()));
    assert_eq!(why.observed.server, None);
}

#[test]
fn a_server_that_was_cut_off_is_to_blame_and_not_the_network() {
    let entries = [
        entry(AT - 9, connected(Joined::Created, 0, None)),
        entry(AT + 30, Fact::Activated { unclean: false }),
        entry(
            AT + 40,
            connected(Joined::Resumed, 2, evidence(Code::TransportError)),
        ),
    ];
    assert_eq!(explain(&entries).blame, Some(Origin::Server));
}

#[test]
fn positions_that_were_passed_over_are_counted_as_lost() {
    let end = lost(Code::TransportError, Origin::Network, None);
    let back = connected(Joined::Resumed, 12, evidence(Code::TransportError));
    let mut entries = journal(end, back);
    let seq = |n| Seq::new(n).expect("small");
    let range = Range {
        from: seq(4),
        to: seq(9),
    };
    let fault = Some(fault(Code::ResumeGap, Origin::Server));
    entries.push(entry(AT + 43, Fact::Gap { range, fault }));
    assert_eq!(explain(&entries).lost, 6);
}

#[test]
fn who_is_missing_is_told_and_who_left_is_not() {
    let gone = lost(Code::HeartbeatTimeout, Origin::Network, None);
    let why = explain(&[entry(AT, gone)]);
    assert_eq!(why.verdict, Verdict::Recovering);
    assert_eq!(why.recovered_ms, None);
    let left = lost(
        Code::ConnectionClosed,
        Origin::Client,
        Some(CloseCode::NORMAL),
    );
    let why = explain(&[entry(AT, left)]);
    assert_eq!((why.verdict, why.cause.clone()), (Verdict::Healthy, None));
    assert_eq!(why.observed, Observed::default());
}

#[test]
fn a_failed_turn_and_a_refusal_are_told_too() {
    let ended = Fact::TurnEnded {
        turn: TurnId::from_bits(1),
        end: TurnEnd::Failed,
        took_ms: 9,
        fault: Some(fault(Code::ProviderCrashed, Origin::Provider)),
    };
    let why = explain(&[entry(AT, ended)]);
    assert_eq!(
        why.to_string(),
        "a turn failed at 12:00:00.000 UTC by provider_crashed (provider)"
    );
    let refused = Fact::Refused {
        fault: fault(Code::AtCapacity, Origin::Server),
    };
    assert_eq!(explain(&[entry(AT, refused)]).verdict, Verdict::Failed);
}
