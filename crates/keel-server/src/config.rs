//! The configuration: typed, parsed once at the edge, trusted afterwards.
//!
//! One file (`evenkeel.toml`), then the environment (`EVENKEEL_SECTION__KEY`) over it. What is not
//! known is refused with its line, never ignored: a misspelt limit is no limit.

mod acp;
mod advertise;
mod backend;
mod endpoint;
mod error;
mod ice;
mod load;
mod media;
mod origin;
mod peers;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

pub use acp::{AlwaysPolicy, Forgotten, PermissionPolicy};
pub use advertise::Advertise;
pub use backend::{Api, Backend, BackendKind, Capacity, CapacityKind, Clocks, Framing};
pub use error::ConfigError;
pub use ice::{IceServer, IceUrl, Ttl, Turn};
pub use load::Source;
pub use media::Media;
pub use origin::{HostName, WebOrigin};
pub use peers::{Drain, Peer};

use keel_core::limits;
use serde::Deserialize;

/// Everything that can be configured.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The listening socket and who may use it.
    pub server: Listen,
    /// Where sessions are kept.
    pub store: Store,
    /// How long sessions and attachments live.
    pub session: Session,
    /// Bounds of connections and requests.
    pub limits: Limits,
    /// Which tokens are good.
    pub auth: Auth,
    /// Breaking things on purpose.
    pub faults: Faults,
    /// Transports for media.
    pub media: Media,
    /// TURN servers with short-lived credentials.
    pub turn: Option<Turn>,
    /// Other servers that sessions are handed over to, and taken over from, by name.
    pub peers: BTreeMap<String, Peer>,
    /// What becomes of sessions when this server is stopped.
    pub drain: Drain,
    /// What is logged, and how.
    pub log: Log,
    /// What serves sessions, by name. With none configured there is one named `echo`.
    pub backends: BTreeMap<String, Backend>,
}

/// `[server]`: the listening socket and who may use it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port of HTTP and WebSocket.
    pub listen: SocketAddr,
    /// Origins of pages that may connect, as `https://example.org` or `http://localhost:3000`:
    /// scheme, host and port must all be equal. The server's own origin is always allowed.
    pub allowed_origins: Vec<WebOrigin>,
    /// Names by which this server may be addressed (the `Host` header), with or without a port.
    /// Loopback names and the listening address itself are always allowed.
    pub allowed_hosts: Vec<HostName>,
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Connections at once, over all addresses; further ones are answered 503.
    pub max_connections: usize,
    /// Connections at once from one address (a trusted proxy's own are not counted); further ones
    /// are answered 429.
    pub per_address: usize,
    /// Connections at once that have not shown a token; further upgrades are answered 503.
    pub max_unauthenticated: usize,
    /// Serves the playground at `/`: a page that connects.
    pub playground: bool,
    /// How long a shutdown may take until what is left is cut off.
    pub drain_within_s: u64,
    /// Ends the process when its runtime has stood still for so long, so that a supervisor can
    /// start it anew. Absent means never.
    pub abort_after_s: Option<u64>,
    /// Ends TLS in this server. Absent means that it speaks plain HTTP.
    pub tls: Option<Tls>,
}

/// `[server.tls]`: the certificate that this server shows. Paths that are not absolute begin at the
/// directory of the configuration's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate as PEM, followed by those between it and a root.
    pub cert: PathBuf,
    /// Its private key as PEM, not encrypted. Absent means in the certificate's file.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl Tls {
    pub(crate) fn key(&self) -> &Path {
        self.key.as_deref().unwrap_or(&self.cert)
    }

    fn begin_at(&mut self, dir: &Path) {
        self.cert = dir.join(&self.cert);
        self.key = self.key.take().map(|key| dir.join(key));
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7080)),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 20_000,
            per_address: 1_024,
            max_unauthenticated: limits::HANDSHAKES_MAX,
            playground: false,
            drain_within_s: 30,
            abort_after_s: None,
            tls: None,
        }
    }
}

