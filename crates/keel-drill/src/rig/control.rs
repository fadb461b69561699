//! The control: a session that nothing is done to, on a server of its own, for as long as the drill runs.
//!
//! What a busy host does to it in a row's time it does to the row's bystander as well; only what comes on
//! top of that is the fault's doing.

use anyhow::Result;

use super::{BYSTANDER_PACE_MS, PATIENCE, laws::p99, wait};
use crate::{
    Options,
    client::Client,
    server::{Server, Setup},
};

#[derive(Debug)]
pub(crate) struct Control {
    server: Server,
    client: Client,
}

impl Control {
    pub(crate) async fn start(options: &Options) -> Result<Self> {
        let server = Server::start(Setup {
            exe: options.exe.clone(),
            dir: options.dir.join("control"),
            data: None,
            more: String::new(),
            files_max: None,
        })
        .await?;
        let token = server.token(&["--subject", "control"]).await?;
        let url = format!("ws://{}/v1/connect", server.addr());
        let client = talker(options, &url, &token, "control").await?;
        Ok(Self { server, client })
    }

    /// The p99 of the spans between two texts, in a window of time.
    pub(super) fn p99(&self, from: u64, to: u64) -> u64 {
        p99(&self.client.lines(), from, to)
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        self.client.close().await?;
        self.server.kill().await
    }
}

/// A client in whose session a program talks all the time.
pub(super) async fn talker(options: &Options, url: &str, token: &str, key: &str) -> Result<Client> {
    let mut client = Client::start(&options.exe, url, token, &["--backend", "drill"])?;
    client.session().await?;
    let say = format!("say {key} lines=100000 pace_ms={BYSTANDER_PACE_MS}");
    client.tell(&say).await?;
    let talks = || {
        let account = client.account();
        account.turn(key).is_some_and(|turn| !turn.text.is_empty())
    };
    wait(&format!("text of the {key}"), PATIENCE, talks).await?;
    Ok(client)
}
