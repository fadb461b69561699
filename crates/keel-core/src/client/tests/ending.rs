//! Ends: quiet where they are meant, told once, and nothing after them.

use super::*;

#[test]
pub(super) fn deliberate_ends_are_quiet_and_not_recovered_m18_e9() {
    for reason in [
        EndReason::Ended,
        EndReason::DurationLimit,
        EndReason::Operator,
    ] {
        let mut rig = Rig::live();
        rig.frame(ConnId(1), ended(reason));
        rig.closed(ConnId(1), close(1000));
        rig.pass(secs(100));
        assert_eq!(rig.state(), &State::Ended { reason });
        assert_eq!(
            (rig.ended(), rig.lost().len(), rig.dials().len()),
            (vec![reason], 0, 1)
        );
        assert!(matches!(
            rig.out.last(),
            Some(Output::Event(Event::Ended { .. }))
        ));
    }
}

#[test]
pub(super) fn a_session_whose_log_has_ended_is_not_recovered_m18() {
    let mut rig = Rig::live();
    let data = json!({ "reason": "ended" });
    rig.frame(ConnId(1), event_frame(1, 1, "session.ended", &data));
    rig.closed(ConnId(1), ConnEnd::Reset);
    assert_eq!((rig.ended(), rig.lost().len()), (vec![EndReason::Ended], 0));
}

#[test]
pub(super) fn media_that_goes_with_whoever_leaves_is_no_news_m12_m18() {
    let gone = || -> ServerFrame {
        let fault = Fault::new(FaultId::from_bits(1), Code::MediaFailed, Origin::Network, 0);
        let fault = fault.leg(keel_wire::Leg::Media);
        FaultFrame { fault }.into()
    };
    let told = |rig: &Rig| {
        let events = rig.events().into_iter();
        events
            .filter(|event| matches!(event, Event::Fault(_)))
            .count()
    };
    let mut rig = Rig::live();
    rig.frame(ConnId(1), gone());
    assert_eq!(told(&rig), 1, "it is while one stays");
    rig.input(Input::Detach);
    rig.frame(ConnId(1), gone());
    rig.frame(ConnId(1), ended(EndReason::Detached));
    assert_eq!(told(&rig), 1);
}

#[test]
pub(super) fn detaching_waits_a_second_for_the_servers_word_m12() {
    let mut rig = Rig::live();
    rig.command(1, "a", None);
    rig.input(Input::Detach);
    assert_eq!(rig.ended(), []);
    rig.frame(ConnId(1), receipt(1));
    rig.frame(ConnId(1), ended(EndReason::Detached));
    assert_eq!(rig.ended(), [EndReason::Detached]);
    assert!(matches!(
        rig.receipts()[..],
        [(1, CommandOutcome::Answered(_))]
    ));

    let mut rig = Rig::live();
    rig.input(Input::Detach);
    rig.pass(Duration::from_millis(1_010));
    assert_eq!(rig.ended(), [EndReason::Detached]);
}

/// In every state: the end is the last output, and commands are answered before it.
#[test]
pub(super) fn closing_is_the_last_word_wherever_it_comes_e7_m12() {
    type Step = fn(&mut Rig);
    let steps: [Step; 6] = [
        |_| {},
        |rig| rig.closed(ConnId(1), ConnEnd::Reset),
        |rig| {
            rig.closed(ConnId(1), ConnEnd::Reset);
            rig.closed(ConnId(2), refused());
        },
        |rig| {
            rig.closed(ConnId(1), ConnEnd::Reset);
            rig.opened(ConnId(2));
        },
        |rig| rig.frame(ConnId(1), goaway(Some("wss://b"))),
        |rig| rig.input(Input::Detach),
    ];
    for step in steps {
        let mut rig = Rig::live();
        rig.command(1, "a", None);
        step(&mut rig);
        rig.input(Input::Close);
        assert_eq!(rig.ended(), [EndReason::Detached]);
        assert_eq!(rig.receipts().len(), 1);
        assert!(matches!(
            rig.out.last(),
            Some(Output::Event(Event::Ended { .. }))
        ));
        rig.take();
        rig.frame(ConnId(1), event(1));
        rig.closed(ConnId(2), ConnEnd::Reset);
        rig.input(Input::Connect);
        rig.input(Input::Network { online: true });
        rig.pass(secs(1_000));
        assert_eq!((rig.take(), rig.client.deadline()), (vec![], None));
        rig.command(2, "b", None);
        assert!(matches!(rig.take()[..], [Output::Receipt { local: 2, .. }]));
    }
}

#[test]
pub(super) fn every_transport_asked_for_is_dropped_or_gone_at_the_end_m35() {
    let mut rig = Rig::live();
    rig.pass(Duration::from_millis(SUSPECT_MS));
    rig.opened(ConnId(2));
    rig.input(Input::Close);
    let hangups = rig
        .out
        .iter()
        .filter(|output| matches!(output, Output::Hangup { .. }))
        .count();
    assert_eq!((rig.dials().len(), hangups), (2, 2));
}
