//! STUN and TURN servers: those that are told as they are, and those that want credentials made for
//! each participant.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// The shortest that TURN credentials may last, in seconds.
const TTL_S_MIN: u64 = 30;
/// The longest, in seconds.
const TTL_S_MAX: u64 = 24 * 3_600;

/// The address of a STUN or TURN server, as `turn:turn.example.org:3478?transport=udp` (RFC 7064,
/// RFC 7065).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct IceUrl(String);

impl IceUrl {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it relays: `turn` or `turns`.
    #[must_use]
    pub fn is_turn(&self) -> bool {
        self.0.starts_with("turn")
    }

    /// Host and port; 3478 or 5349 where none is said.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        let (scheme, rest) = self.0.split_once(':').unwrap_or(("", &self.0));
        let rest = rest.split('?').next().unwrap_or(rest);
        let default = if scheme.ends_with('s') { 5_349 } else { 3_478 };
        let port_at = rest.rfind(':').filter(|at| !rest[*at..].contains(']'));
        let (host, port) = match port_at {
            Some(at) => (&rest[..at], rest[at + 1..].parse().unwrap_or(default)),
            None => (rest, default),
        };
        (host.trim_matches(['[', ']']), port)
    }
}

impl TryFrom<String> for IceUrl {
    type Error = String;

    fn try_from(url: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{url:?} is no address of a STUN or TURN server, as \"turn:turn.example.org:3478?transport=udp\""
            )
        };
        let (scheme, rest) = url.split_once(':').ok_or_else(wrong)?;
        let plain =
            |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | ',' | ';' | '\\');
        let (host, query) = rest
            .split_once('?')
            .map_or((rest, None), |(h, q)| (h, Some(q)));
        let known_query = match query {
            None => true,
            Some("transport=udp" | "transport=tcp") => scheme.starts_with("turn"),
            Some(_) => false,
        };
        let known = ["stun", "stuns", "turn", "turns"].contains(&scheme);
        if !known
            || host.is_empty()
            || host.starts_with('/')
            || !rest.chars().all(plain)
            || !known_query
        {
            return Err(wrong());
        }
        Ok(Self(url))
    }
}

/// One server of `[media] ice_servers`, told to clients as it is here.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// Its addresses.
    pub urls: Vec<IceUrl>,
    /// Who one is to it, where it wants to know.
    #[serde(default)]
    pub username: Option<String>,
    /// The proof of that. Everybody who may join a session learns it: `[turn]` makes ones that expire.
    #[serde(default)]
    pub credential: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// `[turn]`: servers that share a secret with this one (coturn's `use-auth-secret`), and take
/// credentials that are made with it and expire.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turn {
    /// Their addresses.
    pub urls: Vec<IceUrl>,
    /// Where the secret is (coturn's `static-auth-secret`), as it is, without the line's end.
    pub secret_file: PathBuf,
    /// How long credentials last, in seconds; 30 to 86,400. They never outlast the token of whom they
    /// are for, and are handed out anew while a connection lives.
    #[serde(default = "ttl")]
    pub ttl_s: Ttl,
}

impl Turn {
    pub(super) fn begin_at(&mut self, dir: &Path) {
        self.secret_file = dir.join(&self.secret_file);
    }
}

/// How long credentials last, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Ttl(u64);

impl Ttl {
    /// In seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Ttl {
    type Error = String;

    fn try_from(seconds: u64) -> Result<Self, String> {
        if (TTL_S_MIN..=TTL_S_MAX).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(format!("want {TTL_S_MIN} to {TTL_S_MAX} seconds"))
        }
    }
}

const fn ttl() -> Ttl {
    Ttl(3_600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let read = |url: &str| IceUrl::try_from(url.to_owned());
        for (url, host, port) in [
            ("stun:stun.example.org", "stun.example.org", 3_478),
            ("turn:10.0.0.1:4000?transport=udp", "10.0.0.1", 4_000),
            (
                "turns:turn.example.org?transport=tcp",
                "turn.example.org",
                5_349,
            ),
            ("turn:[::1]:3479", "::1", 3_479),
            ("stun:[::1]", "::1", 3_478),
        ] {
            let url = read(url).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(url.host_and_port(), (host, port), "{url:?}");
        }
        for url in [
            "",
            "turn",
            "http://a",
            "stun:a?transport=udp",
            "turn:a?x=1",
            "turn:a>;rel",
            "turn://a",
        ] {
            assert!(read(url).is_err(), "{url}");
        }
    }
}
