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

fn ids(page: &Value) -> Vec<String> {
    let rows = page["sessions"].as_array().expect("rows").iter();
    rows.map(|row| row["session"].as_str().expect("an id").to_owned())
        .collect()
}

fn ok(home: &Home, args: &[&str]) -> String {
    let output = home.run(args);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

#[test]
fn sessions_are_renamed_marked_found_exported_and_deleted() {
    let home = Home::start();
    let (one, two) = (
        opened(&home, "hello crane\n"),
        opened(&home, "hello lift\n"),
    );
    ok(&home, &["sessions", "rename", &one, "The \u{1b}[2J crane"]);
    ok(&home, &["sessions", "star", &one]);
    ok(&home, &["sessions", "tag", &one, "docks", "night"]);
    let row = json(&home, &["sessions", "show", &one, "--json"]);
    assert_eq!(row["tags"], serde_json::json!(["docks", "night"]));
    assert_eq!(
        (&row["starred"], &row["title"]),
        (&true.into(), &"The \u{1b}[2J crane".into())
    );
    let table = ok(&home, &["sessions", "list"]);
    assert!(
        table.contains("* The ") && !table.contains('\u{1b}'),
        "{table}"
    );

    let found = ok(&home, &["sessions", "search", "crane"]);
    assert!(found.contains(&one) && !found.contains(&two), "{found}");
    let found = json(&home, &["sessions", "search", "hello", "lif", "--json"]);
    assert_eq!(ids(&found), std::slice::from_ref(&two));
    assert_eq!(
        home.run(&["sessions", "search", "%"]).status.code(),
        Some(2)
    );
    let tagged = json(
        &home,
        &["sessions", "list", "--tag", "night", "--starred", "--json"],
    );
    assert_eq!(ids(&tagged), std::slice::from_ref(&one));
    ok(&home, &["sessions", "archive", &one]);
    let listed = json(&home, &["sessions", "ls", "--json"]);
    assert_eq!(ids(&listed), std::slice::from_ref(&two));
    let away = json(&home, &["sessions", "list", "--archived", "--json"]);
    assert_eq!(ids(&away), std::slice::from_ref(&one));
    ok(&home, &["sessions", "archive", &one, "--off"]);
    assert_eq!(ids(&json(&home, &["sessions", "ls", "--json"])).len(), 2);

    let transcript = ok(&home, &["sessions", "transcript", &one]);
    assert!(transcript.starts_with("> hello crane\n"), "{transcript}");
    assert!(transcript.contains("\nhello crane"), "{transcript}");
    let turn = json(&home, &["sessions", "transcript", &one, "--json"]);
    assert_eq!(
        (&turn["prompt"], &turn["state"]),
        (&"hello crane".into(), &"done".into())
    );
    let log = ok(&home, &["sessions", "export", &one]);
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["session"]["session"], one.as_str());
    assert!(lines.iter().any(|line| line["kind"] == "session.described"));
    ok(
        &home,
        &[
            "sessions", "export", &one, "--format", "markdown", "-o", "crane.md",
        ],
    );
    let written = std::fs::read_to_string(home.dir.path().join("crane.md")).expect("a file");
    assert!(
        written.starts_with("# The ") && written.contains("\n> hello crane\n"),
        "{written}"
    );
    let absent = home.run(&["sessions", "export", "s-none", "-o", "none.md"]);
    assert_eq!(absent.status.code(), Some(69));
    assert!(
        !home.dir.path().join("none.md").exists() && !home.dir.path().join("none.md.part").exists()
    );

    ok(&home, &["sessions", "delete", &one, "--force"]);
    assert_eq!(
        home.run(&["sessions", "show", &one]).status.code(),
        Some(69)
    );
    assert_eq!(
        ids(&json(&home, &["sessions", "search", "crane", "--json"])),
        [""; 0]
    );
}

#[test]
fn shells_complete_verbs_and_options() {
    let dir = tempfile::tempdir().expect("a directory");
    for (shell, says) in [
        ("bash", "complete -F _evenkeel"),
        ("zsh", "#compdef evenkeel"),
        ("fish", "complete -c evenkeel"),
    ] {
        let output = crate::home::command(dir.path())
            .args(["completions", shell])
            .output()
            .expect("a run");
        let script = stdout(&output);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        for wanted in [says, "sessions", "transcript", "force"] {
            assert!(script.contains(wanted), "{shell}: no {wanted}");
        }
        assert!(
            !script.contains("drill-client"),
            "{shell}: what is hidden is not offered"
        );
    }
    // A shell takes it, and offers what begins so.
    let script = crate::home::command(dir.path())
        .args(["completions", "bash"])
        .output()
        .expect("a run");
    let path = dir.path().join("evenkeel.bash");
    std::fs::write(&path, &script.stdout).expect("written");
    let ask = "source ./evenkeel.bash; COMP_WORDS=(evenkeel sessions tran); COMP_CWORD=2; \
               _evenkeel evenkeel tran sessions; echo \"${COMPREPLY[@]}\"";
    let offered = std::process::Command::new("bash")
        .args(["--norc", "-c", ask])
        .current_dir(dir.path())
        .output()
        .expect("bash");
    assert_eq!(
        stdout(&offered).trim(),
        "transcript",
        "{}",
        stderr(&offered)
    );
}
