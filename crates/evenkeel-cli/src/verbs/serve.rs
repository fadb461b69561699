//! `serve`: the server, as configured.

use std::{path::PathBuf, process::ExitCode};

use keel_server::{
    Config, Reload, Server, StartError,
    config::{Source, Store},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Where a server keeps its data that was told no place.
pub(super) const DATA: &str = "/var/lib/evenkeel";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; `evenkeel.toml` is read where there is one
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    // From here on a hang-up asks for a reload and ends nothing.
    let hangup = signal(SignalKind::hangup()).map_err(Failure::temporary)?;
    let server = bind(args).await?;
    let reloading = tokio::spawn(reload(hangup, server.reload()));
    let ran = server.run(stop()?).await.map_err(Failure::temporary);
    reloading.abort();
    ran?;
    Ok(ExitCode::SUCCESS)
}

/// A server as configured, that listens and does not answer yet.
pub(super) async fn bind(args: Args) -> Result<Server, Failure> {
    let source = match args.config {
        Some(path) => Source::File(path),
        None => Source::FileIfThere("evenkeel.toml".into()),
    };
    let mut config = Config::load(&source, std::env::vars()).map_err(Failure::config)?;
    if config.store.path == Store::default().path {
        config.store.path = DATA.into();
    }
    keel_server::init_log(&config.log);
    keel_server::adopt_orphans();
    Server::bind(config).await.map_err(|error| refused(&error))
}

async fn reload(mut hangup: Signal, reload: Reload) {
    while hangup.recv().await.is_some() {
        reload.now();
    }
}

/// Why a server did not start, as an exit code: a supervisor need not try again what is configured
/// wrong.
pub(super) fn refused(error: &StartError) -> Failure {
    match error {
        StartError::Listen { .. } | StartError::Media { .. } => Failure::unavailable(error),
        StartError::Key(_)
        | StartError::Tls(_)
        | StartError::Peer(_)
        | StartError::Backend { .. } => Failure::config(error),
        StartError::Open(_) | StartError::Store(_) | StartError::Thread(_) => {
            Failure::temporary(error)
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT; the second ends the process at once.
pub(super) fn stop() -> Result<impl Future<Output = ()>, Failure> {
    let mut term = signal(SignalKind::terminate()).map_err(Failure::temporary)?;
    let mut int = signal(SignalKind::interrupt()).map_err(Failure::temporary)?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
