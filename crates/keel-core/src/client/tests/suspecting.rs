//! Silence, sleep, and connections that come back by themselves.

use keel_wire::Strategy;

use super::*;

#[test]
pub(super) fn silence_starts_a_second_connection_beside_the_first_m11_m29_e3() {
    let mut rig = Rig::live();
    rig.pass(Duration::from_millis(SUSPECT_MS - 10));
    assert_eq!(rig.lost(), [""; 0]);
    rig.pass(Duration::from_millis(20));
    assert_eq!(rig.lost(), ["heartbeat_timeout"]);
    assert_eq!((rig.state(), rig.dialed()), (&State::Recovering, ConnId(2)));
    let hung_up = |rig: &Rig, conn| {
        let is_it =
            |output: &Output| matches!(output, Output::Hangup { conn: c, .. } if *c == conn);
        rig.all.iter().chain(&rig.out).any(is_it)
    };
    assert!(
        !hung_up(&rig, ConnId(1)),
        "superseded only by the new welcome"
    );
    rig.answer(Joined::Resumed, 0, 0);
    assert!(hung_up(&rig, ConnId(1)));
    assert_eq!(rig.recoveries(), [(Strategy::Fast, 1)]);
    rig.frame(ConnId(1), event(1));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!(
        (rig.client.cursor().seq, rig.state()),
        (Seq::ZERO, &State::Live)
    );
}

#[test]
pub(super) fn a_connection_that_speaks_again_is_kept_and_the_attempt_dropped_m34_e6() {
    let mut rig = Rig::live();
    rig.pass(Duration::from_millis(SUSPECT_MS));
    rig.frame(ConnId(1), event(1));
    assert_eq!(
        rig.state(),
        &State::Recovering,
        "it may be what was on its way"
    );
    assert_eq!(rig.client.cursor().seq, seq(1), "and counts");
    rig.input(Input::Network { online: false });
    for n in 1..=3 {
        assert_eq!(rig.recoveries().len(), 0);
        rig.pass(Duration::from_millis(SUSPECT_MS / 3 + 1));
        rig.frame(ConnId(1), beat(n, 1));
    }
    assert_eq!(rig.state(), &State::Live);
    assert!(rig.take().contains(&Output::Hangup {
        conn: ConnId(2),
        code: None
    }));
    rig.opened(ConnId(2));
    assert_eq!(rig.sent(ConnId(2)), []);
    assert_eq!((rig.lost().len(), rig.recoveries().len()), (1, 1));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!(rig.lost().len(), 2, "a second loss is told too");
}

#[test]
pub(super) fn speaking_again_after_the_other_said_hello_waits_for_its_answer_e6() {
    let mut rig = Rig::live();
    rig.pass(Duration::from_millis(SUSPECT_MS));
    rig.opened(ConnId(2));
    rig.frame(ConnId(1), event(1));
    assert_eq!(rig.state(), &State::Recovering);
    // The server has taken the new one, and closes the old one for it.
    rig.frame(ConnId(1), fault_frame(Code::Superseded));
    rig.closed(ConnId(1), close(4409));
    assert_eq!(rig.failed(), None);
    rig.welcomed(ConnId(2), welcome(Joined::Resumed, 1, 0));
    assert_eq!(rig.state(), &State::Live);
    assert_eq!((rig.lost().len(), rig.recoveries().len()), (1, 1));

    let mut rig = Rig::live();
    rig.pass(Duration::from_millis(SUSPECT_MS));
    rig.opened(ConnId(2));
    rig.frame(ConnId(1), event(1));
    for n in 1..=3 {
        rig.pass(Duration::from_millis(SUSPECT_MS / 3 + 1));
        rig.frame(ConnId(1), beat(n, 1));
    }
    let before = rig.dials().len();
    rig.closed(rig.dialed(), ConnEnd::Reset);
    assert_eq!(
        rig.state(),
        &State::Live,
        "the old one is as good as before"
    );
    assert_eq!(rig.dials().len(), before);
}

