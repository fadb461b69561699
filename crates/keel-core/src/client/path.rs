//! One connection of the client's, from the dial to its outcome.

use std::time::Duration;

use keel_wire::{BeatPlan, Epoch, Phase, Seq, Strategy};

use super::{ConnId, outcome::Cell};
use crate::{Instant, limits};

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The upgrade.
    Dialing,
    /// An answer to hello.
    Greeting,
    /// A slot.
    Queued { position: u32, of: u32 },
    /// The end of what was missed.
    Replaying,
    /// Nothing: it carries the session.
    Joined,
}

/// Whether the server is still heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// As it should be.
    Trusted,
    /// It fell silent.
    Suspected,
    /// It fell silent and was heard again; whether it lasts is to be seen.
    Heard {
        /// Since when.
        since: Instant,
    },
}

#[derive(Debug)]
pub(super) struct Path {
    pub(super) conn: ConnId,
    pub(super) address: String,
    /// What hello says is rebuilt; `None` on a first connect.
    pub(super) strategy: Option<Strategy>,
    /// The number of its hello among the instance's connections.
    pub(super) hello: u32,
    /// Whether its hello went on from a cursor.
    pub(super) resumes: bool,
    pub(super) stage: Stage,
    /// When the stage must be over, before the welcome.
    pub(super) until: Instant,
    /// When all of the attempt must be over.
    pub(super) all_until: Option<Instant>,
    /// When a server answered.
    pub(super) answered: Option<Instant>,
    pub(super) joined: Option<Instant>,
    pub(super) heard: Instant,
    pub(super) suspect_after: Duration,
    pub(super) beat_every: Duration,
    pub(super) pace: Duration,
    pub(super) trust: Trust,
    pub(super) cell: Cell,
    /// When the outcome is sealed without a word from the transport.
    pub(super) seal_at: Option<Instant>,
    /// A fault that may be the last word, told at this time if it is not.
    pub(super) held: Option<(Instant, Box<keel_wire::Fault>)>,
    pub(super) epoch: Epoch,
    /// The end of the log as the welcome said.
    pub(super) head: Seq,
    pub(super) replayed: u64,
    /// Beats that found the client waiting for what did not come.
    pub(super) beats_behind: u32,
    pub(super) moved_since_beat: bool,
    pub(super) in_flight_max: usize,
    pub(super) goaway: Option<Box<keel_wire::Fault>>,
    /// Broken on purpose: nothing gets through.
    pub(super) deaf: bool,
    /// Broken on purpose: so many frames are lost.
    pub(super) lose_frames: u32,
}

impl Path {
    pub(super) fn new(now: Instant, conn: ConnId, address: String, hello: u32) -> Self {
        Self {
            conn,
            address,
            strategy: None,
            hello,
            resumes: false,
            stage: Stage::Dialing,
            until: now + limits::DIAL_WITHIN,
            all_until: None,
            answered: None,
            joined: None,
            heard: now,
            suspect_after: limits::SUSPECT_IDLE,
            beat_every: limits::BEAT_IDLE,
            pace: Duration::ZERO,
            trust: Trust::Trusted,
            cell: Cell::default(),
            seal_at: None,
            held: None,
            epoch: Epoch::default(),
            head: Seq::ZERO,
            replayed: 0,
            beats_behind: 0,
            moved_since_beat: false,
            in_flight_max: limits::OUTBOX_COMMANDS_MAX,
            goaway: None,
            deaf: false,
            lose_frames: 0,
        }
    }

    /// How far a first connect has come with it.
    pub(super) const fn phase(&self) -> Phase {
        match self.stage {
            Stage::Dialing => Phase::Dial,
            Stage::Greeting | Stage::Queued { .. } => Phase::Hello,
            Stage::Replaying | Stage::Joined => Phase::Replay,
        }
    }

    /// Whether hello was answered by a welcome or a place in line.
    pub(super) const fn stands(&self) -> bool {
        match self.stage {
            Stage::Queued { .. } | Stage::Replaying | Stage::Joined => true,
            Stage::Dialing | Stage::Greeting => false,
        }
    }

    pub(super) const fn is_welcomed(&self) -> bool {
        matches!(self.stage, Stage::Replaying | Stage::Joined)
    }

    pub(super) fn is_good(&self) -> bool {
        self.trust == Trust::Trusted && self.seal_at.is_none()
    }

    /// Whether a connection that had fallen silent is as good as before. What it says at first may have
    /// been on its way when the server gave it up; so it has to be heard for as long as silence is
    /// borne with on either side, and a server that had given it up would have said so by then.
    pub(super) fn is_proven(&self, now: Instant) -> bool {
        match self.trust {
            Trust::Trusted => true,
            Trust::Suspected => false,
            Trust::Heard { since } => now.since(since) >= self.suspect_after,
        }
    }

    pub(super) const fn plan_beats(&mut self, plan: BeatPlan) {
        self.beat_every = Duration::from_millis(plan.every_ms);
        self.suspect_after = bounded(plan.suspect_ms);
    }

    pub(super) const fn suspect_ms(&mut self, ms: u64) {
        self.suspect_after = bounded(ms);
    }

    /// When silence becomes suspicious, if it is not yet.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        (self.stands() && self.trust != Trust::Suspected).then(|| self.heard + self.suspect_after)
    }

    /// When something is to be done about it, whatever comes.
    pub(super) fn deadline(&self) -> Option<(Instant, &'static str)> {
        let handshake = (!self.stands()).then(|| {
            let until = self.all_until.map_or(self.until, |all| all.min(self.until));
            (until, "handshake")
        });
        let silent = self.silent_at().map(|at| (at, "silence"));
        let seal = self.seal_at.map(|at| (at, "outcome"));
        let held = self.held.as_ref().map(|(at, _)| (*at, "fault"));
        [handshake, silent, seal, held]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }
}

/// No server can make its clients suspect it at once, nor never.
const fn bounded(suspect_ms: u64) -> Duration {
    let (min, max) = (limits::SUSPECT_MIN_MS, limits::SUSPECT_MAX_MS);
    Duration::from_millis(if suspect_ms < min {
        min
    } else if suspect_ms > max {
        max
    } else {
        suspect_ms
    })
}
