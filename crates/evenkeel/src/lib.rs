//! A session that survives its connections.
//!
//! A [`Session`] is one durable conversation with a backend. Whatever becomes of the connections
//! below it, every event of its log arrives once and in order, every command ends once, and every
//! loss and every recovery is told.
//!
//! ```no_run
//! use evenkeel::{Client, Event, LogEvent, wire};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Client::builder()
//!     .url("ws://127.0.0.1:7080")
//!     .token(std::env::var("EVENKEEL_TOKEN")?)
//!     .backend("echo")
//!     .connect()
//!     .await?;
//! let mut events = session.events();
//!
//! let accepted = session.say("tell me a story").await?;
//! println!("turn {:?} runs", accepted.turn);
//!
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Log { event: LogEvent::Known(wire::Event::Text(text)), .. } => print!("{}", text.data),
//!         Event::Log { event: LogEvent::Known(wire::Event::TurnEnded(ended)), .. } => {
//!             println!("\n{:?}", ended.end);
//!             break;
//!         }
//!         Event::ConnectionLost { fault, .. } => eprintln!("lost: {fault}"),
//!         Event::Recovered { strategy, lost_ms, .. } => eprintln!("back by {strategy:?} in {lost_ms} ms"),
//!         Event::Failed(fault) => return Err(fault.into()),
//!         _ => {}
//!     }
//! }
//! session.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Dropping every handle of a session closes its connection, as [`Session::close`] does; the session
//! itself goes on at the server until somebody ends it.
//!
//! Everything here is cancel-safe: a future that is dropped takes nothing back and loses nothing. A
//! command whose [`Receipt`] is dropped still runs.

mod builder;
mod clock;
mod connection;
mod driver;
mod error;
mod feed;
#[cfg(feature = "media")]
pub mod media;
mod receipt;
mod request;
mod session;
mod token;

pub use builder::{Builder, Client};
pub use error::{CommandError, ConnectError};
pub use feed::{EVENTS_BYTES_MAX, EVENTS_MAX, Events};
pub use keel_core::client::{
    Backoff, Because, ConnId, Event, LogEvent, Membership, Notice, ResumeState, Simulate,
};
pub use keel_wire as wire;
pub use receipt::{Accepted, Receipt};
pub use session::Session;
