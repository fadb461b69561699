//! `evenkeel`: a server, a client and the proofs, in one binary.
//!
//! Every verb is a file of `verbs/`; what they share is here: where a server is and with what token
//! (`target`), how a terminal is written to (`terminal`), and what an exit code says (`exit`).

mod api;
mod exit;
mod table;
mod target;
mod terminal;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::{exit::Failure, verbs::Verb};

/// Realtime sessions that survive.
#[derive(Debug, Parser)]
#[command(name = "evenkeel", version, about, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli.verb.run());
            // A thread may still wait for a line of the terminal.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(Failure::temporary(format!("cannot start: {error}"))),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            terminal::say(&format!("evenkeel: {}", failure.message));
            ExitCode::from(failure.code)
        }
    }
}
