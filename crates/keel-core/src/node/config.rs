//! What a Node is told once, at its start.

use std::{collections::BTreeMap, time::Duration};

use keel_wire::{BusyPolicy, Epoch, record::Fence};

use crate::limits;

/// What holds a slot, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotKind {
    /// A session, from when it is opened until it ends or its participants have been gone for long.
    Session,
    /// A turn, while it runs.
    Turn,
}

/// A backend's capacity, as the Node grants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// What holds a slot.
    pub kind: SlotKind,
    /// How many slots there are.
    pub slots: usize,
    /// How many may stand in line.
    pub queue: usize,
}

/// The clocks of a turn. Each that runs out ends the turn as `provider_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnClocks {
    /// From the start of an attempt to the program's first sign of life.
    pub spawn: Duration,
    /// From there to its first output.
    pub first_output: Duration,
    /// Between outputs, while they are read.
    pub idle: Duration,
    /// The whole turn.
    pub whole: Duration,
    /// From a question to its answer.
    pub action: Duration,
}

impl Default for TurnClocks {
    fn default() -> Self {
        Self {
            spawn: limits::TURN_SPAWN_WITHIN,
            first_output: limits::TURN_FIRST_OUTPUT_WITHIN,
            idle: limits::TURN_IDLE_WITHIN,
            whole: limits::TURN_WITHIN,
            action: limits::ACTION_WITHIN,
        }
    }
}

/// Who is sent which track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaRule {
    /// Everybody is sent every track, its publisher too.
    Passthrough,
    /// Everybody is sent everybody else's.
    Room,
}

/// A backend, as the Node needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Its capacity; `None` for no bound.
    pub capacity: Option<Capacity>,
    /// What happens to a `say` while a turn runs, where the session's opener did not say.
    pub busy: BusyPolicy,
    /// The clocks of its turns.
    pub clocks: TurnClocks,
    /// Tries at a turn that has said nothing yet; 0 counts as 1.
    pub attempts: u32,
    /// Its runs take words while they are at work.
    pub steers: bool,
    /// What asks it to go on with an answer; absent means [`limits::CONTINUE_PROMPT`].
    pub continue_prompt: Option<String>,
    /// Who is sent which track; `None` where it takes no media.
    pub media: Option<MediaRule>,
}

/// What a Node is told once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The right to write, as the store granted it.
    pub fence: Fence,
    /// The epoch of logs that are new.
    pub epoch: Epoch,
    /// What resume keys are made with.
    pub secret: [u8; 32],
    /// The backends, by name.
    pub backends: BTreeMap<String, Backend>,
    /// The backend of sessions whose opener named none.
    pub default_backend: String,
    /// How long an attachment, its slot and its command streams outlive its connection.
    pub resume_window: Duration,
    /// How long a session without attachments and turns stays in memory.
    pub hibernate_after: Duration,
    /// Events that a log keeps below its end; older ones are trimmed below a snapshot.
    pub retain_events: u64,
    /// Frames a second that a connection may send, averaged.
    pub frames_per_s: u32,
    /// Faults may be injected by those whose token allows it.
    pub faults: bool,
    /// STUN and TURN servers for participants of sessions with media.
    pub ice: Option<std::sync::Arc<dyn super::HandOut>>,
}
