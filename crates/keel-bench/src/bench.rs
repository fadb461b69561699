//! What every benchmark is run with: the binary, a folder, how much of it, and somebody to tell.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use evenkeel::{Builder, Client, Event, Events, Session};
use keel_drill::server::{Server, Setup};

use crate::Options;

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server for a client that sends as fast as it is answered, for which it would be told
/// `rate_limited` otherwise.
pub(crate) const UNHINDERED: &str = "[limits]\nframes_per_s = 1000000\n";

pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) told: &'a dyn Fn(&str),
}

/// A server of the shipped binary, and a token for it.
pub(crate) struct Served {
    pub(crate) server: Server,
    pub(crate) token: String,
}

impl Bench<'_> {
    /// So many samples; a tenth of them where a quick run is wanted.
    pub(crate) fn samples(&self, full: usize) -> usize {
        if self.options.quick {
            full.div_ceil(10)
        } else {
            full
        }
    }

    /// Of what build the figures are.
    pub(crate) fn build(&self) -> String {
        let kind = if cfg!(debug_assertions) {
            "a debug build"
        } else {
            "an optimised build"
        };
        let quick = if self.options.quick {
            ", a tenth of the samples"
        } else {
            ""
        };
        format!("{kind} of evenkeel {}{quick}", env!("CARGO_PKG_VERSION"))
    }

    /// A folder of a benchmark's own.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.options.dir.join(name)
    }

    /// Starts a server for a benchmark, with more of its configuration as TOML.
    pub(crate) async fn serve(&self, name: &str, more: &str) -> Result<Served> {
        let server = Server::start(Setup {
            exe: self.options.exe.clone(),
            dir: self.dir(name),
            data: None,
            more: more.to_owned(),
            files_max: None,
        })
        .await?;
        let token = server.token(&["--subject", "bench"]).await?;
        Ok(Served { server, token })
    }
}

impl Served {
    pub(crate) fn pid(&self) -> Result<u32> {
        let pid = self.server.pid().context("the server runs")?;
        Ok(u32::try_from(pid.as_raw_nonzero().get())?)
    }

    /// A client to be, that goes to `addr`.
    pub(crate) fn client(&self, addr: std::net::SocketAddr) -> Builder {
        Client::builder()
            .url(format!("ws://{addr}"))
            .token(&self.token)
            .backend("echo")
    }

    /// A client that is in, and its events.
    pub(crate) async fn join(&self, addr: std::net::SocketAddr) -> Result<(Session, Events)> {
        let session = within("a session", self.client(addr).connect()).await??;
        let events = session.events();
        Ok((session, events))
    }
}

/// Waits for something, but not for ever.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .with_context(|| format!("not within {PATIENCE:?}: {what}"))
}

/// Waits for an event that `look` makes something of.
pub(crate) async fn until<T>(
    events: &mut Events,
    what: &str,
    mut look: impl FnMut(Event) -> Option<T>,
) -> Result<T> {
    let search = async {
        while let Some(event) = events.next().await {
            if let Event::Failed(fault) = event {
                anyhow::bail!("before {what}: {fault}");
            }
            if let Some(found) = look(event) {
                return Ok(found);
            }
        }
        anyhow::bail!("the session ended before {what}")
    };
    within(what, search).await?
}

/// Waits until the session is as it was before a loss.
pub(crate) async fn recovered(events: &mut Events) -> Result<()> {
    until(events, "recovered", |event| {
        matches!(event, Event::Recovered { .. }).then_some(())
    })
    .await
}
