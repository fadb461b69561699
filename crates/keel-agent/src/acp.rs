//! The `acp` provider: any agent that speaks the Agent Client Protocol over its stdin and stdout.
//!
//! One process serves one session. It is kept between turns, for the next one, and ended when the
//! session is over or nobody has wanted it for a while; one that died is replaced, and takes its own
//! session up where it left it. Everything that a process may do to its server is bounded: lines,
//! noise, what waits, what it may ask for at once.
//!
//! The protocol's framing and types are written here, not taken from the `agent-client-protocol`
//! crate (5.2, 30,000 lines, 39 s to compile) nor from its schema crate (1.17, 28 s): the former
//! reads lines of any length and passes them on through queues without a bound, so an agent could
//! take all memory that there is (C13, C19), and answers garbage with errors where an agent's banner
//! is to be skipped (C11); both turn `serde_json`'s order of keys around for the whole server, which
//! rewrites every frame and record; and their types refuse a message for one field that makes no
//! sense, where agents differ in what they leave out. What is read here is a dozen of shapes, each
//! field for itself. Its official types are still held against ours where real agents are run: two
//! of those are built on them.

mod choice;
mod config;
mod files;
mod link;
mod permission;
mod preset;
mod repeat;
mod rpc;
mod services;
mod terminal;
mod turn;
mod update;
mod warm;

use std::sync::Arc;

pub use config::{Config, Forgotten, Permissions};
use keel_wire::SessionId;
pub use preset::{Installed, PRESETS, Preset};

use self::warm::Pool;
use crate::{Attempt, Closing, Control, Provider, Request, Sink};

/// The name of this kind.
pub const KIND: &str = "acp";

/// The version of the protocol that is spoken.
pub const PROTOCOL_VERSION: u64 = 1;

/// The provider. See the module's text. Dropping it ends every agent that waits.
#[derive(Debug)]
pub struct Acp {
    config: Arc<Config>,
    pool: Arc<Pool>,
}

impl Acp {
    /// A provider that runs what `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            pool: Arc::new(Pool::new(config.idle)),
            config: Arc::new(config),
        }
    }
}

impl Provider for Acp {
    fn name(&self) -> &str {
        KIND
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        let config = Arc::clone(&self.config);
        let lease = self.pool.lease(&request.session);
        Box::pin(turn::run(config, lease, request, control, sink))
    }

    /// For an agent that has lost a conversation.
    fn wants_history(&self) -> bool {
        true
    }

    fn close(&self) -> Closing<'_> {
        Box::pin(self.pool.close())
    }

    fn release(&self, session: &SessionId) {
        self.pool.release(session);
    }
}
