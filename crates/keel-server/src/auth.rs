//! Tokens: what a JWT must be, and what it then allows.
//!
//! A token is checked against keys that are configured and nothing else: what its header points at
//! (`jku`, `x5u`, a path in `kid`) is never fetched or opened. Every refusal but "expired" is one
//! and the same answer, so that a caller learns nothing from it.

mod claims;
mod keys;
mod revoked;

use std::{path::Path, sync::Arc};

use jsonwebtoken::{Algorithm, Header, Validation, errors::ErrorKind};
use keel_wire::{Code, Grant, UnixMillis};

use crate::peers::KeyPrint;

pub use claims::Claims;
pub use keys::KeyError;
pub(crate) use keys::{Keys, LOCAL, open_or_make, resume_secret};
pub(crate) use revoked::Revoked;

/// Whom a token is for, always.
pub const AUDIENCE: &str = "evenkeel";
/// How far the clock of who made a token may be off, in seconds.
const LEEWAY_S: u64 = 60;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Checks and makes tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    keys: Arc<Keys>,
    issuer: Option<Arc<str>>,
    revoked: Arc<Revoked>,
}

impl Tokens {
    pub(crate) fn new(keys: Keys, issuer: Option<&str>) -> Self {
        Self {
            keys: Arc::new(keys),
            issuer: issuer.map(Into::into),
            revoked: Arc::default(),
        }
    }

    /// Only this server's own key, for making tokens without a running server. The key is made if
    /// there is none.
    ///
    /// # Errors
    /// When the key cannot be read or made.
    pub fn local(key_dir: &Path) -> Result<Self, KeyError> {
        Ok(Self::new(Keys::open(key_dir, &[])?, None))
    }

    /// A token with those claims, signed with this server's own key.
    ///
    /// # Panics
    /// Never: the claims are plain JSON and the key is an HMAC key.
    #[must_use]
    pub fn mint(&self, claims: &Claims) -> String {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(LOCAL.to_owned());
        jsonwebtoken::encode(&header, claims, self.keys.signing())
            .expect("claims are JSON, and an HMAC key signs anything")
    }

    /// What tokens may be signed with, as prints that say nothing about the keys.
    pub(crate) fn key_prints(&self) -> Vec<KeyPrint> {
        self.keys.prints()
    }

    pub(crate) fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// What a token allows somebody whose page is of `origin`.
    ///
    /// # Errors
    /// [`Code::TokenExpired`] for what was ours once, [`Code::PermissionDenied`] for the wrong page,
    /// [`Code::Unauthenticated`] for all else.
    pub fn verify(&self, token: &str, origin: Option<&str>) -> Result<Grant, Code> {
        let claims = self.decode(token)?;
        if let (Some(allowed), Some(origin)) = (&claims.origins, origin)
            && !allowed.iter().any(|allowed| allowed == origin)
        {
            return Err(Code::PermissionDenied);
        }
        Ok(claims.grant())
    }

    fn decode(&self, token: &str) -> Result<Claims, Code> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Code::Unauthenticated);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Code::Unauthenticated)?;
        let key = self
            .keys
            .find(header.alg, header.kid.as_deref())
            .ok_or(Code::Unauthenticated)?;
        let mut validation = Validation::new(header.alg);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "sub", "aud"]);
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation)
            .map_err(|error| {
                let expired = matches!(error.kind(), ErrorKind::ExpiredSignature);
                if expired {
                    Code::TokenExpired
                } else {
                    Code::Unauthenticated
                }
            })?
            .claims;
        let revoked = claims.jti.as_deref().is_some_and(|id| self.revoked.has(id));
        if revoked || claims.sub.is_empty() || claims.sub.len() > 256 {
            Err(Code::Unauthenticated)
        } else {
            Ok(claims)
        }
    }

    /// When a token that is being revoked by its id has certainly expired: the longest that this
    /// server makes tokens for.
    pub(crate) fn longest(now: UnixMillis) -> UnixMillis {
        now.saturating_add(claims::TTL_S_MAX * 1_000 + LEEWAY_S * 1_000)
    }
}
