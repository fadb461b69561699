//! `completions`: a script for a shell.

use std::process::ExitCode;

use clap::{CommandFactory, ValueEnum};
use clap_complete::{Generator, Shell as Known};

use crate::{Cli, exit::Failure, terminal};

/// The shells that are known.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell; each reads it from a place of its own, see the first lines of `--help`
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let mut command = Cli::command();
    command.set_bin_name("evenkeel");
    command.build();
    let mut script = Vec::new();
    shell
        .try_generate(&command, &mut script)
        .map_err(|error| Failure::temporary(format!("no script: {error}")))?;
    terminal::write(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
