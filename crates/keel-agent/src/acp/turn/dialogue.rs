//! What an agent is asked, from its first word to the end of its answer, and what it answers.

use std::collections::VecDeque;

use keel_wire::limits::AGENT_ID_BYTES_MAX;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{
        PROTOCOL_VERSION,
        choice::{Choices, What},
        config::Forgotten,
        link::Abilities,
        rpc::{AUTH_REQUIRED, INVALID_PARAMS, RpcError},
        update,
    },
    End, Opening, REPLAY_MAX, REPLAY_QUIET, Stage, Turn,
};
use crate::{
    Ending, Failure, Output, Request, limits::RETOLD_BYTES_MAX, process::redact::Redactor,
};

impl Turn<'_> {
    pub(super) fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": PROTOCOL_VERSION,
            "clientCapabilities": self.link.services.capabilities(),
            "clientInfo": {"name": "evenkeel", "version": env!("CARGO_PKG_VERSION")},
        });
        self.stage = Stage::Initialize(self.link.request("initialize", &params));
    }

    pub(super) fn open(&mut self) {
        let bound = self.request.bound.clone();
        let opening = match (&bound, &self.link.abilities) {
            (None, _) => Opening::New,
            (Some(_), Abilities { resume: true, .. }) => Opening::Resume,
            (Some(_), Abilities { load: true, .. }) => Opening::Load,
            (Some(_), _) => return self.forgotten("it cannot take a session up again"),
        };
        self.open_as(opening, bound);
    }

    pub(super) fn open_as(&mut self, opening: Opening, bound: Option<String>) {
        let cwd = self.link.services.directory().display().to_string();
        let mut params = json!({"cwd": cwd, "mcpServers": []});
        if let Some(bound) = bound {
            params["sessionId"] = bound.into();
        }
        let method = match opening {
            Opening::New => "session/new",
            Opening::Load => "session/load",
            Opening::Resume => "session/resume",
        };
        self.retell |= opening == Opening::New && !self.request.history.is_empty();
        self.stage = Stage::Open(self.link.request(method, &params), opening);
    }

    pub(super) fn prompt(&mut self) {
        let mut prompt = Vec::new();
        if self.retell {
            prompt.push(json!({"type": "text", "text": retold(&self.request)}));
        }
        prompt.push(json!({"type": "text", "text": self.request.prompt}));
        let params = json!({"sessionId": self.link.session, "prompt": prompt});
        self.stage = Stage::Prompt(self.link.request("session/prompt", &params));
    }

    /// Has the agent take what the session chose, one thing after the other; then it is asked.
    pub(super) fn choose(&mut self) {
        for what in What::ALL {
            let wanted = match self.wanted(what) {
                Ok(wanted) => wanted,
                Err(failure) => return self.refuse(failure),
            };
            let session = self.link.session.as_deref().unwrap_or_default();
            let choice = self.link.choices.of(what);
            if let (Some(value), Some(choice)) = (wanted, choice) {
                let (method, params) = choice.request(what, session, &value);
                self.stage = Stage::Choose(self.link.request(method, &params), what);
                return;
            }
        }
        self.prompt();
    }

    /// What is to be chosen that is not in force: what the session says, or, when it has ceased to
    /// say anything, what the agent began with.
    fn wanted(&self, what: What) -> Result<Option<String>, Failure> {
        let wish = &self.request.params[what.name()];
        let choice = self.link.choices.of(what);
        let (allowed, offered) = match what {
            What::Mode => (&self.config.modes, choice),
            What::Model => (&self.config.models, choice),
        };
        let may = |value: &str| {
            let offers = offered.is_some_and(|it| it.offered.iter().any(|it| it == value));
            offers && allowed.iter().any(|it| it == value)
        };
        let value = match (wish, choice) {
            (Value::Null, None) => return Ok(None),
            (Value::Null, Some(choice)) => choice.began(),
            (Value::String(value), _) if may(value) => value,
            (wish, _) => {
                let wish = wish
                    .as_str()
                    .map_or_else(|| wish.to_string(), str::to_owned);
                return Err(Failure::Choice {
                    what: what.name(),
                    value: wish.chars().take(128).collect(),
                    offered: allowed.iter().filter(|it| may(it)).cloned().collect(),
                });
            }
        };
        let in_force = choice.is_some_and(|choice| choice.now() == value);
        Ok((!in_force).then(|| value.to_owned()))
    }

    fn chosen(&mut self, what: What, result: Result<Value, RpcError>) {
        // The params of a turn do not change.
        let wanted = self.wanted(what).ok().flatten();
        if let Err(error) = result {
            let failure = match wanted {
                Some(value) if error.code == INVALID_PARAMS => Failure::Choice {
                    what: what.name(),
                    value,
                    offered: Vec::new(),
                },
                _ => self.failure(&error),
            };
            return self.refuse(failure);
        }
        if let Some(value) = wanted {
            self.link.choices.took(what, value.clone());
            if what == What::Mode {
                self.tell(Output::Item(json!({"type": "mode", "mode": value})));
            }
        }
        self.choose();
    }

    /// The turn fails, and the agent is none the worse for it.
    fn refuse(&mut self, failure: Failure) {
        self.end = Some(End::Settled(Ending::Failed(failure)));
    }

    /// The agent does not know the session that it had.
    pub(super) fn forgotten(&mut self, why: &str) {
        let why = self.link.redactor.report(why);
        match self.config.forgotten {
            Forgotten::Fail => self.fail(Failure::Resume { message: why }),
            Forgotten::Retell => {
                let text = format!(
                    "the agent has lost this conversation ({why}); it begins a new one and is told \
                     what was said so far"
                );
                self.notice("warning", &text);
                self.open_as(Opening::New, None);
            }
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.end = Some(End::Broken(Ending::Failed(failure)));
    }

    pub(super) fn answered(&mut self, id: u64, result: Result<Value, RpcError>) {
        if self.ladder.is_some() && !matches!(self.stage, Stage::Prompt(_)) {
            // It is being ended, and asked for nothing more.
            return;
        }
        match self.stage {
            Stage::Initialize(asked) if asked == id => self.initialized(result),
            Stage::Authenticate(asked) if asked == id => match result {
                Ok(_) => self.open(),
                Err(error) => self.unauthenticated(&error),
            },
            Stage::Open(asked, opening) if asked == id => self.opened(opening, result),
            Stage::Choose(asked, what) if asked == id => self.chosen(what, result),
            Stage::Prompt(asked) if asked == id => self.settled(result),
            // Nobody asked, or nobody wants to know any more.
            Stage::Initialize(_)
            | Stage::Authenticate(_)
            | Stage::Open(..)
            | Stage::Replay { .. }
            | Stage::Choose(..)
            | Stage::Prompt(_) => self.link.noise(),
        }
    }

    pub(super) fn initialized(&mut self, result: Result<Value, RpcError>) {
        let told = match result {
            Ok(told) => told,
            Err(error) if error.code == AUTH_REQUIRED => return self.unauthenticated(&error),
            Err(error) => return self.fail(self.failure(&error)),
        };
        let version = &told["protocolVersion"];
        if version.as_u64() != Some(PROTOCOL_VERSION) {
            let message = format!("its is {version}, and {PROTOCOL_VERSION} is spoken here");
            return self.fail(Failure::Incompatible { message });
        }
        let can = &told["agentCapabilities"];
        let logins = told["authMethods"]
            .as_array()
            .into_iter()
            .flatten()
            .take(16);
        self.link.abilities = Abilities {
            load: can["loadSession"] == true,
            resume: can["sessionCapabilities"]["resume"].is_object(),
            logins: logins
                .filter_map(|login| {
                    let login = login.as_object()?;
                    let id = update::text(login, "id")?;
                    let name = update::text(login, "name").unwrap_or_else(|| id.clone());
                    Some((id, name))
                })
                .collect(),
        };
        self.open();
    }

    /// The agent wants somebody to log in.
    pub(super) fn unauthenticated(&mut self, error: &RpcError) {
        let offered = &self.link.abilities.logins;
        let silent = self.config.auth_method.as_ref();
        let silent = silent.filter(|method| offered.iter().any(|(id, _)| id == *method));
        if let (Some(method), false) = (silent, self.authenticated) {
            let params = json!({"methodId": method});
            self.authenticated = true;
            self.stage = Stage::Authenticate(self.link.request("authenticate", &params));
            return;
        }
        let said = self.link.redactor.report(error.words());
        let hint = self.config.login.as_deref();
        let hint = hint.unwrap_or("log in with the agent's own program, as the server's user");
        let message = format!("{said}; {hint}");
        let methods = offered.iter().map(|(_, name)| name.clone()).collect();
        self.fail(Failure::Auth { message, methods });
    }

    pub(super) fn opened(&mut self, opening: Opening, result: Result<Value, RpcError>) {
        let told = match result {
            Ok(told) => told,
            Err(error) if error.code == AUTH_REQUIRED => return self.unauthenticated(&error),
            Err(error) if opening != Opening::New => return self.forgotten(error.words()),
            Err(error) => return self.fail(self.failure(&error)),
        };
        let session = match opening {
            Opening::New => told["sessionId"].as_str().map(str::to_owned),
            Opening::Load | Opening::Resume => self.request.bound.clone(),
        };
        let usable = |id: &String| (1..=AGENT_ID_BYTES_MAX).contains(&id.len());
        let Some(session) = session.filter(usable) else {
            let message = "the agent opened a session without a name".to_owned();
            return self.fail(Failure::Reported { message });
        };
        if opening == Opening::New {
            let id = session.clone();
            self.tell(Output::Bound { id });
        }
        self.link.choices = Choices::read(&told);
        if let Some(mode) = self.link.choices.of(What::Mode) {
            let mode = mode.now().to_owned();
            self.tell(Output::Item(json!({"type": "mode", "mode": mode})));
        }
        self.link.session = Some(session);
        if opening == Opening::Load {
            let now = Instant::now();
            self.stage = Stage::Replay {
                quiet_at: now + REPLAY_QUIET,
                over_at: now + REPLAY_MAX,
            };
            return;
        }
        self.choose();
    }

    pub(super) fn settled(&mut self, result: Result<Value, RpcError>) {
        self.settle();
        let cancelling = self.ladder.is_some();
        let ending = match result {
            Ok(told) => {
                if let Some(usage) = update::turn_usage(&told["usage"]) {
                    self.tell(Output::Item(usage));
                }
                match told["stopReason"].as_str() {
                    Some("cancelled") if cancelling => Ending::Cancelled { forced: false },
                    Some(reason) => Ending::Done {
                        stop_reason: Some(reason.chars().take(64).collect()),
                    },
                    None => Ending::Failed(Failure::NoResult),
                }
            }
            Err(_) if cancelling => Ending::Cancelled { forced: false },
            Err(error) if error.code == AUTH_REQUIRED => return self.unauthenticated(&error),
            Err(error) => Ending::Failed(self.failure(&error)),
        };
        self.end = Some(End::Settled(ending));
    }

    /// An error of the agent's as a failure, without secrets.
    pub(super) fn failure(&self, error: &RpcError) -> Failure {
        failure_of(error, &self.link.redactor)
    }
}

/// What was said so far, for an agent that does not remember it: the end of it, if it is long.
fn retold(request: &Request) -> String {
    let mut told = VecDeque::new();
    let mut bytes = 0;
    for exchange in request.history.iter().rev() {
        let said = format!(
            "User: {}\n\nAssistant: {}\n\n",
            exchange.prompt, exchange.text
        );
        bytes += said.len();
        if bytes > RETOLD_BYTES_MAX {
            if told.is_empty() {
                let from = said.ceil_char_boundary(said.len() - RETOLD_BYTES_MAX);
                told.push_front(format!("[…]{}", &said[from..]));
            }
            break;
        }
        told.push_front(said);
    }
    let told: String = told.into_iter().collect();
    format!("What was said before in this conversation, for you to go on from:\n\n{told}")
}

/// An error of the agent's as a failure, without secrets.
fn failure_of(error: &RpcError, redactor: &Redactor) -> Failure {
    let data = error.data.as_ref();
    Failure::Rpc {
        code: error.code,
        message: redactor.report(error.words()),
        data: data.map(|data| redactor.report(&data.to_string())),
        status: error.status(),
    }
}
