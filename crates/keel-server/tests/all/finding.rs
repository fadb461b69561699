//! Sessions as people keep them: found, counted, read, written to files, deleted.

use keel_server::config::StoreKind;
use keel_wire::Role;
use serde_json::{Value, json};

use crate::support::{Host, Wire, hello, is_turn_end};

/// A session in which that was said, and the connection to it.
pub(crate) async fn said(
    host: &Host,
    prompts: &[&str],
    change: impl FnOnce(&mut Value),
) -> (Wire, String) {
    let mut wire = host.dial().await;
    let mut first = hello(&host.token());
    change(&mut first);
    wire.send(first).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await.pop();
    let id = welcome.expect("one")["session"]
        .as_str()
        .expect("an id")
        .to_owned();
    for (n, prompt) in (1..).zip(prompts) {
        wire.say(n, prompt).await;
        wire.until(is_turn_end).await;
    }
    (wire, id)
}

fn ids(page: &Value) -> Vec<&str> {
    let rows = page["sessions"].as_array().expect("rows").iter();
    rows.map(|row| row["session"].as_str().expect("an id"))
        .collect()
}

async fn found_and_counted(kind: StoreKind) {
    let host = Host::start(kind, |_| ()).await;
    let token = host.token();
    let (_one, a) = said(&host, &["the crane has stopped"], |_| ()).await;
    let (mut two, b) = said(&host, &["mend the lift"], |h| h["project"] = json!("docks")).await;
    two.say(2, "!ask=may_I").await;
    two.until(|frame| frame["kind"] == "turn.waiting").await;

    let page = host.get("/v1/sessions?q=CRANE%20stop", &token).await.json();
    assert_eq!(ids(&page), [a.as_str()], "{page:#}");
    let place = &page["sessions"][0]["found"];
    assert!(
        place["excerpt"]
            .as_str()
            .is_some_and(|text| text.contains("crane"))
    );
    assert!(place["turn"].is_string(), "{place}");
    let stranger = host.token_with(|claims| claims.sub = "eve".to_owned());
    let theirs = host.get("/v1/sessions?q=crane", &stranger).await.json();
    assert_eq!(ids(&theirs), [""; 0], "what others said is not there");
    let all = host.get("/v1/sessions?q=crane", &host.admin()).await.json();
    assert_eq!(ids(&all), [a.as_str()]);

    let counts = host.get("/v1/sessions/counts", &token).await.json();
    let want = json!({
        "running": 0, "waiting": 1, "idle": 1, "ended": 0, "archived": 0, "more": false
    });
    assert_eq!(counts, want);
    let docks = host
        .get("/v1/sessions/counts?project=docks", &token)
        .await
        .json();
    assert_eq!((&docks["waiting"], &docks["idle"]), (&json!(1), &json!(0)));
    let waiting = host.get("/v1/sessions?state=waiting", &token).await.json();
    assert_eq!(ids(&waiting), [b.as_str()]);
    assert_eq!(waiting["sessions"][0]["state"], "waiting");
    let archived = host.get("/v1/sessions?archived=true", &token).await.json();
    assert_eq!(ids(&archived), [""; 0]);
    for bad in [
        "?q=",
        "?q=%2A",
        "?q=a&before=00",
        "?state=asleep",
        "?archived=maybe",
    ] {
        let answer = host.get(&format!("/v1/sessions{bad}"), &token).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.json()["code"], "invalid_request");
    }
    host.close().await;
}

#[tokio::test]
async fn a_token_for_some_backends_sees_no_session_of_another() {
    for kind in [StoreKind::Memory, StoreKind::Sqlite] {
        let host = Host::start(kind, |_| ()).await;
        let (_wire, id) = said(&host, &["the crane has stopped"], |_| ()).await;
        let echo = host.token();
        let row = host.get(&format!("/v1/sessions/{id}"), &echo).await.json();
        let backend = row["backend"].as_str().expect("one").to_owned();
        let only = |name: &str| {
            let backends = vec![name.to_owned()];
            host.token_with(|claims| claims.backends = Some(backends))
        };
        for (token, sees) in [(only(&backend), 1), (only("elsewhere"), 0)] {
            for query in ["", "?q=crane", "?limit=1"] {
                let page = host.get(&format!("/v1/sessions{query}"), &token).await;
                assert_eq!(ids(&page.json()).len(), sees, "{query}");
            }
            let counts = host.get("/v1/sessions/counts", &token).await.json();
            let counted = (&counts["idle"], &counts["more"]);
            assert_eq!(counted, (&json!(sees), &json!(false)));
        }
        host.close().await;
    }
}

#[tokio::test]
async fn sessions_are_found_by_what_was_said_and_counted_by_state_over_memory() {
    found_and_counted(StoreKind::Memory).await;
}

