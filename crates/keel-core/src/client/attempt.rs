//! One try at a connection: wait, token, dial, hello. What it comes to is decided elsewhere.

use std::time::Duration;

use keel_wire::{
    Auth, ClientFrame, Code, Evidence, Hello, Origin, Phase, Resume, Retry, Strategy, Todo,
    WaitingFor,
};

use super::{
    Ask, Client, ConnId, Cx, Life, Output, TokenSource,
    outcome::{self, Outcome},
    path::{Path, Stage},
};
use crate::{Instant, limits};

/// What is under way.
#[derive(Debug)]
pub(super) enum Attempt {
    /// A wait before the try.
    Waiting {
        /// Until then; `None` until there is a network.
        at: Option<Instant>,
        strategy: Option<Strategy>,
        waiting_for: Option<WaitingFor>,
        within: Option<Duration>,
    },
    /// A token.
    Token {
        until: Instant,
        strategy: Option<Strategy>,
        all_until: Option<Instant>,
    },
    /// A connection without a welcome.
    Path(Box<Path>),
}

impl Attempt {
    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        match self {
            Self::Waiting { at, .. } => at.map(|at| (at, "retry")),
            Self::Token { until, .. } => Some((*until, "token")),
            Self::Path(path) => path.deadline(),
        }
    }

    pub(super) const fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Waiting { .. } | Self::Token { .. } => None,
        }
    }

    /// Whether the server may have taken notice of it already.
    pub(super) fn said_hello(&self) -> bool {
        self.path().is_some_and(|path| path.stage != Stage::Dialing)
    }
}

impl Client {
    pub(super) fn connect(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.life, Life::Idle) {
            return;
        }
        self.life = Life::Connecting {
            until: cx.now.mono + self.config.connect_within,
            fault: None,
        };
        if self.config.token == TokenSource::Fetched {
            self.token = None;
        }
        let strategy = self.seat.is_some().then_some(Strategy::Fast);
        self.begin_attempt(cx, strategy, None);
    }

    /// Fetches a token if need be, then dials.
    pub(super) fn begin_attempt(
        &mut self,
        cx: &mut Cx<'_>,
        strategy: Option<Strategy>,
        within: Option<Duration>,
    ) {
        let now = cx.now.mono;
        self.ledger.tries += 1;
        let all_until = within.map(|within| now + within);
        if let Life::Recovering(recovery) = &mut self.life {
            recovery.attempts += 1;
        }
        if self.token.is_some() {
            self.dial(cx, strategy, all_until);
            return;
        }
        cx.out.push(Output::FetchToken);
        let until = now + limits::TOKEN_WITHIN;
        self.attempt = Some(Attempt::Token {
            until: all_until.map_or(until, |all| all.min(until)),
            strategy,
            all_until,
        });
    }

    fn dial(&mut self, cx: &mut Cx<'_>, strategy: Option<Strategy>, all_until: Option<Instant>) {
        self.conns += 1;
        self.hellos = self.hellos.saturating_add(1);
        let conn = ConnId(self.conns);
        let address = match strategy {
            Some(Strategy::Migrate) => self.other_address().unwrap_or(&self.home).to_owned(),
            Some(Strategy::Fast | Strategy::Rejoin) | None => self.home.clone(),
        };
        let mut path = Path::new(cx.now.mono, conn, address.clone(), self.hellos);
        path.strategy = strategy;
        path.all_until = all_until;
        self.attempt = Some(Attempt::Path(Box::new(path)));
        cx.out.push(Output::Dial { conn, address });
    }

    /// Where else the session may be found.
    pub(super) fn other_address(&self) -> Option<&str> {
        let known = self
            .config
            .addresses
            .iter()
            .find(|address| **address != self.home);
        self.target
            .as_ref()
            .filter(|target| **target != self.home)
            .or(known)
            .map(String::as_str)
    }

    pub(super) fn opened(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(Attempt::Path(mut path)) = self.attempt.take_if(|attempt| {
            attempt
                .path()
                .is_some_and(|path| path.conn == conn && path.stage == Stage::Dialing)
        }) else {
            return;
        };
        path.stage = Stage::Greeting;
        path.until = cx.now.mono + limits::WELCOME_WITHIN;
        path.answered = Some(cx.now.mono);
        path.heard = cx.now.mono;
        path.resumes = self.seat.is_some();
        self.said = path.hello;
        if matches!(path.strategy, Some(Strategy::Rejoin | Strategy::Migrate)) {
            self.ledger.rejoined(cx.now.mono);
        }
        let hello = ClientFrame::from(Box::new(self.hello(cx, &path)));
        cx.send(&path, hello.encode());
        self.attempt = Some(Attempt::Path(path));
    }

    fn hello(&self, cx: &Cx<'_>, path: &Path) -> Hello {
        let config = &self.config;
        let session = self.seat.as_ref().map(|seat| seat.session.clone());
        let resume = self.seat.as_ref().map(|seat| Resume {
            participant: seat.participant.clone(),
            key: seat.key.clone(),
            cursor: self.fold.cursor,
            strategy: path.strategy.unwrap_or(Strategy::Fast),
        });
        let evidence = match &self.life {
            Life::Recovering(recovery) => Some(Evidence {
                code: recovery.cause.code.clone(),
                silent_ms: recovery.silent_ms,
                lost_ms: cx.now.mono.ms_since(recovery.lost_at),
                attempts: recovery.attempts,
            }),
            Life::Idle
            | Life::Connecting { .. }
            | Life::Standing
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => None,
        };
        Hello {
            token: self.token.clone().unwrap_or_default(),
            instance: self.instance.clone(),
            attempt: path.hello,
            session: session.or_else(|| config.session.clone()),
            backend: config.backend.clone(),
            project: config.project.clone(),
            busy: config.busy,
            title: config.title.clone(),
            cwd: config.cwd.clone(),
            tags: config.tags.clone(),
            role: config.role,
            admission: config.admission,
            history: config.history,
            resume,
            stream: self.outbox.state(),
            params: config.params.clone(),
            sdk: config.sdk.clone(),
            evidence,
        }
    }

    pub(super) fn token(&mut self, cx: &mut Cx<'_>, token: Result<String, String>) {
        let wanted = self
            .attempt
            .take_if(|attempt| matches!(attempt, Attempt::Token { .. }));
        match (token, wanted) {
            (
                Ok(token),
                Some(Attempt::Token {
                    strategy,
                    all_until,
                    ..
                }),
            ) => {
                self.token = Some(token);
                self.dial(cx, strategy, all_until);
            }
            (Ok(token), _) => {
                if let Some(path) = self.current.as_ref().filter(|path| path.stands()) {
                    let token = token.clone();
                    cx.send(path, ClientFrame::from(Auth { token }).encode());
                }
                self.token = Some(token);
            }
            (Err(message), Some(Attempt::Token { strategy, .. })) => {
                let retry = Retry::AfterAction {
                    what: Todo::TryAgain,
                };
                let fault = self
                    .mint
                    .fault(cx.now, Code::Unauthenticated, Origin::Client)
                    .message(message)
                    .retry(retry)
                    .detail("phase", outcome::phase_name(Phase::Token));
                let ask = Ask::Unreachable;
                self.attempt_failed(cx, strategy, None, Outcome { fault, ask });
            }
            (Err(message), _) => tracing::debug!(message, "a token that nobody waits for failed"),
        }
    }
}
