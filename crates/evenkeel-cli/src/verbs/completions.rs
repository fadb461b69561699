//! `completions`: a script for a shell.

use std::process::ExitCode;

use clap::{Command, CommandFactory, ValueEnum};
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
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    // What is hidden is for the program itself.
    let whole = Cli::command();
    let shown = whole.get_subcommands().filter(|verb| !verb.is_hide_set());
    let mut command = Command::new("evenkeel").subcommands(shown.cloned());
    command.set_bin_name("evenkeel");
    command.build();
    let mut script = Vec::new();
    shell
        .try_generate(&command, &mut script)
        .map_err(|error| Failure::temporary(format!("no script: {error}")))?;
    terminal::write(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
