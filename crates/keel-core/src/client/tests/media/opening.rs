//! Transports come and go: with what is wanted, with the connection, and with the session.

use super::*;
use crate::limits;

#[test]
pub(crate) fn a_transport_is_opened_once_it_stands_and_closed_when_unwanted() {
    let mut rig = Rig::new(config());
    rig.input(Input::Media(MediaInput::Want(true)));
    rig.input(Input::Connect);
    let mut screen = Screen::opening_in(rig);
    assert!(screen.orders().is_empty(), "nothing to speak over");
    screen.comes_back(None);
    assert_eq!(screen.names(), ["open 1"]);
    assert_eq!(screen.leg(), None, "there is none yet");
    screen.connected(1);
    screen.input(MediaInput::Want(false));
    screen.input(MediaInput::Want(false));
    assert_eq!(screen.names(), ["open 1", "close 1"]);
    screen.input(MediaInput::Want(true));
    assert_eq!(screen.names()[2..], ["open 2"]);
    assert!(screen.told().is_empty(), "{:?}", screen.told());
}

/// Who switches a camera on and off rejoins nothing.
#[test]
pub(crate) fn what_is_wanted_and_unwanted_often_does_not_meet_the_limiter_m33() {
    let mut screen = Screen::opening();
    for round in 1..=20 {
        screen.connected(round);
        screen.input(MediaInput::Want(false));
        screen.input(MediaInput::Want(true));
    }
    assert!(!screen.is_down());
    assert!(screen.told().is_empty(), "{:?}", screen.told());
    for _ in 0..limits::REJOIN_LIMIT {
        let peer = screen.rig.client.media.last_opened();
        screen.is(peer, TransportState::Failed);
        screen.input(MediaInput::Want(false));
        screen.input(MediaInput::Want(true));
    }
    assert!(screen.is_down(), "what failed counts");
}

#[test]
pub(crate) fn media_goes_on_while_signaling_is_lost_and_found_m37_e13() {
    let mut screen = Screen::showing();
    let conn = screen.rig.dialed();
    screen.rig.closed(conn, ConnEnd::Reset);
    for _ in 0..20 {
        let conn = screen.rig.dialed();
        screen.rig.closed(conn, refused());
        screen.pass(millis(500));
        assert_eq!(screen.leg(), None, "nothing is told of media that flows");
    }
    screen.pass(secs(6));
    screen.comes_back(Some(1));
    assert_eq!(screen.names(), ["open 1", "resume 1"]);
    assert!(screen.told().is_empty(), "{:?}", screen.told());
    assert_eq!(screen.rig.state(), &State::Live);
}

#[test]
pub(crate) fn a_server_that_forgot_it_is_given_another_at_once_m19() {
    let mut screen = Screen::showing();
    screen.reconnects(None);
    assert_eq!(screen.names(), ["open 1", "open 2"]);
    assert_eq!(screen.told(), ["lost media_failed"]);
    assert_eq!(screen.fault_told().detail["why"], "peer_unknown");
    assert_eq!(screen.recovering(), Some((Strategy::Rejoin, 1)));
    screen.connected(2);
    assert_eq!(screen.told().len(), 1, "connected is not flowing");
    screen.lines(2, &[("7", other(), "camera")]);
    screen.comes.insert("7".into(), FLOWS);
    screen.pass(millis(300));
    assert_eq!(screen.told(), ["lost media_failed", "back Rejoin 1"]);
    assert_eq!(screen.rig.state(), &State::Live);
    assert_eq!(screen.names(), ["open 1", "open 2"], "the shell closes it");
}

/// Another client of this participant has counted further.
#[test]
pub(crate) fn a_transport_has_a_number_above_all_that_the_server_knows() {
    let mut rig = Rig::new(config());
    rig.input(Input::Connect);
    let mut screen = Screen::opening_in(rig);
    screen.comes_back(Some(7));
    assert_eq!(screen.names(), ["open 8"]);
}

