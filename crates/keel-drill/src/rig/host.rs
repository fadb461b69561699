//! The host below the server, and what the server says of itself.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::Rig;
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

    /// What the server says about itself.
    pub(crate) async fn ask_node(&self) -> Result<Value> {
        let (_, body) = server::get(self.server.addr(), "/v1/node", Some(&self.admin)).await?;
        serde_json::from_str(&body).with_context(|| format!("an answer of JSON: {body}"))
    }
}
