//! The certificate of this server's transports for media, made at its first start: a client that comes
//! back after a restart meets the fingerprint that it knows.

use std::path::Path;

use keel_media::Certificate;

use crate::{
    auth::{KeyError, open_or_make},
    random,
};

/// The certificate in a directory of keys: DER as hexadecimal digits, then its private key likewise.
pub(crate) fn identity(dir: &Path) -> Result<Certificate, KeyError> {
    let path = dir.join("media.key");
    let make = || {
        let made = Certificate::generate();
        let (certificate, key) = (
            random::hex(&made.certificate),
            random::hex(&made.private_key),
        );
        format!("{certificate}\n{key}\n")
    };
    let kept = open_or_make(&path, make)?;
    read(&kept).ok_or(KeyError::Malformed {
        path,
        message: "want a certificate and its key, a line of hexadecimal digits each",
    })
}

fn read(text: &str) -> Option<Certificate> {
    let (certificate, private_key) = text.trim().split_once('\n')?;
    Some(Certificate {
        certificate: random::from_hex(certificate)?,
        private_key: random::from_hex(private_key)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_started_again_is_the_same_to_who_comes_back() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let of = |dir: &Path| {
            let identity = identity(dir).expect("it is made");
            (identity.certificate, identity.private_key)
        };
        let first = of(dir.path());
        assert_eq!(of(dir.path()), first);
        let other = tempfile::TempDir::new().expect("a directory");
        assert_ne!(of(other.path()), first, "each has its own");
    }
}
