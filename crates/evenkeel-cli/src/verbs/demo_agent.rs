//! A little real program that streams text, so that `dev` has one to show without anything installed.

use std::{
    io::{BufRead, Write, stdin, stdout},
    process::ExitCode,
    thread::sleep,
    time::Duration,
};

use crate::exit::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Milliseconds before each line
    #[arg(long, default_value_t = 120)]
    pace_ms: u64,
}

const LINES: &[&str] = &[
    "This text comes from a program of its own,",
    "one process a turn, started by the server",
    "and read line by line.",
    "Cut the connection while it talks:",
    "the program does not notice,",
    "and you will have every line once.",
];

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut prompt = String::new();
    let _ = stdin().lock().read_line(&mut prompt);
    let mut out = stdout();
    let head = format!("You said: {}", prompt.trim());
    let said = std::iter::once(head.as_str()).chain(LINES.iter().copied());
    for line in said {
        sleep(Duration::from_millis(args.pace_ms));
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            // Nobody reads any more.
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
