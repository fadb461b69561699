//! `sessions transcript` and `export`.

use std::{
    fs::File,
    io::{Write, stdout},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use evenkeel::wire::SessionId;
use serde_json::Value;

use super::{Server, text};
use crate::{exit::Failure, table, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct TranscriptArgs {
    session: SessionId,
    /// Only turns above this position of the log
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: u64,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn transcript(args: &TranscriptArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let mut after = args.after;
    loop {
        let path = format!("/v1/sessions/{}/transcript?after={after}", args.session);
        let page = api.get(&path).await?;
        for turn in page["turns"].as_array().into_iter().flatten() {
            if args.server.json {
                terminal::print(&turn.to_string());
            } else {
                show(turn);
            }
        }
        match page["next"].as_u64() {
            Some(next) if next > after => after = next,
            Some(_) | None => return Ok(()),
        }
    }
}

fn show(turn: &Value) {
    for line in text(&turn["prompt"]).lines() {
        terminal::print(&format!("> {}", terminal::plain(line)));
    }
    for line in turn["text"].as_str().unwrap_or("").lines() {
        terminal::print(&terminal::plain(line));
    }
    if turn["truncated"] == true {
        terminal::print("(more was said)");
    }
    let state = text(&turn["state"]);
    if state != "done" {
        let why = turn["fault"]["message"].as_str().unwrap_or("");
        terminal::print(&table::plain_line(&format!("({state}) {why}")));
    }
    terminal::print("");
}

/// What a session is written as.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// The log, an event a line
    Jsonl,
    /// The transcript
    Markdown,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    session: SessionId,
    /// What to write it as
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Where to; absent means stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn export(args: &ExportArgs) -> Result<(), Failure> {
    let api = args.server.api()?;
    let format = match args.format {
        Format::Jsonl => "jsonl",
        Format::Markdown => "markdown",
    };
    let path = format!("/v1/sessions/{}/export?format={format}", args.session);
    let Some(target) = &args.output else {
        api.download(&path, &mut stdout()).await?;
        return Ok(());
    };
    // Under its own name only once it is whole.
    let part = beside(target);
    let failed = |error: std::io::Error| Failure::temporary(format!("{}: {error}", part.display()));
    let mut file = File::create(&part).map_err(failed)?;
    let done = api.download(&path, &mut file).await;
    let done = done.and_then(|()| file.flush().map_err(failed));
    let done = done.and_then(|()| std::fs::rename(&part, target).map_err(failed));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}

fn beside(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}
