//! `doctor`: what will not work with this configuration on this machine, and what to do about it.
//!
//! It looks and changes nothing that is kept. Every wait has a deadline; a server that runs on the
//! same configuration is recognised, not disturbed.

mod agents;
mod files;
mod machine;
mod models;
mod network;
mod relays;

use std::{path::PathBuf, process::ExitCode};

use keel_server::{
    Config,
    config::{Source, Store},
};
use serde::Serialize;

use crate::{
    exit::{FAILED, Failure},
    terminal::{self, Tone},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; `evenkeel.toml` is read where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints one JSON array of findings
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// It will work.
    Ok,
    /// It may not work for everybody.
    Warn,
    /// It will not work.
    Fail,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.add(check, Level::Ok, says.into(), None);
    }

    fn warn(&mut self, check: &'static str, says: impl Into<String>, next: impl Into<String>) {
        self.add(check, Level::Warn, says.into(), Some(next.into()));
    }

    fn fail(&mut self, check: &'static str, says: impl Into<String>, next: impl Into<String>) {
        self.add(check, Level::Fail, says.into(), Some(next.into()));
    }

    fn add(&mut self, check: &'static str, level: Level, says: String, next: Option<String>) {
        self.findings.push(Finding {
            check,
            level,
            says,
            next,
        });
    }

    fn worst(&self) -> Level {
        let levels = || self.findings.iter().map(|finding| finding.level);
        if levels().any(|level| level == Level::Fail) {
            Level::Fail
        } else if levels().any(|level| level == Level::Warn) {
            Level::Warn
        } else {
            Level::Ok
        }
    }
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let source = match args.config {
        Some(path) => Source::File(path),
        None => Source::FileIfThere("evenkeel.toml".into()),
    };
    let mut report = Report::default();
    match Config::load(&source, std::env::vars()) {
        Ok(mut config) => {
            if config.store.path == Store::default().path {
                config.store.path = super::serve::DATA.into();
            }
            report.ok("configuration", "it can be read");
            examine(&config, &mut report).await;
        }
        Err(error) => report.fail(
            "configuration",
            error.to_string(),
            "correct that line; docs/configuration.md lists every option",
        ),
    }
    show(&report, args.json);
    Ok(match report.worst() {
        Level::Ok | Level::Warn => ExitCode::SUCCESS,
        Level::Fail => ExitCode::from(FAILED),
    })
}

async fn examine(config: &Config, report: &mut Report) {
    files::examine(config, report);
    machine::examine(config, report);
    agents::examine(config, report);
    network::examine(config, report).await;
    relays::examine(config, report).await;
    models::examine(config, report).await;
}

fn show(report: &Report, json: bool) {
    if json {
        let text = serde_json::to_string_pretty(&report.findings);
        return terminal::print(&text.unwrap_or_default());
    }
    for finding in &report.findings {
        let (word, tone) = match finding.level {
            Level::Ok => ("ok  ", Tone::Good),
            Level::Warn => ("warn", Tone::Quiet),
            Level::Fail => ("fail", Tone::Bad),
        };
        let next = finding.next.as_ref();
        let next = next.map_or_else(String::new, |next| format!("; {next}"));
        let says = terminal::plain(&format!("{}{next}", finding.says));
        terminal::print_as(tone, &format!("{word}  {:<14} {says}", finding.check));
    }
}
