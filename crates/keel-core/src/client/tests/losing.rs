//! Losses after the welcome: told once, recovered by rungs, given up with a cause.

use keel_wire::{Strategy, WaitingFor};

use super::*;
use crate::limits;

fn attempts_failed(rig: &Rig) -> usize {
    let is_it = |event: &&&Event| matches!(event, Event::AttemptFailed { .. });
    rig.events().iter().filter(is_it).count()
}

fn waiting_for(rig: &Rig) -> Option<WaitingFor> {
    rig.client
        .status()
        .legs
        .iter()
        .find_map(|leg| match &leg.state {
            keel_wire::LegState::Recovering { waiting_for, .. } => *waiting_for,
            _ => None,
        })
}

/// Found by `keel-sim` (seed 323, failures have a cause).
#[test]
pub(super) fn what_is_said_of_media_is_not_why_a_connection_ends() {
    let mut rig = Rig::live();
    let mut of_media = fault(Code::AtCapacity);
    of_media.leg = Some(keel_wire::Leg::Media);
    of_media.detail.insert("peer".into(), 3.into());
    rig.frame(ConnId(1), FaultFrame { fault: of_media });
    rig.frame(ConnId(1), fault_frame(Code::ServerShutdown));
    rig.closed(ConnId(1), close(4010));
    assert_eq!(rig.lost(), ["server_shutdown"]);
    assert_eq!(rig.state(), &State::Recovering);
}

#[test]
pub(super) fn a_loss_is_told_once_and_recovered_at_once_m10() {
    for (end, code) in [
        (close(1006), "connection_closed"),
        (close(1012), "connection_closed"),
        (close(4010), "server_shutdown"),
        (close(4999), "connection_closed"),
        (ConnEnd::Eof, "transport_error"),
        (ConnEnd::Reset, "transport_error"),
        (
            ConnEnd::Other {
                message: "boo".into(),
            },
            "transport_error",
        ),
    ] {
        let mut rig = Rig::live();
        rig.frame(ConnId(1), event(1));
        rig.closed(ConnId(1), end);
        rig.closed(ConnId(1), ConnEnd::Reset);
        assert_eq!(rig.state(), &State::Recovering);
        assert_eq!(rig.dialed(), ConnId(2), "at once");
        rig.opened(ConnId(2));
        let hello = rig.hello(ConnId(2));
        let resume = hello.resume.expect("resumes");
        assert_eq!(
            (hello.attempt, resume.strategy, resume.cursor.seq),
            (2, Strategy::Fast, seq(1))
        );
        assert_eq!(hello.evidence.map(|evidence| evidence.attempts), Some(1));
        rig.frame(ConnId(2), Box::new(welcome(Joined::Resumed, 2, 0)));
        assert_eq!(rig.state(), &State::Recovering, "until replayed");
        rig.frame(ConnId(2), event(2));
        rig.frame(ConnId(2), Replayed { to: seq(2) });
        assert_eq!(rig.state(), &State::Live);
        assert_eq!(rig.lost(), [code]);
        assert_eq!(rig.recoveries(), [(Strategy::Fast, 1)]);
    }
}

#[test]
pub(super) fn the_servers_word_beats_the_close_after_it_m1() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), fault_frame(Code::ServerShutdown));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!(rig.lost(), ["server_shutdown"]);
    assert!(
        !rig.events()
            .iter()
            .any(|event| matches!(event, Event::Fault(_)))
    );
}

#[test]
pub(super) fn a_fault_that_ends_nothing_is_news_and_no_cause_later_m7() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), fault_frame(Code::StoreFailed));
    rig.pass(Duration::from_millis(60));
    let told = |rig: &Rig| {
        rig.events()
            .iter()
            .filter(|event| matches!(event, Event::Fault(_)))
            .count()
    };
    assert_eq!(told(&rig), 1);
    rig.frame(ConnId(1), beat(1, 0));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!(
        (told(&rig), rig.lost()),
        (1, vec!["transport_error".to_owned()])
    );
}

