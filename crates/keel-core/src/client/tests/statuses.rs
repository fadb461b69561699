//! One status, true at every moment.

use keel_wire::{Leg, LegState, LegStatus, StatusFrame};

use super::*;

fn leg(leg: Leg, state: LegState) -> ServerFrame {
    let legs = vec![LegStatus { leg, state }];
    StatusFrame {
        status: Status {
            legs,
            state: State::Degraded,
            ..live()
        },
    }
    .into()
}

#[test]
pub(super) fn legs_of_the_server_make_the_state_m31_m37() {
    let mut rig = Rig::live();
    let why = Box::new(fault(Code::StoreFailed));
    rig.frame(
        ConnId(1),
        leg(Leg::Store, LegState::Degraded { fault: why.clone() }),
    );
    assert_eq!(rig.state(), &State::Degraded);
    assert_eq!(rig.client.status().code(), Some(Code::StoreFailed));
    let next = LegState::Recovering {
        strategy: keel_wire::Strategy::Fast,
        attempt: 0,
        next_ms: 0,
        waiting_for: None,
        deadline_ms: None,
        fault: why,
    };
    rig.frame(ConnId(1), leg(Leg::Backend, next));
    assert_eq!(
        rig.state(),
        &State::Degraded,
        "a recovery without an attempt is none"
    );
    rig.frame(ConnId(1), StatusFrame { status: live() });
    assert_eq!(
        (rig.state(), rig.client.status().fault.clone()),
        (&State::Live, None)
    );
}

#[test]
pub(super) fn the_status_is_told_when_it_changes_and_not_when_time_passes_m31_m40() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.closed(ConnId(2), refused());
    let told = |out: &Outputs| {
        out.iter()
            .filter(|output| matches!(output, Output::Status(_)))
            .count()
    };
    assert_eq!(
        told(&rig.take()),
        2,
        "recovering, then waiting for the network"
    );
    rig.input(Input::Tick);
    rig.input(Input::Tick);
    assert_eq!(told(&rig.take()), 0);
}

/// Found by `keel-sim` (seed 1638, live is honest).
#[test]
pub(super) fn leaving_while_lost_is_not_shown_as_live() {
    let mut rig = Rig::live();
    rig.closed(ConnId(1), ConnEnd::Reset);
    rig.opened(ConnId(2));
    rig.frame(ConnId(2), Box::new(welcome(Joined::Resumed, 3, 0)));
    rig.input(Input::Detach);
    assert_eq!(rig.state(), &State::Recovering);
}
