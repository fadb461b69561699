//! `sessions ls`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::{Server, text};
use crate::{exit::Failure, table, terminal};

/// Which sessions.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only this project's; several are separated by commas
    #[arg(long)]
    project: Option<String>,
    /// Only those with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only those that stand so
    #[arg(long, value_parser = ["running", "waiting", "idle", "ended"])]
    state: Option<String>,
    /// Only those that are starred
    #[arg(long)]
    starred: bool,
    /// Only those that are put away, which are not listed otherwise
    #[arg(long, conflicts_with = "all")]
    archived: bool,
    /// Those that are put away, too
    #[arg(long)]
    all: bool,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
}

impl Which {
    fn path(&self, more: &[(&str, &str)]) -> String {
        let mut path = format!("/v1/sessions?limit={}", self.limit);
        let archived = match (self.archived, self.all) {
            (true, _) => Some("true"),
            (false, true) => Some("any"),
            (false, false) => None,
        };
        let asked = [
            ("projects", self.project.as_deref()),
            ("tag", self.tag.as_deref()),
            ("state", self.state.as_deref()),
            ("starred", self.starred.then_some("true")),
            ("archived", archived),
        ];
        let asked = asked
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?)));
        for (name, value) in asked.chain(more.iter().copied()) {
            path += &format!("&{name}={}", encode(value));
        }
        path
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// The next page, as the last one told it
    #[arg(long)]
    before: Option<String>,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let before: Vec<_> = args
        .before
        .iter()
        .map(|key| ("before", key.as_str()))
        .collect();
    let page = args.server.api()?.get(&args.which.path(&before)).await?;
    if args.server.json {
        terminal::print(&page.to_string());
        return Ok(());
    }
    let sessions = page["sessions"].as_array().cloned().unwrap_or_default();
    let now = now();
    let rows: Vec<Vec<String>> = sessions.iter().map(|row| cells(row, now)).collect();
    let head = [
        "SESSION", "BACKEND", "PROJECT", "SUBJECT", "STATE", "EVENTS", "ACTIVE", "TITLE",
    ];
    terminal::write(&table::render(&head, &rows));
    if let Some(next) = page["next"].as_str() {
        terminal::say(&format!("more: --before {next}"));
    }
    Ok(())
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// The words that must all occur, in the title or in one turn; the last may be a beginning
    #[arg(required = true)]
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn search(args: &SearchArgs) -> Result<(), Failure> {
    let words = args.words.join(" ");
    let path = args.which.path(&[("q", &words)]);
    let page = args.server.api()?.get(&path).await?;
    if args.server.json {
        terminal::print(&page.to_string());
        return Ok(());
    }
    let now = now();
    for row in page["sessions"].as_array().into_iter().flatten() {
        let active = table::ago(now, row["last_activity"].as_u64().unwrap_or(now));
        let title = text(&row["title"]);
        let line = format!("{}  {active}  {title}", text(&row["session"]));
        terminal::print(&table::plain_line(&line));
        let excerpt = text(&row["found"]["excerpt"]);
        terminal::print(&format!("    {}", table::plain_line(&excerpt)));
    }
    if page["more"] == true {
        terminal::say("there is more: other words narrow it down");
    }
    Ok(())
}

fn cells(row: &Value, now: u64) -> Vec<String> {
    let is = |name: &str| row[name].as_bool().unwrap_or(false);
    let waits = row["slot"]["place"] == "waiting";
    let state = match (row["state"].as_str(), waits) {
        (_, true) => "queued",
        (Some("running"), false) => "busy",
        (Some(state), false) => state,
        (None, false) => "-",
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
    let title: String = row["title"]
        .as_str()
        .unwrap_or("")
        .chars()
        .take(40)
        .collect();
    cells.push(format!("{}{title}", if is("starred") { "* " } else { "" }));
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
pub(super) fn encode(text: &str) -> String {
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