#[test]
pub(super) fn a_first_fast_that_fails_is_not_the_end_e4() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.frame(ConnId(2), fault_frame(Code::ResumeRefused));
    rig.closed(ConnId(2), close(4101));
    assert_eq!(rig.dialed(), ConnId(3), "rejoins at once");
    rig.opened(ConnId(3));
    assert_eq!(
        rig.hello(ConnId(3)).resume.map(|resume| resume.strategy),
        Some(Strategy::Rejoin)
    );
    rig.welcomed(ConnId(3), welcome(Joined::Rejoined, 0, 0));
    assert_eq!(rig.recoveries(), [(Strategy::Rejoin, 2)]);
    assert_eq!((rig.lost().len(), attempts_failed(&rig)), (1, 1));
}

#[test]
pub(super) fn a_transport_that_dies_before_recovery_is_done_is_not_forgotten_m14_e5() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.opened(ConnId(2));
    rig.frame(ConnId(2), Box::new(welcome(Joined::Resumed, 5, 0)));
    rig.closed(ConnId(2), ConnEnd::Reset);
    assert_eq!(rig.state(), &State::Recovering);
    rig.pass(secs(1));
    rig.answer(Joined::Resumed, 0, 0);
    assert_eq!(rig.state(), &State::Live);
    assert_eq!(
        (
            rig.lost().len(),
            rig.recoveries().len(),
            attempts_failed(&rig)
        ),
        (1, 1, 1)
    );
}

#[test]
pub(super) fn without_a_server_no_rung_is_spent_until_the_window_closes_m15() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    let lost_at = rig.now.mono;
    while rig.failed().is_none() {
        assert!(rig.now.mono.since(lost_at) <= limits::RESUME_WINDOW);
        if !rig.dials().is_empty() {
            let conn = rig.dialed();
            rig.closed(conn, refused());
            if rig.failed().is_none() {
                assert_eq!(waiting_for(&rig), Some(WaitingFor::Network));
            }
        }
        rig.pass(Duration::from_millis(500));
    }
    let fault = rig.failed().expect("failed");
    assert_eq!(fault.code, Code::RecoveryDeadline);
    assert_eq!(
        fault.cause.last().map(|cause| cause.code.clone()),
        Some(Code::TransportError.known())
    );
    let dials = rig.dials().len();
    assert!((20..300).contains(&dials), "{dials} dials");
    rig.input(Input::Connect);
    rig.answer(Joined::Rejoined, 0, 0);
    assert_eq!(rig.state(), &State::Live);
}

#[test]
fn zero_means_never_giving_up() {
    let mut rig = Rig::live_with(Config {
        give_up_after: Some(Duration::ZERO),
        ..config()
    });
    rig.closed(ConnId(1), ConnEnd::Reset);
    for _ in 0..2_000 {
        let conn = rig.dialed();
        rig.closed(conn, refused());
        rig.pass(secs(6));
    }
    assert_eq!(rig.state(), &State::Recovering);
}

#[test]
pub(super) fn a_server_that_hangs_gets_a_verdict_within_30_s_m15_m16() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    let lost_at = rig.now.mono;
    let mut opened = ConnId(1);
    while rig.failed().is_none() {
        let conn = rig.dialed();
        if conn != opened {
            opened = conn;
            rig.opened(conn);
        }
        rig.pass(Duration::from_millis(100));
    }
    assert_eq!(rig.failed_code(), Some(Code::RecoveryDeadline.known()));
    let took = rig.now.mono.since(lost_at);
    assert!(
        took <= limits::VERDICT_WITHIN + Duration::from_millis(200),
        "{took:?}"
    );
    let rungs = |rig: &Rig| {
        let of = |conn| rig.hello(ConnId(conn)).resume.map(|resume| resume.strategy);
        (2..=opened.0).map(of).collect::<Vec<_>>()
    };
    assert_eq!(rungs(&rig)[0], Some(Strategy::Fast));
    assert_eq!(rungs(&rig).last(), Some(&Some(Strategy::Rejoin)));
}

