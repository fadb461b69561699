//! Bad input changes nothing for others and never panics.

use std::time::Duration;

use keel_core::node::{ConnEnd, Input};
use keel_wire::{Ack, Beat, ClientFrame, CloseCode, Code, Detach, Seq};
use proptest::prelude::*;

use crate::world::{Tab, World, seq};

#[test]
fn the_first_frame_is_hello_or_nothing_m45() {
    let mut world = World::new();
    let conn = world.open();
    world.send(conn, Ack { seq: Seq::ZERO });
    assert_eq!(world.faults(conn)[0].code, Code::ProtocolError);
    assert!(world.lines[&conn].closed.is_some());
}

#[test]
fn a_connection_that_says_nothing_is_closed_a24() {
    let mut world = World::new();
    let conn = world.open();
    world.pass(Duration::from_secs(6));
    assert_eq!(world.lines[&conn].closed, Code::HandshakeTimeout.close());
}

#[test]
fn a_flood_ends_the_flooder_a33() {
    let mut world = World::new();
    let flooder = world.connect(&Tab::new(1));
    let bystander = world.connect(&Tab::new(2));
    for _ in 0..2_000 {
        world.send(flooder, Ack { seq: Seq::ZERO });
    }
    assert_eq!(world.lines[&flooder].closed, Code::RateLimited.close());
    assert_eq!(world.lines[&bystander].closed, None);
}

#[test]
fn somebody_elses_session_is_no_session_a05_a40() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.grant.subject = "eve".into();
    let theirs = world.connect(&Tab::new(2).of(&session));
    let nobodys = world.connect(&Tab::new(3).of(&keel_wire::SessionId::from_bits(5)));
    let (a, b) = (&world.faults(theirs)[0], &world.faults(nobodys)[0]);
    assert_eq!((&a.code, &a.message), (&b.code, &b.message));
    assert_eq!(a.code, Code::SessionNotFound);
}

#[test]
fn bad_tokens_are_refused_with_one_fault_a04() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.token = "bad".into();
    let conn = world.connect(&tab);
    assert_eq!(world.faults(conn).len(), 1);
    assert_eq!(world.lines[&conn].closed, Code::Unauthenticated.close());
}

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let small = 0_u64..6;
    prop_oneof![
        Just(ClientFrame::from(Detach {}).encode()),
        Just(Tab::new(1).hello()).prop_map(|hello| ClientFrame::from(Box::new(hello)).encode()),
        (1_u128..4).prop_map(|n| ClientFrame::from(Box::new(Tab::new(n).hello())).encode()),
        small
            .clone()
            .prop_map(|n| ClientFrame::from(Ack { seq: seq(n) }).encode()),
        small.clone().prop_map(|n| {
            let n = seq(n);
            ClientFrame::from(Beat {
                n,
                seq: n,
                suspect_ms: None,
                pace_ms: None,
            })
            .encode()
        }),
        (
            small,
            "say|send|turn.cancel|session.end|params.set|x",
            r#"\{("text":"a")?\}"#
        )
            .prop_map(|(n, name, data)| {
                format!(r#"{{"type":"command","n":{n},"name":"{name}","data":{data}}}"#)
                    .into_bytes()
            }),
        proptest::collection::vec(any::<u8>(), 0..64),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A34–A38: whatever comes, in whatever order, nothing panics, nothing spins, a session that
    /// nobody touched is untouched.
    #[test]
    fn arbitrary_frames_never_panic(
        steps in proptest::collection::vec((0_usize..4, frames(), 0_u64..9_000), 1..60),
    ) {
        let mut world = World::new();
        let bystander = world.connect(&Tab::new(99));
        let mut conns = [world.open(), world.open()];
        for (pick, bytes, wait) in steps {
            let at = pick % conns.len();
            let conn = conns[at];
            if pick == 3 {
                world.input(Input::Lost { conn, end: ConnEnd::Close {
                    code: CloseCode(1001), reason: String::new(),
                } });
                conns[at] = world.open();
            } else {
                world.raw(conn, bytes);
            }
            for _ in 0..wait.saturating_sub(8_000) / 50 {
                world.pass(Duration::from_millis(500));
                world.send(bystander, Ack { seq: Seq::ZERO });
            }
        }
        prop_assert_eq!(world.lines[&bystander].closed, None);
        prop_assert!(world.faults(bystander).is_empty());
    }
}
