//! Coming back: exactly what was missed, whichever way the connection went.

use std::time::Duration;

use keel_wire::{Code, Event, Joined, LeaveReason, ServerFrame, Strategy, journal::Fact};

use crate::world::{Tab, World, seq};

#[test]
fn a_resumed_client_gets_exactly_what_it_missed_e12_i5() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    world.text("one ");
    let (applied, _) = *world.events(conn).last().unwrap();
    world.reset(conn);
    world.text("two ");
    world.text("three");
    world.done();
    let conn = world.connect(&tab.again(&welcome, applied.get()));
    assert_eq!(world.welcome(conn).how, Joined::Resumed);
    assert_eq!(world.heard(conn), "two three");
    let replayed = world.lines[&conn]
        .frames
        .iter()
        .any(|f| matches!(f, ServerFrame::Replayed(_)));
    assert!(replayed);
}

#[test]
fn a_loss_is_told_once_and_with_its_cause_m10_n01() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.reset(conn);
    world.reset(conn);
    let losses: Vec<_> = world
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::ConnectionLost { fault, .. } => Some(fault.code.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(losses, [Code::TransportError.known()]);
}

#[test]
fn a_silent_client_is_given_up_and_told_why_n04_n05() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.pass(Duration::from_millis(3_500));
    assert_eq!(
        world.faults(conn).last().unwrap().code,
        Code::HeartbeatTimeout
    );
    assert_eq!(world.lines[&conn].closed, Code::HeartbeatTimeout.close());
}

#[test]
fn a_client_that_answers_beats_is_never_given_up_p05() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    for _ in 0..200 {
        world.pass(Duration::from_millis(400));
        let beat = world.lines[&conn]
            .frames
            .iter()
            .rev()
            .find_map(|frame| match frame {
                ServerFrame::Beat(beat) => Some(*beat),
                _ => None,
            });
        if let Some(beat) = beat {
            world.send(conn, beat);
        }
    }
    assert_eq!(world.lines[&conn].closed, None);
}

#[test]
fn the_first_beat_comes_when_welcome_says_p05() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let every = Duration::from_millis(world.welcome(conn).beat.every_ms);
    let beats = |world: &World| {
        let frames = world.lines[&conn].frames.iter();
        frames.filter(|f| matches!(f, ServerFrame::Beat(_))).count()
    };
    world.pass(every.saturating_sub(Duration::from_millis(1)));
    assert_eq!(beats(&world), 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(beats(&world), 1);
}

#[test]
fn an_older_connection_of_the_same_tab_touches_nothing_n20() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let first = world.connect(&tab);
    let welcome = world.welcome(first);
    let mut newer = tab.again(&welcome, 0);
    newer.hello.attempt = 3;
    let second = world.connect(&newer);
    assert_eq!(world.lines[&first].closed, Code::Superseded.close());
    let late = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.lines[&late].closed, Code::Superseded.close());
    assert_eq!(world.lines[&second].closed, None);
    world.say(second, 1, "hello");
    assert_eq!(world.receipts(second).len(), 1);
}

#[test]
fn another_instance_with_the_key_takes_over_in_the_open_p08_a07() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let first = world.connect(&tab);
    let mut other = tab.again(&world.welcome(first), 0);
    other.hello.instance = keel_wire::InstanceId::from_bits(9);
    let second = world.connect(&other);
    assert_eq!(world.faults(first).last().unwrap().code, Code::Superseded);
    assert_eq!(world.welcome(second).how, Joined::Resumed);
    assert!(
        world
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::Superseded { takeover: true, .. }))
    );
}

#[test]
fn a_rejoin_retires_the_old_key_m20() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let first = world.connect(&tab);
    let welcome = world.welcome(first);
    let mut rejoin = tab.again(&welcome, 0);
    rejoin.hello.resume.as_mut().unwrap().strategy = Strategy::Rejoin;
    let second = world.connect(&rejoin);
    assert_eq!(world.welcome(second).how, Joined::Rejoined);
    let mut stale = tab.again(&welcome, 0);
    stale.hello.attempt = 9;
    let third = world.connect(&stale);
    assert_eq!(
        world.faults(third).last().unwrap().code,
        Code::ResumeRefused
    );
    assert_eq!(
        world.lines[&second].closed, None,
        "the new attachment is untouched"
    );
}

#[test]
fn forged_keys_are_refused_a07() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let first = world.connect(&tab);
    let mut forged = tab.again(&world.welcome(first), 0);
    forged.hello.resume.as_mut().unwrap().key.push('0');
    let second = world.connect(&forged);
    assert_eq!(
        world.faults(second).last().unwrap().code,
        Code::ResumeRefused
    );
    assert_eq!(world.lines[&first].closed, None);
}

