//! The `process` provider: one program a turn, whatever the program does.
//!
//! The program gets the prompt on stdin and talks on stdout. Everything that it starts lives in one
//! cgroup where the machine has one to give, else in one process group, and carries a marker in its
//! environment; when an attempt ends, none of it is left. There is no shell anywhere: arguments are
//! the operator's, and nothing that a person or a program says becomes one.

mod cgroup;
pub(crate) mod config;
mod conversation;
pub(crate) mod json_line;
pub(crate) mod redact;
mod scan;
pub(crate) mod spawn;
pub(crate) mod status;
pub(crate) mod stderr;
mod stdin;
mod stdout;
pub(crate) mod tree;
pub(crate) mod veil;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub use config::{Clocks, Config, Environment, Limits, Stdin, Stdout};
pub use tree::{become_subreaper, has_cgroups, reap_leftovers};

use crate::{Attempt, Control, Outcome, Provider, Request, Sink};

/// The name of this kind.
pub const KIND: &str = "process";
/// In the environment of everything that a server started: the server's [`Config::owner`].
pub const NODE_MARKER: &str = "EVENKEEL_NODE";
/// In the environment of everything that an attempt started: the attempt.
pub const RUN_MARKER: &str = "EVENKEEL_RUN";

/// The provider. See the module's text.
#[derive(Debug, Clone)]
pub struct Process {
    config: Arc<Config>,
}

impl Process {
    /// A provider that runs what `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
        }
    }
}

impl Provider for Process {
    fn name(&self) -> &str {
        KIND
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        let mut config = Arc::clone(&self.config);
        if let Some(cwd) = &request.cwd {
            let config = Arc::make_mut(&mut config);
            config.cwd = Some(cwd.clone());
            config.exact_cwd = true;
        }
        Box::pin(async move {
            let run = run_marker(&request);
            match spawn::spawn(&config, run).await {
                Ok(spawned) => {
                    conversation::hold(&config, request.prompt, spawned, control, sink).await
                }
                Err(failure) => Outcome::failed(failure),
            }
        })
    }
}

/// Names an attempt for ever: no two of one server are alike, and no server's are another's.
pub(crate) fn run_marker(request: &Request) -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let n = RUNS.fetch_add(1, Ordering::Relaxed);
    format!(
        "{}-{}-{}-{n}",
        request.turn,
        request.attempt,
        std::process::id()
    )
}
