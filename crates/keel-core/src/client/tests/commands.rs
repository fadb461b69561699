//! Commands: each answered once, sent again only above what the server took.

use super::*;
use crate::limits;

#[test]
pub(super) fn commands_wait_in_the_outbox_and_go_in_order_m27() {
    let mut rig = Rig::new(config());
    rig.command(10, "a", None);
    rig.input(Input::Connect);
    rig.command(11, "b", None);
    rig.answer(Joined::Created, 0, 0);
    assert_eq!(rig.commands(ConnId(1)), [1, 2]);
    rig.frame(ConnId(1), receipt(2));
    rig.frame(ConnId(1), receipt(1));
    rig.frame(ConnId(1), receipt(1));
    let order: Vec<_> = rig.receipts().into_iter().map(|(local, _)| local).collect();
    assert_eq!(order, [11, 10]);
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.opened(ConnId(2));
    let stream = rig.hello(ConnId(2)).stream;
    assert_eq!((stream.next, stream.receipts_ack), (seq(3), seq(2)));
}

#[test]
fn a_full_outbox_refuses_at_once_m27() {
    let mut rig = Rig::new(config());
    for local in 0..=limits::OUTBOX_COMMANDS_MAX as u64 {
        rig.command(local, "a", None);
    }
    let [(256, CommandOutcome::Refused(fault))] = rig.receipts()[..] else {
        panic!("{:?}", rig.receipts())
    };
    assert_eq!(fault.code, Code::OutboxFull);
    let mut rig = Rig::new(config());
    for local in 0..40 {
        rig.command(local, &"a".repeat(50_000), None);
    }
    assert!(rig.receipts().len() > 10, "by bytes too");
    rig.command(99, &"a".repeat(70_000), None);
    let (99, CommandOutcome::Refused(fault)) = rig.receipts().last().expect("refused") else {
        panic!("{:?}", rig.receipts().last())
    };
    assert_eq!(fault.code, Code::InvalidRequest);
}

#[test]
pub(super) fn only_what_the_server_did_not_take_is_sent_again_m5_e12() {
    let mut rig = Rig::live();
    for local in 1..=4 {
        rig.command(local, "a", None);
    }
    rig.frame(ConnId(1), receipt(1));
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.command(5, "while down", None);
    rig.opened(ConnId(2));
    assert_eq!(rig.hello(ConnId(2)).stream.receipts_ack, seq(1));
    rig.frame(ConnId(2), Box::new(welcome(Joined::Resumed, 0, 3)));
    assert_eq!(rig.commands(ConnId(2)), [4, 5]);
    rig.frame(ConnId(2), receipt(2));
    rig.frame(ConnId(2), Replayed { to: Seq::ZERO });
    rig.pass(secs(6));
    let answered: Vec<_> = rig.receipts().into_iter().map(|(local, _)| local).collect();
    assert_eq!(answered, [1, 2], "the third is still in the server's hands");
    assert_eq!(rig.commands(ConnId(2)), [4, 5]);
    let waits = Event::StillWaiting {
        because: Because::Receipt { local: 3 },
        for_ms: 5_000,
    };
    assert!(rig.events().contains(&&waits), "and that is told");
}

#[test]
pub(super) fn a_time_to_live_ends_what_was_never_sent_and_travels_with_the_rest_m27() {
    let mut rig = Rig::live();
    rig.command(1, "sent", Some(secs(4)));
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.command(2, "not sent", Some(secs(4)));
    rig.pass(Duration::from_millis(4_000));
    let [(2, CommandOutcome::Refused(fault))] = rig.receipts()[..] else {
        panic!("{:?}", rig.receipts())
    };
    assert_eq!(fault.code, Code::Expired);
    rig.command(3, "later", Some(secs(4)));
    rig.pass(Duration::from_millis(900));
    let conn = rig.answer(Joined::Resumed, 0, 0);
    let ttls: Vec<_> = rig
        .sent(conn)
        .iter()
        .filter_map(|frame| match frame {
            ClientFrame::Command(command) => Some((command.n.get(), command.ttl_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(
        ttls,
        [(1, Some(0)), (2, Some(3_100))],
        "and no hole in the numbers"
    );
}

#[test]
pub(super) fn giving_up_answers_every_command_with_the_cause_m5() {
    let mut rig = Rig::live();
    rig.command(1, "sent", None);
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.command(2, "not sent", None);
    rig.frame(ConnId(2), fault_frame(Code::SessionNotFound));
    rig.closed(ConnId(2), close(4404));
    let [
        (1, CommandOutcome::Unknown(unknown)),
        (2, CommandOutcome::Refused(refused)),
    ] = rig.receipts()[..]
    else {
        panic!("{:?}", rig.receipts())
    };
    assert_eq!(
        (&unknown.code, &refused.code),
        (
            &Code::SessionNotFound.known(),
            &Code::SessionNotFound.known()
        )
    );
}

#[test]
pub(super) fn no_more_are_under_way_than_the_server_takes() {
    let mut rig = Rig::new(config());
    rig.input(Input::Connect);
    for local in 0..5 {
        rig.command(local, "a", None);
    }
    let conn = rig.dialed();
    rig.opened(conn);
    let mut narrow = welcome(Joined::Created, 0, 0);
    narrow.limits.commands = 2;
    rig.welcomed(conn, narrow);
    assert_eq!(rig.commands(conn), [1, 2]);
    rig.frame(conn, receipt(1));
    assert_eq!(rig.commands(conn), [1, 2, 3]);
}

/// Found by `keel-sim` (seed 1677): the server no longer knows, so nobody may say.
#[test]
pub(super) fn commands_of_a_participation_that_is_gone_are_unknown_and_the_rest_goes_on() {
    let mut rig = Rig::live();
    rig.command(1, "sent", None);
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.command(2, "not sent", None);
    rig.opened(ConnId(2));
    rig.frame(ConnId(2), fault_frame(Code::ResumeRefused));
    rig.closed(ConnId(2), close(4101));
    rig.opened(ConnId(3));
    rig.welcomed(ConnId(3), welcome(Joined::Joined, 0, 1));
    let [(1, CommandOutcome::Unknown(fault))] = rig.receipts()[..] else {
        panic!("{:?}", rig.receipts())
    };
    assert_eq!(fault.code, Code::ResumeRefused);
    assert_eq!(rig.commands(ConnId(3)), [2]);
}

#[test]
pub(super) fn what_the_server_no_longer_knows_is_unknown_and_not_refused_e12() {
    let mut rig = Rig::live();
    rig.command(1, "a", None);
    let fault = Fault::new(
        FaultId::from_bits(1),
        Code::OutcomeUnknown,
        Origin::Server,
        0,
    );
    let body = ReceiptBody::Fault(Box::new(fault));
    rig.frame(ConnId(1), Receipt { n: seq(1), body });
    let [(1, CommandOutcome::Unknown(_))] = rig.receipts()[..] else {
        panic!("{:?}", rig.receipts())
    };
}
