//! `sim`: the shipped machines under seeded faults, in virtual time.

use std::{
    fs,
    io::{IsTerminal, Write, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args as ClapArgs;
use keel_sim::{Options, Progress, Report};

use crate::{
    exit::{FAILED, Failure},
    terminal,
};

#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Also plants bugs, and fails if one is not found
    #[arg(long)]
    mutants: bool,
    /// Threads; 0 means one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Writes what was found to this file (docs/results.md)
    #[arg(long)]
    json: Option<PathBuf>,
    /// Prints the whole trace of this one seed instead
    #[arg(long, conflicts_with_all = ["seeds", "from", "mutants"])]
    replay: Option<u64>,
    /// Where the traces of failing seeds are kept
    #[arg(long, default_value = ".evenkeel/sim")]
    save: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if let Some(seed) = args.replay {
        return Ok(replay(seed));
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        seeds: args.from..args.from.saturating_add(args.seeds),
        threads: if args.threads == 0 {
            cores
        } else {
            args.threads
        },
        mutants: args.mutants,
    };
    let report = keel_sim::run(options, show);
    if stderr().is_terminal() {
        terminal::say("");
    }
    terminal::print(&report.to_string());
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(Failure::unavailable)?;
        fs::write(path, text + "\n").map_err(Failure::unavailable)?;
    }
    save(&args.save, &report)?;
    let missed = report.mutants.found < report.mutants.planted;
    let holds = report.violations.is_empty() && !missed;
    let failed = u64::from(!holds);
    terminal::print(&format!("{} passed, {failed} failed", u64::from(holds)));
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILED)
    })
}

fn replay(seed: u64) -> ExitCode {
    let replay = keel_sim::replay(seed, None);
    for line in &replay.lines {
        terminal::print(line);
    }
    let Some(broken) = replay.violation else {
        terminal::say(&format!(
            "seed {seed}: every law holds (trace {:016x})",
            replay.hash
        ));
        return ExitCode::SUCCESS;
    };
    terminal::say(&format!(
        "seed {seed} step {}: {}: {}",
        broken.step, broken.law, broken.what
    ));
    ExitCode::from(FAILED)
}

/// Progress on one line of a terminal; nothing where there is none.
fn show(progress: Progress) {
    if !stderr().is_terminal() {
        return;
    }
    let Progress {
        seeds,
        of,
        violations,
        mutants,
    } = progress;
    let _ = write!(
        stderr(),
        "\r{seeds}/{of} seeds, {violations} violations, {mutants} mutants found"
    );
}

fn save(folder: &Path, report: &Report) -> Result<(), Failure> {
    for violation in &report.violations {
        fs::create_dir_all(folder).map_err(Failure::unavailable)?;
        let path = folder.join(format!("{}.trace", violation.seed));
        let lines = keel_sim::replay(violation.seed, None).lines.join("\n");
        fs::write(&path, lines).map_err(Failure::unavailable)?;
        let again = format!("evenkeel sim --replay {}", violation.seed);
        terminal::say(&format!(
            "kept {}; see it again with {again}",
            path.display()
        ));
    }
    Ok(())
}