#[test]
pub(super) fn terminal_refusals_are_not_retried_whatever_the_digits_in_their_text_m6_e15() {
    for code in [
        Code::SessionNotFound,
        Code::PermissionDenied,
        Code::Superseded,
        Code::AtCapacity,
        Code::SessionLimit,
        Code::QueueExpired,
        Code::Unauthenticated,
    ] {
        let mut rig = Rig::live();
        rig.closed(ConnId(1), ConnEnd::Reset);
        rig.opened(ConnId(2));
        rig.frame(
            ConnId(2),
            FaultFrame {
                fault: fault(code).message("503, try again, 4010"),
            },
        );
        rig.closed(ConnId(2), close(1006));
        let failed = rig.failed().expect("failed");
        assert_eq!(failed.code, code);
        assert_eq!(
            failed.cause[0].code,
            Code::TransportError,
            "the first cause is named"
        );
        assert_eq!(rig.dials().len(), 2);
    }
}

#[test]
pub(super) fn the_servers_hint_is_waited_for_and_spends_no_rung_e14() {
    for code in [Code::RateLimited, Code::StoreFailed, Code::Internal] {
        let mut rig = Rig::live();
        rig.closed(ConnId(1), ConnEnd::Reset);
        for _ in 0..8 {
            let conn = rig.dialed();
            rig.opened(conn);
            rig.frame(
                conn,
                FaultFrame {
                    fault: fault(code).retry(after(7_000)),
                },
            );
            rig.closed(conn, ConnEnd::Eof);
            assert_eq!(waiting_for(&rig), Some(WaitingFor::Server));
            rig.input(Input::Probe);
            rig.pass(Duration::from_millis(6_990));
            assert_eq!(rig.dialed(), conn, "not before");
            rig.pass(Duration::from_millis(20));
        }
        let conn = rig.answer(Joined::Resumed, 0, 0);
        assert_eq!(
            rig.hello(conn).resume.map(|resume| resume.strategy),
            Some(Strategy::Fast)
        );
        assert_eq!(rig.recoveries(), [(Strategy::Fast, 9)]);
    }
}

#[test]
pub(super) fn an_expired_token_is_fetched_anew_twice_without_progress_m42_e15() {
    let mut rig = Rig::new(Config::new("wss://a", TokenSource::Fetched));
    rig.input(Input::Connect);
    let fetches = |rig: &Rig| {
        rig.all
            .iter()
            .chain(&rig.out)
            .filter(|output| **output == Output::FetchToken)
            .count()
    };
    assert_eq!((fetches(&rig), rig.dials().len()), (1, 0));
    rig.input(Input::Token(Ok("one".into())));
    rig.answer(Joined::Created, 0, 0);
    rig.frame(ConnId(1), fault_frame(Code::TokenExpired));
    rig.closed(ConnId(1), close(4402));
    for conn in [2, 3] {
        assert_eq!(waiting_for(&rig), Some(WaitingFor::Token));
        rig.input(Input::Token(Ok(format!("token {conn}"))));
        rig.opened(ConnId(conn));
        assert_eq!(rig.hello(ConnId(conn)).token, format!("token {conn}"));
        rig.frame(ConnId(conn), fault_frame(Code::TokenExpired));
        rig.closed(ConnId(conn), close(4402));
        rig.pass(Duration::from_millis(250));
    }
    assert_eq!(rig.failed_code(), Some(Code::TokenExpired.known()));
    assert_eq!(fetches(&rig), 3);
}

#[test]
pub(super) fn a_token_that_expires_in_front_of_a_fixed_one_is_the_callers_matter_m42() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), fault_frame(Code::TokenExpired));
    rig.closed(ConnId(1), close(4402));
    assert_eq!(rig.failed_code(), Some(Code::TokenExpired.known()));
    rig.input(Input::Token(Ok("fresh".into())));
    rig.input(Input::Connect);
    let conn = rig.dialed();
    rig.opened(conn);
    let hello = rig.hello(conn);
    assert_eq!(hello.token, "fresh");
    assert!(hello.resume.is_some(), "the seat is kept");
}

#[test]
pub(super) fn retries_pause_while_offline_and_go_on_at_once_after() {
    let mut rig = Rig::live();
    rig.input(Input::Network { online: false });
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!(waiting_for(&rig), Some(WaitingFor::Network));
    rig.pass(secs(60));
    assert_eq!(rig.dials().len(), 1);
    rig.input(Input::Network { online: true });
    assert_eq!(rig.dialed(), ConnId(2));
    rig.closed(ConnId(2), refused());
    rig.closed(
        rig.client
            .attempt
            .as_ref()
            .and_then(Attempt::path)
            .map_or(ConnId(0), |path| path.conn),
        refused(),
    );
    rig.input(Input::Network { online: false });
    let dials = rig.dials().len();
    rig.pass(secs(50));
    assert_eq!(rig.dials().len(), dials);
    rig.pass(secs(11));
    assert_eq!(rig.failed_code(), Some(Code::RecoveryDeadline.known()));
}

