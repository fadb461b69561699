//! Secrets and what people write come out nowhere: not in logs, not in answers of others.

use std::{
    io::Write,
    sync::{Arc, Mutex, OnceLock},
};

use keel_server::config::{Backend, BackendKind, StoreKind};
use serde_json::json;

use crate::support::{Host, hello, is_turn_end};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that this process logs at info and above.
fn logged() -> Lines {
    static LINES: OnceLock<Lines> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .init();
        lines
    });
    lines.clone()
}

fn text(lines: &Lines) -> String {
    String::from_utf8_lossy(&lines.0.lock().expect("a lock")).into_owned()
}

const CANARY: &str = "canary-5fd1c7";

#[tokio::test]
async fn secrets_are_in_no_log_and_no_answer_a67_a41() {
    let lines = logged();
    let host = Host::start(StoreKind::Sqlite, |config| {
        let command = ["sh", "-c", "echo key=$API_KEY >&2; exit 3"];
        config.backends.insert(
            "leaky".to_owned(),
            Backend {
                kind: BackendKind::Process,
                command: command.map(str::to_owned).to_vec(),
                env: [("API_KEY".to_owned(), format!("{CANARY}-key"))].into(),
                ..Backend::echo()
            },
        );
        config.session.default_backend = Some("leaky".to_owned());
    })
    .await;
    let token = host.token_with(|claims| claims.sub = format!("{CANARY}-subject"));
    let mut wire = host.dial().await;
    let mut first = hello(&token);
    first["params"] = json!({ "secret": format!("{CANARY}-param") });
    first["sdk"] = json!("x\n\u{1b}]0;forged\u{7}");
    wire.send(first).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");
    wire.say(1, &format!("{CANARY}-prompt")).await;
    let frames = wire.until(is_turn_end).await;
    let told = serde_json::to_string(&frames).expect("JSON");
    assert!(
        !told.contains(&format!("{CANARY}-key")),
        "a provider's key is redacted: {told}"
    );

    let path = format!(
        "/v1/sessions/{}",
        welcome["session"].as_str().expect("an id")
    );
    let mut answers = String::new();
    for path in [
        path.clone(),
        format!("{path}/journal"),
        "/v1/sessions".to_owned(),
    ] {
        answers += &host.get(&path, &token).await.body;
    }
    answers += &host.get("/metrics", &host.admin()).await.body;
    answers += &host.get("/v1/node", &host.admin()).await.body;
    answers += &host
        .get(&format!("/v1/sessions?token={token}"), &token)
        .await
        .body;
    host.close().await;

    let log = text(&lines);
    assert!(log.contains("turn_ended"), "the log is there");
    let resume_key = welcome["resume_key"].as_str().expect("a key");
    for (place, text) in [("log", &log), ("answers", &answers)] {
        for secret in [token.as_str(), resume_key, &format!("{CANARY}-key")] {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
        for content in ["prompt", "param"] {
            assert!(
                !text.contains(&format!("{CANARY}-{content}")),
                "{content} is in the {place}"
            );
        }
    }
    assert!(
        !log.contains(&format!("{CANARY}-subject")),
        "who it was is in the log"
    );
    assert!(!log.contains('\u{1b}'), "no control characters");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is one object");
    }
}

/// S02: one session's panic is told without a word of the inside, and others go on.
#[tokio::test]
async fn a_panic_ends_nobody_else_and_says_nothing_of_the_inside_s02_a77() {
    let host = Host::start(StoreKind::Memory, |config| config.faults.enabled = true).await;
    let mut bystander = host.dial().await;
    bystander
        .send(hello(
            &host.token_with(|claims| claims.sub = "bob".to_owned()),
        ))
        .await;
    bystander.until(|frame| frame["type"] == "welcome").await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");

    let body = json!({ "session": welcome["session"], "fault": { "kind": "panic" } });
    let answer = host
        .request("POST", "/v1/debug/faults", Some(&host.admin()), Some(&body))
        .await;
    // Whoever panics cannot say that it was struck.
    assert!([200, 409].contains(&answer.status), "{answer:?}");
    wire.say(1, "still there?").await;
    let frames = wire
        .until(|frame| is_turn_end(frame) || frame["type"] == "closed" || frame["type"] == "fault")
        .await;

    let told = serde_json::to_string(&frames).expect("JSON");
    for inside in ["panicked at", ".rs:", "/src/", "unwrap"] {
        assert!(!told.contains(inside), "{inside}: {told}");
    }
    bystander.say(1, "and I?").await;
    bystander.until(is_turn_end).await;
    host.close().await;
}