/// Found by the drill (P02): stale bytes were taken for life, and the server's last word, which came
/// behind them, for another loss.
#[test]
pub(super) fn a_connection_that_the_server_gave_up_meanwhile_is_lost_once_p02_n04_m10() {
    for sleeps in [true, false] {
        let mut rig = Rig::live();
        if sleeps {
            rig.pass(secs(1));
            rig.now.wall += 6_000;
            rig.now.mono = rig.now.mono + secs(6);
            rig.input(Input::Tick);
        } else {
            rig.pass(Duration::from_millis(SUSPECT_MS));
        }
        assert_eq!(rig.lost(), ["heartbeat_timeout"]);
        rig.frame(ConnId(1), event(1));
        rig.frame(ConnId(1), beat(1, 1));
        rig.pass(Duration::from_millis(200));
        rig.frame(ConnId(1), event(2));
        rig.frame(ConnId(1), fault_frame(Code::HeartbeatTimeout));
        rig.closed(ConnId(1), close(4002));
        assert_eq!(rig.lost().len(), 1, "told already");
        assert_eq!(rig.client.cursor().seq, seq(2), "and heard to its end");
        rig.answer(Joined::Resumed, 2, 0);
        assert_eq!((rig.lost().len(), rig.recoveries().len()), (1, 1));
        assert_eq!(rig.state(), &State::Live);
    }
}

#[test]
pub(super) fn a_takeover_by_another_tab_is_for_good() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), fault_frame(Code::Superseded));
    rig.closed(ConnId(1), close(4409));
    assert_eq!(rig.failed_code(), Some(Code::Superseded.known()));
    assert_eq!(rig.dials().len(), 1);
}

#[test]
pub(super) fn beats_are_answered_with_the_cursor_and_change_what_silence_means() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), event(1));
    let busy = Beat {
        n: seq(9),
        seq: seq(1),
        suspect_ms: Some(2_500),
        pace_ms: None,
    };
    rig.frame(ConnId(1), busy);
    let answer = Beat {
        n: seq(9),
        seq: seq(1),
        suspect_ms: None,
        pace_ms: None,
    };
    assert_eq!(rig.sent(ConnId(1)).last(), Some(&ClientFrame::Beat(answer)));
    rig.pass(Duration::from_millis(2_510));
    assert_eq!(rig.lost(), ["heartbeat_timeout"]);
}

#[test]
pub(super) fn a_loss_on_a_living_link_shows_at_the_next_beats() {
    let mut rig = Rig::live();
    rig.input(Input::Simulate(Simulate::LoseFrames { count: 1 }));
    rig.frame(ConnId(1), event(1));
    for n in 1..=2 {
        assert_eq!(rig.lost(), [""; 0]);
        rig.pass(secs(1));
        rig.frame(ConnId(1), beat(n, 1));
    }
    assert_eq!(rig.lost(), ["protocol_error"]);
    let conn = rig.dialed();
    rig.opened(conn);
    rig.frame(conn, Box::new(welcome(Joined::Resumed, 1, 0)));
    rig.frame(conn, event(1));
    rig.frame(conn, Replayed { to: seq(1) });
    assert_eq!(
        (rig.state(), rig.client.cursor().seq),
        (&State::Live, seq(1))
    );
}

#[test]
pub(super) fn a_half_open_connection_is_found_by_its_silence_m29() {
    let mut rig = Rig::live();
    rig.input(Input::Simulate(Simulate::HalfOpen));
    rig.pass(secs(3));
    rig.frame(ConnId(1), beat(1, 0));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!((rig.lost().len(), rig.sent(ConnId(1)).len()), (0, 1));
    rig.pass(secs(5));
    assert_eq!(rig.lost(), ["heartbeat_timeout"]);
    rig.answer(Joined::Resumed, 0, 0);
    assert_eq!(rig.state(), &State::Live);
}

