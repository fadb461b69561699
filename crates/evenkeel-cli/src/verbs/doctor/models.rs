//! Models' servers: whether each is there, lets us in, and has the model.

use keel_agent::endpoint::{Config as Endpoint, Key, Probe, probe};
use keel_server::{
    Config,
    config::{Backend, BackendKind},
};

use super::Report;

/// Names of models that are told where the wanted one is missing.
const NAMED_MAX: usize = 8;

pub(super) async fn examine(config: &Config, report: &mut Report) {
    for (name, backend) in &config.backends {
        // One that makes no sense was refused with its configuration.
        if let Ok(Some(endpoint)) = backend.endpoint() {
            let is_anthropic = backend.kind == BackendKind::Anthropic;
            one(name, backend, &endpoint, is_anthropic, report).await;
        }
    }
}

async fn one(
    name: &str,
    backend: &Backend,
    endpoint: &Endpoint,
    is_anthropic: bool,
    report: &mut Report,
) {
    let host = endpoint.base_url.host();
    if let Key::Missing(variable) = &endpoint.key {
        report.fail(
            "model",
            format!("{name}: the environment variable {variable} is not set"),
            "set it where the server runs, or name another by `api_key_env`",
        );
        return;
    }
    let found = match probe(endpoint, is_anthropic).await {
        Ok(found) => found,
        Err(bad) => {
            let next = "correct the backend's `headers`, or the variable that its key is in";
            return report.fail("model", format!("{name}: {bad}"), next);
        }
    };
    let next_there = if endpoint.local {
        "start the model's server there (Ollama: `ollama serve`), or correct `base_url`"
    } else {
        "see that `base_url` is right and that this machine gets there"
    };
    match found {
        Probe::Unreachable { why } => report.fail("model", format!("{name}: {why}"), next_there),
        Probe::NotLetIn { status, message } => report.fail(
            "model",
            format!("{name}: {host} answers {status}: {message}"),
            "see that the key is right; `api_key_env` names the variable that it is in",
        ),
        Probe::NoList { status } => report.warn(
            "model",
            format!("{name}: {host} answers, and does not list its models ({status})"),
            "say something to a session of it to see whether its model is there",
        ),
        Probe::Models(models) => listed(name, backend, endpoint, &models, report),
    }
}

/// The server lists its models: are ours among them?
fn listed(
    name: &str,
    backend: &Backend,
    endpoint: &Endpoint,
    models: &[String],
    report: &mut Report,
) {
    let host = endpoint.base_url.host();
    // Ollama lists `llama3:latest` and takes `llama3`.
    let has = |wanted: &String| {
        models
            .iter()
            .any(|model| model == wanted || model.strip_suffix(":latest") == Some(wanted))
    };
    let missing = backend
        .model
        .iter()
        .chain(&backend.models)
        .find(|model| !has(model));
    match missing {
        None => report.ok("model", format!("{name}: {host} has {}", endpoint.model)),
        Some(model) => {
            let named: Vec<&str> = models.iter().take(NAMED_MAX).map(String::as_str).collect();
            let more = models.len().saturating_sub(named.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let next = match endpoint.local {
                true => format!("fetch it there (Ollama: `ollama pull {model}`), or take another"),
                false => "take one that it lists".to_owned(),
            };
            report.fail(
                "model",
                format!(
                    "{name}: {host} has no model {model:?}, but {}{more}",
                    named.join(", ")
                ),
                next,
            );
        }
    }
}
