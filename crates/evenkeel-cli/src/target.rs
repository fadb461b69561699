//! Which server, and with what token: what was said, else the environment, else the `dev` server
//! that was last started here.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Where `dev` keeps everything.
pub(crate) const DATA: &str = ".evenkeel";
const FILE: &str = "dev.json";
const DEFAULT_URL: &str = "ws://127.0.0.1:7080";

/// How to reach a server and be let in.
#[derive(Debug, Clone, Args)]
pub(crate) struct Access {
    /// A token. Without it, the one of a `dev` server on this machine
    #[arg(long, env = "EVENKEEL_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Where a `dev` server on this machine keeps its data
    #[arg(long, default_value = DATA, value_name = "DIR")]
    pub(crate) data: std::path::PathBuf,
    /// Trusts the roots in this file (PEM), and no others, where TLS is spoken
    #[arg(long, env = "EVENKEEL_CA", value_name = "FILE")]
    pub(crate) ca: Option<std::path::PathBuf>,
}

/// What `dev` leaves for the other verbs. It holds an administrator's token: mode 0600.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dev {
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Dev {
    pub(crate) fn write(&self, data: &Path) -> std::io::Result<()> {
        let path = data.join(FILE);
        let fresh = data.join("dev.json.new");
        let _ = fs::remove_file(&fresh);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())?;
        fs::rename(&fresh, &path)
    }

    fn read(data: &Path) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(data.join(FILE)).ok()?).ok()
    }
}

/// A server, and what lets one in.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) token: String,
    /// The roots to be trusted, as PEM; `None` stands for the system's.
    pub(crate) ca: Option<Vec<u8>>,
}

impl Access {
    /// # Errors
    /// Without a token for that server, or without the roots that were named.
    pub(crate) fn target(&self, url: Option<&str>) -> Result<Target, Failure> {
        let dev = Dev::read(&self.data);
        let here = dev.as_ref().map(|dev| dev.url.as_str());
        let url = url.or(here).unwrap_or(DEFAULT_URL).to_owned();
        let given = self.token.clone().filter(|token| !token.is_empty());
        // A token of this machine's server is sent nowhere else.
        let own = || {
            dev.as_ref()
                .filter(|dev| authority(&dev.url) == authority(&url))
                .map(|dev| dev.token.clone())
        };
        let Some(token) = given.or_else(own) else {
            return Err(Failure::permission(format!(
                "no token for {url}: give --token or EVENKEEL_TOKEN (`evenkeel token mint` makes one), \
                 or start `evenkeel dev` here"
            )));
        };
        let read = |path: &std::path::PathBuf| {
            fs::read(path)
                .map_err(|error| Failure::config(format!("--ca {}: {error}", path.display())))
        };
        let ca = self.ca.as_ref().map(read).transpose()?;
        Ok(Target { url, token, ca })
    }
}

/// Host and port of an address, as far as two are to be compared.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dev_token_goes_to_its_own_server_only() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let url = "ws://127.0.0.1:7080".to_owned();
        let token = "secret".to_owned();
        Dev { url, token }.write(dir.path()).expect("written");
        let data = dir.path().to_owned();
        let access = Access {
            token: None,
            data,
            ca: None,
        };
        let target = access
            .target(Some("http://127.0.0.1:7080/"))
            .expect("a token");
        assert_eq!(target.token, "secret");
        assert_eq!(
            access.target(None).expect("a token").url,
            "ws://127.0.0.1:7080"
        );
        assert!(access.target(Some("ws://127.0.0.1:7081")).is_err());
        assert!(access.target(Some("ws://evil.example:7080")).is_err());
    }
}
