//! What a provider is told of a log, event by event and over a store.

use keel_store::conformance::Scribe;
use keel_wire::{CommandId, Event, TurnStarted};

use super::*;

fn turn(id: &str) -> TurnId {
    id.parse().expect("an id")
}

fn command(n: u64) -> CommandId {
    CommandId {
        stream: "s-1".parse().expect("an id"),
        n: Seq::new(n).expect("small"),
    }
}

fn accepted(id: &str, prompt: &str, retry_of: Option<&str>) -> Event {
    Event::TurnAccepted(TurnAccepted {
        turn: turn(id),
        by: "p-1".parse().expect("an id"),
        command: command(1),
        text: prompt.to_owned(),
        position: 0,
        begin_by: None,
        retry_of: retry_of.map(turn),
        continues: None,
    })
}

fn text(id: &str, attempt: u32, data: &str) -> Event {
    Event::Text(Text {
        turn: turn(id),
        attempt,
        at_byte: 0,
        data: data.to_owned(),
    })
}

fn ended(id: &str, attempt: u32, end: TurnEnd, why: Option<&str>) -> Event {
    Event::TurnEnded(TurnEnded {
        turn: turn(id),
        attempt,
        end,
        bytes: 0,
        forced: false,
        stop_reason: why.map(str::to_owned),
        fault: None,
    })
}

/// A turn from its prompt to its end.
fn whole(id: &str, prompt: &str, answer: &str, end: TurnEnd, why: Option<&str>) -> Vec<Event> {
    vec![
        accepted(id, prompt, None),
        text(id, 1, answer),
        ended(id, 1, end, why),
    ]
}

fn memory(events: &[Event]) -> Memory {
    let mut memory = Memory::default();
    for event in events {
        let at = memory.through.next();
        let stored = StoredEvent {
            from: at,
            to: at,
            kind: event.name().into(),
            data: event.encode_data(),
        };
        memory.take(&stored).expect("an event");
    }
    memory
}

