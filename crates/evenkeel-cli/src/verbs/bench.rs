//! `bench`: what Evenkeel costs, beside the bare thing; and the processes that a benchmark is made of.

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Args as ClapArgs;
use keel_bench::{Options, baseline, calls, swarm, turns};

use crate::{
    exit::{FAILED, Failure},
    terminal,
};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only benchmarks whose name contains this, as `resume` or `list_1000000`; may be given several
    /// times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Takes a tenth of the samples
    #[arg(long)]
    quick: bool,
    /// Writes what was measured to this file (docs/results.md)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keeps everything of the run in a folder in this one, which says what disk is measured; absent
    /// means where temporary files are. It is removed if every target is kept
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let exe = std::env::current_exe().map_err(Failure::unavailable)?;
    let disk = args.dir.unwrap_or_else(std::env::temp_dir);
    fs::create_dir_all(&disk).map_err(Failure::unavailable)?;
    let folder = tempfile::Builder::new()
        .prefix("evenkeel-bench-")
        .tempdir_in(disk)
        .map_err(Failure::unavailable)?;
    let options = Options {
        exe,
        dir: folder.path().to_owned(),
        only: args.only,
        quick: args.quick,
    };
    let report = keel_bench::run(&options, terminal::say)
        .await
        .map_err(|error| Failure::usage(format!("{error:#}")))?;
    terminal::print(&report.table());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(Failure::unavailable)?;
        fs::write(path, text + "\n").map_err(Failure::unavailable)?;
    }
    if report.holds() {
        return Ok(ExitCode::SUCCESS);
    }
    terminal::say(&format!(
        "what was missed is in {}",
        folder.keep().display()
    ));
    Ok(ExitCode::from(FAILED))
}

/// The bare server that a benchmark compares with.
pub(crate) async fn baseline() -> Result<ExitCode, Failure> {
    let done = baseline::main().await;
    done.map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Many cheap clients.
#[derive(Debug, ClapArgs)]
pub(crate) struct Swarm {
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long)]
    path: String,
    #[arg(long, env = "EVENKEEL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[arg(long)]
    session: Option<String>,
}

pub(crate) async fn swarm(args: Swarm) -> Result<ExitCode, Failure> {
    let swarm = swarm::Swarm {
        addr: args.addr,
        path: args.path,
        token: args.token.filter(|token| !token.is_empty()),
        session: args.session,
    };
    let done = Box::pin(swarm::main(swarm)).await;
    done.map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Readers of turns.
#[derive(Debug, ClapArgs)]
pub(crate) struct Speakers {
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long)]
    path: String,
    #[arg(long, env = "EVENKEEL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    #[arg(long)]
    backend: Option<String>,
}

pub(crate) async fn speakers(args: Speakers) -> Result<ExitCode, Failure> {
    let speakers = turns::Speakers {
        addr: args.addr,
        path: args.path,
        token: args.token.filter(|token| !token.is_empty()),
        backend: args.backend,
    };
    let done = Box::pin(turns::main(speakers)).await;
    done.map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}

/// Participants with media.
#[derive(Debug, ClapArgs)]
pub(crate) struct Calls {
    #[arg(long)]
    addr: SocketAddr,
    #[arg(long, env = "EVENKEEL_TOKEN", hide_env_values = true)]
    token: String,
}

pub(crate) async fn calls(args: Calls) -> Result<ExitCode, Failure> {
    let Calls { addr, token } = args;
    let done = Box::pin(calls::main(calls::Calls { addr, token })).await;
    done.map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}
