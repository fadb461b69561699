//! `sessions …` and `token revoke`, over HTTP.

use serde_json::Value;

use crate::home::{Home, stderr, stdout};

fn opened(home: &Home, lines: &str) -> String {
    let output = home.type_in(&["connect", "--json"], lines);
    let first = stdout(&output).lines().next().expect("a line").to_owned();
    let joined: Value = serde_json::from_str(&first).expect("JSON");
    joined["session"].as_str().expect("an id").to_owned()
}

fn json(home: &Home, args: &[&str]) -> Value {
    let output = home.run(args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    serde_json::from_str(stdout(&output).trim()).expect("one JSON object")
}

#[test]
fn sessions_are_listed_shown_read_and_ended() {
    let home = Home::start();
    let session = opened(&home, "hello there\n");
    let session = session.as_str();
    let table = stdout(&home.run(&["sessions", "ls"]));
    assert!(
        table.starts_with("SESSION") && table.contains(session),
        "{table}"
    );
    let page = json(&home, &["sessions", "ls", "--json"]);
    assert_eq!(page["sessions"][0]["session"], session);
    let shown = stdout(&home.run(&["sessions", "show", session]));
    assert!(shown.contains("backend  echo"), "{shown}");
    let events = stdout(&home.run(&["sessions", "events", session]));
    assert!(
        events.contains("turn.ended") && events.contains("hello"),
        "{events}"
    );
    assert_eq!(
        home.run(&["sessions", "end", session]).status.code(),
        Some(0)
    );
    let page = json(&home, &["sessions", "ls", "--json"]);
    assert_eq!(page["sessions"][0]["ended"], true);
    assert_eq!(
        home.run(&["sessions", "show", "s-none"]).status.code(),
        Some(69)
    );
}

#[test]
fn why_is_one_sentence_and_stable_json() {
    let home = Home::start();
    let calm = opened(&home, "hello\n");
    let why = json(&home, &["sessions", "why", &calm, "--json"]);
    assert_eq!(why["verdict"], "healthy", "{why}");
    assert_eq!(why["cause"], Value::Null);

    let dropped = opened(&home, "!count=60 pace_ms=5\n/drop\n");
    let why = json(&home, &["sessions", "why", &dropped, "--json"]);
    assert_eq!(why["verdict"], "recovered", "{why}");
    assert_eq!(why["cause"], "transport_error");
    assert_eq!(why["blame"], "network");
    assert_eq!(
        (why["lost"].as_u64(), why["duplicated"].as_u64()),
        (Some(0), Some(0))
    );
    assert!(
        why["told_ms"].is_u64() && why["recovered_ms"].is_u64(),
        "{why}"
    );
    let sentence = stdout(&home.run(&["sessions", "why", &dropped]));
    assert!(
        sentence.starts_with("dropped at ") && sentence.contains("recovered by fast"),
        "{sentence}"
    );
    assert_eq!(sentence.lines().count(), 1);
}

#[test]
fn a_revoked_token_is_good_for_nothing() {
    let home = Home::start();
    let minted = json(&home, &["token", "mint", "--subject", "ann", "--json"]);
    let (token, id) = (
        minted["token"].as_str().expect("a token"),
        minted["token_id"].as_str().expect("an id"),
    );
    let say = ["connect", "--token", token, "--say", "hello"];
    assert_eq!(home.run(&say).status.code(), Some(0));
    assert_eq!(home.run(&["token", "revoke", id]).status.code(), Some(0));
    assert_eq!(home.run(&say).status.code(), Some(77));
}