fn told(memory: &Memory, forget: &[&str]) -> Vec<(String, String)> {
    let forget: Vec<_> = forget.iter().map(|id| turn(id)).collect();
    let history = memory.history(&forget).exchanges;
    let pair = |exchange: Exchange| (exchange.prompt, exchange.text);
    history.into_iter().map(pair).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(prompt, text): &(&str, &str)| ((*prompt).to_owned(), (*text).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn what_was_answered_is_known_and_what_was_superseded_is_not() {
    let mut events = whole("t-1", "one", "uno", TurnEnd::Done, None);
    events.extend([
        accepted("t-2", "two", None),
        text("t-2", 1, "wrong"),
        Event::TurnStarted(TurnStarted {
            turn: turn("t-2"),
            attempt: 2,
            fault: None,
        }),
        text("t-2", 2, "du"),
        text("t-2", 2, "e"),
        ended("t-2", 2, TurnEnd::Done, None),
    ]);
    events.extend(whole("t-3", "three", "tr", TurnEnd::Interrupted, None));
    events.extend(whole("t-4", "four", "", TurnEnd::Failed, None));
    events.extend(whole(
        "t-5",
        "five",
        "cin",
        TurnEnd::Cancelled,
        Some("steered"),
    ));
    events.extend(whole(
        "t-6",
        "six",
        "se",
        TurnEnd::Cancelled,
        Some("replaced"),
    ));
    events.extend(whole("t-7", "seven", "", TurnEnd::Done, None));
    events.push(accepted("t-8", "eight", None));
    let memory = memory(&events);
    let all = [
        ("one", "uno"),
        ("two", "due"),
        ("three", "tr"),
        ("five", "cin"),
        ("six", "se"),
        ("seven", ""),
    ];
    assert_eq!(told(&memory, &[]), pairs(&all));
    assert_eq!(told(&memory, &["t-2", "t-6", "t-9"]).len(), 4);
    assert_eq!(memory.history(&[]).notice, None);
}

#[test]
fn what_was_not_answered_is_told_to_who_goes_on_with_it() {
    let mut events = whole("t-1", "one", "", TurnEnd::Interrupted, None);
    events.extend(whole("t-2", "two", "", TurnEnd::Cancelled, Some("steered")));
    assert_eq!(told(&memory(&events), &[]), pairs(&[("two", "")]));
    let mut next = accepted("t-3", "go on", None);
    if let Event::TurnAccepted(accepted) = &mut next {
        accepted.continues = Some(turn("t-1"));
    }
    events.push(next);
    let both = [("one", ""), ("two", "")];
    assert_eq!(told(&memory(&events), &[]), pairs(&both));
}

fn steered(id: &str, n: u64, words: &str) -> Event {
    Event::TurnSteered(TurnSteered {
        turn: turn(id),
        by: "p-1".parse().expect("an id"),
        command: command(n),
        text: words.to_owned(),
    })
}

#[test]
fn words_that_became_a_turn_are_no_part_of_the_one_that_did_not_take_them() {
    let mut next = accepted("t-2", "with sails", None);
    if let Event::TurnAccepted(accepted) = &mut next {
        accepted.command = command(7);
    }
    let events = [
        accepted("t-1", "a boat", None),
        text("t-1", 1, "a hull"),
        steered("t-1", 6, "in blue"),
        steered("t-1", 7, "with sails"),
        ended("t-1", 1, TurnEnd::Done, None),
    ];
    let before = [("a boat\n\nin blue\n\nwith sails", "a hull")];
    assert_eq!(told(&memory(&events), &[]), pairs(&before));
    let mut events = events.to_vec();
    events.extend([
        next,
        text("t-2", 1, "ropes"),
        ended("t-2", 1, TurnEnd::Done, None),
    ]);
    let after = [("a boat\n\nin blue", "a hull"), ("with sails", "ropes")];
    let memory = memory(&events);
    assert_eq!(told(&memory, &[]), pairs(&after));
    let bytes: usize = memory.over.iter().map(|over| cost(&over.exchange)).sum();
    assert_eq!(memory.bytes, bytes);
}

#[test]
fn the_newest_are_kept_within_the_bound_and_that_is_told() {
    let words = "x".repeat(HISTORY_BYTES_MAX / 4);
    let mut events = Vec::new();
    for n in 0..10 {
        let id = format!("t-{n}");
        events.extend(whole(&id, &id, &words, TurnEnd::Done, None));
    }
    let memory = memory(&events);
    let kept = told(&memory, &[]);
    let prompts: Vec<_> = kept.iter().map(|(prompt, _)| prompt.as_str()).collect();
    assert_eq!(prompts, ["t-7", "t-8", "t-9"]);
    let notice = memory.history(&[]).notice.expect("a notice");
    let text = notice["text"].as_str().expect("words");
    assert!(text.starts_with("The first 7 turns"), "{text}");
    assert!(memory.bytes <= HISTORY_BYTES_MAX);
}

#[test]
fn an_answer_beyond_its_bound_is_cut_and_says_so() {
    let piece = "\u{e9}".repeat(20_000);
    let mut events = vec![accepted("t-1", "one", None)];
    events.extend((0..10).map(|_| text("t-1", 1, &piece)));
    events.push(ended("t-1", 1, TurnEnd::Done, None));
    let kept = told(&memory(&events), &[]);
    assert!(kept[0].1.len() <= ANSWER_BYTES_MAX + LEFT_OUT.len());
    assert!(kept[0].1.ends_with(LEFT_OUT));
    assert!(kept[0].1.starts_with(&piece));
}

#[tokio::test]
async fn a_log_is_read_once_and_then_only_what_is_new() {
    let store: Arc<dyn Store> = Arc::new(keel_store::Memory::new());
    let mut scribe = Scribe::new(&store, 1);
    let session = scribe.row.session.clone();
    let mut events = whole("t-1", "one", "uno", TurnEnd::Done, None);
    scribe.write(&events).await;
    let histories = Histories::new(Arc::clone(&store));
    let read = async |through: u64| {
        let through = Seq::new(through).expect("small");
        let history = histories.read(&session, through, &[]).await;
        history.expect("it can be read").exchanges.len()
    };
    assert_eq!(read(2).await, 0, "not beyond what the run may know");
    assert_eq!(read(3).await, 1);
    events = whole("t-2", "two", "due", TurnEnd::Done, None);
    scribe.write(&events).await;
    // What it knows is not read again: it is gone.
    let third = Seq::new(3).expect("small");
    let _ = store.trim(&session, third).await;
    assert_eq!(read(6).await, 2);
    let beyond = Seq::new(9).expect("small");
    let error = histories.read(&session, beyond, &[]).await;
    assert!(error.is_err(), "a log that ends too early is told");
}

#[test]
fn no_more_sessions_are_remembered_than_there_is_room_for() {
    let mut kept = Kept::default();
    for n in 0..SESSIONS_MAX as u128 + 10 {
        kept.keep(SessionId::from_bits(n), Memory::default());
    }
    assert_eq!(kept.by_session.len(), SESSIONS_MAX);
    assert!(!kept.by_session.contains_key(&SessionId::from_bits(0)));
    assert!(
        kept.by_session
            .contains_key(&SessionId::from_bits(SESSIONS_MAX as u128 + 9))
    );
}
