//! A model's HTTP endpoint: what the `openai` and `anthropic` providers share.
//!
//! One turn is one answer: a request goes out, server-sent events come back ([`sse`]), a dialect's
//! reader turns them into what is said ([`said`]), and [`answer`] tells it. [`tries`] is the one
//! layer that asks again, and tells it each time. Success is never assumed: an answer is done when
//! the endpoint has said why it ended, and not otherwise.
//!
//! No request goes anywhere but to the configured address ([`address`]): no redirect is followed, no
//! proxy taken from the environment.

mod address;
mod answer;
mod call;
mod config;
mod later;
mod refusal;
pub(crate) mod said;
mod secret;
pub(crate) mod sse;
mod tries;

use std::sync::Arc;

use reqwest::{
    Client, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
        USER_AGENT,
    },
    redirect, retry,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use serde_json::{Map, Value};

pub use address::{BadUrl, BaseUrl};
pub use config::{Clocks, Config, Key};
pub use secret::Secret;

use crate::{
    Attempt, Control, Failure, Outcome, Output, Request, Sink, anthropic,
    limits::{CONNECT_MAX, ERROR_BODY_MAX},
    openai::{chat, responses},
    process::redact::Redactor,
};
use said::Said;
use sse::Event;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    /// A header is none.
    #[error("the header {0:?} has a name or a value that HTTP does not take")]
    Header(String),
    /// The key has characters that no header may have.
    #[error("the key has characters that HTTP does not take")]
    Key,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// How an endpoint is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Messages,
}

impl Dialect {
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => chat::PATH,
            Self::Responses => responses::PATH,
            Self::Messages => anthropic::PATH,
        }
    }

    fn body(self, request: &Request, model: &str, system: Option<&str>) -> Value {
        match self {
            Self::Chat => chat::body(request, model, system),
            Self::Responses => responses::body(request, model, system),
            Self::Messages => anthropic::body(request, model, system),
        }
    }

    fn reader(self) -> Reader {
        match self {
            Self::Chat => Reader::Chat(chat::Reader::default()),
            Self::Responses => Reader::Responses(responses::Reader::default()),
            Self::Messages => Reader::Messages(anthropic::Reader::default()),
        }
    }

    /// The header that carries `key`.
    fn key_header(self, key: &str) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            Self::Chat | Self::Responses => (AUTHORIZATION, format!("Bearer {key}")),
            Self::Messages => (HeaderName::from_static("x-api-key"), key.to_owned()),
        };
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

#[derive(Debug)]
enum Reader {
    Chat(chat::Reader),
    Responses(responses::Reader),
    Messages(anthropic::Reader),
}

impl Reader {
    fn read(&mut self, event: &Event, said: &mut Vec<Said>) -> Result<(), Failure> {
        match self {
            Self::Chat(reader) => reader.read(event, said),
            Self::Responses(reader) => reader.read(event, said),
            Self::Messages(reader) => reader.read(event, said),
        }
    }
}

/// An endpoint that can be asked.
#[derive(Debug)]
pub(crate) struct Endpoint {
    config: Config,
    dialect: Dialect,
    client: Client,
    redactor: Redactor,
}

impl Endpoint {
    pub(crate) fn new(config: Config, dialect: Dialect) -> Result<Self, BadConfig> {
        let client = client(&config, headers(&config, dialect)?)?;
        let redactor = Redactor::new(&secrets(&config));
        Ok(Self {
            config,
            dialect,
            client,
            redactor,
        })
    }

    /// One attempt at one turn.
    pub(crate) fn run(
        this: Arc<Self>,
        request: Request,
        control: Control,
        mut sink: Sink,
    ) -> Attempt {
        Box::pin(async move {
            let started = sink.send(Output::Started { pid: None }).await;
            let ended = match started {
                Ok(()) => tries::run(&this, &request, control, sink).await,
                Err(stopped) => Err(stopped),
            };
            // The runner knows why nothing more was taken.
            ended.unwrap_or(Outcome::failed(Failure::Dropped))
        })
    }

    /// The body of the request that asks for `request`'s answer.
    fn body(&self, request: &Request) -> Value {
        let wanted = request.params.get("model").and_then(Value::as_str);
        let offered = |wanted: &&str| self.config.models.iter().any(|model| model == wanted);
        let model = wanted.filter(offered).unwrap_or(&self.config.model);
        let mut body = self
            .dialect
            .body(request, model, self.config.system.as_deref());
        if let Some(members) = body.as_object_mut() {
            overlay(members, &self.config.body);
        }
        body
    }
}

impl Endpoint {
    /// Whether the model was given a tool of this name; whatever it calls is known if it was given
    /// none by name.
    fn knows_tool(&self, name: &str) -> bool {
        let tools = self.config.body.get("tools").and_then(Value::as_array);
        let name_of = |tool: &Value| {
            let named = tool.pointer("/function/name").or_else(|| tool.get("name"));
            named.and_then(Value::as_str).map(str::to_owned)
        };
        let mut names = tools.into_iter().flatten().filter_map(name_of).peekable();
        names.peek().is_none() || names.any(|tool| tool == name)
    }
}

