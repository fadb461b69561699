//! The `openai` provider: any endpoint that speaks OpenAI's Chat Completions or Responses.
//!
//! One turn is one streamed answer. What the model calls is told, and run by nobody here.

pub(crate) mod chat;
pub(crate) mod responses;

use std::sync::Arc;

use crate::{
    Attempt, Control, Provider, Request, Sink,
    endpoint::{BadConfig, Config, Dialect, Endpoint},
};

/// The name of this kind.
pub const KIND: &str = "openai";
/// Where OpenAI's own endpoint is.
pub const BASE_URL: &str = "https://api.openai.com/v1";
/// The environment variable that usually holds its key.
pub const KEY_ENV: &str = "OPENAI_API_KEY";

/// Which of the two APIs is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    /// Chat Completions, which nearly every server speaks.
    #[default]
    Chat,
    /// Responses.
    Responses,
}

/// The provider. See the module's text.
#[derive(Debug, Clone)]
pub struct OpenAi {
    endpoint: Arc<Endpoint>,
}

impl OpenAi {
    /// A provider that asks what `config` says by `api`.
    ///
    /// # Errors
    /// When `config` cannot be used.
    pub fn new(config: Config, api: Api) -> Result<Self, BadConfig> {
        let dialect = match api {
            Api::Chat => Dialect::Chat,
            Api::Responses => Dialect::Responses,
        };
        let endpoint = Arc::new(Endpoint::new(config, dialect)?);
        Ok(Self { endpoint })
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        KIND
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        Endpoint::run(Arc::clone(&self.endpoint), request, control, sink)
    }

    fn wants_history(&self) -> bool {
        true
    }
}
