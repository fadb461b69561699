//! The host below the server, and what the server says of itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::{Rig, span};
use crate::server;

impl Rig {
    /// Does something to the host, which is undone when the row is over.
    pub(crate) async fn host(&mut self, command: &[&str], undo: Option<&[&str]>) -> Result<String> {
        let (program, args) = command.split_first().context("a command")?;
        let output = Command::new(program)
            .args(args)
            .output()
            .await
            .with_context(|| (*program).to_owned())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {said}", command.join(" "));
        }
        if let Some(undo) = undo {
            self.undo
                .push(undo.iter().map(|&word| word.to_owned()).collect());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Tokens of a server that was started on other data.
    pub(crate) async fn renew_tokens(&mut self) -> Result<()> {
        self.token = self.server.token(&["--subject", "drill"]).await?;
        self.admin = self.server.token(&["--subject", "x", "--admin"]).await?;
        Ok(())
    }

    /// What the server says about the session that is drilled.
    pub(crate) async fn ask_session(&self, about: &str) -> Result<Value> {
        let path = format!("/v1/sessions/{}{about}", self.session);
        let (_, body) = server::get(self.server.addr(), &path, Some(&self.admin)).await?;
        serde_json::from_str(&body).with_context(|| format!("an answer of JSON: {body}"))
    }

    /// Waits until the session's journal says that a connection was lost, and by what: of one that is gone
    /// itself nobody else can tell.
    pub(crate) async fn journaled_loss(&mut self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        while self.row.cause.is_none() && Instant::now() < until {
            let journal = self.ask_session("/journal").await?;
            let entries = journal["entries"].as_array().context("entries")?;
            let lost = entries
                .iter()
                .find(|entry| entry["fact"] == "connection_lost");
            if let Some(lost) = lost {
                let at = lost["at"].as_u64().unwrap_or_default();
                self.row.told_ms = Some(span(self.struck_at, at));
                self.row.cause = lost["fault"]["code"].as_str().map(str::to_owned);
                // The kernel ends it with a FIN, or a reset if something was left unread.
                if self.row.cause.as_deref() == Some("transport_error") {
                    self.row.expected_cause.clone_from(&self.row.cause);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// What the server says about itself.
    pub(crate) async fn ask_node(&self) -> Result<Value> {
        let (_, body) = server::get(self.server.addr(), "/v1/node", Some(&self.admin)).await?;
        serde_json::from_str(&body).with_context(|| format!("an answer of JSON: {body}"))
    }
}