#[test]
fn a_cursor_from_the_future_harms_only_its_owner_p14_a36() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let first = world.connect(&tab);
    let welcome = world.welcome(first);
    let other = world.connect(&Tab::new(2).of(&welcome.session));
    let liar = world.connect(&tab.again(&welcome, 999));
    let gap = world.gap(liar);
    assert_eq!(gap.fault.unwrap().code, Code::LogRewound);
    assert_eq!(gap.epoch, welcome.cursor.epoch, "a claim proves nothing");
    let told = world.lines[&other]
        .frames
        .iter()
        .any(|f| matches!(f, ServerFrame::Gap(_)));
    assert!(!told, "a bystander is not told");
}

#[test]
fn a_restored_backup_is_proven_by_a_key_and_begins_an_epoch() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let early = world.welcome(conn);
    world.say(conn, 1, "hello");
    world.text("text");
    world.done();
    let end = world.row(&early.session).head;
    world.reset(conn);
    let conn = world.connect(&tab.again(&early, end.get()));
    let late = world.welcome(conn);
    world.crash();
    world.rewind_store(&early.session, 2);
    let mut back = tab.again(&late, end.get());
    back.hello.attempt = 9;
    let conn = world.connect(&back);
    let gap = world.gap(conn);
    assert!(gap.epoch > late.cursor.epoch);
    assert_eq!(gap.fault.unwrap().code, Code::LogRewound);
    assert_eq!(world.welcome(conn).cursor.epoch, gap.epoch);
}

#[test]
fn after_a_restart_the_key_still_resumes_s01() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.crash();
    let conn = world.connect(&tab.again(&welcome, 2));
    assert_eq!(world.welcome(conn).how, Joined::Resumed);
    assert_eq!(world.events(conn), []);
}

#[test]
fn a_participant_that_stays_away_leaves_and_one_that_detaches_leaves_at_once() {
    let mut world = World::with(|config| config.hibernate_after = Duration::from_secs(200));
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    let viewer = world.connect(&Tab::new(2).of(&session));
    world.send(viewer, keel_wire::Detach {});
    assert!(matches!(
        world.lines[&viewer].frames.last(),
        Some(ServerFrame::Ended(_))
    ));
    world.reset(conn);
    world.pass(Duration::from_secs(121));
    let left: Vec<_> = world
        .log(&session)
        .into_iter()
        .filter_map(|event| match event {
            Event::ParticipantLeft(left) => Some(left.reason),
            _ => None,
        })
        .collect();
    assert_eq!(left, [LeaveReason::Detached, LeaveReason::Expired]);
}

#[test]
fn an_idle_session_leaves_memory_and_comes_back_whole() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.say(conn, 1, "hello");
    world.text("text");
    world.done();
    world.reset(conn);
    world.pass(Duration::from_secs(31));
    assert!(world.facts.contains(&Fact::Hibernated));
    let conn = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.welcome(conn).how, Joined::Resumed);
    assert_eq!(world.heard(conn), "text");
}

#[test]
fn a_slow_reader_costs_nothing_and_is_passed_over_in_the_open_p04_i10() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    let slow = world.connect(&Tab::new(2).of(&session));
    world.say(conn, 1, "hello");
    world.lines.get_mut(&slow).unwrap().takes = false;
    let line = "x".repeat(30_000);
    for _ in 0..400 {
        world.text(&line);
    }
    world.done();
    assert_eq!(
        world.heard(conn).len(),
        400 * line.len(),
        "the fast one has it all"
    );
    let waiting = world.lines[&slow].bytes_unflushed;
    assert!(waiting < 300_000, "{waiting} bytes are on their way to it");
    let line = world.lines.get_mut(&slow).unwrap();
    line.takes = true;
    let bytes = std::mem::take(&mut line.bytes_unflushed);
    world.input(keel_core::node::Input::Flushed { conn: slow, bytes });
    let gap = world.gap(slow);
    assert_eq!(gap.fault.unwrap().code, Code::SlowConsumer);
    world.events(slow);
}

#[test]
fn a_long_log_is_trimmed_below_a_snapshot_and_says_so_i6() {
    let mut world = World::with(|config| config.retain_events = 500);
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.reset(conn);
    let conn = world.connect(&tab.again(&welcome, 2));
    for n in 1..=4_000 {
        world.command(conn, n, keel_wire::Send { data: n.into() });
        world.pass(Duration::from_millis(20));
        let ack = keel_wire::CommandFrame {
            n: seq(n),
            name: "send".into(),
            ttl_ms: None,
            receipts_ack: seq(n),
            data: keel_wire::RawData::trusted("{}".into()),
        };
        world.send(conn, ack);
    }
    assert!(world.row(&welcome.session).trimmed > seq(1_000));
    let mut back = tab.again(&welcome, 2);
    back.hello.attempt = 9;
    let conn = world.connect(&back);
    let gap = world.gap(conn);
    assert_eq!(
        (gap.from, gap.fault.unwrap().code),
        (seq(3), Code::ResumeGap.known())
    );
}

