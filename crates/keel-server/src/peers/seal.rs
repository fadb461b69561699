//! Requests between servers are sealed: a MAC over the path, the time and the body.
//!
//! The secret itself never travels. A seal is good for a minute; what is said twice within it changes
//! nothing, because every step of a handover may be taken twice.

use std::path::Path;

use hmac::{Hmac, Mac};
use keel_wire::UnixMillis;
use sha2::{Digest, Sha256};

use crate::{auth::KeyError, random};

/// How far the clocks of two servers may be apart, in milliseconds.
const CLOCKS_APART_MS: u64 = 60_000;

/// The header that a seal travels in.
pub(super) const HEADER: &str = "evenkeel-seal";

/// What two servers know.
pub(super) struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    pub(super) fn read(path: &Path) -> Result<Self, KeyError> {
        super::read_hex(path).map(Self)
    }

    fn mac(&self, path: &str, body: &[u8], at: UnixMillis) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        let body = random::hex(&Sha256::digest(body));
        mac.update(format!("evenkeel peer\nPOST {path}\n{at}\n{body}").as_bytes());
        mac
    }

    pub(super) fn seal(&self, path: &str, body: &[u8], now: UnixMillis) -> String {
        let tag = self.mac(path, body, now).finalize().into_bytes();
        format!("{now}.{}", random::hex(&tag))
    }

    pub(super) fn has_sealed(&self, seal: &str, path: &str, body: &[u8], now: UnixMillis) -> bool {
        let parts = seal
            .split_once('.')
            .and_then(|(at, tag)| Some((at.parse::<UnixMillis>().ok()?, random::from_hex(tag)?)));
        let Some((at, tag)) = parts else { return false };
        at.abs_diff(now) <= CLOCKS_APART_MS && self.mac(path, body, at).verify_slice(&tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_good_for_its_own_request_and_a_minute_m17() {
        let (secret, other) = (Secret(vec![7; 32]), Secret(vec![8; 32]));
        let (path, now) = ("/v1/peer/hello", 1_000_000_000);
        let seal = secret.seal(path, b"{}", now);
        assert!(secret.has_sealed(&seal, path, b"{}", now + 59_000));
        assert!(!secret.has_sealed(&seal, path, b"{}", now + 61_000));
        assert!(!secret.has_sealed(&seal, path, b"{ }", now));
        assert!(!secret.has_sealed(&seal, "/v1/peer/hallo", b"{}", now));
        assert!(!other.has_sealed(&seal, path, b"{}", now));
        let later = seal.replacen("1000000000", "1000000001", 1);
        assert!(!secret.has_sealed(&later, path, b"{}", now));
        for bad in ["", ".", "1.", "x.00", "1000000000.00", "1000000000."] {
            assert!(!secret.has_sealed(bad, path, b"{}", now), "{bad:?}");
        }
    }
}