#[test]
pub(super) fn broken_frames_end_a_session_only_the_second_time_without_progress() {
    for end in [1002, 1003, 1007, 1009] {
        let mut rig = Rig::live();
        rig.closed(ConnId(1), close(end));
        rig.pass(secs(1));
        rig.answer(Joined::Resumed, 0, 0);
        let conn = rig.dialed();
        rig.frame(conn, event(1));
        rig.closed(conn, close(end));
        rig.pass(secs(1));
        rig.answer(Joined::Resumed, 1, 0);
        assert_eq!(rig.failed(), None, "there was progress");
        let conn = rig.dialed();
        rig.closed(conn, close(end));
        let fault = rig.failed().expect("failed");
        assert_eq!(
            (fault.code, &fault.detail["close_code"]),
            (Code::ConnectionClosed.known(), &json!(end))
        );
    }
}

#[test]
pub(super) fn an_unannounced_normal_close_is_told_and_not_repeated() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), close(1000));
    assert_eq!(rig.failed_code(), Some(Code::ConnectionClosed.known()));
    assert_eq!(rig.dials().len(), 1);
}

#[test]
pub(super) fn a_flapping_connection_ends_with_the_limiter_which_success_does_not_reset_m28_m33() {
    let mut rig = Rig::live();
    for _ in 0..40 {
        let conn = rig.dialed();
        rig.closed(conn, ConnEnd::Reset);
        if rig.failed().is_some() {
            break;
        }
        while rig.dialed() == conn {
            rig.pass(Duration::from_millis(100));
        }
        rig.answer(Joined::Resumed, 0, 0);
        rig.pass(secs(4));
    }
    let fault = rig.failed().expect("failed");
    assert_eq!(fault.code, Code::RejoinLimit);
    assert!(rig.dials().len() <= 1 + 4 + limits::REJOIN_LIMIT);
}

#[test]
pub(super) fn back_off_is_reset_by_progress_or_by_a_connection_that_lasted_m28() {
    let mut rig = Rig::live();
    let waits = |rig: &mut Rig| {
        let before = rig.dials().len();
        rig.closed(ConnId(before as u64), ConnEnd::Reset);
        rig.dials().len() == before
    };
    assert!(!waits(&mut rig), "at once");
    let conn = rig.answer(Joined::Resumed, 0, 0);
    rig.frame(conn, event(1));
    assert!(!waits(&mut rig), "it brought progress");
    rig.answer(Joined::Resumed, 1, 0);
    assert!(waits(&mut rig), "it brought none, and did not last");
    rig.pass(secs(1));
    let conn = rig.answer(Joined::Resumed, 1, 0);
    rig.pass(limits::STABLE_AFTER / 2);
    rig.frame(conn, beat(1, 1));
    rig.pass(limits::STABLE_AFTER / 2);
    assert!(!waits(&mut rig), "it did");
}

#[test]
pub(super) fn the_last_beats_pace_spreads_the_first_retry() {
    let mut rig = Rig::live();
    let paced = Beat {
        n: seq(1),
        seq: Seq::ZERO,
        suspect_ms: None,
        pace_ms: Some(1_500),
    };
    rig.frame(ConnId(1), paced);
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.pass(Duration::from_millis(1_490));
    assert_eq!(rig.dials().len(), 1);
    rig.pass(Duration::from_millis(20));
    assert_eq!(rig.dials().len(), 2);
}