#[test]
fn an_expiring_token_is_told_refreshed_or_closed_p11_a09_e15() {
    let mut world = World::new();
    world.grant.expires = world.now.wall + 65_000;
    let tab = Tab::new(1);
    let (kept, closed) = (world.connect(&tab), world.connect(&Tab::new(2)));
    let step = |world: &mut World, seconds: u64| {
        for _ in 0..seconds {
            world.pass(Duration::from_secs(1));
            for conn in [kept, closed] {
                world.send(
                    conn,
                    keel_wire::Ack {
                        seq: keel_wire::Seq::ZERO,
                    },
                );
            }
        }
    };
    step(&mut world, 10);
    let told = |world: &World, conn| {
        world.lines[&conn]
            .frames
            .iter()
            .filter(|f| matches!(f, ServerFrame::Ephemeral(e) if e.kind == "token.expiring"))
            .count()
    };
    assert_eq!((told(&world, kept), told(&world, closed)), (1, 1));
    world.grant.expires = world.now.wall + 600_000;
    world.send(
        kept,
        keel_wire::Auth {
            token: "fresh".into(),
        },
    );
    step(&mut world, 60);
    assert_eq!(world.lines[&kept].closed, None);
    assert_eq!(world.lines[&closed].closed, Code::TokenExpired.close());
}

#[test]
fn a_server_that_was_away_itself_judges_nobody_by_it_p02() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.say(conn, 1, "hello");
    world.now.mono = world.now.mono + Duration::from_secs(30);
    world.input(keel_core::node::Input::Tick);
    assert_eq!(
        world.lines[&conn].closed, None,
        "its beats may lie in our socket"
    );
    world.pass(Duration::from_millis(2_600));
    assert_eq!(
        world.lines[&conn].closed,
        Code::HeartbeatTimeout.close(),
        "now it is silent"
    );
}

#[test]
fn an_ended_session_leaves_memory() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.command(conn, 1, keel_wire::EndSession {});
    world.pass(Duration::from_secs(31));
    assert!(world.facts.contains(&Fact::Hibernated));
}

#[test]
fn a_connection_that_was_refused_is_nobodys_presence() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let session = world.welcome(conn).session;
    world.mood = crate::world::StoreMood::Holds;
    let early = world.connect(&Tab::new(2).of(&session));
    world.command(early, 1, keel_wire::EndSession {});
    world.release();
    assert!(world.lines[&early].closed.is_some());
    let ask = keel_core::node::Ask::Status { session };
    let id = keel_core::node::AskId(1);
    world.input(keel_core::node::Input::Ask {
        ask: id,
        question: ask,
    });
    let Some(keel_core::node::Answer::Status(Some((_, presence)))) = world.replies.last() else {
        panic!("the session is in memory")
    };
    assert_eq!(presence.iter().filter(|who| who.connected).count(), 1);
}

#[test]
fn a_connection_frozen_on_purpose_is_lost_like_any_silent_one() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    let fault = keel_wire::Injection::HalfOpen;
    world.command(
        conn,
        1,
        keel_wire::InjectFault {
            fault,
            for_ms: None,
            seed: None,
        },
    );
    world.pass(Duration::from_secs(8));
    assert!(
        world
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::ConnectionLost { .. }))
    );
}

/// Found by `keel-sim` (seed 232, gaps have a cause): its first welcome was lost, or it stood in line.
#[test]
fn who_has_applied_nothing_resumes_at_the_beginning_of_any_log() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let mut back = tab.again(&world.welcome(conn), 0);
    back.hello.resume.as_mut().unwrap().cursor = keel_wire::Cursor::default();
    let conn = world.connect(&back);
    let frames = &world.lines[&conn].frames;
    assert!(!frames.iter().any(|f| matches!(f, ServerFrame::Gap(_))));
    assert_eq!(world.events(conn).len(), 2, "all of it");
}

