//! Logging: one subscriber a process, set up from the configuration.

use tracing_subscriber::{EnvFilter, filter::ParseError, fmt, prelude::*};

use crate::config::{Log, LogFormat};

pub(crate) fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(level)
}

/// Sends what is logged to stderr, as configured. Does nothing if the process has a subscriber.
///
/// Control characters are escaped by both formats, so that what a peer sends cannot forge a line.
pub fn init(config: &Log) {
    let filter = filter(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let _ = match config.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(lines).try_init(),
    };
}
