//! Evenkeel's shell: sockets, HTTP, tokens, store and providers around one Node.
//!
//! ```text
//! let server = Server::bind(Config::load(&source, std::env::vars())?).await?;
//! server.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
//! ```
//!
//! One task (the driver) owns the [`keel_core::node::Node`]; everything else moves bytes to it and
//! performs what it puts out. What a session may do is decided there, never here.

mod auth;
mod clock;
pub mod config;
mod driver;
mod edge;
mod health;
mod http;
mod ice;
mod listen;
mod log;
mod media;
mod meter;
mod peers;
mod random;
mod server;
mod shared;
mod socket;
mod tails;
mod tickets;
mod tls;
mod transcript;
mod watchdog;
mod whip;
mod workplace;

pub use auth::{AUDIENCE, Claims, KeyError, Tokens};
pub use config::{Config, ConfigError};
pub use log::init as init_log;
pub use peers::{HandOverError, PeerError};
pub use server::{CloseError, RunError, Running, Server, StartError, adopt_orphans};
pub use tls::{Reload, TlsError, TlsFile};
