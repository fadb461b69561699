//! Why a certificate and its key are not used: each names the option and the file.

use std::{fmt, path::PathBuf};

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// `server.tls.cert`.
    Certificate,
    /// `server.tls.key`.
    Key,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "server.tls.cert",
            Self::Key => "server.tls.key",
        })
    }
}

/// Why a certificate and its key are not used. A process that meets one at its start exits with 78
/// (`EX_CONFIG`).
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{option}: {}: {source}", .path.display())]
    Unreadable {
        /// Which option names it.
        option: TlsFile,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{option}: {}: {message}", .path.display())]
    Malformed {
        /// Which option names it.
        option: TlsFile,
        /// Which.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The key is that of another certificate.
    #[error("server.tls.key: {}: the key of another certificate than {}", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}
