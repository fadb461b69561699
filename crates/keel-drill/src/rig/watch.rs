//! What a row waits for, and what it makes of it: lines of the struck client, and of everybody.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{PATIENCE, Rig, Who};
use crate::{
    client::Client,
    ledger::{Line, Seen, Turn},
};

impl Rig {
    /// Begins a turn, and waits until everybody has text of it: work is in flight.
    pub(crate) async fn flow(&mut self, key: &str, words: &str) -> Result<()> {
        self.tell(&format!("say {key} {words}")).await?;
        for client in self.clients.values() {
            wait("text of a running turn", PATIENCE, || {
                client
                    .account()
                    .turn(key)
                    .is_some_and(|turn| !turn.text.is_empty())
            })
            .await?;
        }
        let owner = self.client(Who::Owner)?.account();
        if owner.turn(key).is_some_and(|turn| turn.end.is_some()) {
            bail!("the turn was over before anything was broken");
        }
        Ok(())
    }

    /// Waits until the struck client says what it lost its connection, or its session, by.
    pub(crate) async fn told(&mut self, within: Duration) -> Result<()> {
        let told = self.sees(within, "told of the loss", |line| match &line.what {
            Seen::Lost { code, .. } | Seen::Failed { code, .. } => Some(code.clone()),
            _ => None,
        });
        let (code, at) = told.await?;
        self.row.cause = Some(code);
        self.row.told_ms = Some(span(self.struck_at, at));
        Ok(())
    }

    /// Waits until the struck client is back; measured from `since`.
    pub(crate) async fn back(&mut self, since: u64, within: Duration) -> Result<()> {
        let back = self.sees(within, "recovered", |line| {
            matches!(line.what, Seen::Recovered { .. }).then_some(())
        });
        let ((), at) = back.await?;
        self.row.recovered_ms = Some(span(since, at));
        self.recovered();
        Ok(())
    }

    /// Waits until the struck client gave up.
    pub(crate) async fn failed(&mut self, within: Duration) -> Result<()> {
        let gone = self.sees(within, "failed", |line| match &line.what {
            Seen::Failed { code, .. } => Some(code.clone()),
            _ => None,
        });
        let (code, at) = gone.await?;
        if self.row.cause.is_none() {
            self.row.cause = Some(code);
            self.row.told_ms = Some(span(self.struck_at, at));
        }
        self.row.outcome = Some("failed".to_owned());
        Ok(())
    }

    /// Waits until everybody who is left has seen a turn's end.
    pub(crate) async fn over(&self, key: &str) -> Result<Turn> {
        let ended = |client: &Client| {
            let account = client.account();
            account.turn(key).filter(|turn| turn.end.is_some()).cloned()
        };
        for (who, client) in &self.clients {
            let what = format!("the end of {key} at the {}", who.name());
            wait(&what, PATIENCE, || ended(client).is_some()).await?;
        }
        let (_, client) = self.clients.iter().next().context("somebody is there")?;
        ended(client).context("it ended")
    }

    /// Waits until the struck client saw something, after the fault.
    pub(crate) async fn sees<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&Line) -> Option<T>,
    ) -> Result<(T, u64)> {
        let since = self.struck_at;
        self.client(self.struck)?
            .until(within, what, |line| {
                let after = line.t + 2 >= since;
                after
                    .then(|| look(line))
                    .flatten()
                    .map(|found| (found, line.t))
            })
            .await
    }

    /// Waits for a receipt; the code of a refusal.
    pub(crate) async fn receipt(&self, key: &str) -> Result<(Option<String>, u64)> {
        let receipt = self
            .client(Who::Owner)?
            .until(PATIENCE, "a receipt", |line| match &line.what {
                Seen::Receipt { key: of, code, .. } if of == key => Some((code.clone(), line.t)),
                _ => None,
            });
        receipt.await
    }

    /// It came back, and that is what was wanted.
    pub(crate) fn recovered(&mut self) {
        self.row.outcome = Some("recovered".to_owned());
    }

    pub(crate) fn wrong(&mut self, what: impl Into<String>) {
        self.row.wrong.push(what.into());
    }
}

/// Waits until something is so.
pub(crate) async fn wait(
    what: &str,
    within: Duration,
    mut is_so: impl FnMut() -> bool,
) -> Result<()> {
    let until = Instant::now() + within;
    while !is_so() {
        if Instant::now() > until {
            bail!("not within {within:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds")]
pub(crate) fn span(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64
}
