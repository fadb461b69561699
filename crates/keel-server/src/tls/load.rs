//! From two files to what a handshake needs.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::{
    error::{TlsError, TlsFile},
    validity::{self, Validity},
};

/// A pair that is good, whatever its date.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) validity: Validity,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's lists grow")]
pub(super) fn load(cert: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let malformed = |option, path: &Path, message: String| TlsError::Malformed {
        option,
        path: path.to_owned(),
        message,
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(TlsFile::Certificate, cert)?).collect();
    let chain =
        chain.map_err(|error| malformed(TlsFile::Certificate, cert, format!("no PEM: {error}")))?;
    let Some(own) = chain.first() else {
        let message = "holds no certificate".to_owned();
        return Err(malformed(TlsFile::Certificate, cert, message));
    };
    let Some(validity) = validity::of(own) else {
        let message = "the first certificate is malformed".to_owned();
        return Err(malformed(TlsFile::Certificate, cert, message));
    };
    let private = PrivateKeyDer::from_pem_slice(&read(TlsFile::Key, key)?).map_err(|error| {
        let message = match error {
            pem::Error::NoItemsFound => "holds no private key that is not encrypted".to_owned(),
            error => format!("no PEM: {error}"),
        };
        malformed(TlsFile::Key, key, message)
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pair = CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        Error::InvalidCertificate(error) => malformed(
            TlsFile::Certificate,
            cert,
            format!("the first certificate is malformed: {error}"),
        ),
        error => malformed(TlsFile::Key, key, error.to_string()),
    })?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| malformed(TlsFile::Key, key, error.to_string()))?;
    let mut config = builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    // What is spoken here; a client that offers only other things is refused in the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Loaded {
        config: Arc::new(config),
        validity,
    })
}

fn read(option: TlsFile, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        option,
        path: path.to_owned(),
        source,
    })
}
