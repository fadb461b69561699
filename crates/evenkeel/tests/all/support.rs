//! A real server, and what tests ask of a session.

use std::{net::SocketAddr, time::Duration};

use evenkeel::{
    Builder, Client, Event, Events, LogEvent, Session,
    wire::{self, Role, Status, TurnEnded},
};
use keel_server::{
    Claims, Config, Running, Server,
    config::{Backend, StoreKind},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

pub(crate) struct Host {
    pub(crate) running: Running,
    config: Config,
    dir: TempDir,
}

impl Host {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::new().expect("a directory");
        let mut config = Config::default();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.drain_within_s = 2;
        config.store.kind = StoreKind::Memory;
        config.store.path = dir.path().join("data");
        config.faults.enabled = true;
        config.backends.insert("echo".to_owned(), Backend::echo());
        change(&mut config);
        Self::run(config, dir).await
    }

    async fn run(mut config: Config, dir: TempDir) -> Self {
        let server = Server::bind(config.clone()).await.expect("a server");
        config.server.listen = server.local_addr();
        let running = server.start().expect("a start");
        Self {
            running,
            config,
            dir,
        }
    }

    /// Stops the server; what it kept, its keys and its addresses stay for [`Stopped::start`].
    pub(crate) async fn stop(self) -> Stopped {
        soon(self.running.close()).await.expect("closed");
        Stopped {
            config: self.config,
            dir: self.dir,
        }
    }

    pub(crate) async fn memory() -> Self {
        Self::start(|_| ()).await
    }

    pub(crate) fn token(&self) -> String {
        let mut claims = Claims::new("ann", Role::Owner, 600);
        claims.faults = true;
        self.running.tokens().mint(&claims)
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.running.local_addr())
    }

    pub(crate) fn builder(&self) -> Builder {
        Client::builder().url(self.url()).token(self.token())
    }

    pub(crate) async fn session(&self) -> Session {
        soon(self.builder().connect()).await.expect("a session")
    }

    pub(crate) async fn close(self) {
        soon(self.running.close()).await.expect("closed");
    }
}

/// A server that is not running.
pub(crate) struct Stopped {
    config: Config,
    dir: TempDir,
}

impl Stopped {
    pub(crate) async fn start(self) -> Host {
        Host::run(self.config, self.dir).await
    }
}

/// What echo says to `prompt`, computed without a server.
pub(crate) fn said(prompt: &str) -> String {
    let steps = keel_agent::echo::script(prompt, &json!({}));
    keel_agent::echo::said(&steps, &json!(null))
}

/// Everything up to and with the event that `wanted` says yes to.
pub(crate) async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        let Some(event) = soon(events.next()).await else {
            panic!("the stream ended after {seen:#?}");
        };
        let found = wanted(&event);
        seen.push(event);
        if found {
            return seen;
        }
    }
}

pub(crate) fn is_turn_end(event: &Event) -> bool {
    turn_end(event).is_some()
}

/// What of the log an event tells.
pub(crate) fn fact(event: &Event) -> Option<&wire::Event> {
    if let Event::Log {
        event: LogEvent::Known(fact),
        ..
    } = event
    {
        Some(fact)
    } else {
        None
    }
}

pub(crate) fn turn_end(event: &Event) -> Option<&TurnEnded> {
    if let Some(wire::Event::TurnEnded(ended)) = fact(event) {
        Some(ended)
    } else {
        None
    }
}

pub(crate) fn text(event: &Event) -> &str {
    if let Some(wire::Event::Text(text)) = fact(event) {
        &text.data
    } else {
        ""
    }
}

pub(crate) fn text_of(events: &[Event]) -> String {
    events.iter().map(text).collect()
}

/// The log's positions follow each other without a hole or a repetition (req M25).
pub(crate) fn assert_contiguous(events: &[Event]) {
    let mut next = None;
    for event in events {
        if let Event::Log { range, .. } = event {
            assert!(
                next.is_none_or(|next| next == range.from),
                "{range:?}, not {next:?}"
            );
            next = Some(range.to.next());
        }
    }
}

pub(crate) fn count(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().filter(|event| wanted(event)).count()
}

pub(crate) fn assert_sound(status: &Status) {
    assert_eq!(status.check(), None, "{status:?}");
}
