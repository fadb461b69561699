//! What is done about media that is lost, and when that ends.

use super::*;
use crate::limits;

#[test]
pub(crate) fn a_keyframe_then_anew_then_a_restart_at_two_seconds_v02_v11() {
    let mut screen = Screen::showing();
    screen.comes.insert("0".into(), SILENT);
    let silent_from = 1_000;
    screen.pass(millis(4_000));
    let mids = || vec!["0".to_owned()];
    assert_eq!(screen.refreshes(), [(mids(), false), (mids(), true)]);
    let orders = screen.orders();
    assert_eq!(orders[1..], [(silent_from + 2_000, "restart 1".to_owned())]);
    assert_eq!(screen.recovering(), Some((Strategy::Fast, 3)));
    screen.pass(millis(4_000));
    assert_eq!(screen.names()[2..], ["open 2"], "the rung above");
}

#[test]
pub(crate) fn packets_that_come_back_stop_the_climb_m34_e6() {
    for (after, attempts) in [(1_200, 1), (1_600, 2), (3_000, 3)] {
        let mut screen = Screen::showing();
        screen.comes.insert("0".into(), SILENT);
        screen.pass(millis(after));
        screen.comes.insert("0".into(), FLOWS);
        screen.pass(secs(20));
        let back = format!("back Fast {attempts}");
        assert_eq!(screen.told(), ["lost media_stalled".to_owned(), back]);
        assert_eq!(screen.rig.state(), &State::Live);
        assert!(!screen.names().contains(&"open 2".to_owned()));
    }
}

#[test]
pub(crate) fn a_transport_that_says_it_is_lost_is_restarted_at_once_v02() {
    for (state, code) in [
        (TransportState::Disconnected, "lost media_stalled"),
        (TransportState::Failed, "lost media_failed"),
    ] {
        let mut screen = Screen::showing();
        screen.comes.insert("0".into(), SILENT);
        screen.is(1, state);
        assert_eq!(screen.told(), [code]);
        assert_eq!(screen.names()[1..], ["restart 1"]);
        screen.connected(1);
        assert_eq!(screen.told().len(), 1, "connected is not flowing");
        screen.comes.insert("0".into(), FLOWS);
        screen.pass(millis(300));
        assert_eq!(screen.told()[1..], ["back Fast 1"]);
        screen.pass(secs(20));
        assert_eq!(screen.names().len(), 2);
    }
}

/// Browsers say so late, and sometimes of a way that is good.
#[test]
pub(crate) fn packets_are_believed_more_than_the_transport_m34() {
    let mut screen = Screen::showing();
    screen.is(1, TransportState::Disconnected);
    screen.pass(millis(600));
    assert_eq!(screen.told(), ["lost media_stalled", "back Fast 1"]);
    screen.pass(secs(20));
    assert_eq!(screen.names(), ["open 1", "restart 1"]);
}

#[test]
pub(crate) fn one_silent_line_beside_others_disturbs_them_last_v11() {
    let mut screen = Screen::showing();
    screen.publish(&other(), "screen");
    screen.lines(1, &[("0", other(), "camera"), ("1", other(), "screen")]);
    screen.comes.insert("1".into(), FLOWS);
    screen.pass(secs(1));
    screen.comes.insert("1".into(), FROZEN);
    screen.pass(millis(3_900));
    let mids = || vec!["1".to_owned()];
    assert_eq!(screen.refreshes(), [(mids(), false), (mids(), true)]);
    assert_eq!(screen.names(), ["open 1"], "others flow");
    screen.pass(millis(5_000));
    assert_eq!(screen.names(), ["open 1", "restart 1"]);
    screen.pass(millis(500));
    assert_eq!(screen.names()[2..], ["open 2"]);
    screen.connected(2);
    screen.lines(2, &[("0", other(), "camera"), ("1", other(), "screen")]);
    screen.pass(secs(20));
    assert!(screen.is_down(), "{:?}", screen.leg());
    assert_eq!(
        screen.names(),
        ["open 1", "restart 1", "open 2", "restart 2"]
    );
    screen.comes.insert("1".into(), FLOWS);
    screen.pass(secs(1));
    assert_eq!(
        screen.told().last().map(String::as_str),
        Some("back Rejoin 7")
    );
    assert_eq!(
        screen.rig.state(),
        &State::Live,
        "what comes after all is taken"
    );
}

