//! Other servers that sessions are handed over to, and taken over from.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// `[peers.NAME]`: another server, and the secret that both know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Where this server reaches it: `http://host:port` or `https://host:port`.
    pub url: String,
    /// The file of the secret that both servers know, as 64 or more hexadecimal digits.
    pub key: PathBuf,
    /// Where clients find it, as `wss://host`. Absent means at `url`.
    #[serde(default)]
    pub address: Option<String>,
    /// Certificates, as PEM, that the peer's is checked against. Absent means those of the system.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

impl Peer {
    pub(super) fn begin_at(&mut self, dir: &Path) {
        self.key = dir.join(&self.key);
        self.ca = self.ca.take().map(|ca| dir.join(ca));
    }

    /// What is wrong with it, as an option and a sentence.
    pub(super) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let place = |text: &str, schemes: [&str; 2]| {
            let host = schemes
                .iter()
                .find_map(|scheme| text.strip_prefix(scheme))
                .filter(|host| !host.is_empty());
            host.is_some_and(|host| !host.contains(['/', '?', '#', '@', ' ']))
        };
        if !place(&self.url, ["http://", "https://"]) {
            return Err(("url", "want http://host:port or https://host:port"));
        }
        let address = self.address.as_deref();
        if !address.is_none_or(|address| place(address, ["ws://", "wss://"])) {
            return Err(("address", "want ws://host:port or wss://host:port"));
        }
        Ok(())
    }

    /// Where clients find it.
    #[must_use]
    pub fn address(&self) -> String {
        // http becomes ws, and https wss.
        let own = || self.url.replacen("http", "ws", 1);
        self.address.clone().unwrap_or_else(own)
    }
}

/// `[drain]`: what becomes of sessions when this server is stopped.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// The peer that they are handed over to, by its name. Absent means that they wait here.
    pub target: Option<String>,
}
