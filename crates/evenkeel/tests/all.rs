//! The SDK against a real server in this process, and against a scripted one.

#[path = "all/closing.rs"]
mod closing;
#[path = "all/commands.rs"]
mod commands;
#[path = "all/connecting.rs"]
mod connecting;
#[path = "all/fake.rs"]
mod fake;
#[path = "all/losing.rs"]
mod losing;
#[cfg(feature = "media")]
#[path = "all/media.rs"]
mod media;
#[cfg(feature = "media")]
#[path = "all/media_losing.rs"]
mod media_losing;
#[path = "all/reading.rs"]
mod reading;
#[cfg(feature = "media")]
#[path = "all/relay.rs"]
mod relay;
#[path = "all/support.rs"]
mod support;
#[cfg(feature = "tls")]
#[path = "all/tls.rs"]
mod tls;
