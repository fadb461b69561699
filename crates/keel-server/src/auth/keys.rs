//! Keys: this server's own, made at its first start, and those that are configured.

use std::{
    fmt, fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Once,
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};

use sha2::{Digest, Sha256};

use crate::{config, peers::KeyPrint, random};

/// The `kid` of this server's own key.
pub(crate) const LOCAL: &str = "local";
/// Shortest secret of an HMAC key, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// Why a key is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file cannot be read or made.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its file holds no key.
    #[error("{}: {message}", .path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: &'static str,
    },
    /// Two keys have one `kid`.
    #[error("two keys have the kid {0:?}")]
    Ambiguous(String),
}

struct Key {
    kid: String,
    alg: Algorithm,
    decoding: DecodingKey,
    /// A hash by which another server recognises it.
    print: String,
}

/// A hash of a key with all that makes it this key.
fn print(kid: &str, alg: Algorithm, key: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("evenkeel token key\n{alg:?}\n{kid}\n").as_bytes());
    hash.update(key);
    random::hex(&hash.finalize())
}

pub(crate) struct Keys {
    all: Vec<Key>,
    signing: EncodingKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|key| (&key.kid, key.alg)))
            .finish()
    }
}

impl Keys {
    pub(crate) fn open(dir: &Path, configured: &[config::VerifyKey]) -> Result<Self, KeyError> {
        install_crypto();
        let path = dir.join("hs256.key");
        let secret = secret(&path, &open_or_make(&path, new_secret)?)?;
        let mut keys = Self {
            all: vec![Key {
                kid: LOCAL.to_owned(),
                alg: Algorithm::HS256,
                decoding: DecodingKey::from_secret(&secret),
                print: print(LOCAL, Algorithm::HS256, &secret),
            }],
            signing: EncodingKey::from_secret(&secret),
        };
        for key in configured {
            if keys.all.iter().any(|other| other.kid == key.kid) {
                return Err(KeyError::Ambiguous(key.kid.clone()));
            }
            keys.all.push(read(key)?);
        }
        Ok(keys)
    }

    pub(super) fn prints(&self) -> Vec<KeyPrint> {
        let print = |key: &Key| KeyPrint {
            kid: key.kid.clone(),
            print: key.print.clone(),
        };
        self.all.iter().map(print).collect()
    }

    pub(super) fn signing(&self) -> &EncodingKey {
        &self.signing
    }

    /// The key of that id, if it is for that algorithm. Without an id, the one key of it.
    pub(super) fn find(&self, alg: Algorithm, kid: Option<&str>) -> Option<&DecodingKey> {
        let mut fits = self
            .all
            .iter()
            .filter(|key| key.alg == alg && kid.is_none_or(|kid| kid == key.kid));
        match (fits.next(), fits.next()) {
            (Some(key), None) => Some(&key.decoding),
            (_, _) => None,
        }
    }
}

fn read(key: &config::VerifyKey) -> Result<Key, KeyError> {
    let path = &key.file;
    let text = fs::read_to_string(path).map_err(|source| KeyError::File {
        path: path.clone(),
        source,
    })?;
    let (alg, decoding, bytes) = match key.alg {
        config::Algorithm::HS256 => {
            let bytes = secret(path, &text)?;
            (Algorithm::HS256, DecodingKey::from_secret(&bytes), bytes)
        }
        config::Algorithm::EdDSA => {
            let decoding = DecodingKey::from_ed_pem(text.as_bytes()).map_err(|_| {
                let message = "want an Ed25519 public key as PEM";
                KeyError::Malformed {
                    path: path.clone(),
                    message,
                }
            })?;
            let lines = text.lines().map(str::trim);
            let bytes = lines
                .collect::<Vec<_>>()
                .join("\n")
                .trim()
                .as_bytes()
                .to_vec();
            (Algorithm::EdDSA, decoding, bytes)
        }
    };
    Ok(Key {
        kid: key.kid.clone(),
        alg,
        decoding,
        print: print(&key.kid, alg, &bytes),
    })
}

/// What resume keys are made with.
pub(crate) fn resume_secret(dir: &Path) -> Result<[u8; 32], KeyError> {
    let path = dir.join("resume.key");
    let bytes = secret(&path, &open_or_make(&path, new_secret)?)?;
    let message = "want 64 hexadecimal digits";
    bytes
        .try_into()
        .map_err(|_| KeyError::Malformed { path, message })
}

fn secret(path: &Path, text: &str) -> Result<Vec<u8>, KeyError> {
    let bytes = random::from_hex(text).filter(|bytes| bytes.len() >= SECRET_BYTES_MIN);
    let message = "want at least 64 hexadecimal digits";
    bytes.ok_or_else(|| KeyError::Malformed {
        path: path.to_owned(),
        message,
    })
}

fn new_secret() -> String {
    random::hex(&random::bytes::<32>()) + "\n"
}

/// The text of a key file, which is made (mode 0600, in a directory of mode 0700) if there is none.
pub(crate) fn open_or_make(path: &Path, make: impl FnOnce() -> String) -> Result<String, KeyError> {
    let failed = |source| KeyError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let text = make();
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            Ok(text)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::read_to_string(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the process has one already, which is what is wanted.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    });
}