fn overlay(members: &mut Map<String, Value>, over: &Map<String, Value>) {
    for (name, value) in over {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
}

/// What must not be told, under names that the redactor knows for secrets'.
fn secrets(config: &Config) -> Vec<(String, String)> {
    let key = match &config.key {
        Key::Known(key) => Some(key.reveal().to_owned()),
        Key::None | Key::Missing(_) => None,
    };
    let headers = config.headers.iter();
    let headers = headers.flat_map(|(_, value)| {
        let whole = value.reveal();
        // Of `Bearer KEY` the key alone is one, too.
        let bare = whole
            .split_once(' ')
            .map(|(_, bare)| bare.trim().to_owned());
        [Some(whole.to_owned()), bare].into_iter().flatten()
    });
    let secrets = key.into_iter().chain(headers);
    secrets.map(|value| ("KEY".to_owned(), value)).collect()
}

fn headers(config: &Config, dialect: Dialect) -> Result<HeaderMap, BadConfig> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let version = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(version));
    if dialect == Dialect::Messages {
        let version = HeaderValue::from_static(anthropic::VERSION);
        headers.insert("anthropic-version", version);
    }
    if let Key::Known(key) = &config.key {
        let (name, value) = dialect.key_header(key.reveal()).ok_or(BadConfig::Key)?;
        headers.insert(name, value);
    }
    for (name, value) in &config.headers {
        let bad = || BadConfig::Header(name.clone());
        let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.insert(HeaderName::try_from(name).map_err(|_| bad())?, value);
    }
    Ok(headers)
}

fn client(config: &Config, headers: HeaderMap) -> Result<Client, BadConfig> {
    let bad = |error: &dyn std::fmt::Display| BadConfig::Client(error.to_string());
    // A machine without certificates may still ask an endpoint without TLS.
    let mut roots = RootCertStore::empty();
    if config.base_url.is_https() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .no_proxy()
        .referer(false)
        .https_only(config.base_url.is_https())
        .connect_timeout(CONNECT_MAX)
        .dns_resolver(Arc::new(config.base_url.resolver()))
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| bad(&error))
}

/// What an endpoint answers when it is asked for its models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// It lists these models.
    Models(Vec<String>),
    /// It is there, and does not say which models it has.
    NoList {
        /// What it answers instead.
        status: u16,
    },
    /// It does not let us in.
    NotLetIn {
        /// What it answers.
        status: u16,
        /// Its words, redacted.
        message: String,
    },
    /// It cannot be reached.
    Unreachable {
        /// Why.
        why: String,
    },
}

/// Asks the endpoint of `config` which models it has, within a few seconds.
///
/// # Errors
/// When `config` cannot be used.
pub async fn probe(config: &Config, anthropic: bool) -> Result<Probe, BadConfig> {
    let dialect = if anthropic {
        Dialect::Messages
    } else {
        Dialect::Chat
    };
    let endpoint = Endpoint::new(config.clone(), dialect)?;
    let asked = endpoint.client.get(config.base_url.at("models")).send();
    let within = CONNECT_MAX + ERROR_BODY_MAX;
    Ok(match tokio::time::timeout(within, asked).await {
        Err(_) => Probe::Unreachable {
            why: format!("it has not answered for {} s", within.as_secs()),
        },
        Ok(Err(error)) => Probe::Unreachable {
            why: call::network(&endpoint, &error).to_string(),
        },
        Ok(Ok(response)) => match response.status() {
            StatusCode::OK => {
                let body = refusal::read_body(response).await;
                models(&body).map_or(Probe::NoList { status: 200 }, Probe::Models)
            }
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let message = refusal::message(&endpoint, &refusal::read_body(response).await);
                let status = status.as_u16();
                Probe::NotLetIn { status, message }
            }
            status => Probe::NoList {
                status: status.as_u16(),
            },
        },
    })
}

fn models(body: &str) -> Option<Vec<String>> {
    let body: Value = serde_json::from_str(body).ok()?;
    let listed = body.get("data")?.as_array()?;
    let name = |model: &Value| model.get("id").and_then(Value::as_str).map(str::to_owned);
    Some(listed.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_s_key_is_a_secret_without_its_scheme_too_a67() {
        let url = BaseUrl::parse("http://127.0.0.1:1/v1", true).expect("a URL");
        let mut config = Config::new(url, "model");
        let value = Secret::new("Bearer canary-one".to_owned());
        config.headers.push(("authorization".to_owned(), value));
        let redactor = Redactor::new(&secrets(&config));
        assert_eq!(
            redactor.redact("no such key: 'canary-one'"),
            "no such key: '[redacted]'"
        );
    }
}
