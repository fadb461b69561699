//! What is said while a turn runs, and what backends keep, through a real server and real programs.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use keel_agent::{Attempt, Closing, Control, Provider, Request, Sink};
use keel_server::{
    Server,
    config::{Backend, BackendKind, StoreKind},
};
use keel_store::{BoxFuture, PageLimit, Store, StoreError};
use keel_wire::{Seq, SessionId, record::StoredEvent};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    aside::{self, Moment},
    support::{Host, Wire, config, hello, is_turn_end, text_of},
};

async fn joined(host: &Host, busy: &str) -> Wire {
    let mut wire = host.dial().await;
    let mut hello = hello(&host.token());
    hello["busy"] = json!({ "policy": busy });
    wire.send(hello).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire
}

fn is(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |frame| frame["kind"] == kind
}

async fn command(wire: &mut Wire, n: u64, name: &str, data: Value) {
    wire.send(json!({ "type": "command", "n": n, "name": name, "data": data }))
        .await;
}

#[tokio::test]
async fn a_provider_that_takes_words_is_steered_and_what_it_did_not_take_is_next_m24() {
    let host = Host::memory().await;
    let mut wire = joined(&host, "steer").await;
    wire.say(1, "!ask=go?\nfirst ").await;
    let waiting = wire.until(is("turn.waiting")).await.pop().expect("one");
    wire.say(2, "second").await;
    let steered = wire.until(is("turn.steered")).await;
    let turn = &waiting["data"]["turn"];
    assert_eq!(&steered.last().expect("one")["data"]["turn"], turn);
    let answer = json!({ "turn": turn, "action": waiting["data"]["action"]["id"], "answer": 1 });
    command(&mut wire, 3, "turn.answer", answer).await;
    let frames = wire.until(is_turn_end).await;
    assert_eq!(text_of(&frames), "1\nfirst second", "{frames:#?}");
    let all: Vec<Value> = steered.into_iter().chain(frames).collect();
    let receipt = all.iter().find(|frame| frame["n"] == 2).expect("one");
    assert_eq!(&receipt["ok"]["turn"], turn, "the turn that it went into");

    // A script that is over when words come to it has not taken them: they are the next turn.
    let host = Host::memory().await;
    let mut wire = joined(&host, "steer").await;
    wire.say(1, "!fail=crash fail_at=0 pace_ms=1\nx").await;
    wire.until(is_turn_end).await;
    for n in 2..14 {
        wire.say(n, &format!("w{n} ")).await;
    }
    let last = wire
        .until(|frame| {
            let text = frame["data"]["data"].as_str();
            text.is_some_and(|text| text.contains("w13 "))
        })
        .await;
    let text = text_of(&last);
    let wanted: String = (2..14).map(|n| format!("w{n} ")).collect();
    assert_eq!(text, wanted, "each once, in order, whichever turn said it");
    host.close().await;
}

#[tokio::test]
async fn a_program_that_takes_no_words_is_stopped_for_the_next_and_nothing_of_it_is_left_m24_i8_i11()
 {
    let dir = tempfile::TempDir::new().expect("a directory");
    let pid_file = dir.path().join("pid");
    // The first hangs with a child; whoever finds the file already says what it was asked.
    let script = format!(
        "if [ -e {0} ]; then cat; else echo begun; sleep 1000 & echo $! > {0}; wait; fi",
        pid_file.display()
    );
    let host = Host::start(StoreKind::Memory, |config| {
        let backend = Backend {
            command: ["sh", "-c", &script].map(str::to_owned).to_vec(),
            ..Backend::of(BackendKind::Process)
        };
        config.backends.insert("program".to_owned(), backend);
        config.session.default_backend = Some("program".to_owned());
    })
    .await;
    for (busy, reason) in [("steer", "steered"), ("replace", "replaced")] {
        let _ = fs::remove_file(&pid_file);
        let mut wire = joined(&host, busy).await;
        wire.say(1, "go").await;
        wire.until(is("text")).await;
        let pid = loop {
            match fs::read_to_string(&pid_file) {
                Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        wire.say(2, "instead").await;
        let mut frames = wire.until(is_turn_end).await;
        let end = frames.pop().expect("one");
        assert_eq!(
            (&end["data"]["end"], &end["data"]["stop_reason"]),
            (&json!("cancelled"), &json!(reason))
        );
        let asked = frames.iter().find(|frame| is("turn.cancelling")(frame));
        let asked = asked.unwrap_or_else(|| panic!("{frames:#?}"));
        assert_eq!(asked["data"]["step"], "asked");
        assert!(asked["data"]["by"].is_string(), "who stopped it: {asked}");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        let frames = wire.until(is_turn_end).await;
        assert_eq!(text_of(&frames), "instead");
    }
    host.close().await;
}

/// Keeps something beyond its runs, as an agent that is kept warm.
#[derive(Debug)]
struct Keeper {
    inner: Arc<dyn Provider>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Provider for Keeper {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        self.inner.run(request, control, sink)
    }

    fn release(&self, session: &SessionId) {
        self.told.lock().expect("told").push(session.to_string());
    }

    fn close(&self) -> Closing<'_> {
        Box::pin(async {
            tokio::task::yield_now().await;
            self.told.lock().expect("told").push("closed".to_owned());
        })
    }
}

#[tokio::test]
async fn what_a_backend_keeps_is_released_with_its_session_and_all_of_it_with_the_server_i11() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (config, dir) = config(StoreKind::Memory);
    let server = Server::bind(config).await.expect("a server");
    let server = server.with_providers(|inner| {
        let told = Arc::clone(&told);
        Arc::new(Keeper { inner, told })
    });
    let running = server.start().expect("a start");
    let host = Host { running, dir };
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await;
    let session = welcome.last().expect("one")["session"].clone();
    wire.say(1, "hello").await;
    wire.until(is_turn_end).await;
    assert_eq!(*told.lock().expect("told"), [""; 0]);
    command(&mut wire, 2, "session.end", json!({})).await;
    wire.closed().await;
    let session = session.as_str().expect("an id").to_owned();
    assert_eq!(*told.lock().expect("told"), std::slice::from_ref(&session));
    host.close().await;
    assert_eq!(*told.lock().expect("told"), [session, "closed".to_owned()]);
}

