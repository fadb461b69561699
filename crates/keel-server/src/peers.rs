//! Handing sessions over to another server, and taking them over from one.
//!
//! Which sessions go, and when, the Node decides. Here bytes are moved: parts of a session, each signed
//! with a secret that both servers know, and the answer to each. What the other server was asked last
//! makes the difference: before it was asked to accept, a failure leaves the session here for certain;
//! after that only the other server knows.

mod give;
mod link;
mod receive;
mod seal;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keel_core::node::Progress;
use keel_wire::UnixMillis;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{auth::KeyError, config, driver::Event, random, shared::Shared};

pub(crate) use give::give;
pub(crate) use receive::{hello, session};

use link::{Link, Tls};
use seal::{Sealed, Secret};

/// How long another server may take to answer one request.
const PEER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request between servers.
const PEER_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Revocations that a hello tells.
const REVOKED_TOLD_MAX: usize = 50_000;
/// Where servers greet each other.
const HELLO: &str = "/v1/peer/hello";

/// Another server.
#[derive(Debug)]
pub(crate) struct Peer {
    name: String,
    url: String,
    address: String,
    secret: Secret,
    tls: Option<Tls>,
}

/// The other servers, by name.
#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeMap<String, Arc<Peer>>);

/// Why a peer as configured is not good.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its secret cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificates that it is checked against cannot be read.
    #[error("peers: {}: {message}", .path.display())]
    Authority {
        /// Their file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Peers {
    pub(crate) fn open(configured: &BTreeMap<String, config::Peer>) -> Result<Self, PeerError> {
        let open = |(name, peer): (&String, &config::Peer)| {
            let opened = Peer {
                name: name.clone(),
                url: peer.url.trim_end_matches('/').to_owned(),
                address: peer.address(),
                secret: Secret::read(&peer.key)?,
                tls: peer
                    .url
                    .starts_with("https://")
                    .then(|| Tls::open(peer.ca.as_deref()))
                    .transpose()?,
            };
            Ok((name.clone(), Arc::new(opened)))
        };
        let peers = configured.iter().map(open);
        Ok(Self(peers.collect::<Result<_, PeerError>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn named(&self, name: &str) -> Option<&Arc<Peer>> {
        self.0.get(name)
    }

    /// The peer that an operator means: by its name, or by where it is.
    fn meant(&self, text: &str) -> Option<&Arc<Peer>> {
        let text = text.trim_end_matches('/');
        let here = |peer: &&Arc<Peer>| peer.url == text || peer.address == text;
        self.named(text).or_else(|| self.0.values().find(here))
    }

    /// Whether a peer has sealed that request.
    fn have_sealed(&self, seal: &str, sealed: Sealed<'_>, now: UnixMillis) -> bool {
        let mut peers = self.0.values();
        peers.any(|peer| peer.secret.has_sealed(seal, sealed, now))
    }
}

/// What a server says before it hands sessions over.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// What its tokens are signed with, as prints that say nothing about the keys.
    keys: Vec<KeyPrint>,
    /// Tokens that are no longer good.
    revoked: Vec<(String, UnixMillis)>,
}

/// A key that tokens may be signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyPrint {
    /// Its id.
    pub(crate) kid: String,
    /// A hash of it.
    pub(crate) print: String,
}

/// What the other one answers.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    /// Its version.
    version: String,
    /// Ids of keys that it does not know: tokens that are signed with them are refused there.
    unknown_keys: Vec<String>,
    /// Why it takes no sessions, if it takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refuses: Option<String>,
}

/// Why sessions are not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// No such server is configured.
    #[error("there is no peer {0:?} in the configuration")]
    UnknownPeer(String),
    /// It cannot be talked to, or does not know the secret.
    #[error("{peer}: {error}")]
    Unreachable {
        /// Its name.
        peer: String,
        /// Why.
        error: String,
    },
    /// Tokens that are good here are not good there, so nobody would come in.
    #[error("{peer} does not know the keys {keys:?} of this server's tokens")]
    UnknownKeys {
        /// Its name.
        peer: String,
        /// Their ids.
        keys: Vec<String>,
    },
    /// It takes no sessions.
    #[error("{peer} takes no sessions: {why}")]
    Refuses {
        /// Its name.
        peer: String,
        /// Why, in its own words.
        why: String,
    },
    /// Not everything had gone in time; what has not is still under way.
    #[error("not everything was handed over in time")]
    Late,
    /// This server is being closed.
    #[error("this server is being closed")]
    Closing,
}

/// Begins to hand every session over to another server; tells when all have gone, or stay.
pub(crate) async fn hand_over(
    shared: &Shared,
    target: &str,
    within: Duration,
) -> Result<oneshot::Receiver<Progress>, HandOverError> {
    let peer = shared.peers.meant(target);
    let peer = peer.ok_or_else(|| HandOverError::UnknownPeer(target.to_owned()))?;
    greet(shared, peer).await?;
    let (handed_over, done) = oneshot::channel();
    let event = Event::HandOver {
        peer: peer.name.clone(),
        address: peer.address.clone(),
        within,
        handed_over,
    };
    tracing::info!(
        peer = peer.name,
        within_s = within.as_secs(),
        "audit: every session is handed over"
    );
    shared
        .events
        .send(event)
        .await
        .map_err(|_| HandOverError::Closing)?;
    Ok(done)
}

/// Whether the other server would let this one's clients in.
async fn greet(shared: &Shared, peer: &Arc<Peer>) -> Result<(), HandOverError> {
    let unreachable = |error: String| HandOverError::Unreachable {
        peer: peer.name.clone(),
        error,
    };
    let revoked = shared.store.revoked().await;
    let mut revoked = revoked.map_err(|error| unreachable(error.to_string()))?;
    revoked.sort_by_key(|(_, until)| std::cmp::Reverse(*until));
    revoked.truncate(REVOKED_TOLD_MAX);
    let keys = shared.tokens.key_prints();
    let hello = Hello { keys, revoked };
    let mut link = Link::open(peer).await.map_err(unreachable)?;
    let greeting: Greeting = link.ask(HELLO, &hello).await.map_err(unreachable)?;
    if let Some(why) = greeting.refuses {
        let peer = peer.name.clone();
        return Err(HandOverError::Refuses { peer, why });
    }
    // A server's own key need not be known there where tokens come from elsewhere.
    let alone = hello.keys.len() == 1;
    let (own, unknown): (Vec<_>, Vec<_>) = greeting
        .unknown_keys
        .into_iter()
        .partition(|kid| kid == crate::auth::LOCAL && !alone);
    if !own.is_empty() {
        tracing::warn!(
            peer = peer.name,
            "tokens that this server makes itself are not good there: share `auth.key_dir`"
        );
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(HandOverError::UnknownKeys {
            peer: peer.name.clone(),
            keys: unknown,
        })
    }
}

fn read_hex(path: &Path) -> Result<Vec<u8>, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let bytes = random::from_hex(&text).filter(|bytes| bytes.len() >= 32);
    bytes.ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
        message: "want at least 64 hexadecimal digits",
    })
}