#[test]
pub(super) fn a_dropped_transport_goes_the_way_of_a_real_one_m39() {
    let mut rig = Rig::live();
    rig.input(Input::Simulate(Simulate::DropTransport));
    assert!(rig.take().contains(&Output::Hangup {
        conn: ConnId(1),
        code: None
    }));
    assert_eq!(rig.lost(), ["transport_error"]);
    rig.answer(Joined::Resumed, 0, 0);
    assert_eq!(rig.state(), &State::Live);
    let mut idle = Rig::new(config());
    idle.input(Input::Simulate(Simulate::DropTransport));
    assert_eq!(
        idle.events(),
        [&Event::ProtocolNotice(Notice::NothingToBreak)]
    );
}

#[test]
pub(super) fn a_machine_that_slept_looks_first_and_gives_up_nothing_for_it_p02_p03() {
    // The monotonic clock went on (SIGSTOP), or stood still (suspend).
    for sees_sleep in [true, false] {
        let mut rig = Rig::live();
        rig.pass(secs(1));
        rig.now.wall += 8 * 3_600_000;
        if sees_sleep {
            rig.now.mono = rig.now.mono + secs(8 * 3_600);
        }
        rig.input(Input::Tick);
        assert_eq!(rig.lost(), ["heartbeat_timeout"]);
        assert_eq!(rig.dialed(), ConnId(2), "at once");
        assert_eq!(rig.failed(), None);
        rig.answer(Joined::Rejoined, 0, 0);
        assert_eq!(rig.state(), &State::Live);
    }
}

#[test]
pub(super) fn sleeping_during_a_recovery_costs_no_attempt_and_no_verdict_p02() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.opened(ConnId(2));
    rig.now.wall += 3_600_000;
    rig.now.mono = rig.now.mono + secs(3_600);
    rig.input(Input::Tick);
    assert_eq!(rig.failed(), None);
    assert_eq!(
        rig.dialed(),
        ConnId(3),
        "what it had is as old as the sleep"
    );
    rig.answer(Joined::Resumed, 0, 0);
    assert_eq!(rig.state(), &State::Live);
}

#[test]
pub(super) fn a_frame_that_comes_after_a_pause_is_life_p05() {
    let mut rig = Rig::live();
    rig.now.mono = rig.now.mono + secs(60);
    rig.now.wall += 60_000;
    rig.frame(ConnId(1), beat(1, 0));
    assert_eq!((rig.lost().len(), rig.state()), (0, &State::Live));
}

#[test]
pub(super) fn a_probe_suspects_what_is_overdue_and_nothing_else() {
    let mut rig = Rig::live();
    rig.pass(secs(2));
    rig.input(Input::Probe);
    assert_eq!(rig.lost().len(), 0);
    rig.pass(secs(3));
    rig.input(Input::Probe);
    assert_eq!(rig.lost(), ["heartbeat_timeout"]);
}

/// Found by `keel-sim` (seed 3580, no loss without a cause): beats had become rarer since welcome.
#[test]
pub(super) fn a_probe_goes_by_what_the_last_beat_said() {
    let mut rig = Rig::new(config());
    rig.input(Input::Connect);
    let conn = rig.dialed();
    rig.opened(conn);
    let mut busy = welcome(Joined::Created, 0, 0);
    busy.beat = BeatPlan {
        every_ms: 1_000,
        suspect_ms: 2_500,
    };
    rig.welcomed(conn, busy);
    rig.frame(
        conn,
        Beat {
            n: seq(1),
            seq: Seq::ZERO,
            suspect_ms: Some(SUSPECT_MS),
            pace_ms: None,
        },
    );
    rig.pass(Duration::from_millis(BEAT_MS));
    rig.input(Input::Probe);
    assert_eq!(rig.lost(), [""; 0]);
}