#[test]
pub(super) fn preset_tables_give_up_with_their_own_total_m28() {
    for (backoff, total) in [(Backoff::seed_c(), 75), (Backoff::seed_d(), 7)] {
        let mut rig = Rig::live_with(Config {
            backoff,
            ..config()
        });
        rig.closed(ConnId(1), ConnEnd::Reset);
        let lost_at = rig.now.mono;
        let mut last = ConnId(1);
        while rig.failed().is_none() {
            let conn = rig.dialed();
            if conn == last {
                rig.pass(Duration::from_millis(500));
            } else {
                last = conn;
                rig.closed(conn, refused());
            }
        }
        assert_eq!(rig.failed_code(), Some(Code::RecoveryDeadline.known()));
        assert_eq!(rig.now.mono.since(lost_at), secs(total));
    }
}

/// The waits of a table go on where they were, until a connection has lasted.
#[test]
fn preset_c_waits_3_6_12_24_30_s_and_begins_anew_only_after_a_stable_connection_m28() {
    let mut rig = Rig::live_with(Config {
        backoff: Backoff::seed_c(),
        ..config()
    });
    let waited = |rig: &mut Rig, end: ConnEnd| {
        let conn = rig.dialed();
        rig.closed(conn, end);
        let from = rig.now.mono;
        while rig.dialed() == conn {
            rig.pass(Duration::from_millis(500));
        }
        rig.now.mono.since(from)
    };
    assert_eq!(waited(&mut rig, ConnEnd::Reset), secs(3));
    assert_eq!(waited(&mut rig, refused()), secs(6));
    assert_eq!(waited(&mut rig, refused()), secs(12));
    rig.answer(Joined::Resumed, 0, 0);
    assert_eq!(
        waited(&mut rig, ConnEnd::Reset),
        secs(24),
        "it did not last"
    );
    assert_eq!(waited(&mut rig, refused()), secs(30));
    let conn = rig.answer(Joined::Resumed, 0, 0);
    rig.pass(limits::STABLE_AFTER / 2);
    rig.frame(conn, beat(1, 0));
    rig.pass(limits::STABLE_AFTER / 2);
    assert_eq!(waited(&mut rig, ConnEnd::Reset), secs(3), "it lasted");
}

#[test]
pub(super) fn known_addresses_take_turns_while_nobody_answers() {
    let mut config = config();
    config.addresses.push("wss://b".into());
    let mut rig = Rig::live_with(config);
    rig.closed(ConnId(1), ConnEnd::Reset);
    while rig.client.status().state == State::Recovering {
        let conn = rig.dialed();
        rig.closed(conn, refused());
        rig.pass(secs(2));
    }
    assert_eq!(
        rig.failed_code(),
        Some(Code::RecoveryDeadline.known()),
        "no rung was spent"
    );
    let to: Vec<_> = rig.dials().into_iter().map(|(_, to)| to).collect();
    assert_eq!(to[1..5], ["wss://a", "wss://b", "wss://a", "wss://b"]);
}

#[test]
pub(super) fn a_wait_of_five_seconds_is_told() {
    let mut rig = Rig::live();
    rig.input(Input::Network { online: false });
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.pass(Duration::from_millis(4_990));
    let told = |rig: &Rig| {
        let of = |event: &Event| match event {
            Event::StillWaiting { because, for_ms } => Some((*because, *for_ms)),
            _ => None,
        };
        rig.events().into_iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(told(&rig), []);
    rig.pass(Duration::from_millis(20));
    let because = Because::Recovering(Some(WaitingFor::Network));
    assert_eq!(told(&rig), [(because, 5_000)]);
    rig.pass(secs(100));
    assert_eq!(told(&rig).len(), 4, "at 5, 15, 35, 75 s; less and less");
}

/// Found by the drill (N21/resuming): every replay was cut off, and the tries were used up at once.
#[test]
pub(super) fn connections_that_die_in_their_replay_are_not_come_back_to_at_once_n21() {
    let mut rig = Rig::live();
    let first = rig.dialed();
    rig.closed(first, ConnEnd::Reset);
    let from = rig.now.mono;
    for n in 1..=8 {
        let conn = rig.dialed();
        rig.opened(conn);
        rig.frame(conn, Box::new(welcome(Joined::Resumed, 100, 0)));
        rig.frame(conn, event(n));
        rig.closed(conn, ConnEnd::Reset);
        while rig.dialed() == conn {
            rig.pass(Duration::from_millis(10));
        }
    }
    let spent = rig.now.mono.since(from);
    assert!(spent >= secs(1), "{spent:?}");
}