/// As `echo`, but it wants to be told what was said before.
#[derive(Debug)]
struct Forgetful(Arc<dyn Provider>);

impl Provider for Forgetful {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        self.0.run(request, control, sink)
    }

    fn wants_history(&self) -> bool {
        true
    }

    fn steers(&self) -> bool {
        self.0.steers()
    }
}

/// Has whoever reads a log wait at a gate.
struct Gate {
    came: Semaphore,
    open: Semaphore,
}

impl Gate {
    fn new() -> Arc<Self> {
        let (came, open) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { came, open })
    }

    /// Returns when somebody has come, and waits.
    async fn is_waited_at(&self) {
        let came = tokio::time::timeout(crate::support::PATIENCE, self.came.acquire());
        came.await.expect("in time").expect("open").forget();
    }
}

impl Moment for Arc<Gate> {
    fn events(
        &self,
        store: &Arc<dyn Store>,
        session: &SessionId,
        after: Seq,
        limit: PageLimit,
    ) -> BoxFuture<Result<Vec<StoredEvent>, StoreError>> {
        let events = store.events(session, after, limit);
        let gate = Self::clone(self);
        Box::pin(async move {
            gate.came.add_permits(1);
            gate.open.acquire().await.expect("open").forget();
            events.await
        })
    }
}

async fn forgetful(gate: &Arc<Gate>) -> Host {
    let (server, _, dir) = aside::server(|_| (), Arc::clone(gate)).await;
    let server = server.with_providers(|inner| Arc::new(Forgetful(inner)));
    aside::started(server, dir)
}

#[tokio::test]
async fn what_is_said_while_the_history_is_read_reaches_the_provider_m24() {
    let gate = Gate::new();
    let host = forgetful(&gate).await;
    let mut wire = joined(&host, "steer").await;
    wire.say(1, "!ask=go?\nfirst ").await;
    gate.is_waited_at().await;
    wire.say(2, "second ").await;
    wire.until(is("turn.steered")).await;
    wire.say(3, "third").await;
    wire.until(is("turn.steered")).await;
    gate.open.add_permits(100);
    let waiting = wire.until(is("turn.waiting")).await.pop().expect("one");
    let turn = &waiting["data"]["turn"];
    let answer = json!({ "turn": turn, "action": waiting["data"]["action"]["id"], "answer": 1 });
    command(&mut wire, 4, "turn.answer", answer).await;
    let frames = wire.until(is_turn_end).await;
    assert_eq!(text_of(&frames), "1\nfirst second third");
    let end = frames.last().expect("one");
    assert_eq!(
        (&end["data"]["turn"], &end["data"]["end"]),
        (turn, &json!("done"))
    );
    host.close().await;
}

#[tokio::test]
async fn a_turn_that_is_stopped_while_the_history_is_read_ends_and_what_was_said_into_it_too() {
    let gate = Gate::new();
    let host = forgetful(&gate).await;
    let mut wire = joined(&host, "steer").await;
    wire.say(1, "first").await;
    gate.is_waited_at().await;
    wire.say(2, "second").await;
    wire.until(is("turn.steered")).await;
    command(&mut wire, 3, "turn.cancel", json!({})).await;
    let frames = wire.until(is_turn_end).await;
    assert_eq!(frames.last().expect("one")["data"]["end"], "cancelled");
    gate.open.add_permits(100);
    wire.say(4, "third").await;
    let frames = wire.until(is_turn_end).await;
    assert_eq!(text_of(&frames), "third", "{frames:#?}");
    host.close().await;
}
