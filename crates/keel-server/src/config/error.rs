//! What is wrong with a configuration, and where.

use std::{fmt, path::PathBuf};

/// A configuration that is refused. A process that meets one exits with 78 (`EX_CONFIG`).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that it may not.
    #[error("{}:{line}:{column}: {}{message}", .path.display(), Prefix(.option))]
    File {
        /// Which.
        path: PathBuf,
        /// From 1; 0 when the whole is meant.
        line: usize,
        /// From 1; 0 when the whole is meant.
        column: usize,
        /// The option, as `section.key`; empty where the text is no TOML.
        option: String,
        /// What is wrong.
        message: String,
    },
    /// An environment variable says something that it may not.
    #[error("{variable}: {message}")]
    Environment {
        /// Which.
        variable: String,
        /// What is wrong.
        message: String,
    },
}

struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, "{}: ", self.0)
        }
    }
}