#[test]
pub(crate) fn a_way_that_is_blocked_gets_a_verdict_in_thirty_seconds_v01_m16() {
    let mut screen = Screen::opening();
    screen.pass(millis(4_900));
    assert!(screen.told().is_empty());
    screen.pass(millis(100));
    assert_eq!(screen.told(), ["lost media_failed"]);
    assert_eq!(screen.fault_told().detail["why"], "udp_blocked");
    assert_eq!(screen.names(), ["open 1", "close 1", "open 2"]);
    assert_eq!(screen.rig.state(), &State::Recovering);
    screen.pass(limits::VERDICT_WITHIN - millis(5_001));
    assert!(!screen.is_down());
    screen.pass(millis(1));
    assert!(screen.is_down());
    assert_eq!(screen.told()[1..], ["fault media_failed"]);
    let fault = screen.fault_told();
    assert_eq!(
        fault.retry,
        Retry::AfterAction {
            what: keel_wire::Todo::TryAgain
        }
    );
    assert_eq!(screen.rig.state(), &State::Degraded, "the session goes on");
    let waits = screen
        .rig
        .events()
        .into_iter()
        .filter_map(|event| match event {
            Event::StillWaiting { for_ms, .. } => Some(*for_ms),
            _ => None,
        });
    assert_eq!(waits.collect::<Vec<_>>(), [5_000, 15_000], "a wait is told");
    let orders = screen.names();
    let opened = orders.iter().filter(|order| order.starts_with("open"));
    let closed = orders.iter().filter(|order| order.starts_with("close"));
    assert_eq!(opened.count(), closed.count(), "{orders:?}");
    screen.pass(secs(600));
    assert_eq!(screen.names().len(), orders.len(), "nothing more is done");
    assert_eq!(screen.told().len(), 2);
}

fn given_up() -> Screen {
    let mut screen = Screen::opening();
    screen.pass(limits::VERDICT_WITHIN);
    assert!(screen.is_down());
    screen
}

#[test]
pub(crate) fn what_was_given_up_is_tried_again_when_something_changes() {
    let again = |change: &dyn Fn(&mut Screen)| {
        let mut screen = given_up();
        let before = screen.names().len();
        change(&mut screen);
        screen.collect();
        let orders = screen.names();
        let new = &orders[before..];
        assert!(new.len() == 1 && new[0].starts_with("open"), "{orders:?}");
        let peer = screen.rig.client.media.last_opened();
        screen.connected(peer);
        assert_eq!(screen.rig.state(), &State::Live);
    };
    again(&|screen| screen.input(MediaInput::Retry));
    again(&|screen| screen.rig.input(Input::Network { online: true }));
    again(&|screen| screen.reconnects(None));
    again(&|screen| {
        screen.input(MediaInput::Want(false));
        screen.input(MediaInput::Want(true));
    });
    let mut screen = given_up();
    let orders = screen.names().len();
    screen.rig.input(Input::Probe);
    screen.connected(1);
    screen.pass(secs(5));
    assert_eq!(screen.names().len(), orders);
}

#[test]
pub(crate) fn what_the_server_says_of_a_transport_is_its_end() {
    for code in [Code::MediaFailed, Code::AtCapacity] {
        let mut screen = Screen::showing();
        let conn = screen.rig.dialed();
        let fault = refusal(code, 1).retry(Retry::Now);
        screen.rig.frame(
            conn,
            FaultFrame {
                fault: fault.clone(),
            },
        );
        screen.collect();
        assert_eq!(screen.names(), ["open 1", "close 1", "open 2"]);
        assert_eq!(screen.told(), [format!("lost {}", code.name())]);
        let again = refusal(code, 2).retry(after(700));
        screen.rig.frame(conn, FaultFrame { fault: again });
        screen.collect();
        assert_eq!(screen.names()[3..], ["close 2"]);
        screen.pass(millis(690));
        assert_eq!(screen.names().len(), 4, "not before it may");
        screen.pass(millis(20));
        assert_eq!(screen.names()[4..], ["open 3"]);
        screen.rig.frame(conn, FaultFrame { fault });
        screen.pass(millis(100));
        assert_eq!(screen.names().len(), 5, "of one that is gone it is news");
    }
}

