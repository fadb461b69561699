//! Which endpoint, which model, and how patient to be.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{BaseUrl, Secret};

/// Which endpoint, which model, and how patient to be. See [`Config::new`] for what is usual.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it is.
    pub base_url: BaseUrl,
    /// The model, unless the session's params name another of `models`.
    pub model: String,
    /// Models that a session may choose by its param `model`, besides.
    pub models: Vec<String>,
    /// What lets us in.
    pub key: Key,
    /// Headers that go with each request.
    pub headers: Vec<(String, Secret)>,
    /// What the model is told before everything else.
    pub system: Option<String>,
    /// Members of the request's body, over our own; null takes one of ours away.
    pub body: Map<String, Value>,
    /// It runs on this machine or network: it may have to load its model first, and what it says of
    /// itself is explained.
    pub local: bool,
    /// Most calls of the endpoint in one attempt.
    pub tries: u32,
    /// Ask again when the stream breaks after text was said: that text is then superseded. A turn
    /// that called tools is never asked again.
    pub retry_after_text: bool,
    /// How long things may take.
    pub clocks: Clocks,
}

impl Config {
    /// `model` at `base_url` with the usual settings.
    #[must_use]
    pub fn new(base_url: BaseUrl, model: impl Into<String>) -> Self {
        Self {
            base_url,
            model: model.into(),
            models: Vec::new(),
            key: Key::None,
            headers: Vec::new(),
            system: None,
            body: Map::new(),
            local: false,
            tries: 3,
            retry_after_text: false,
            clocks: Clocks::default(),
        }
    }
}

/// What lets us in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// Nothing does, and nothing has to.
    None,
    /// This.
    Known(Secret),
    /// The environment variable of this name, which is not set: each attempt fails and says so.
    Missing(String),
}

impl Key {
    /// The value of the environment variable `name`.
    #[must_use]
    pub fn from_env(name: &str) -> Self {
        match std::env::var(name) {
            Ok(value) if !value.trim().is_empty() => {
                Self::Known(Secret::new(value.trim().to_owned()))
            }
            _ => Self::Missing(name.to_owned()),
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// From a request to the first event of its answer.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// Longest wait before a retry, whatever the endpoint asks for.
    pub retry_wait: Duration,
    /// All tries and waits together: no retry begins that could not begin within it.
    pub whole: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            retry_wait: Duration::from_secs(60),
            whole: Duration::from_secs(30 * 60),
        }
    }
}

impl Clocks {
    /// For a server that may have to load its model first.
    #[must_use]
    pub fn local() -> Self {
        Self {
            first_byte: Duration::from_secs(300),
            idle: Duration::from_secs(60),
            ..Self::default()
        }
    }
}
