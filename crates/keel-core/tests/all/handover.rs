//! Sessions that go to another server: what ends first, what is not taken, who has it whatever dies.

use std::time::Duration;

use keel_core::node::{Answer, Ask, AskId, Config, ConnId, Delivered, Giving, Input};
use keel_wire::{
    Code, Event, Goaway, ReceiptBody, Retry, Seq, ServerFrame, SessionId, Strategy, TurnEnd,
    handover::Mark,
};

use super::world::{MarkMood, Tab, World, seq};

const TARGET: &str = "ws://green";

pub(crate) fn green() -> World {
    World::with(|config: &mut Config| config.secret = [9; 32])
}

pub(crate) fn hand_over(world: &mut World, within_s: u64) {
    world.input(Input::HandOver {
        peer: "green".to_owned(),
        address: TARGET.to_owned(),
        within: Duration::from_secs(within_s),
    });
}

/// What the node wants to give next.
pub(crate) fn giving(world: &mut World) -> Giving {
    assert_eq!(world.givings.len(), 1, "{:?}", world.givings);
    world.givings.remove(0)
}

pub(crate) fn answer(world: &mut World, giving: &Giving, outcome: Delivered) {
    world.input(Input::Delivered {
        session: giving.offer.session.clone(),
        id: giving.offer.id.clone(),
        outcome,
    });
}

pub(crate) fn unknown() -> Delivered {
    Delivered::Unknown {
        error: "no answer".to_owned(),
    }
}

/// Gives what is to be given, and has it answered.
fn give(from: &mut World, to: &mut World) -> Delivered {
    let giving = giving(from);
    let outcome = to.receive(from, &giving);
    answer(from, &giving, outcome.clone());
    outcome
}

fn goaways(world: &World, conn: ConnId) -> Vec<Goaway> {
    let frames = world.lines[&conn].frames.iter();
    let told = frames.filter_map(|frame| match frame {
        ServerFrame::Goaway(goaway) => Some(goaway.clone()),
        _ => None,
    });
    told.collect()
}

pub(crate) fn codes(world: &World, conn: ConnId) -> Vec<String> {
    let faults = world.faults(conn);
    let codes = faults.iter().map(|fault| fault.code.name().to_owned());
    codes.collect()
}

pub(crate) fn migrates(tab: &Tab, welcome: &keel_wire::Welcome, applied: u64) -> Tab {
    let mut tab = tab.again(welcome, applied);
    tab.hello.resume.as_mut().unwrap().strategy = Strategy::Migrate;
    tab
}

pub(crate) fn ends(world: &World, session: &SessionId) -> Vec<TurnEnd> {
    let log = world.log(session);
    let ends = log.iter().filter_map(|event| match event {
        Event::TurnEnded(ended) => Some(ended.end),
        _ => None,
    });
    ends.collect()
}

/// Time passes, and a client is heard meanwhile.
pub(crate) fn wait(world: &mut World, conn: ConnId, seconds: u64) {
    for _ in 0..seconds {
        world.pass(Duration::from_secs(1));
        world.send(conn, keel_wire::Ack { seq: seq(2) });
    }
}

#[test]
fn a_session_moves_and_its_key_cursor_and_consumed_go_on_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    let session = welcome.session.clone();
    blue.say(conn, 1, "hi");
    blue.text("hello");
    blue.done();
    let head = blue.row(&session).head;
    hand_over(&mut blue, 10);
    assert!(
        goaways(&blue, conn).is_empty(),
        "not before it is elsewhere"
    );
    assert_eq!(give(&mut blue, &mut green), Delivered::Accepted);
    let told = goaways(&blue, conn);
    assert_eq!(told[0].target.as_deref(), Some(TARGET));
    assert!(blue.lines[&conn].closed.is_none(), "kept until it is there");
    assert_eq!(blue.sessions(), [], "nothing of it is left but a sign");
    let released: Vec<_> = blue.released.iter().map(|(session, _)| session).collect();
    assert_eq!(released, [&session], "its provider keeps nothing for it");

    let there = green.connect(&migrates(&tab, &welcome, head.get()));
    let back = green.welcome(there);
    assert_eq!(back.participant, welcome.participant);
    assert_eq!((back.cursor.seq, back.consumed), (head, seq(1)));
    assert_eq!(
        green.events(there),
        [],
        "nothing was missed, nothing comes twice"
    );
    green.say(there, 2, "again");
    green.text("there");
    green.done();
    assert_eq!(green.heard(there), "there");
    assert_eq!(blue.handed_over, None, "its client is here still");
    blue.reset(conn);
    let progress = blue.handed_over.expect("done");
    assert_eq!((progress.moved, progress.stayed), (1, 0));
}