#[tokio::test]
async fn sessions_are_found_by_what_was_said_and_counted_by_state_over_sqlite() {
    found_and_counted(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn words_to_search_for_are_no_syntax_a68() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let token = host.token();
    let (_wire, id) = said(&host, &["crane near lift"], |_| ()).await;
    let queries = [
        ("crane%22%20OR%20%22nobody", false),
        ("%22crane%22", true),
        ("cra%2A", true),
        ("near(crane%20lift)", true),
        ("crane%27%3B%20DROP%20TABLE%20session%3B--", false),
        ("crane%00lift", true),
        ("said%3Acrane", false),
        ("%25", false),
    ];
    for (query, finds) in queries {
        let answer = host.get(&format!("/v1/sessions?q={query}"), &token).await;
        assert!([200, 400].contains(&answer.status), "{query}: {answer:?}");
        let found = answer.status == 200 && ids(&answer.json()) == [id.as_str()];
        assert_eq!(found, finds, "{query}: {answer:?}");
    }
    assert_eq!(
        host.get("/v1/sessions", &token).await.json()["sessions"][0]["session"],
        json!(id)
    );
    host.close().await;
}

async fn transcribed(kind: StoreKind) {
    let host = Host::start(kind, |_| ()).await;
    let token = host.token();
    let prompts = ["one", "two words", "!fail=crash\nthree", "four", "five"];
    let (_wire, id) = said(&host, &prompts, |_| ()).await;
    let path = format!("/v1/sessions/{id}/transcript");
    let mut turns: Vec<Value> = Vec::new();
    let mut after = json!(0);
    loop {
        let page = host
            .get(&format!("{path}?limit=2&after={after}"), &token)
            .await
            .json();
        let these = page["turns"].as_array().expect("turns");
        assert!(these.len() <= 2);
        turns.extend(these.iter().cloned());
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    let asked: Vec<_> = turns.iter().map(|turn| turn["prompt"].clone()).collect();
    assert_eq!(asked, prompts);
    let events = host
        .get(&format!("/v1/sessions/{id}/events?limit=2000"), &token)
        .await
        .json();
    for turn in &turns {
        let text: String = events["events"]
            .as_array()
            .expect("events")
            .iter()
            .filter(|event| event["kind"] == "text" && event["data"]["turn"] == turn["turn"])
            .filter(|event| event["data"]["attempt"] == turn["attempt"])
            .filter_map(|event| event["data"]["data"].as_str())
            .collect();
        assert_eq!(turn["text"], json!(text), "the text that stands");
    }
    assert!(
        turns[1]["text"]
            .as_str()
            .is_some_and(|text| text.contains("two words"))
    );
    assert_eq!(turns[2]["state"], "failed", "{}", turns[2]);
    assert!(turns[2]["fault"]["code"].is_string());
    // A turn is found again by where it is.
    let at = turns[3]["at"].as_u64().expect("a position");
    let again = host
        .get(&format!("{path}?limit=1&after={}", at - 1), &token)
        .await
        .json();
    assert_eq!(again["turns"][0]["prompt"], "four");

    let export = host.get(&format!("/v1/sessions/{id}/export"), &token).await;
    assert_eq!(export.status, 200);
    assert!(
        export
            .head
            .contains(&format!("attachment; filename=\"{id}.jsonl\""))
    );
    let lines = unchunked(&export.body);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["session"]["session"], json!(id));
    assert_eq!(lines[1]["kind"], "session.created");
    assert_eq!(lines[1..], events["events"].as_array().expect("events")[..]);

    let markdown = host
        .get(&format!("/v1/sessions/{id}/export?format=markdown"), &token)
        .await;
    let text = unchunked(&markdown.body);
    assert!(text.starts_with(&format!("# {id}\n")), "{text}");
    assert!(
        text.contains("\n> two words\n") && text.contains("## 5\n"),
        "{text}"
    );
    assert!(text.contains("*failed: "), "{text}");

    let stranger = host.token_with(|claims| claims.sub = "eve".to_owned());
    for path in [path, format!("/v1/sessions/{id}/export")] {
        assert_eq!(host.get(&path, &stranger).await.status, 404, "{path}");
    }
    let viewer = host.token_with(|claims| claims.role = Role::Viewer);
    let path = format!("/v1/sessions/{id}/transcript?limit=1");
    assert_eq!(host.get(&path, &viewer).await.status, 200);
    host.close().await;
}

/// The body of an answer in chunks.
pub(crate) fn unchunked(body: &str) -> String {
    let (mut text, mut rest) = (String::new(), body);
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return text;
        }
        text.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

#[tokio::test]
async fn a_session_is_read_as_turns_and_written_to_files_over_memory() {
    transcribed(StoreKind::Memory).await;
}

#[tokio::test]
async fn a_session_is_read_as_turns_and_written_to_files_over_sqlite() {
    transcribed(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_session_in_use_is_not_deleted_by_the_way() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let token = host.token();
    let (mut wire, id) = said(&host, &["remember the crane"], |_| ()).await;
    let path = format!("/v1/sessions/{id}");
    let refused = host.request("DELETE", &path, Some(&token), None).await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (409, &json!("session_busy"))
    );
    assert_eq!(
        host.get(&path, &token).await.status,
        200,
        "it is still there"
    );
    let forced = format!("{path}?force=true");
    let deleted = host.request("DELETE", &forced, Some(&token), None).await;
    assert_eq!(deleted.status, 200, "{deleted:?}");
    wire.until(|frame| frame["type"] == "ended").await;
    for gone in ["", "/events", "/journal", "/transcript", "/export"] {
        assert_eq!(
            host.get(&format!("{path}{gone}"), &token).await.status,
            404,
            "{gone}"
        );
    }
    let page = host.get("/v1/sessions?q=crane", &token).await.json();
    assert_eq!(
        page["sessions"],
        json!([]),
        "searches have forgotten it, too"
    );
    host.close().await;
}
