//! A backend that is a model's server: what its options come to, with its preset.

use std::time::Duration;

use keel_agent::{
    anthropic,
    endpoint::{BaseUrl, Clocks, Config, Key, Secret},
    openai,
};

use super::{Backend, BackendKind};

/// Most calls in one attempt that may be configured.
const TRIES_MAX: u32 = 10;
/// Longest clock of a stream that may be configured.
const CLOCK_MAX: Duration = Duration::from_secs(3_600);

/// What a preset presets.
struct Preset {
    base_url: &'static str,
    key_env: Option<&'static str>,
    headers: &'static [(&'static str, &'static str)],
    local: bool,
}

const OPENAI: Preset = Preset {
    base_url: openai::BASE_URL,
    key_env: Some(openai::KEY_ENV),
    headers: &[],
    local: false,
};
const ANTHROPIC: Preset = Preset {
    base_url: anthropic::BASE_URL,
    key_env: Some(anthropic::KEY_ENV),
    ..OPENAI
};
const OPENROUTER: Preset = Preset {
    base_url: "https://openrouter.ai/api/v1",
    key_env: Some("OPENROUTER_API_KEY"),
    headers: &[("x-title", "Evenkeel")],
    local: false,
};
/// Ollama's own port.
const LOCAL: Preset = Preset {
    base_url: "http://127.0.0.1:11434/v1",
    key_env: None,
    headers: &[],
    local: true,
};

/// An option, and what is wrong with it.
type Wrong = (&'static str, String);

impl Backend {
    /// What it comes to if it is a model's server; the key is taken from this process's environment.
    ///
    /// # Errors
    /// When an option makes no sense; it says which.
    pub fn endpoint(&self) -> Result<Option<Config>, Wrong> {
        let preset = match (self.kind, self.preset.as_deref()) {
            (BackendKind::OpenAi, None) => OPENAI,
            (BackendKind::OpenAi, Some("openrouter")) => OPENROUTER,
            (BackendKind::OpenAi | BackendKind::Anthropic, Some("local")) => LOCAL,
            (BackendKind::Anthropic, None) => ANTHROPIC,
            (BackendKind::OpenAi, Some(_)) => {
                return Err(("preset", "want `openrouter` or `local`".to_owned()));
            }
            (BackendKind::Anthropic, Some(_)) => return Err(("preset", "want `local`".to_owned())),
            (
                BackendKind::Echo
                | BackendKind::Process
                | BackendKind::Acp
                | BackendKind::Fallback
                | BackendKind::Passthrough
                | BackendKind::Room,
                _,
            ) => return Ok(None),
        };
        let url = self.base_url.as_deref().unwrap_or(preset.base_url);
        let base_url = BaseUrl::parse(url, preset.local);
        let base_url = base_url.map_err(|bad| ("base_url", format!("{url:?} {bad}")))?;
        let model = self.model.clone().filter(|model| !model.is_empty());
        let model =
            model.ok_or_else(|| ("model", "a model's server wants a `model`".to_owned()))?;
        let mut config = Config::new(base_url, model);
        config.models.clone_from(&self.models);
        // A key is only for the place that it is usually for, or for the one it was named for.
        let usual = preset.key_env.filter(|_| self.base_url.is_none());
        let key_env = self.api_key_env.as_deref().or(usual);
        config.key = key_env.map_or(Key::None, Key::from_env);
        let given = |name: &str| {
            self.headers
                .keys()
                .any(|own| own.eq_ignore_ascii_case(name))
        };
        let preset_headers = preset.headers.iter().filter(|(name, _)| !given(name));
        config.headers = preset_headers
            .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())))
            .chain(self.headers.clone())
            .collect();
        config.system.clone_from(&self.system);
        config.body.clone_from(&self.body);
        config.local = preset.local;
        if let Some(tries) = self.tries {
            if !(1..=TRIES_MAX).contains(&tries) {
                return Err(("tries", format!("want 1 to {TRIES_MAX}")));
            }
            config.tries = tries;
        }
        config.retry_after_text = self.retry_after_text;
        config.clocks = self.endpoint_clocks(preset.local)?;
        Ok(Some(config))
    }

    fn endpoint_clocks(&self, local: bool) -> Result<Clocks, Wrong> {
        let usual = if local {
            Clocks::local()
        } else {
            Clocks::default()
        };
        let clock = |option: &'static str, ms: Option<u64>, usual: Duration| {
            let span = ms.map_or(usual, Duration::from_millis);
            if span.is_zero() || span > CLOCK_MAX {
                let most = CLOCK_MAX.as_millis();
                return Err((option, format!("want 1 to {most} milliseconds")));
            }
            Ok(span)
        };
        Ok(Clocks {
            first_byte: clock("first_byte_ms", self.first_byte_ms, usual.first_byte)?,
            idle: clock("stream_idle_ms", self.stream_idle_ms, usual.idle)?,
            whole: Duration::from_millis(self.clocks.whole_ms),
            ..usual
        })
    }

    /// The models that a session may have, its usual one first. An agent's usual one is its own.
    pub(crate) fn offers(&self) -> Vec<String> {
        if self.kind == BackendKind::Acp {
            return self.models.clone();
        }
        let has_models = matches!(self.kind, BackendKind::OpenAi | BackendKind::Anthropic);
        let own = self
            .model
            .iter()
            .filter(|_| has_models && !self.models.is_empty());
        let mut offers: Vec<String> = own.cloned().collect();
        if has_models {
            let others = self
                .models
                .iter()
                .filter(|model| Some(*model) != self.model.as_ref());
            offers.extend(others.cloned());
        }
        offers
    }
}