/// Found by `keel-sim` (seed 2825, failures have a cause): "the stream is not yours".
#[test]
fn a_client_whose_first_welcome_was_lost_joins_again_and_leaves_no_ghost() {
    let mut world = World::new();
    let opener = world.connect(&Tab::new(1));
    let session = world.welcome(opener).session;
    let mut tab = Tab::new(2).of(&session);
    let lost = world.connect(&tab);
    tab.hello.attempt = 2;
    let conn = world.connect(&tab);
    assert_ne!(
        world.welcome(conn).participant,
        world.welcome(lost).participant
    );
    assert_eq!(world.lines[&lost].closed, Code::Superseded.close());
    world.say(conn, 1, "hello");
    assert_eq!(world.runs.len(), 1);
    let log = world.log(&session);
    let left = log
        .iter()
        .filter(|event| matches!(event, Event::ParticipantLeft(_)));
    assert_eq!(left.count(), 1);
}

/// Found by `keel-sim` (seed 1677, a fault means not done): it was told that what ran had not.
#[test]
fn nothing_is_said_of_commands_whose_stream_has_expired() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    let other = world.connect(&Tab::new(2).of(&welcome.session));
    world.say(conn, 1, "run, but its receipt was lost");
    world.done();
    world.send(conn, keel_wire::Detach {});
    let mut back = tab.again(&welcome, 0);
    back.hello.stream.next = seq(2);
    back.hello.resume.as_mut().unwrap().strategy = Strategy::Rejoin;
    let conn = world.connect(&back);
    assert_eq!(world.welcome(conn).how, Joined::Joined);
    assert_eq!(world.receipts(conn), []);
    assert_eq!(world.lines[&other].closed, None);
}

#[test]
fn a_longest_duration_is_announced_and_then_ends_the_session_on_purpose_m46_m18() {
    let mut world = World::new();
    world.grant.session_ms_max = Some(90_000);
    let conn = world.connect(&Tab::new(1));
    let step = |world: &mut World, seconds: u64| {
        for _ in 0..seconds {
            world.pass(Duration::from_secs(1));
            world.send(
                conn,
                keel_wire::Ack {
                    seq: keel_wire::Seq::ZERO,
                },
            );
        }
    };
    step(&mut world, 31);
    let announced = world.lines[&conn]
        .frames
        .iter()
        .any(|f| matches!(f, ServerFrame::Ephemeral(e) if e.kind == "session.ending_soon"));
    assert!(announced);
    step(&mut world, 60);
    let Some(ServerFrame::Ended(ended)) = world.lines[&conn].frames.last() else {
        panic!("told on purpose")
    };
    assert_eq!(ended.reason, keel_wire::EndReason::DurationLimit);
    assert_eq!(
        world.lines[&conn].closed,
        Some(keel_wire::CloseCode::NORMAL)
    );
}

/// Found by `keel-sim` (seed 10156, no loss without a cause): five beats came in two milliseconds.
#[test]
fn turns_that_come_and_go_send_no_burst_of_beats() {
    let mut world = World::new();
    let conn = world.connect(&Tab::new(1));
    world.pass(Duration::from_secs(1));
    for n in 1..=5 {
        world.say(conn, n, "brief");
        world.done();
        world.pass(Duration::from_millis(1));
    }
    let frames = world.lines[&conn].frames.iter();
    let beats = frames.filter(|frame| matches!(frame, ServerFrame::Beat(_)));
    assert!(beats.count() <= 1);
}

/// Found by `keel-sim` (seed 629, failures have a cause): it was refused as a thief of its own stream.
#[test]
fn nobody_is_put_out_by_another_who_names_its_ids_a07() {
    let mut world = World::new();
    let tab = Tab::new(1);
    let conn = world.connect(&tab);
    let welcome = world.welcome(conn);
    world.reset(conn);
    world.grant.subject = "eve".into();
    world.grant.session = Some(welcome.session.clone());
    let mut eve = Tab::new(2).of(&welcome.session);
    eve.hello.stream.id = tab.hello.stream.id.clone();
    let refused = world.connect(&eve);
    assert_eq!(world.faults(refused)[0].code, Code::InvalidRequest);
    let mut eve = Tab::new(3).of(&welcome.session);
    eve.hello.instance = tab.hello.instance.clone();
    let let_in = world.connect(&eve);
    assert_ne!(world.welcome(let_in).participant, welcome.participant);
    world.grant.subject = "ada".into();
    let back = world.connect(&tab.again(&welcome, 0));
    assert_eq!(world.welcome(back).participant, welcome.participant);
}

#[test]
fn a_page_reloaded_before_its_welcome_is_let_in_anew() {
    let mut world = World::new();
    let owner = world.connect(&Tab::new(1));
    let session = world.welcome(owner).session;
    let tab = Tab::new(2).of(&session);
    world.mood = crate::world::StoreMood::Holds;
    let early = world.connect(&tab);
    world.reset(early);
    world.release();
    let mut reloaded = tab.clone();
    reloaded.hello.instance = keel_wire::InstanceId::from_bits(77);
    let late = world.connect(&reloaded);
    world.welcome(late);
}