#[test]
pub(crate) fn a_server_that_takes_no_media_is_believed_at_once() {
    let mut screen = Screen::opening();
    let conn = screen.rig.dialed();
    let fault = refusal(Code::MediaRefused, 1).retry(Retry::Never);
    screen.rig.frame(conn, FaultFrame { fault });
    screen.collect();
    assert_eq!(screen.told(), ["lost media_refused", "fault media_refused"]);
    assert!(screen.is_down());
    screen.pass(secs(60));
    assert_eq!(screen.names(), ["open 1", "close 1"]);
    let mut screen = Screen::showing();
    let fault = refusal(Code::MediaRefused, 1).retry(Retry::Never);
    screen.rig.frame(conn, FaultFrame { fault });
    screen.pass(secs(1));
    assert_eq!(screen.told(), ["fault media_refused"]);
    assert_eq!(screen.names(), ["open 1"], "what flows goes on");
}

#[test]
pub(crate) fn a_loss_during_a_recovery_is_not_lost_m14_e5() {
    let mut screen = Screen::showing();
    screen.comes.insert("0".into(), SILENT);
    screen.pass(millis(9_000));
    assert_eq!(screen.names(), ["open 1", "restart 1", "open 2"]);
    screen.connected(2);
    screen.lines(2, &[("0", other(), "camera")]);
    screen.is(2, TransportState::Disconnected);
    assert_eq!(screen.names()[3..], ["restart 2"]);
    screen.is(2, TransportState::Failed);
    screen.pass(millis(5_100));
    assert_eq!(screen.names()[4..], ["open 3"]);
    screen.is(3, TransportState::Failed);
    assert_eq!(screen.names()[5..7], ["close 3", "close 2"]);
    screen.pass(millis(1_000));
    screen.connected(4);
    screen.lines(4, &[("0", other(), "camera")]);
    screen.comes.insert("0".into(), FLOWS);
    screen.pass(millis(500));
    assert_eq!(screen.told().len(), 2, "{:?}", screen.told());
    assert_eq!(screen.rig.state(), &State::Live);
}

#[test]
pub(crate) fn without_signaling_it_waits_and_says_so_m37_e13() {
    let mut screen = Screen::showing();
    let conn = screen.rig.dialed();
    screen.comes.insert("0".into(), SILENT);
    screen.rig.closed(conn, ConnEnd::Reset);
    screen.pass(secs(2));
    assert_eq!(screen.told(), ["lost media_stalled"]);
    let waits = match screen.leg() {
        Some(LegState::Recovering { waiting_for, .. }) => waiting_for,
        leg => panic!("{leg:?}"),
    };
    assert_eq!(waits, Some(keel_wire::WaitingFor::Network));
    assert_eq!(screen.names(), ["open 1"]);
    for _ in 0..60 {
        let conn = screen.rig.dialed();
        screen.rig.closed(conn, refused());
        screen.pass(secs(1));
    }
    screen.pass(secs(6));
    assert!(!screen.is_down(), "the verdict waits for the server");
    screen.comes_back(Some(1));
    assert_eq!(screen.names()[1..2], ["resume 1"]);
    screen.pass(secs(1));
    screen.comes.insert("0".into(), FLOWS);
    screen.pass(secs(1));
    assert_eq!(screen.told().len(), 2, "{:?}", screen.told());
    assert_eq!(screen.rig.state(), &State::Live);
}