#[test]
fn who_comes_to_where_it_was_is_told_where_it_is_and_who_may_not_enter_is_not_m17_a07() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    let session = welcome.session.clone();
    hand_over(&mut blue, 10);
    give(&mut blue, &mut green);
    for restarted in [false, true] {
        if restarted {
            blue.crash();
        }
        let late = blue.connect(&tab.again(&welcome, 2));
        assert_eq!(codes(&blue, late), ["session_moved"]);
        assert_eq!(blue.faults(late)[0].detail["target"], TARGET);
        assert_eq!(goaways(&blue, late)[0].target.as_deref(), Some(TARGET));
        assert_eq!(blue.lines[&late].closed.unwrap().0, 4201);
        let mut grant = blue.grant.clone();
        let question = |grant: &keel_wire::Grant| Ask::Command {
            session: session.clone(),
            grant: grant.clone(),
            key: "k".to_owned(),
            command: keel_wire::Say {
                text: "hi".to_owned(),
            }
            .into(),
        };
        let ask = AskId(1);
        let asked = question(&grant);
        blue.input(Input::Ask {
            ask,
            question: asked,
        });
        grant.subject = "eve".to_owned();
        let asked = question(&grant);
        blue.input(Input::Ask {
            ask,
            question: asked,
        });
        let codes: Vec<String> = blue
            .replies
            .drain(..)
            .map(|reply| match reply {
                Answer::Receipt(ReceiptBody::Fault(fault)) => fault.code.name().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(codes, ["session_moved", "session_not_found"]);
        let mine = std::mem::replace(&mut blue.grant.subject, "eve".to_owned());
        let stranger = blue.connect(&Tab::new(7).of(&session));
        assert!(goaways(&blue, stranger).is_empty());
        assert_eq!(blue.faults(stranger)[0].code, Code::SessionNotFound);
        blue.grant.subject = mine;
    }
}

#[test]
fn a_turn_that_runs_ends_first_and_those_that_wait_go_along_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = {
        let mut tab = Tab::new(1);
        tab.hello.busy = Some(keel_wire::BusyPolicy::Queue { max: 4 });
        tab
    };
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    let session = welcome.session.clone();
    blue.say(conn, 1, "first");
    blue.text("a ");
    hand_over(&mut blue, 10);
    blue.text("b ");
    // What is said while it closes up is taken, and begun where it goes.
    blue.say(conn, 2, "second");
    assert_eq!(blue.receipts(conn).len(), 2);
    assert!(blue.givings.is_empty());
    blue.text("c");
    blue.done();
    assert_eq!(blue.runs.len(), 1, "nothing more is begun here");
    assert_eq!(give(&mut blue, &mut green), Delivered::Accepted);
    assert_eq!(blue.heard(conn), "a b c");
    assert_eq!(
        green
            .runs
            .iter()
            .map(|(_, run)| run.prompt.as_str())
            .collect::<Vec<_>>(),
        ["second"],
        "begun without anybody coming"
    );
    let head = blue.events(conn).last().unwrap().0;
    let there = green.connect(&migrates(&tab, &welcome, head.get()));
    green.text("d");
    green.done();
    assert_eq!(green.heard(there), "d");
    assert_eq!(green.welcome(there).consumed, seq(2));
    assert_eq!(ends(&green, &session), [TurnEnd::Done, TurnEnd::Done]);
}

