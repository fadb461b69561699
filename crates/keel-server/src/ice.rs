//! STUN and TURN servers for clients, with credentials as coturn takes them (`use-auth-secret`): the
//! user name is when they expire and whom they are for, the password a MAC over it.

use std::{fmt, fs};

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use keel_core::node::{HandOut, IceClient, IceServers};
use keel_wire::{IceServer, UnixMillis};
use sha1::Sha1;

use crate::{auth::KeyError, config::Config};

/// Shortest secret that is shared with a TURN server, in bytes.
const SECRET_BYTES_MIN: usize = 16;

/// See the module's text.
pub(crate) struct Ice {
    fixed: Vec<IceServer>,
    turn: Option<Turn>,
}

struct Turn {
    urls: Vec<String>,
    secret: Vec<u8>,
    ttl_ms: u64,
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ice")
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

impl Ice {
    /// What is configured; `None` when nothing is.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, KeyError> {
        let fixed = config.media.ice_servers.iter().map(|server| IceServer {
            urls: server
                .urls
                .iter()
                .map(|url| url.as_str().to_owned())
                .collect(),
            username: server.username.clone(),
            credential: server.credential.clone(),
        });
        let fixed: Vec<IceServer> = fixed.collect();
        let turn = config.turn.as_ref().map(Turn::open).transpose()?;
        let any = !fixed.is_empty() || turn.is_some();
        Ok(any.then_some(Self { fixed, turn }))
    }
}

impl Turn {
    fn open(config: &crate::config::Turn) -> Result<Self, KeyError> {
        let path = &config.secret_file;
        let text = fs::read_to_string(path).map_err(|source| KeyError::File {
            path: path.clone(),
            source,
        })?;
        let secret = text.trim_end_matches(['\r', '\n']).as_bytes().to_vec();
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Malformed {
                path: path.clone(),
                message: "want a secret of at least 16 bytes",
            });
        }
        Ok(Self {
            urls: config
                .urls
                .iter()
                .map(|url| url.as_str().to_owned())
                .collect(),
            secret,
            ttl_ms: config.ttl_s.seconds() * 1_000,
        })
    }

    fn server(&self, participant: &str, expires_s: u64) -> IceServer {
        let username = format!("{expires_s}:{participant}");
        let mut mac = Hmac::<Sha1>::new_from_slice(&self.secret)
            .expect("a key of any length is good for HMAC");
        mac.update(username.as_bytes());
        let credential = STANDARD.encode(mac.finalize().into_bytes());
        IceServer {
            urls: self.urls.clone(),
            username: Some(username),
            credential: Some(credential),
        }
    }
}

impl HandOut for Ice {
    fn servers(&self, client: IceClient<'_>, now: UnixMillis) -> IceServers {
        let mut servers = self.fixed.clone();
        let mut until = None;
        if let Some(turn) = &self.turn {
            let expires_s = (now + turn.ttl_ms).min(client.expires) / 1_000;
            servers.push(turn.server(client.participant.as_str(), expires_s));
            until = Some(expires_s * 1_000);
        }
        IceServers { servers, until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ice(secret: &[u8]) -> Ice {
        let turn = Turn {
            urls: vec!["turn:127.0.0.1:3478?transport=udp".to_owned()],
            secret: secret.to_vec(),
            ttl_ms: 3_600_000,
        };
        Ice {
            fixed: Vec::new(),
            turn: Some(turn),
        }
    }

    fn handed(
        ice: &Ice,
        participant: u128,
        expires: UnixMillis,
    ) -> (IceServer, Option<UnixMillis>) {
        let participant = keel_wire::ParticipantId::from_bits(participant);
        let client = IceClient {
            participant: &participant,
            expires,
        };
        let mut handed = ice.servers(client, 1_000_000);
        (handed.servers.remove(0), handed.until)
    }

    #[test]
    fn credentials_are_of_one_participant_and_end_with_its_token_a54() {
        let ice_of = ice(b"north-and-south-of-it");
        let (server, until) = handed(&ice_of, 1, u64::MAX);
        let username = server.username.clone().unwrap_or_default();
        assert!(username.starts_with("4600:"), "{username}");
        assert_eq!(until, Some(4_600_000), "an hour");
        let (other, _) = handed(&ice_of, 2, u64::MAX);
        assert_ne!(server.credential, other.credential, "another's");
        let (short, until) = handed(&ice_of, 1, 1_060_000);
        assert_eq!(until, Some(1_060_000), "a token's end is theirs");
        assert_ne!(server.credential, short.credential);
        let (forged, _) = handed(&ice(b"another secret than it"), 1, u64::MAX);
        assert_ne!(server.credential, forged.credential);
        let told = format!("{server:?} {ice_of:?}");
        let secret = server.credential.unwrap_or_default();
        assert!(!told.contains(&secret) && !told.contains("north"), "{told}");
    }
}
