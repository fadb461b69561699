//! Requests between servers are sealed: a MAC over whom it is for, the path, the time and a digest of the
//! body, which travels beside it.
//!
//! So a seal is proven before anything of the body is read, and the body is held to its digest while it
//! is. The secret itself never travels. A seal is good for one server, by the name that it was dialled
//! by, and for a minute; what is said twice within it changes nothing, because every step of a handover
//! may be taken twice.

use std::path::Path;

use hmac::{Hmac, Mac};
use keel_wire::UnixMillis;
use sha2::{Digest, Sha256};

use crate::{auth::KeyError, random};

/// How far the clocks of two servers may be apart, in milliseconds.
const CLOCKS_APART_MS: u64 = 60_000;

/// The header that a seal travels in.
pub(super) const HEADER: &str = "evenkeel-seal";

/// The header that a body's digest travels in, in hexadecimal.
pub(super) const DIGEST_HEADER: &str = "evenkeel-digest";

/// What a seal is over, besides the time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed<'a> {
    /// Whom it is for, as in `Host`.
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// See [`Digesting::finish`].
    pub(super) digest: &'a str,
}

/// A digest of a body that comes piece by piece.
#[derive(Default)]
pub(super) struct Digesting(Sha256);

impl Digesting {
    pub(super) fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// SHA-256, in hexadecimal.
    pub(super) fn finish(self) -> String {
        random::hex(&self.0.finalize())
    }

    /// That of a whole body.
    pub(super) fn of(body: &[u8]) -> String {
        let mut digest = Self::default();
        digest.add(body);
        digest.finish()
    }
}

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

    fn mac(&self, sealed: Sealed<'_>, at: UnixMillis) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        // None of them has a line break in it: each is a header's value or a path.
        let Sealed { host, path, digest } = sealed;
        let text = format!("evenkeel peer\nPOST\n{host}\n{path}\n{at}\n{digest}");
        mac.update(text.as_bytes());
        mac
    }

    pub(super) fn seal(&self, sealed: Sealed<'_>, now: UnixMillis) -> String {
        let tag = self.mac(sealed, now).finalize().into_bytes();
        format!("{now}.{}", random::hex(&tag))
    }

    pub(super) fn has_sealed(&self, seal: &str, sealed: Sealed<'_>, now: UnixMillis) -> bool {
        let parts = seal
            .split_once('.')
            .and_then(|(at, tag)| Some((at.parse::<UnixMillis>().ok()?, random::from_hex(tag)?)));
        let Some((at, tag)) = parts else { return false };
        at.abs_diff(now) <= CLOCKS_APART_MS && self.mac(sealed, at).verify_slice(&tag).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_good_for_its_own_request_its_server_and_a_minute_m17_a07() {
        let (secret, other) = (Secret(vec![7; 32]), Secret(vec![8; 32]));
        let (body, now) = (Digesting::of(b"{}"), 1_000_000_000);
        let sealed = Sealed {
            host: "green:7080",
            path: "/v1/peer/hello",
            digest: &body,
        };
        let seal = secret.seal(sealed, now);
        let is_good = |sealed, now| secret.has_sealed(&seal, sealed, now);
        assert!(is_good(sealed, now + 59_000));
        assert!(!is_good(sealed, now + 61_000));
        let digest = &Digesting::of(b"{ }");
        assert!(!is_good(Sealed { digest, ..sealed }, now));
        let path = "/v1/peer/hallo";
        assert!(!is_good(Sealed { path, ..sealed }, now));
        for host in ["red:7080", "green", "green:7081", ""] {
            assert!(!is_good(Sealed { host, ..sealed }, now), "{host}");
        }
        assert!(!other.has_sealed(&seal, sealed, now));
        let later = seal.replacen("1000000000", "1000000001", 1);
        assert!(!secret.has_sealed(&later, sealed, now));
        for bad in ["", ".", "1.", "x.00", "1000000000.00", "1000000000."] {
            assert!(!secret.has_sealed(bad, sealed, now), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_is_that_of_the_whole_however_it_comes() {
        let mut digest = Digesting::default();
        for piece in [&b"a"[..], b"", b"bc"] {
            digest.add(piece);
        }
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.finish(), known);
        assert_eq!(Digesting::of(b"abc"), known);
    }
}