#[test]
pub(crate) fn a_move_keeps_the_old_transport_until_the_new_one_stands_m17() {
    let mut screen = Screen::showing();
    let conn = screen.rig.dialed();
    screen.rig.frame(conn, goaway(Some("wss://b")));
    screen.comes_back(None);
    assert_eq!(screen.names(), ["open 1", "open 2"]);
    screen.pass(secs(1));
    assert!(screen.told().is_empty(), "the old one flows");
    screen.connected(2);
    screen.lines(2, &[("0", other(), "camera")]);
    screen.pass(secs(1));
    assert!(screen.told().is_empty(), "{:?}", screen.told());
    assert_eq!(screen.names(), ["open 1", "open 2"]);
}

#[test]
pub(crate) fn a_move_whose_transport_does_not_come_is_bounded_and_told_m17() {
    let mut screen = Screen::showing();
    let conn = screen.rig.dialed();
    screen.rig.frame(conn, goaway(Some("wss://b")));
    screen.comes_back(None);
    screen.pass(limits::MEDIA_CONNECT_WITHIN);
    assert_eq!(screen.told(), ["lost media_failed"]);
    assert_eq!(
        screen.names(),
        ["open 1", "open 2", "close 2", "close 1", "open 3"]
    );
}

/// Whatever it is that ends it.
#[test]
pub(crate) fn every_end_closes_the_transport_and_nothing_follows_e7_m35() {
    let over = |end: &dyn Fn(&mut Screen)| {
        let mut screen = Screen::showing();
        screen.reconnects(None);
        end(&mut screen);
        screen.collect();
        assert_eq!(
            screen.names(),
            ["open 1", "open 2", "close 1", "close 2"],
            "the one that showed, and the one to come"
        );
        screen.connected(2);
        screen.is(1, TransportState::Failed);
        screen.input(MediaInput::Retry);
        screen.look(2);
        screen.pass(secs(60));
        assert_eq!(screen.names().len(), 4);
    };
    over(&|screen| screen.rig.input(Input::Detach));
    over(&|screen| screen.rig.input(Input::Close));
    over(&|screen| {
        let conn = screen.rig.dialed();
        screen.rig.frame(conn, ended(EndReason::Ended));
    });
    over(&|screen| {
        let conn = screen.rig.dialed();
        screen.rig.frame(conn, fault_frame(Code::Superseded));
        screen.rig.closed(conn, close(4_402));
    });
}

#[test]
pub(crate) fn what_is_wanted_outlasts_a_session_that_failed() {
    let mut screen = Screen::showing();
    let conn = screen.rig.dialed();
    screen.rig.frame(conn, fault_frame(Code::Superseded));
    screen.rig.closed(conn, close(4_402));
    screen.collect();
    assert_eq!(screen.names(), ["open 1", "close 1"]);
    screen.rig.input(Input::Connect);
    screen.comes_back(None);
    assert_eq!(screen.names()[2..], ["open 2"]);
}

#[test]
pub(crate) fn what_is_said_of_other_transports_passes_nobody() {
    let mut screen = Screen::showing();
    let conn = screen.rig.dialed();
    screen.input(offer(2));
    screen.rig.frame(conn, no_lines(9));
    screen.collect();
    let offers = |screen: &Screen| {
        let sent = screen.rig.sent(conn).into_iter();
        sent.filter(|frame| matches!(frame, ClientFrame::Offer(_)))
            .count()
    };
    let heard = |screen: &Screen| {
        let orders = screen.orders.iter();
        orders
            .filter(|(_, order)| matches!(order, MediaOrder::Hear(_)))
            .count()
    };
    assert_eq!((offers(&screen), heard(&screen)), (0, 1));
    screen.input(offer(1));
    screen.rig.frame(conn, no_lines(1));
    screen.collect();
    assert_eq!((offers(&screen), heard(&screen)), (1, 2));
}
