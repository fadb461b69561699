//! The second witness: what the server's side says of a fault that a client was told of.
//!
//! A fault has surfaced only if whoever runs the server can see it too: in the session's status and
//! journal, in a line of the log, and in a metric.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;

use super::Rig;
use crate::{
    ledger::{Line, Seen},
    rows::Witness,
    server::{self, Server},
};

/// The journal is put away lazily.
const WITNESSED_WITHIN: Duration = Duration::from_secs(5);
/// Who watches a client's status has seen what lasted so long.
const SEEN_AFTER_MS: u64 = 100;

/// How log and metrics were before anything was broken.
#[derive(Debug, Default)]
pub(super) struct Before {
    log_bytes: usize,
    metrics: BTreeMap<String, f64>,
    starts: u32,
}

impl Before {
    pub(super) async fn of(server: &Server, admin: &str) -> Result<Self> {
        Ok(Self {
            log_bytes: fs::read(server.log())?.len(),
            metrics: metrics(server, admin).await?,
            starts: server.starts(),
        })
    }
}

impl Rig {
    /// Looks whether the server's side names the cause as well.
    pub(super) async fn look_for_witnesses(&mut self) -> Result<()> {
        let Some(cause) = self.row.expected_cause.clone() else {
            return Ok(());
        };
        let (named, in_journal, in_status) = match self.witness {
            Witness::Session => (cause.as_str(), true, true),
            Witness::Journal => (cause.as_str(), true, false),
            Witness::Node => (cause.as_str(), false, false),
            Witness::Instead(named) => (named, false, false),
            Witness::Unseen(why) => {
                self.row.unwitnessed = Some(why.to_owned());
                return Ok(());
            }
        };
        if !self.server.is_ready().await {
            self.wrong("the server that must have seen it is gone");
            return Ok(());
        }
        let until = Instant::now() + WITNESSED_WITHIN;
        loop {
            let missing = self.missing(named, in_journal, in_status).await?;
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > until {
                for what in missing {
                    self.wrong(format!("{what} {named}"));
                }
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn missing(
        &self,
        named: &str,
        in_journal: bool,
        in_status: bool,
    ) -> Result<Vec<&'static str>> {
        let mut missing = Vec::new();
        if in_journal && !names(&self.ask_session("/journal").await?, named) {
            missing.push("the journal does not name");
        }
        let shown = self.was_shown(named);
        let seen = match self.lost_for(named) {
            Some(ms) if ms >= SEEN_AFTER_MS => shown,
            // A watch tells the latest, and so short a state may never have been that.
            Some(_) => true,
            None => shown || names(&self.ask_session("").await?, named),
        };
        if in_status && !seen {
            missing.push("no status names");
        }
        let log = fs::read(self.server.log())?;
        let log = String::from_utf8_lossy(&log[self.before.log_bytes.min(log.len())..]);
        if !log.contains(&format!("\"{named}\"")) {
            missing.push("no line of the log names");
        }
        if !self.counts(named).await? {
            missing.push("no metric counts");
        }
        Ok(missing)
    }

    /// Whether a metric with this label has moved since the row began.
    pub(crate) async fn counts(&self, named: &str) -> Result<bool> {
        let label = format!("=\"{named}\"");
        let restarted = self.server.starts() > self.before.starts;
        let now = metrics(&self.server, &self.admin).await?;
        Ok(now.iter().any(|(series, value)| {
            let before = self.before.metrics.get(series).filter(|_| !restarted);
            series.contains(&label) && *value > before.copied().unwrap_or(0.)
        }))
    }

    /// For how long the struck client had lost its connection by this cause, if it came back.
    fn lost_for(&self, code: &str) -> Option<u64> {
        let lines = self.clients.get(&self.struck)?.lines();
        let lost = |line: &&Line| matches!(&line.what, Seen::Lost { code: by, .. } if by == code);
        let lost_at = lines.iter().find(lost)?.t;
        let back = |line: &&Line| line.t >= lost_at && matches!(line.what, Seen::Recovered { .. });
        Some(lines.iter().find(back)?.t - lost_at)
    }

    /// Whether the struck client was shown a status with this cause.
    fn was_shown(&self, code: &str) -> bool {
        let lines = self.clients.get(&self.struck).map(|client| client.lines());
        lines.into_iter().flatten().any(
            |line| matches!(&line.what, Seen::Status { code: Some(shown), .. } if shown == code),
        )
    }
}

/// Every series of `/metrics`.
async fn metrics(server: &Server, admin: &str) -> Result<BTreeMap<String, f64>> {
    let (_, text) = server::get(server.addr(), "/metrics", Some(admin)).await?;
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let read = series.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    Ok(read.collect())
}

/// Whether a fault code, or a fact of that name, stands anywhere in what a server says of a session.
fn names(value: &Value, code: &str) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, value)| {
            ((name == "code" || name == "fact") && value == code) || names(value, code)
        }),
        Value::Array(items) => items.iter().any(|item| names(item, code)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
