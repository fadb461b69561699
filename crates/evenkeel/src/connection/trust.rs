//! Whose certificates are believed: the system's roots, or those that the caller brought.

#[cfg(feature = "tls")]
pub(crate) use with_tls::{Trust, failure};
#[cfg(not(feature = "tls"))]
pub(crate) use without_tls::Trust;

#[cfg(feature = "tls")]
mod with_tls {
    use std::{io, sync::Arc};

    use keel_core::client::TlsFailure;
    use rustls::{
        CertificateError, ClientConfig, Error, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, pem::PemObject},
    };
    use tokio_tungstenite::Connector;

    /// `None` stands for the system's roots.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Trust(Option<Arc<ClientConfig>>);

    impl Trust {
        /// In these roots, and no others.
        ///
        /// # Errors
        /// With what is wrong with them.
        pub(crate) fn only(pem: &[u8]) -> Result<Self, String> {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("no PEM: {error}"))?;
                roots
                    .add(certificate)
                    .map_err(|error| format!("not a root: {error}"))?;
            }
            if roots.is_empty() {
                return Err("holds no certificate".to_owned());
            }
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Self(Some(Arc::new(config))))
        }

        pub(crate) fn connector(&self) -> Option<Connector> {
            self.0.clone().map(Connector::Rustls)
        }
    }

    /// What the TLS library says of a handshake, if it is its.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's list grows")]
    pub(crate) fn failure(error: &io::Error) -> Option<TlsFailure> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let Error::InvalidCertificate(error) = error else {
            return Some(TlsFailure::Handshake);
        };
        Some(match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsFailure::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsFailure::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsFailure::WrongHost
            }
            // Self-signed, signed by somebody unknown, revoked, malformed.
            _ => TlsFailure::Untrusted,
        })
    }
}

#[cfg(not(feature = "tls"))]
mod without_tls {
    /// There is nothing to believe.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Trust {}
}
