//! `drill`: real processes, real faults; and the processes that a drill is made of.

mod providers;
mod server;
mod store;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args as ClapArgs;
use evenkeel::wire::Role;
use keel_drill::{Mutant, Options, Report, agent, endpoint};

use crate::{
    exit::{FAILED, Failure},
    terminal,
};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only rows whose id contains this, as `heart` or `N01`; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// How long the heart beats, in seconds
    #[arg(long, default_value_t = 600)]
    heart_s: u64,
    /// Rows at once
    #[arg(long, default_value_t = 4)]
    parallel: usize,
    /// Runs each row once more with its mutant planted, which must turn it red
    #[arg(long)]
    mutants: bool,
    /// For everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs each row so often; what is told of it is the worst
    #[arg(long, default_value_t = 1)]
    times: u32,
    /// Writes what was found to this file (docs/results.md)
    #[arg(long)]
    json: Option<PathBuf>,
    /// Keeps everything of the drill in this folder; absent means a temporary one, removed if all holds
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let exe = std::env::current_exe().map_err(Failure::unavailable)?;
    let temporary = match &args.dir {
        Some(dir) => fs::create_dir_all(dir).map(|()| None),
        None => tempfile::Builder::new()
            .prefix("evenkeel-drill-")
            .tempdir()
            .map(Some),
    };
    let temporary = temporary.map_err(Failure::unavailable)?;
    let dir = temporary.as_ref().map(|folder| folder.path().to_owned());
    let dir = args.dir.or(dir).expect("one of them");
    let options = Options {
        exe,
        dir: dir.clone(),
        only: args.only,
        heart: Duration::from_secs(args.heart_s),
        parallel: args.parallel.max(1),
        mutants: args.mutants,
        seed: args.seed,
        times: args.times.max(1),
    };
    let report = keel_drill::run(&options, terminal::say)
        .await
        .map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    terminal::print(&report.table());
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    if report.holds() {
        return Ok(ExitCode::SUCCESS);
    }
    let dir = temporary.map_or(dir, tempfile::TempDir::keep);
    terminal::say(&format!("what failed is in {}", dir.display()));
    Ok(ExitCode::from(FAILED))
}

fn write_json(path: &Path, report: &Report) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(Failure::unavailable)?;
    fs::write(path, text + "\n").map_err(Failure::unavailable)
}

pub(crate) use server::{ServerArgs, run as server};

/// A client process of a drill.
#[derive(Debug, ClapArgs)]
pub(crate) struct Client {
    #[arg(long)]
    url: String,
    #[arg(long, env = "EVENKEEL_TOKEN", hide_env_values = true)]
    token: String,
    #[arg(long)]
    session: Option<String>,
    #[arg(long)]
    backend: Option<String>,
    #[arg(long)]
    role: Option<String>,
    #[arg(long)]
    wait: bool,
    /// With a camera and a screen
    #[arg(long)]
    camera: bool,
    /// Clients in this process
    #[arg(long, default_value_t = 1)]
    crowd: u32,
    #[arg(long, value_parser = mutant)]
    mutant: Option<Mutant>,
}

/// A mutant by its name.
fn mutant(name: &str) -> Result<Mutant, String> {
    Mutant::named(name).ok_or_else(|| format!("no mutant {name:?}"))
}

pub(crate) async fn client(args: Client) -> Result<ExitCode, Failure> {
    let role = match args.role.as_deref() {
        None | Some("owner") => Role::Owner,
        Some("publisher") => Role::Publisher,
        Some("viewer") => Role::Viewer,
        Some(other) => return Err(Failure::usage(format!("no role {other:?}"))),
    };
    let endpoint = endpoint::Endpoint {
        url: args.url,
        token: args.token,
        session: args.session,
        backend: args.backend,
        role,
        wait: args.wait,
        camera: args.camera,
        crowd: args.crowd,
        mutant: args.mutant,
    };
    let done = Box::pin(endpoint::main(endpoint)).await;
    done.map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}

/// The program behind a drill's sessions.
#[derive(Debug, ClapArgs)]
pub(crate) struct Agent {
    #[arg(long)]
    witness: PathBuf,
    #[arg(long)]
    lies: bool,
}

pub(crate) fn agent(args: Agent) -> Result<ExitCode, Failure> {
    let script = agent::Script {
        witness: args.witness,
        lines: 50,
        pace: Duration::from_millis(20),
        lies: args.lies,
    };
    agent::main(script).map_err(|error| Failure::unavailable(format!("{error:#}")))?;
    Ok(ExitCode::SUCCESS)
}
