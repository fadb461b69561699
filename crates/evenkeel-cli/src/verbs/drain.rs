//! `drain`: every session of a server goes to another one.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{api::Api, exit::Failure, target::Access, terminal};

/// Between two looks at how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it may take beyond what turns and clients are given.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server that hands its sessions over
    #[arg(long)]
    url: Option<String>,
    /// Where they go: a peer of its configuration, by name or by address. Without it `drain.target`
    #[arg(long, value_name = "PEER")]
    to: Option<String>,
    /// How long turns that run may take to end, in seconds; then they are interrupted
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    within: u64,
    #[command(flatten)]
    access: Access,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode, Failure> {
    let api = Api::new(args.access.target(args.url.as_deref())?);
    let mut asked = json!({ "within_ms": args.within.saturating_mul(1_000) });
    if let Some(to) = &args.to {
        asked["target"] = json!(to);
    }
    let begun = api.post("/v1/node/drain", &asked).await?;
    let target = begun["target"].as_str().unwrap_or("").to_owned();
    let until = Instant::now() + Duration::from_secs(args.within.saturating_mul(2)) + GRACE;
    let mut shown = Value::Null;
    loop {
        let node = api.get("/v1/node").await?;
        let progress = node["census"]["handover"].clone();
        if progress["done"] == true {
            return end(args, &target, &progress);
        }
        if progress != shown && !args.json {
            terminal::say(&format!(
                "{} moved, {} on their way, {} to come, {} whose clients are still here",
                progress["moved"],
                progress["under_way"],
                progress["waiting"],
                progress["lingering"]
            ));
            shown = progress;
        }
        if Instant::now() > until {
            let why = "not everything has gone in time; the server goes on with it";
            return Err(Failure::temporary(why));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn end(args: &Args, target: &str, progress: &Value) -> Result<ExitCode, Failure> {
    let (moved, stayed) = (&progress["moved"], &progress["stayed"]);
    if args.json {
        terminal::print(&progress.to_string());
    } else {
        terminal::print(&format!("{moved} moved to {}", terminal::plain(target)));
    }
    if *stayed == 0 {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(Failure::temporary(format!(
            "{stayed} were not taken, and stay: the server's log says why"
        )))
    }
}
