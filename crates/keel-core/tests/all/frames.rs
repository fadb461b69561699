//! Every frame of the server is one that a client reads, whatever a session holds.
//!
//! The world decodes each frame as a client does, with its bounds; these tests fill sessions until
//! those matter.

use std::time::Duration;

use keel_core::{
    limits,
    node::{Ask, AskId, ConnId, Input, RunEnd, RunFailure, RunOutput},
};
use keel_wire::{
    Action, ActionId, BusyPolicy, Code, Event, History, ReceiptBody, Role, ServerFrame, TurnEnd,
    limits::{ACTION_BYTES_MAX, JSON_DEPTH_MAX, PROJECT_BYTES_MAX},
};
use serde_json::{Map, Value, json};

use crate::world::{Tab, World};

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!([inner]))
}

fn run_says(world: &mut World, output: RunOutput) {
    let run = world.runs.last().expect("a run").0;
    world.input(Input::RunOutput { run, output });
}

/// A session that holds as much as it may of everything.
fn full(word: &str, members: u128) -> (World, ConnId, keel_wire::SessionId) {
    let mut world = World::new();
    let filled = |bytes: usize| word.repeat(bytes / word.len());
    let mut tab = Tab::new(1);
    tab.hello.busy = Some(BusyPolicy::Queue { max: 99 });
    tab.hello.project = Some(filled(PROJECT_BYTES_MAX));
    let bytes = |text: &str| keel_wire::json_len(&json!({ "p": text }));
    let mut params = filled(limits::PARAMS_BYTES_MAX);
    while bytes(&params) > limits::PARAMS_BYTES_MAX {
        params.truncate(params.len() / word.len() / 2 * word.len());
    }
    tab.hello.params = Some(json!({ "p": params }));
    world.grant.subject = filled(2_048);
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    for n in 2..=members {
        let member = world.connect(&Tab::new(n).of(&session).role(Role::Publisher));
        // It stays a member, and is told nothing.
        world.reset(member);
    }
    let prompt = |n: u64| format!("{n}{}", filled(8 * 1_024));
    for n in 1..=9 {
        world.say(conn, n, &prompt(n));
        world.text(&filled(40_000));
        let detail = Map::from_iter([
            ("cause".to_owned(), json!("exited")),
            ("stderr".to_owned(), json!(filled(30_000))),
        ]);
        world.finish(RunEnd::Failed(RunFailure {
            code: Code::ProviderCrashed,
            message: filled(4_096),
            detail,
            retry: None,
            causes: Vec::new(),
        }));
    }
    for n in 10..=26 {
        world.say(conn, n, &prompt(n));
    }
    run_says(&mut world, RunOutput::Text(filled(70_000)));
    run_says(&mut world, RunOutput::Item(json!(filled(300_000))));
    (world, conn, session)
}

fn asks(world: &mut World, prompt: String) {
    let action = Action {
        id: ActionId::from_bits(1),
        prompt,
        options: vec!["yes".into()],
        choices: Vec::new(),
        tool_call: None,
    };
    run_says(world, RunOutput::NeedsAction(action));
}

#[test]
fn no_frame_is_larger_than_a_client_reads_i6() {
    // Characters as they may be escaped: 1, 2 and 6 bytes, or 4 for one of 4.
    for (word, members) in [("x", 300), ("\"", 2), ("\u{1}", 300), ("🜁", 2)] {
        let (mut world, _, session) = full(word, members);
        asks(&mut world, word.repeat(ACTION_BYTES_MAX / 7 / word.len()));
        for n in [9_000, 9_001] {
            let mut late = Tab::new(n).of(&session);
            late.hello.history = History::Snapshot;
            let late = world.connect(&late);
            let snapshot = world.gap(late).snapshot;
            assert!(snapshot.participants.len() as u128 > members);
            // The first is interrupted by the restart, the others wait on.
            let open = snapshot.turns.iter().filter(|turn| turn.is_open());
            assert_eq!(open.count(), if n == 9_000 { 17 } else { 16 });
            world.crash();
        }
    }
}

#[test]
fn a_question_that_nobody_can_be_told_ends_its_turn() {
    let (mut world, _, session) = full("x", 2);
    asks(&mut world, "x".repeat(ACTION_BYTES_MAX));
    let ended = |event: &Event| match event {
        Event::TurnEnded(ended) => ended.fault.as_ref().map(|fault| fault.code.clone()),
        _ => None,
    };
    let log = world.log(&session);
    let last = log.iter().filter_map(ended).next_back();
    assert_eq!(last, Some(Code::ProviderProtocol.known()));
    world.pass(Duration::from_secs(1));
    world.done();
    let done = world.log(&session);
    let ended = |event: &Event| matches!(event, Event::TurnEnded(e) if e.end == TurnEnd::Done);
    assert!(done.iter().any(ended), "the next one runs");
}

/// The envelope nests, too: what is let in must come out.
#[test]
fn what_nests_too_deep_to_be_told_is_not_let_in_a34() {
    let mut world = World::new();
    let mut tab = Tab::new(1);
    tab.hello.params = Some(json!({ "p": nested(JSON_DEPTH_MAX - 2) }));
    let refused = world.connect(&tab);
    assert_eq!(world.faults(refused)[0].code, Code::InvalidRequest);
    tab.hello.params = Some(json!({ "p": nested(JSON_DEPTH_MAX - 3) }));
    let conn = world.connect(&tab);
    let session = world.welcome(conn).session;
    for (n, depth) in [(1, JSON_DEPTH_MAX), (2, JSON_DEPTH_MAX - 2)] {
        let question = Ask::Command {
            session: session.clone(),
            grant: world.grant.clone(),
            key: format!("key {n}"),
            command: keel_wire::Send {
                data: nested(depth),
            }
            .into(),
        };
        world.input(Input::Ask {
            ask: AskId(n),
            question,
        });
        let told = world.lines[&conn]
            .frames
            .iter()
            .any(|frame| matches!(frame, ServerFrame::Event(event) if event.kind == "message"));
        assert_eq!(told, n == 2);
    }
    let is_fault = |answer: &keel_core::node::Answer| {
        matches!(
            answer,
            keel_core::node::Answer::Receipt(ReceiptBody::Fault(_))
        )
    };
    assert_eq!(world.replies.iter().filter(|a| is_fault(a)).count(), 1);
}
