//! Stand-in until the crate's own [`crate::Failure`] has these.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NetworkStage {
    Dns,
    Connect,
    Tls,
    Send,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SilentStage {
    FirstByte,
    Idle,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("HTTP {status}: {message}")]
    Http {
        status: u16,
        message: String,
        retry_after_ms: Option<u64>,
    },
    #[error("network: {error}")]
    Network { stage: NetworkStage, error: String },
    #[error("silent for {ms}")]
    Silent { stage: SilentStage, ms: u64 },
    #[error("cut after {bytes}: {error}")]
    Cut { bytes: u64, error: String },
    #[error("no finish")]
    NoFinish,
    #[error("sse: {error}")]
    Sse { error: String },
    #[error("not a stream but {content_type}")]
    NotSse { content_type: String },
    #[error("redirect to {to}")]
    Redirect { to: String },
    #[error("upstream {kind}: {message}")]
    Upstream { kind: String, message: String },
    #[error("auth: {message}")]
    Auth {
        message: String,
        methods: Vec<String>,
    },
}