#[test]
fn a_turn_that_does_not_end_is_interrupted_at_the_bound_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let conn = blue.connect(&Tab::new(1));
    let session = blue.welcome(conn).session;
    blue.say(conn, 1, "long");
    blue.text("a");
    blue.kills_slowly = true;
    hand_over(&mut blue, 5);
    wait(&mut blue, conn, 4);
    blue.text("b");
    assert!(blue.givings.is_empty() && blue.stopped.is_empty());
    wait(&mut blue, conn, 1);
    assert_eq!(blue.stopped.len(), 1);
    assert!(blue.givings.is_empty(), "its program is still there");
    blue.finish(keel_core::node::RunEnd::Cancelled { forced: false });
    assert_eq!(give(&mut blue, &mut green), Delivered::Accepted);
    assert_eq!(ends(&green, &session), [TurnEnd::Interrupted]);
    assert_eq!(blue.heard(conn), "ab");
}

#[test]
fn a_command_that_races_with_the_move_runs_once_and_where_the_session_is_m17_m12() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    hand_over(&mut blue, 10);
    // It is offered: this comes too late here.
    blue.say(conn, 1, "late");
    assert_eq!((blue.receipts(conn).len(), blue.runs.len()), (0, 0));
    give(&mut blue, &mut green);
    blue.say(conn, 1, "late");
    assert_eq!((blue.receipts(conn).len(), blue.runs.len()), (0, 0));
    let there = green.connect(&migrates(&tab, &welcome, 2));
    assert_eq!(green.welcome(there).consumed, Seq::ZERO);
    green.say(there, 1, "late");
    assert_eq!((green.receipts(there).len(), green.runs.len()), (1, 1));
}

#[test]
fn a_session_that_is_not_taken_stays_and_what_it_did_not_hear_is_said_again_m17() {
    let mut blue = World::new();
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    let quiet = blue.connect(&Tab::new(2).of(&welcome.session));
    hand_over(&mut blue, 10);
    blue.say(conn, 1, "hi");
    let first = giving(&mut blue);
    let why = "full".to_owned();
    answer(&mut blue, &first, Delivered::Declined { why });
    let progress = blue.handed_over.expect("done");
    assert_eq!((progress.moved, progress.stayed), (0, 1));
    assert!(blue.lines[&quiet].closed.is_none());
    assert!(
        blue.lines[&conn].closed.is_some(),
        "it comes back, and says it again"
    );
    let fault = &blue.faults(conn)[0];
    assert_eq!(fault.retry, Retry::Now);
    let back = blue.connect(&tab.again(&welcome, 3));
    assert_eq!(blue.welcome(back).consumed, Seq::ZERO);
    blue.say(back, 1, "hi");
    assert_eq!(blue.runs.len(), 1);
    // Another try is another offer.
    blue.done();
    hand_over(&mut blue, 10);
    let second = giving(&mut blue);
    assert_eq!((first.offer.moves, second.offer.moves), (1, 2));
    assert!(first.offer.id != second.offer.id);
}

#[test]
fn a_server_that_dies_before_the_other_has_it_keeps_the_session_m17_s01() {
    for mood in [MarkMood::Silent, MarkMood::Well] {
        let (mut blue, mut green) = (World::new(), green());
        let tab = Tab::new(1);
        let conn = blue.connect(&tab);
        let welcome = blue.welcome(conn);
        blue.mark_mood = mood;
        hand_over(&mut blue, 10);
        let lost = blue.givings.pop();
        blue.mark_mood = MarkMood::Well;
        blue.crash();
        // Whoever comes meanwhile is told to come again.
        let early = blue.connect(&tab.again(&welcome, 2));
        assert_eq!(codes(&blue, early), ["server_shutdown"]);
        assert!(matches!(blue.faults(early)[0].retry, Retry::After { .. }));
        let asked = giving(&mut blue);
        assert!(asked.settle, "it is asked, and not given again");
        let outcome = green.receive(&blue, &asked);
        assert!(matches!(outcome, Delivered::Declined { .. }));
        answer(&mut blue, &asked, outcome);
        let back = blue.connect(&tab.again(&welcome, 2).again(&welcome, 2));
        blue.say(back, 1, "here");
        assert_eq!(blue.runs.len(), 1);
        // What was long on its way comes to nothing.
        if let Some(lost) = lost {
            let late = green.receive(&blue, &lost);
            assert!(
                matches!(late, Delivered::Declined { .. }),
                "no second owner"
            );
        }
        assert_eq!(green.sessions(), []);
    }
}

