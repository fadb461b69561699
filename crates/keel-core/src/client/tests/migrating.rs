//! Moves that the server asks for.

use keel_wire::Strategy;

use super::*;

#[test]
pub(super) fn a_move_keeps_the_old_path_until_the_new_welcome_m17() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), goaway(Some("wss://b")));
    assert_eq!(rig.dials().last(), Some(&(ConnId(2), "wss://b".to_owned())));
    assert_eq!(rig.state(), &State::Degraded);
    rig.frame(ConnId(1), event(1));
    rig.opened(ConnId(2));
    let resume = rig.hello(ConnId(2)).resume.expect("resumes");
    assert_eq!(
        (resume.strategy, resume.cursor.seq),
        (Strategy::Migrate, seq(1))
    );
    rig.welcomed(ConnId(2), welcome(Joined::Rejoined, 1, 0));
    assert_eq!(rig.state(), &State::Live);
    assert_eq!(
        (rig.lost().len(), rig.recoveries()),
        (0, vec![(Strategy::Migrate, 1)])
    );
    rig.closed(ConnId(2), ConnEnd::Reset);
    rig.pass(Duration::from_millis(200));
    assert_eq!(
        rig.dials().last(),
        Some(&(ConnId(3), "wss://b".to_owned())),
        "its home now"
    );
}

#[test]
pub(super) fn an_old_path_superseded_by_the_move_is_no_loss_m17_m20() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), goaway(Some("wss://b")));
    rig.opened(ConnId(2));
    rig.frame(ConnId(1), fault_frame(Code::Superseded));
    rig.closed(ConnId(1), close(4409));
    rig.welcomed(ConnId(2), welcome(Joined::Rejoined, 0, 0));
    assert_eq!(
        (rig.lost().len(), rig.failed(), rig.state()),
        (0, None, &State::Live)
    );
}

#[test]
pub(super) fn a_loss_during_a_move_is_a_loss_m14() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), goaway(Some("wss://b")));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!(
        (rig.lost(), rig.state()),
        (vec!["server_shutdown".to_owned()], &State::Recovering)
    );
    rig.answer(Joined::Rejoined, 0, 0);
    assert_eq!(rig.recoveries(), [(Strategy::Migrate, 1)]);
}

#[test]
pub(super) fn a_token_that_expires_during_a_move_is_fetched_before_the_next_hello_m42() {
    let mut rig = Rig::new(Config::new("wss://a", TokenSource::Fetched));
    rig.input(Input::Connect);
    rig.input(Input::Token(Ok("first".into())));
    rig.answer(Joined::Created, 0, 0);
    rig.frame(ConnId(1), goaway(Some("wss://b")));
    rig.frame(ConnId(1), fault_frame(Code::TokenExpired));
    rig.closed(ConnId(1), close(4402));
    rig.pass(Duration::from_millis(200));
    rig.input(Input::Token(Ok("second".into())));
    let (conn, address) = rig.dials().last().cloned().expect("a dial");
    assert_eq!((conn, address.as_str()), (ConnId(3), "wss://b"));
    rig.opened(conn);
    assert_eq!(rig.hello(conn).token, "second");
    rig.welcomed(conn, welcome(Joined::Rejoined, 0, 0));
    assert_eq!((rig.lost().len(), rig.state()), (1, &State::Live));
}

#[test]
pub(super) fn a_target_that_does_not_answer_costs_nothing_while_the_old_place_stands_m17() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), goaway(Some("wss://b")));
    for n in 1..6 {
        let conn = rig.dialed();
        rig.closed(conn, refused());
        rig.frame(ConnId(1), beat(n, 0));
        rig.pass(secs(2));
    }
    assert_eq!(
        (rig.lost().len(), rig.failed(), rig.state()),
        (0, None, &State::Degraded)
    );
    assert!(rig.dials()[1..].iter().all(|(_, to)| to == "wss://b"));
    rig.frame(ConnId(1), event(1));
    assert_eq!(rig.client.cursor().seq, seq(1));
    let conn = rig.dialed();
    rig.opened(conn);
    rig.frame(conn, fault_frame(Code::AtCapacity));
    rig.closed(conn, close(4503));
    assert_eq!((rig.failed(), rig.state()), (None, &State::Degraded));
}

#[test]
pub(super) fn a_goaway_during_recovery_is_honoured_e9_m14() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.opened(ConnId(2));
    rig.frame(ConnId(2), goaway(Some("wss://b")));
    rig.closed(ConnId(2), close(1001));
    rig.pass(Duration::from_millis(200));
    assert_eq!(rig.dials().last(), Some(&(ConnId(3), "wss://b".to_owned())));
    rig.answer(Joined::Rejoined, 0, 0);
    assert_eq!(rig.recoveries(), [(Strategy::Migrate, 2)]);
}

#[test]
pub(super) fn a_goaway_without_a_target_names_the_cause_of_the_close() {
    let mut rig = Rig::live();
    rig.frame(ConnId(1), goaway(None));
    assert_eq!((rig.state(), rig.dials().len()), (&State::Degraded, 1));
    rig.closed(ConnId(1), close(1001));
    assert_eq!(rig.lost(), ["server_shutdown"]);
    rig.answer(Joined::Resumed, 0, 0);
    assert_eq!(rig.recoveries(), [(Strategy::Fast, 1)]);
}

/// As a server says it that had the session before.
fn moved(rig: &mut Rig, conn: ConnId, to: &str) {
    rig.frame(conn, goaway(Some(to)));
    rig.frame(conn, fault_frame(Code::SessionMoved));
    rig.closed(conn, close(4201));
}

#[test]
pub(super) fn who_comes_back_to_a_server_that_has_handed_the_session_over_follows_it_m17() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.pass(Duration::from_millis(200));
    let conn = rig.dialed();
    rig.opened(conn);
    moved(&mut rig, conn, "wss://b");
    let (next, address) = rig.dials().last().cloned().expect("a dial");
    assert_eq!((next, address.as_str()), (ConnId(3), "wss://b"));
    rig.answer(Joined::Rejoined, 0, 0);
    assert_eq!(rig.recoveries(), [(Strategy::Migrate, 2)]);
    assert_eq!((rig.lost().len(), rig.state()), (1, &State::Live));
}

#[test]
pub(super) fn a_first_connect_is_directed_to_where_the_session_is_m17() {
    let mut rig = Rig::new(Config::new("wss://a", TokenSource::Fixed("token".into())));
    rig.input(Input::Connect);
    rig.opened(ConnId(1));
    moved(&mut rig, ConnId(1), "wss://b");
    assert_eq!(rig.dials().last(), Some(&(ConnId(2), "wss://b".to_owned())));
    rig.answer(Joined::Joined, 0, 0);
    assert_eq!((rig.failed(), rig.state()), (None, &State::Live));
}

#[test]
pub(super) fn servers_that_send_a_client_to_one_another_are_not_followed_for_ever_m17_m33() {
    let mut rig = Rig::new(Config::new("wss://a", TokenSource::Fixed("token".into())));
    rig.input(Input::Connect);
    for _ in 0..30 {
        if rig.failed().is_some() {
            break;
        }
        let conn = rig.dialed();
        rig.opened(conn);
        moved(&mut rig, conn, "wss://b");
    }
    assert_eq!(rig.failed_code(), Some(Code::SessionMoved.known()));
    assert!(rig.dials().len() <= 12, "{}", rig.dials().len());
}
