//! `sessions`: what a server keeps, read over HTTP.

mod change;
mod list;
mod read;
mod why;

use std::process::ExitCode;

use clap::Subcommand;
use evenkeel::wire::SessionId;
use serde_json::{Value, json};

use crate::{api::Api, exit::Failure, table, target::Access, terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists sessions, the last active first
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Finds sessions by their titles and by what was said in them
    Search(list::SearchArgs),
    /// Shows how a session is
    Show(One),
    /// Says in one sentence what went wrong last, and what became of it
    Why(One),
    /// Prints the log of a session
    Events(Events),
    /// Prints what was asked and answered in a session
    Transcript(read::TranscriptArgs),
    /// Writes a session to a file or to stdout
    Export(read::ExportArgs),
    /// Calls a session something else
    Rename(change::RenameArgs),
    /// Marks a session to be found soon
    Star(change::MarkArgs),
    /// Puts a session away
    Archive(change::MarkArgs),
    /// Sets the words to find a session by
    Tag(change::TagArgs),
    /// Ends a session for everybody
    End(One),
    /// Forgets a session with everything that was said in it
    Delete(change::DeleteArgs),
}

/// Where the server is.
#[derive(Debug, clap::Args)]
pub(crate) struct Server {
    /// The server
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    access: Access,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

impl Server {
    fn api(&self) -> Result<Api, Failure> {
        Ok(Api::new(self.access.target(self.url.as_deref())?))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct One {
    session: SessionId,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    session: SessionId,
    /// Only what comes after this position
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    after: u64,
    #[command(flatten)]
    server: Server,
}

pub(crate) async fn run(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::List(args) => list::run(&args).await?,
        Verb::Search(args) => list::search(&args).await?,
        Verb::Show(one) => show(&one).await?,
        Verb::Why(one) => why::run(&one).await?,
        Verb::Events(args) => events(&args).await?,
        Verb::Transcript(args) => read::transcript(&args).await?,
        Verb::Export(args) => read::export(&args).await?,
        Verb::Rename(args) => change::rename(&args).await?,
        Verb::Star(args) => change::mark(&args, "starred").await?,
        Verb::Archive(args) => change::mark(&args, "archived").await?,
        Verb::Tag(args) => change::tag(&args).await?,
        Verb::Delete(args) => change::delete(&args).await?,
        Verb::End(one) => {
            let path = format!("/v1/sessions/{}/end", one.session);
            let receipt = one.server.api()?.post(&path, &json!({})).await?;
            if one.server.json {
                terminal::print(&receipt.to_string());
            } else {
                terminal::say(&format!("ended {}", one.session));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(one: &One) -> Result<(), Failure> {
    let path = format!("/v1/sessions/{}", one.session);
    let session = one.server.api()?.get(&path).await?;
    if one.server.json {
        terminal::print(&session.to_string());
        return Ok(());
    }
    let now = list::now();
    let at = |name: &str| table::ago(now, session[name].as_u64().unwrap_or(now));
    let state = session["status"]["state"].as_str().unwrap_or("asleep");
    let mut rows = vec![
        ("session", text(&session["session"])),
        ("title", text(&session["title"])),
        ("state", state.to_owned()),
        ("subject", text(&session["subject"])),
        ("backend", text(&session["backend"])),
        ("project", text(&session["project"])),
        ("cwd", text(&session["cwd"])),
        ("opened", at("created_at")),
        ("active", at("last_activity")),
        (
            "log",
            format!("{} events kept of {}", kept(&session), session["head"]),
        ),
    ];
    let tags = session["tags"].as_array().into_iter().flatten();
    rows.extend(tags.map(|tag| ("tag", text(tag))));
    let marks = ["starred", "archived"].into_iter();
    rows.extend(
        marks
            .filter(|mark| session[mark] == true)
            .map(|mark| ("is", mark.to_owned())),
    );
    if let Some(fault) = session["status"]["fault"].as_object() {
        rows.push((
            "fault",
            format!("{}: {}", text(&fault["code"]), text(&fault["message"])),
        ));
    }
    for leg in session["status"]["legs"].as_array().into_iter().flatten() {
        rows.push((
            "leg",
            format!("{} {}", text(&leg["leg"]), text(&leg["health"])),
        ));
    }
    for member in session["participants"].as_array().into_iter().flatten() {
        rows.push(("member", members(member)));
    }
    for fault in session["faults"].as_array().into_iter().flatten() {
        let when = table::ago(now, fault["at"].as_u64().unwrap_or(now));
        rows.push(("was", format!("{} {when}", text(&fault["code"]))));
    }
    for (name, value) in rows {
        terminal::print(&format!("{name:8} {}", terminal::plain(&value)));
    }
    Ok(())
}

fn members(member: &Value) -> String {
    let facts = member.as_object().into_iter().flatten();
    let shown = facts.map(|(name, value)| match name.as_str() {
        "participant" | "role" | "subject" => text(value),
        _ => format!("{name}={value}"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn kept(session: &Value) -> u64 {
    let number = |name: &str| session[name].as_u64().unwrap_or(0);
    number("head").saturating_sub(number("trimmed"))
}

/// A JSON string as it is, `-` for none, and anything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

async fn events(args: &Events) -> Result<(), Failure> {
    let api = args.server.api()?;
    let mut after = args.after;
    loop {
        let path = format!("/v1/sessions/{}/events?after={after}", args.session);
        let page = api.get(&path).await?;
        if let Some(gap) = page["gap"].as_object() {
            let (from, to) = (&gap["from"], &gap["to"]);
            terminal::say(&format!(
                "{from} to {to} are not kept any more: {}",
                text(&gap["code"])
            ));
        }
        let events = page["events"].as_array().cloned().unwrap_or_default();
        for event in &events {
            if args.server.json {
                terminal::print(&event.to_string());
            } else {
                let kind = text(&event["kind"]);
                terminal::print(&format!(
                    "{:>8}  {kind:20}  {}",
                    text(&event["to"]),
                    event["data"]
                ));
            }
        }
        let next = page["next"].as_u64().unwrap_or(after);
        if events.is_empty() || next <= after {
            return Ok(());
        }
        after = next;
    }
}
