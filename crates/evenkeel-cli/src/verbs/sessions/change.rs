//! `sessions rename`, `star`, `archive`, `tag` and `delete`.

use evenkeel::wire::SessionId;
use serde_json::{Value, json};

use super::{Server, text};
use crate::{exit::Failure, table, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct RenameArgs {
    session: SessionId,
    /// What to call it; nothing takes its title away
    #[arg(default_value = "")]
    title: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MarkArgs {
    session: SessionId,
    /// Takes the mark away
    #[arg(long)]
    off: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TagArgs {
    session: SessionId,
    /// The words, in place of those before; none takes them away
    tags: Vec<String>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeleteArgs {
    session: SessionId,
    /// Ends it first, if somebody is connected or a turn is open
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: Server,
}

pub(super) async fn rename(args: &RenameArgs) -> Result<(), Failure> {
    let row = describe(&args.server, &args.session, &json!({ "title": args.title })).await?;
    told(
        &args.server,
        &row,
        &format!("called {}", text(&row["title"])),
    );
    Ok(())
}

pub(super) async fn mark(args: &MarkArgs, name: &str) -> Result<(), Failure> {
    let row = describe(&args.server, &args.session, &json!({ name: !args.off })).await?;
    let not = if args.off { "no longer " } else { "" };
    told(&args.server, &row, &format!("{not}{name}"));
    Ok(())
}

pub(super) async fn tag(args: &TagArgs) -> Result<(), Failure> {
    let row = describe(&args.server, &args.session, &json!({ "tags": args.tags })).await?;
    told(
        &args.server,
        &row,
        &format!("tagged {}", args.tags.join(", ")),
    );
    Ok(())
}

async fn describe(server: &Server, session: &SessionId, change: &Value) -> Result<Value, Failure> {
    let path = format!("/v1/sessions/{session}");
    server.api()?.patch(&path, change).await
}

fn told(server: &Server, row: &Value, what: &str) {
    if server.json {
        terminal::print(&row.to_string());
    } else {
        let line = format!("{}: {what}", text(&row["session"]));
        terminal::say(&table::plain_line(&line));
    }
}

pub(super) async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let force = if args.force { "?force=true" } else { "" };
    let path = format!("/v1/sessions/{}{force}", args.session);
    let deleted = args.server.api()?.delete(&path).await?;
    if args.server.json {
        terminal::print(&deleted.to_string());
    } else {
        terminal::say(&format!("deleted {}", args.session));
    }
    Ok(())
}