#[test]
pub(crate) fn what_a_new_transport_does_not_bring_back_is_named_m19_e8() {
    let mut screen = Screen::showing();
    screen.publish(&other(), "screen");
    screen.lines(1, &[("0", other(), "camera"), ("1", other(), "screen")]);
    screen.comes.insert("1".into(), FLOWS);
    screen.pass(secs(1));
    screen.reconnects(None);
    screen.connected(2);
    screen.lines(2, &[("0", other(), "camera")]);
    screen.pass(millis(4_900));
    assert_eq!(screen.told().len(), 1, "its publisher may come back, too");
    screen.pass(millis(200));
    assert_eq!(screen.told()[1..], ["back Rejoin 1", "fault media_stalled"]);
    assert_eq!(
        screen.fault_told().detail["not_restored"],
        json!([{"participant": other(), "track": "screen"}])
    );
}

/// What came over a transport that is closed at once is owed all the same.
#[test]
pub(crate) fn what_came_over_a_transport_that_broke_is_waited_for_on_the_next_m19() {
    for lines in [&[("7", other(), "camera")][..], &[]] {
        let mut screen = Screen::showing();
        let conn = screen.rig.dialed();
        let fault = refusal(Code::MediaFailed, 1).retry(Retry::Now);
        screen.rig.frame(conn, FaultFrame { fault });
        screen.collect();
        screen.connected(2);
        assert_eq!(screen.told().len(), 1, "connected is not flowing");
        screen.lines(2, lines);
        screen.comes.insert("7".into(), FLOWS);
        screen.pass(millis(4_900));
        let is_back = !lines.is_empty();
        assert_eq!(screen.told().len(), 1 + usize::from(is_back));
        screen.pass(millis(200));
        assert_eq!(screen.told()[1], "back Rejoin 1");
        assert_eq!(screen.told().len(), if is_back { 2 } else { 3 });
    }
}

#[test]
pub(crate) fn a_track_that_came_on_two_lines_is_missed_once_m19() {
    let mut screen = Screen::showing();
    screen.lines(1, &[("0", other(), "camera"), ("1", other(), "camera")]);
    screen.comes.insert("1".into(), FLOWS);
    screen.pass(secs(1));
    screen.reconnects(None);
    screen.connected(2);
    screen.pass(millis(5_100));
    assert_eq!(
        screen.fault_told().detail["not_restored"],
        json!([{"participant": other(), "track": "camera"}])
    );
}

/// A camera that is covered must not cost its owner the transport.
#[test]
pub(crate) fn an_own_track_that_does_not_arrive_costs_one_restart() {
    let mut screen = Screen::opening();
    screen.publish(&me(), "camera");
    screen.connected(1);
    screen.lines(1, &[("0", me(), "camera")]);
    screen.comes.insert("0".into(), FLOWS);
    screen.pass(secs(1));
    screen.comes.insert("0".into(), SILENT);
    screen.pass(millis(700));
    screen.stalled(&[(me(), "camera")]);
    screen.pass(secs(60));
    assert_eq!(screen.names(), ["open 1", "restart 1"]);
    assert!(
        screen.refreshes().is_empty(),
        "the server has nothing of it"
    );
    assert_eq!(screen.rig.state(), &State::Degraded);
    screen.comes.insert("0".into(), FLOWS);
    screen.stalled(&[]);
    screen.pass(secs(1));
    assert_eq!(screen.rig.state(), &State::Live);
}

#[test]
pub(crate) fn a_leg_that_flaps_ends_with_the_limiter_which_success_does_not_reset_m33() {
    let mut screen = Screen::opening();
    screen.connected(1);
    for _ in 0..limits::REJOIN_LIMIT - 1 {
        screen.reconnects(None);
        let peer = screen.rig.client.media.last_opened();
        screen.connected(peer);
        assert!(!screen.is_down());
    }
    screen.reconnects(None);
    assert!(screen.is_down());
    assert_eq!(screen.fault_told().code, Code::RejoinLimit);
    screen.input(MediaInput::Retry);
    assert!(!screen.is_down(), "whoever asks for it may");
}
