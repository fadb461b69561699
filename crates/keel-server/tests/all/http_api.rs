//! The HTTP API, beside connections.

use std::time::Duration;

use keel_server::config::StoreKind;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Host, Wire, hello, is_turn_end};

async fn session(host: &Host, change: impl FnOnce(&mut Value)) -> (Wire, String) {
    let mut wire = host.dial().await;
    let mut first = hello(&host.token());
    change(&mut first);
    wire.send(first).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");
    let id = welcome["session"].as_str().expect("an id").to_owned();
    (wire, id)
}

async fn read_is_whole(kind: StoreKind) {
    let host = Host::start(kind, |_| ()).await;
    let token = host.token();
    let (mut wire, id) = session(&host, |_| ()).await;
    wire.say(1, "one two").await;
    wire.until(is_turn_end).await;

    let read = host.get(&format!("/v1/sessions/{id}"), &token).await.json();
    assert_eq!(read["session"], json!(id));
    assert_eq!(read["status"]["state"], "live", "{read:#}");
    assert_eq!(read["participants"][0]["connected"], true);
    let listed = host.get("/v1/sessions", &token).await.json();
    assert_eq!(listed["sessions"][0]["session"], json!(id));

    let page = host
        .get(&format!("/v1/sessions/{id}/events?limit=2"), &token)
        .await
        .json();
    assert_eq!(page["events"].as_array().map(Vec::len), Some(2));
    let next = page["next"].as_u64().expect("a position");
    let rest = host
        .get(&format!("/v1/sessions/{id}/events?after={next}"), &token)
        .await
        .json();
    assert_eq!(rest["events"][0]["from"], json!(next + 1));
    assert_eq!(rest["next"], rest["head"]);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let journal = host
        .get(&format!("/v1/sessions/{id}/journal"), &token)
        .await
        .json();
    let facts: Vec<_> = journal["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| e["fact"].clone())
        .collect();
    assert!(facts.contains(&json!("connected")) && facts.contains(&json!("turn_ended")));
    host.close().await;
}

#[tokio::test]
async fn a_session_is_read_while_it_lives_over_memory() {
    read_is_whole(StoreKind::Memory).await;
}

#[tokio::test]
async fn a_session_is_read_while_it_lives_over_sqlite() {
    read_is_whole(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn sessions_are_listed_in_pages_by_project() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let token = host.token();
    let mut ids = Vec::new();
    for n in 0..6 {
        let project = ["red", "green", "blue"][n % 3];
        let (_wire, id) = session(&host, |hello| hello["project"] = json!(project)).await;
        ids.push((project, id));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let list = async |query: &str| -> Vec<String> {
        let mut all = Vec::new();
        let mut before = String::new();
        loop {
            let page = host
                .get(&format!("/v1/sessions?limit=2{query}{before}"), &token)
                .await
                .json();
            let rows = page["sessions"].as_array().expect("rows").clone();
            all.extend(
                rows.iter()
                    .filter_map(|row| row["session"].as_str().map(str::to_owned)),
            );
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return all,
            }
        }
    };
    assert_eq!(list("").await.len(), 6);
    let mut red = list("&project=red").await;
    red.sort();
    let mut wanted: Vec<_> = ids
        .iter()
        .filter(|(project, _)| *project == "red")
        .map(|(_, id)| id.clone())
        .collect();
    wanted.sort();
    assert_eq!(red, wanted);
    assert_eq!(list("&projects=red,blue").await.len(), 4);
    for bad in [
        "?limit=0",
        "?limit=-1",
        "?limit=1000000000",
        "?before=zz",
        "?offset=3",
        "?project=a&projects=b",
    ] {
        assert_eq!(
            host.get(&format!("/v1/sessions{bad}"), &token).await.status,
            400,
            "{bad}"
        );
    }
    host.close().await;
}

#[tokio::test]
async fn a_command_over_http_runs_once_for_each_key_a37() {
    let host = Host::memory().await;
    let token = host.token();
    let (mut wire, id) = session(&host, |_| ()).await;
    let path = format!("/v1/sessions/{id}/commands");
    let post = async |key: &str, text: &str| {
        let headers = [("idempotency-key".to_owned(), key.to_owned())];
        let body = json!({ "name": "say", "data": { "text": text } });
        host.request_with("POST", &path, Some(&token), &headers, Some(&body))
            .await
    };
    let first = post("k-1", "one").await;
    assert_eq!(first.status, 200, "{first:?}");
    wire.until(is_turn_end).await;
    let again = post("k-1", "one").await;
    assert_eq!((again.status, again.json()), (200, first.json()));
    assert_eq!(post("k-1", "two").await.status, 409);
    assert_eq!(post("", "two").await.status, 400);
    let events = host.get(&format!("/v1/sessions/{id}/events"), &token).await;
    assert_eq!(events.body.matches("turn.accepted").count(), 1);
    let unknown = json!({ "name": "dance", "data": {} });
    let headers = [("idempotency-key".to_owned(), "k-2".to_owned())];
    let answer = host
        .request_with("POST", &path, Some(&token), &headers, Some(&unknown))
        .await;
    assert_eq!(answer.status, 400);
    let twice = host
        .request("POST", &path, Some(&token), Some(&unknown))
        .await;
    assert_eq!(twice.status, 400, "without a key");
    host.close().await;
}

#[tokio::test]
async fn a_session_is_ended_and_deleted_over_http() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let token = host.token();
    let (mut wire, id) = session(&host, |_| ()).await;
    let ended = host
        .request(
            "POST",
            &format!("/v1/sessions/{id}/end"),
            Some(&token),
            Some(&json!({})),
        )
        .await;
    assert_eq!(ended.status, 200, "{ended:?}");
    wire.until(|frame| frame["type"] == "ended").await;
    let read = host.get(&format!("/v1/sessions/{id}"), &token).await.json();
    assert_eq!(
        (&read["ended"], &read["status"]["state"]),
        (&json!(true), &json!("ended"))
    );

    let viewer = host.token_with(|claims| claims.role = keel_wire::Role::Viewer);
    let path = format!("/v1/sessions/{id}");
    assert_eq!(
        host.request("DELETE", &path, Some(&viewer), None)
            .await
            .status,
        403
    );
    assert_eq!(
        host.request("DELETE", &path, Some(&token), None)
            .await
            .status,
        200
    );
    assert_eq!(host.get(&path, &token).await.status, 404);
    host.close().await;
}

#[tokio::test]
async fn a_log_is_followed_as_server_sent_events_by_cursor() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let token = host.token();
    let (mut wire, id) = session(&host, |_| ()).await;
    wire.say(1, "one").await;
    wire.until(is_turn_end).await;
    let follow = async |last: &str| {
        let mut stream = TcpStream::connect(host.address())
            .await
            .expect("a connection");
        let request = format!(
            "GET /v1/sessions/{id}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
             accept: text/event-stream\r\n{last}\r\n",
            host.address()
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream
    };
    let until = async |stream: &mut TcpStream, wanted: &str| {
        let (mut text, mut piece) = (String::new(), [0; 4096]);
        while !text.contains(wanted) {
            let read = stream.read(&mut piece).await.expect("more");
            assert!(read > 0, "the end before {wanted}: {text}");
            text.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        text
    };
    let mut stream = follow("").await;
    let before = until(&mut stream, "turn.ended").await;
    wire.say(2, "two").await;
    let live = until(&mut stream, "turn.ended").await;
    assert!(
        live.contains("turn.accepted"),
        "what is new comes by itself: {live}"
    );

    let cursor = before
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id");
    let mut again = follow(&format!("last-event-id: {cursor}\r\n")).await;
    let rest = until(&mut again, "turn.ended").await;
    assert!(
        !rest.contains("session.created"),
        "it goes on behind the cursor: {rest}"
    );
    let mut rewound = follow("last-event-id: 99999999999.7\r\n").await;
    let all = until(&mut rewound, "turn.ended").await;
    assert!(
        all.contains("event: gap") && all.contains("log_rewound"),
        "{all}"
    );
    host.close().await;
}

#[tokio::test]
async fn the_node_its_metrics_and_its_readiness_are_told() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let admin = host.admin();
    let (mut wire, _) = session(&host, |_| ()).await;
    wire.say(1, "one").await;
    wire.until(is_turn_end).await;
    let node = host.get("/v1/node", &admin).await.json();
    assert_eq!(node["census"]["attached"], 1, "{node:#}");
    assert_eq!(node["store"]["writes"], true);
    assert_eq!(host.get("/readyz", &host.token()).await.status, 200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let metrics = host.get("/metrics", &admin).await.body;
    for name in [
        "evenkeel_facts_total{fact=\"connected\"} 1",
        "evenkeel_store_seconds_bucket{op=\"commit\",outcome=\"ok\"",
        "evenkeel_attached 1",
        "evenkeel_logs_dropped_total 0",
        "evenkeel_stalled 0",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }
    host.close().await;
}

#[tokio::test]
async fn tokens_are_made_by_administrators_only() {
    let host = Host::memory().await;
    let body = json!({ "subject": "carl", "role": "publisher", "ttl_s": 60, "project": "p" });
    let refused = host
        .request("POST", "/v1/tokens", Some(&host.token()), Some(&body))
        .await;
    assert_eq!(refused.status, 403);
    let minted = host
        .request("POST", "/v1/tokens", Some(&host.admin()), Some(&body))
        .await;
    assert_eq!(minted.status, 201, "{minted:?}");
    let token = minted.json()["token"].as_str().expect("a token").to_owned();
    assert_eq!(host.get("/v1/sessions", &token).await.status, 200);
    let wrong = json!({ "subject": "carl", "role": "owner", "price": 0 });
    assert_eq!(
        host.request("POST", "/v1/tokens", Some(&host.admin()), Some(&wrong))
            .await
            .status,
        400
    );
    host.close().await;
}

#[tokio::test]
async fn a_token_for_one_session_opens_it_over_http_as_over_a_websocket() {
    let host = Host::start(StoreKind::Memory, |_| ()).await;
    let (_wire, id) = session(&host, |_| ()).await;
    let guest = host.token_with(|claims| {
        claims.sub = "guest".to_owned();
        claims.session = Some(id.parse().expect("an id"));
    });
    let stranger = host.token_with(|claims| claims.sub = "guest".to_owned());
    let path = format!("/v1/sessions/{id}");
    assert_eq!(host.get(&path, &guest).await.status, 200);
    assert_eq!(host.get(&path, &stranger).await.status, 404);
    host.close().await;
}