/// What keeps sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// One file that survives kill -9 and power cuts.
    Sqlite,
    /// This process; everything is gone with it.
    Memory,
}

/// `[store]`: where sessions are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// `sqlite` or `memory`.
    pub kind: StoreKind,
    /// The directory of everything that is kept, the keys included.
    pub path: PathBuf,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sqlite,
            path: PathBuf::from(".evenkeel"),
        }
    }
}

/// `[session]`: how long sessions and attachments live.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// How long an attachment, its slot and its command streams outlive its connection, in seconds.
    pub resume_window_s: u64,
    /// How long a session without attachments and turns stays in memory, in seconds.
    pub hibernate_after_s: u64,
    /// Events that a log keeps below its end; older ones are trimmed below a snapshot.
    pub retain_events: u64,
    /// The backend of sessions whose opener named none. Absent means the only one, or `echo`.
    pub default_backend: Option<String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            resume_window_s: limits::RESUME_WINDOW.as_secs(),
            hibernate_after_s: limits::HIBERNATE_AFTER.as_secs(),
            retain_events: 100_000,
            default_backend: None,
        }
    }
}

/// `[limits]`: bounds of connections and requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Frames a second that a connection may send, averaged; then `rate_limited`.
    pub frames_per_s: u32,
    /// How long a request's header, or its body, or a handshake of TLS may take, in seconds.
    pub request_within_s: u64,
    /// Server-sent event streams at once; further ones are answered 503.
    pub event_streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frames_per_s: limits::FRAMES_PER_S,
            request_within_s: 10,
            event_streams: 1_024,
        }
    }
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256: the key's file holds the secret in hexadecimal digits.
    HS256,
    /// Ed25519: the key's file holds a public key as PEM.
    EdDSA,
}

/// One key that tokens may be signed with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyKey {
    /// The `kid` of tokens that are signed with it.
    pub kid: String,
    /// `HS256` or `EdDSA`.
    pub alg: Algorithm,
    /// Where it is.
    pub file: PathBuf,
}

/// `[auth]`: which tokens are good.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Keys that tokens may be signed with, besides this server's own (`kid` `local`).
    pub keys: Vec<VerifyKey>,
    /// What `iss` must be, where it is given here.
    pub issuer: Option<String>,
    /// Where this server's own keys are; made at the first start. Absent means `keys/` in the
    /// store's directory.
    pub key_dir: Option<PathBuf>,
}

/// `[faults]`: breaking things on purpose.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// `true` lets those break things whose token allows it. Nothing but `true` switches it on.
    pub enabled: bool,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level (`info`), or directives as of tracing's `EnvFilter` (`info,keel_server=debug`).
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

impl Config {
    /// Where this server's own keys are.
    #[must_use]
    pub fn key_dir(&self) -> PathBuf {
        self.auth
            .key_dir
            .clone()
            .unwrap_or_else(|| self.store.path.join("keys"))
    }

    /// The backend of sessions whose opener named none.
    #[must_use]
    pub fn default_backend(&self) -> String {
        let only = || match self.backends.len() {
            1 => self.backends.keys().next().cloned(),
            _ => None,
        };
        let named = self.session.default_backend.clone();
        named.or_else(only).unwrap_or_else(|| "echo".to_owned())
    }

    /// What serves sessions that are opened by WHIP: the default, if it takes media, else the first
    /// by name that does.
    pub(crate) fn media_backend(&self) -> Option<String> {
        let takes = |name: &String| {
            let backend = self.backends.get(name);
            backend.is_some_and(|backend| backend.for_node().media.is_some())
        };
        let default = Some(self.default_backend()).filter(takes);
        default.or_else(|| self.backends.keys().find(|name| takes(name)).cloned())
    }

    pub(crate) fn request_within(&self) -> Duration {
        Duration::from_secs(self.limits.request_within_s)
    }

    /// The backends, with `echo` where there are none.
    pub(crate) fn with_defaults(mut self) -> Self {
        if self.backends.is_empty() {
            self.backends.insert("echo".to_owned(), Backend::echo());
        }
        self
    }
}