#[test]
fn a_server_that_dies_after_the_other_has_it_gives_the_session_up_m17_s01() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    let session = welcome.session.clone();
    hand_over(&mut blue, 10);
    let given = giving(&mut blue);
    assert_eq!(green.receive(&blue, &given), Delivered::Accepted);
    // The answer is lost with the server.
    blue.crash();
    let early = blue.connect(&tab.again(&welcome, 2));
    assert_eq!(codes(&blue, early), ["server_shutdown"]);
    let asked = giving(&mut blue);
    answer(&mut blue, &asked, unknown());
    assert!(blue.givings.is_empty());
    blue.pass(Duration::from_secs(5));
    let asked = giving(&mut blue);
    assert!(asked.settle);
    let outcome = green.receive(&blue, &asked);
    assert_eq!(outcome, Delivered::Accepted);
    answer(&mut blue, &asked, outcome);
    assert!(matches!(blue.handovers[&session].mark, Mark::Moved { .. }));
    assert_eq!(blue.sessions(), []);
    let late = blue.connect(&tab.again(&welcome, 2));
    assert_eq!(codes(&blue, late), ["session_moved"]);
    let there = green.connect(&migrates(&tab, &welcome, 2));
    green.say(there, 1, "there");
    assert_eq!(green.runs.len(), 1);
}

#[test]
fn while_nobody_answers_who_has_it_nobody_is_served_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    hand_over(&mut blue, 10);
    let given = giving(&mut blue);
    green.receive(&blue, &given);
    answer(&mut blue, &given, unknown());
    for _ in 0..20 {
        blue.pass(Duration::from_secs(6));
        let asked = giving(&mut blue);
        assert!(asked.settle);
        answer(&mut blue, &asked, unknown());
        assert_eq!(blue.runs.len(), 0);
        assert_eq!(blue.row(&welcome.session).head, welcome.cursor.seq);
    }
    assert_eq!(blue.handed_over, None);
}

#[test]
fn a_store_that_refuses_delays_a_move_and_nothing_is_said_before_it_is_kept_m17_s07() {
    let (mut blue, mut green) = (World::new(), green());
    let conn = blue.connect(&Tab::new(1));
    blue.mark_mood = MarkMood::Refuses;
    hand_over(&mut blue, 10);
    wait(&mut blue, conn, 3);
    assert!(
        blue.givings.is_empty(),
        "it is not given before it is marked"
    );
    blue.mark_mood = MarkMood::Well;
    wait(&mut blue, conn, 6);
    let given = giving(&mut blue);
    let outcome = green.receive(&blue, &given);
    blue.mark_mood = MarkMood::Refuses;
    answer(&mut blue, &given, outcome);
    wait(&mut blue, conn, 3);
    assert!(goaways(&blue, conn).is_empty());
    blue.mark_mood = MarkMood::Well;
    wait(&mut blue, conn, 6);
    assert_eq!(goaways(&blue, conn).len(), 1);
}

#[test]
fn sessions_that_sleep_move_too_and_ended_ones_stay_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let asleep = blue.connect(&Tab::new(1));
    blue.reset(asleep);
    let ended = blue.connect(&Tab::new(2));
    blue.command(ended, 1, keel_wire::EndSession {});
    blue.pass(Duration::from_secs(300));
    let over: Vec<SessionId> = blue.sessions();
    assert_eq!(over.len(), 2);
    hand_over(&mut blue, 10);
    assert_eq!(give(&mut blue, &mut green), Delivered::Accepted);
    assert_eq!((blue.sessions().len(), green.sessions().len()), (1, 1));
    let progress = blue.handed_over.expect("done");
    assert_eq!((progress.moved, progress.stayed), (1, 0));
}

