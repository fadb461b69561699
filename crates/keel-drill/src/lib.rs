//! The drill: real processes, real faults, and an oracle that shares no code with what it judges.
//!
//! A row counts only if work was in flight when the fault landed. Servers and clients are processes of
//! the `evenkeel` binary; the network between them is a proxy that breaks on command; what was written
//! is known from files that the drilled program keeps outside Evenkeel.
#![expect(
    clippy::large_futures,
    clippy::wildcard_enum_match_arm,
    reason = "an oracle looks for one thing among many, and a row's future lives once"
)]

pub mod agent;
mod client;
pub mod endpoint;
mod heart;
mod ledger;
mod mutant;
mod pictures;
pub mod proxy;
mod raw;
mod results;
mod rig;
mod rows;
pub mod server;
mod spoil;
mod turn;
pub mod udp;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;

pub use mutant::Mutant;
pub use results::{Leaked, MutantCount, Report, Row, Summary};

/// What to drill.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `evenkeel` binary.
    pub exe: PathBuf,
    /// Where everything of the drill is kept while it runs.
    pub dir: PathBuf,
    /// Rows whose id contains one of these; empty means all.
    pub only: Vec<String>,
    /// How long the heart beats.
    pub heart: Duration,
    /// Rows at once; the heart is always alone.
    pub parallel: usize,
    /// Runs each row once more with its mutant planted.
    pub mutants: bool,
    /// For everything that is random.
    pub seed: u64,
    /// How often each row is run; what is told of it is the worst.
    pub times: u32,
}

/// Runs the drill; `told` is called with progress for a person.
///
/// # Errors
/// When it could not be run at all; what did not hold is in the report.
pub async fn run(options: &Options, told: impl Fn(&str)) -> Result<Report> {
    let wanted = |id: &str| {
        options.only.is_empty() || options.only.iter().any(|only| id.contains(only.as_str()))
    };
    let mut rows = Vec::new();
    if wanted("heart") {
        let mut row = heart::run(options, None, &told).await?;
        if options.mutants {
            let spoiled = heart::run(options, Some(heart::MUTANT), &told).await?;
            row.mutant_found = Some(heart::MUTANT.shows_in(&spoiled));
        }
        rows.push(row);
    }
    rows.extend(Box::pin(rows::run(options, wanted, &told)).await?);
    Ok(Report::of(rows))
}
