//! Evenkeel's machines: what decides, and nothing that acts.
//!
//! Every machine has one shape. The shell (or the simulator) gives it inputs and performs its outputs:
//!
//! ```text
//! fn handle(&mut self, now: Now, input: Input, out: &mut Outputs);  // total: no error, no wait
//! fn deadline(&self) -> Option<Deadline>;                           // when to call again, and why
//! ```
//!
//! There is no clock, socket, task, lock or global randomness in this crate, and its manifest cannot
//! bring one in: the very code that ships runs under the simulator's seeds.

mod admission;
pub mod audit;
pub mod client;
pub mod limits;
mod mint;
pub mod node;
mod resume_key;
mod ring;
mod session;
mod small_map;
mod time;
pub mod why;

pub use client::Client;
pub use mint::Mint;
pub use time::{Deadline, Instant, Now};