#[test]
fn a_session_that_came_goes_back_with_the_same_keys_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let tab = Tab::new(1);
    let conn = blue.connect(&tab);
    let welcome = blue.welcome(conn);
    hand_over(&mut blue, 10);
    give(&mut blue, &mut green);
    let there = green.connect(&migrates(&tab, &welcome, 2));
    let second = green.welcome(there);
    // It was not asked to leave, and is told so at once when it is.
    hand_over(&mut green, 10);
    assert_eq!(give(&mut green, &mut blue), Delivered::Accepted);
    assert!(
        blue.lines[&conn].closed.is_some(),
        "an old connection of it is no one's"
    );
    let home = blue.connect(&migrates(&migrates(&tab, &welcome, 2), &second, 2));
    let third = blue.welcome(home);
    assert_eq!(third.participant, welcome.participant);
    let away = green.connect(&tab.again(&third, 2));
    assert_eq!(codes(&green, away), ["session_moved"]);
}

#[test]
fn new_sessions_are_directed_to_where_all_go_m17() {
    let mut blue = World::new();
    hand_over(&mut blue, 10);
    let conn = blue.connect(&Tab::new(1));
    assert_eq!(goaways(&blue, conn)[0].target.as_deref(), Some(TARGET));
    assert_eq!(codes(&blue, conn), ["server_shutdown"]);
    assert_eq!(blue.sessions(), []);
}

#[test]
fn who_does_not_follow_is_sent_after_it_when_it_is_time_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let conn = blue.connect(&Tab::new(1));
    hand_over(&mut blue, 10);
    give(&mut blue, &mut green);
    wait(&mut blue, conn, 9);
    assert!(blue.lines[&conn].closed.is_none());
    blue.pass(Duration::from_secs(1));
    assert_eq!(blue.lines[&conn].closed.unwrap().0, 4201);
    assert!(blue.handed_over.expect("done").done);
}

#[test]
fn many_sessions_go_a_few_at_a_time_m17() {
    let (mut blue, mut green) = (World::new(), green());
    for n in 1..=50 {
        let conn = blue.connect(&Tab::new(n));
        if n % 2 == 0 {
            blue.reset(conn);
        }
    }
    hand_over(&mut blue, 10);
    let mut most = 0;
    while !blue.givings.is_empty() {
        most = most.max(blue.givings.len());
        let given = blue.givings.remove(0);
        let outcome = green.receive(&blue, &given);
        answer(&mut blue, &given, outcome);
    }
    assert!(most <= keel_core::limits::HANDOVERS_AT_ONCE, "{most}");
    assert_eq!((blue.sessions().len(), green.sessions().len()), (0, 50));
}

#[test]
fn a_turn_that_waits_for_an_answer_is_answered_while_its_session_closes_up_m17() {
    let (mut blue, mut green) = (World::new(), green());
    let conn = blue.connect(&Tab::new(1));
    let session = blue.welcome(conn).session;
    blue.say(conn, 1, "ask me");
    let run = blue.runs[0].0;
    let action = keel_wire::Action {
        id: keel_wire::ActionId::from_bits(1),
        prompt: "may I?".to_owned(),
        options: vec!["yes".to_owned()],
        choices: Vec::new(),
        tool_call: None,
    };
    blue.input(Input::RunOutput {
        run,
        output: keel_core::node::RunOutput::NeedsAction(action.clone()),
    });
    hand_over(&mut blue, 10);
    let turn = blue.runs[0].1.turn.clone();
    let answer = keel_wire::Answer {
        turn,
        action: action.id,
        answer: "yes".into(),
    };
    blue.command(conn, 2, answer);
    assert_eq!(blue.receipts(conn).len(), 2);
    blue.done();
    assert_eq!(give(&mut blue, &mut green), Delivered::Accepted);
    assert_eq!(ends(&green, &session), [TurnEnd::Done]);
}
