//! `sessions ls`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Server, text};
use crate::{exit::Failure, table, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this project's; several are separated by commas
    #[arg(long)]
    project: Option<String>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// The next page, as the last one told it
    #[arg(long)]
    before: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let mut path = format!("/v1/sessions?limit={}", args.limit);
    let asked = [("projects", &args.project), ("before", &args.before)];
    for (name, value) in asked {
        if let Some(value) = value {
            path += &format!("&{name}={}", encode(value));
        }
    }
    let page = args.server.api()?.get(&path).await?;
    if args.server.json {
        terminal::print(&page.to_string());
        return Ok(());
    }
    let sessions = page["sessions"].as_array().cloned().unwrap_or_default();
    let now = now();
    let rows: Vec<Vec<String>> = sessions.iter().map(|row| cells(row, now)).collect();
    let head = [
        "SESSION", "BACKEND", "PROJECT", "SUBJECT", "STATE", "EVENTS", "ACTIVE",
    ];
    terminal::write(&table::render(&head, &rows));
    if let Some(next) = page["next"].as_str() {
        terminal::say(&format!("more: --before {next}"));
    }
    Ok(())
}

fn cells(row: &Value, now: u64) -> Vec<String> {
    let is = |name: &str| row[name].as_bool().unwrap_or(false);
    let waits = row["slot"]["place"] == "waiting";
    let state = match (is("ended"), is("open_turn"), waits) {
        (true, _, _) => "ended",
        (false, _, true) => "queued",
        (false, true, false) => "busy",
        (false, false, false) => "idle",
    };
    let mut cells: Vec<String> = ["session", "backend", "project", "subject"]
        .iter()
        .map(|name| text(&row[*name]))
        .collect();
    cells.push(state.to_owned());
    cells.push(text(&row["head"]));
    cells.push(table::ago(
        now,
        row["last_activity"].as_u64().unwrap_or(now),
    ));
    cells
}

/// Milliseconds since the Unix epoch.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Percent-encoding of a query's value.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~,".contains(&b);
    text.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
