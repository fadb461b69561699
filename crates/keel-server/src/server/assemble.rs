//! From a configuration to what the Node is told and what serves its runs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use keel_agent::{
    Provider,
    acp::Acp,
    anthropic::Anthropic,
    echo::Echo,
    fallback::{Fallback, Link},
    openai::{self, OpenAi},
    process,
};
use keel_core::node;
use keel_store::Store;
use keel_wire::{Epoch, Seq};

use crate::{
    config::{Api, Backend, BackendKind, Config, Framing, StoreKind},
    driver::Backends,
    http::Offered,
};

pub(super) fn node_config(
    config: &Config,
    store: &dyn Store,
    secret: [u8; 32],
    ice: Option<Arc<dyn node::HandOut>>,
    serving: &Backends,
) -> node::Config {
    let fence = store.fence();
    // A memory store begins anew with each process, so its logs must not pass for older ones.
    let epoch = match config.store.kind {
        StoreKind::Sqlite => 1,
        StoreKind::Memory => crate::clock::wall() / 1_000,
    };
    let backends = config.backends.iter();
    node::Config {
        fence,
        epoch: Epoch(Seq::new(epoch).unwrap_or(Seq::ZERO)),
        secret,
        backends: backends
            .map(|(name, backend)| {
                let mut backend = backend.for_node();
                let provider = serving.get(name);
                backend.steers = provider.is_some_and(|(provider, _)| provider.steers());
                (name.clone(), backend)
            })
            .collect(),
        default_backend: config.default_backend(),
        resume_window: Duration::from_secs(config.session.resume_window_s),
        hibernate_after: Duration::from_secs(config.session.hibernate_after_s),
        retain_events: config.session.retain_events,
        frames_per_s: config.limits.frames_per_s,
        faults: config.faults.enabled,
        ice,
    }
}

/// What serves sessions, by name.
///
/// # Errors
/// When a backend cannot be made; it says which, and why.
pub(super) fn providers(
    backends: &BTreeMap<String, Backend>,
    owner: &str,
) -> Result<Backends, (String, String)> {
    let mut made: BTreeMap<String, Arc<dyn Provider>> = BTreeMap::new();
    for (name, backend) in backends {
        let provider = provider(backend, owner).map_err(|why| (name.clone(), why))?;
        made.extend(provider.map(|provider| (name.clone(), provider)));
    }
    for (name, backend) in backends {
        if backend.kind == BackendKind::Fallback {
            let link = |name: &String| {
                let provider = Arc::clone(made.get(name)?);
                let name = name.clone();
                Some(Link { name, provider })
            };
            let chain = backend.chain.iter().filter_map(link).collect();
            made.insert(name.clone(), Arc::new(Fallback::new(chain)));
        }
    }
    let with_budgets = |(name, provider): (String, Arc<dyn Provider>)| {
        let budgets = backends.get(&name)?.budgets();
        Some((name, (provider, budgets)))
    };
    Ok(made.into_iter().filter_map(with_budgets).collect())
}

/// What serves `backend`, where something does by itself.
fn provider(backend: &Backend, owner: &str) -> Result<Option<Arc<dyn Provider>>, String> {
    let endpoint = || {
        let endpoint = backend
            .endpoint()
            .map_err(|(option, why)| format!("{option}: {why}"))?;
        endpoint.ok_or_else(|| "it is no model's server".to_owned())
    };
    let provider: Arc<dyn Provider> = match backend.kind {
        BackendKind::Echo => Arc::new(Echo),
        BackendKind::Process => Arc::new(process::Process::new(command(backend, owner))),
        BackendKind::Acp => {
            let agent = backend
                .agent(owner)
                .map_err(|(option, why)| format!("{option}: {why}"))?;
            let agent = agent.ok_or_else(|| "it is no agent".to_owned())?;
            backend
                .make_home()
                .map_err(|error| format!("home: {error}"))?;
            Arc::new(Acp::new(agent))
        }
        BackendKind::OpenAi => {
            let api = match backend.api {
                Api::Chat => openai::Api::Chat,
                Api::Responses => openai::Api::Responses,
            };
            let made = OpenAi::new(endpoint()?, api);
            Arc::new(made.map_err(|bad| bad.to_string())?)
        }
        BackendKind::Anthropic => {
            let made = Anthropic::new(endpoint()?);
            Arc::new(made.map_err(|bad| bad.to_string())?)
        }
        BackendKind::Fallback | BackendKind::Passthrough | BackendKind::Room => return Ok(None),
    };
    Ok(Some(provider))
}

fn command(backend: &Backend, owner: &str) -> process::Config {
    let (program, args) = backend
        .command
        .split_first()
        .map_or((String::new(), Vec::new()), |c| (c.0.clone(), c.1.to_vec()));
    let mut config = process::Config::new(program, owner);
    config.args = args;
    config.cwd.clone_from(&backend.cwd);
    config.env.pass.extend(backend.env_pass.iter().cloned());
    config.env.set.extend(backend.env.clone());
    (config.stdin, config.stdout) = match backend.output {
        Framing::Lines => (process::Stdin::Prompt, process::Stdout::Lines),
        Framing::JsonLines => (process::Stdin::Dialogue, process::Stdout::JsonLines),
    };
    config
}

/// What whoever asks may choose from.
pub(super) fn offered(config: &Config) -> Vec<Offered> {
    let named = config.backends.iter();
    named
        .map(|(name, backend)| Offered {
            name: name.clone(),
            kind: backend.kind,
            models: backend.offers(),
            modes: backend.modes.clone(),
            cwd: !backend.cwd_roots.is_empty(),
        })
        .collect()
}
