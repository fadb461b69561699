//! The benchmarks: what Evenkeel costs, beside the bare thing, in one run.
//!
//! A shared machine has no absolute figures: every cost is a ratio to a baseline that runs in the same
//! minute on the same machine, or CPU time a unit. What is measured is the shipped binary, as
//! processes; a baseline is the smallest program that does the same without the promises. Ours and the
//! baseline take turns, so that whatever else the machine does strikes both.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark looks for one thing among many"
)]

mod append;
pub mod baseline;
mod batched;
mod bench;
mod black_hole;
pub mod calls;
mod capacity;
mod fan_out;
mod forwarding;
mod herd;
mod listings;
mod memory;
mod outage;
mod process;
mod replay;
mod results;
mod resume;
mod samples;
pub mod swarm;
pub mod turns;

use std::path::PathBuf;

use anyhow::Result;

use bench::Bench;
pub use results::{Measured, Report};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `evenkeel` binary.
    pub exe: PathBuf,
    /// Where everything of the run is kept.
    pub dir: PathBuf,
    /// Benchmarks whose name contains one of these; empty means all.
    pub only: Vec<String>,
    /// Takes a tenth of the samples.
    pub quick: bool,
}

/// Results that one set-up gives.
#[derive(Debug, Clone, Copy)]
enum Family {
    Resume,
    Outage,
    Herd,
    BlackHole,
    Capacity,
    Memory,
    Append,
    Batched,
    FanOut,
    Replay,
    Listings,
    Forwarding,
    Turns,
}

impl Family {
    const ALL: [Self; 13] = [
        Self::Resume,
        Self::Outage,
        Self::Herd,
        Self::BlackHole,
        Self::Capacity,
        Self::Memory,
        Self::Append,
        Self::Batched,
        Self::FanOut,
        Self::Replay,
        Self::Listings,
        Self::Forwarding,
        Self::Turns,
    ];

    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Resume => &["resume_after_reset"],
            Self::Outage => &["first_event_after_outage"],
            Self::Herd => &[
                "herd_attempts_peak",
                "herd_last_back",
                "herd_bystander",
                "herd_lone_client",
            ],
            Self::BlackHole => &["black_hole_told_client", "black_hole_told_server"],
            Self::Capacity => &["at_capacity_told"],
            Self::Memory => &["memory_idle_session"],
            Self::Append => &["append_delivered"],
            Self::Batched => &["batched_events"],
            Self::FanOut => &["fan_out_500"],
            Self::Replay => &["replay_10000"],
            Self::Listings => &[
                "list_1000000_all",
                "list_1000000_project",
                "list_1000000_projects",
            ],
            Self::Forwarding => &[
                "forward_cost",
                "forward_cost_whole",
                "forward_per_core",
                "forward_delay",
                "forward_delay_wide",
                "join_first_frame",
                "memory_media_session",
            ],
            Self::Turns => &[
                "turns_first_token",
                "turns_word",
                "turns_cpu",
                "turns_echo_cpu",
                "turns_process_cpu",
            ],
        }
    }

    async fn run(self, bench: &Bench<'_>) -> Result<Vec<Measured>> {
        match self {
            Self::Resume => resume::run(bench).await,
            Self::Outage => outage::run(bench).await,
            Self::Herd => herd::run(bench).await,
            Self::BlackHole => black_hole::run(bench).await,
            Self::Capacity => capacity::run(bench).await,
            Self::Memory => memory::run(bench).await,
            Self::Append => append::run(bench).await,
            Self::Batched => batched::run(bench).await,
            Self::FanOut => fan_out::run(bench).await,
            Self::Replay => replay::run(bench).await,
            Self::Listings => listings::run(bench).await,
            Self::Forwarding => forwarding::run(bench).await,
            Self::Turns => turns::run(bench).await,
        }
    }
}

/// Runs the benchmarks; `told` is called with progress for a person.
///
/// # Errors
/// When what is asked for does not exist. What could not be measured, or kept to no target, is in the
/// report.
pub async fn run(options: &Options, told: impl Fn(&str)) -> Result<Report> {
    let bench = Bench {
        options,
        told: &told,
    };
    let wanted = |name: &str| {
        options.only.is_empty() || options.only.iter().any(|only| name.contains(only.as_str()))
    };
    let mut results = Vec::new();
    for family in Family::ALL {
        let names: Vec<_> = family.names().iter().filter(|name| wanted(name)).collect();
        if names.is_empty() {
            continue;
        }
        for name in &names {
            told(&format!("measuring {name}"));
        }
        let measured = Box::pin(family.run(&bench)).await.unwrap_or_else(|error| {
            let missing = |name: &&&str| Measured::missing(name, &format!("{error:#}"));
            names.iter().map(missing).collect()
        });
        for result in measured.into_iter().filter(|result| wanted(&result.name)) {
            told(&result.line());
            results.push(result);
        }
    }
    anyhow::ensure!(!results.is_empty(), "no benchmark has such a name");
    Ok(Report {
        version: 1,
        results,
    })
}
