//! Planted bugs: a simulation that finds none of them would find no other.
//!
//! Each is planted at a machine's boundary, where it looks as the bug inside would: the shipped code
//! knows nothing of it.

use std::sync::Arc;

use keel_core::client::{ConnId, Event};
use keel_wire::{
    BusyPolicy, ClientFrame, FaultFrame, Leg, LegState, ServerFrame, Status, codec::Decoded,
};

use crate::{
    cell::Kind,
    chance::Chance,
    media::Media,
    mix::{MS, Mix, SECOND},
    world::World,
};

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Bytes that a transport took are not noticed: who waits for it is never woken.
    LostWakeUp,
    /// A timer of a client's is never set.
    LostTimer,
    /// A server's timers ring late.
    LateTimer,
    /// What was taken of a stream is forgotten with the process.
    ForgottenDeduplication,
    /// A commit counts as done when it is asked for.
    TellBeforeCommit,
    /// Each try begins the recovery's time anew.
    BudgetReset,
    /// A client that comes back is one position ahead of itself.
    ResumeOffByOne,
    /// A program begins with the params of the turn before.
    StaleParams,
    /// What an older connection says counts for the newer.
    StaleConnection,
    /// A turn's end is told twice.
    DoubleTerminal,
    /// A killed run is never over for the Node.
    SlotLeaked,
    /// Words are given to a program twice.
    WordsDoubled,
    /// A program is told again what was replaced.
    ReplacedRemembered,
    /// That a program has called a tool is not noticed, so its turn is tried again.
    ItemUnheard,
    /// A turn that is promoted is told to stand elsewhere.
    MovedElsewhere,
    /// A gap is passed over in silence.
    GapHidden,
    /// A refusal is told as done.
    OkForNothing,
    /// A lost connection is shown as live.
    FalseLive,
    /// That media is lost is not told.
    MediaLossHidden,
    /// Media that does not flow is shown as up.
    MediaFalseUp,
    /// A leg of media that is given up is shown as being repaired.
    MediaNoVerdict,
    /// A transport that is to be closed stays open.
    TransportLeft,
    /// A transport is spoken of that is closed.
    TransportStale,
    /// Media is told as back when it is not.
    MediaBackTooEarly,
}

impl Mutant {
    /// Every one of them.
    pub const ALL: [Self; 24] = [
        Self::LostWakeUp,
        Self::LostTimer,
        Self::LateTimer,
        Self::ForgottenDeduplication,
        Self::TellBeforeCommit,
        Self::BudgetReset,
        Self::ResumeOffByOne,
        Self::StaleParams,
        Self::StaleConnection,
        Self::DoubleTerminal,
        Self::SlotLeaked,
        Self::WordsDoubled,
        Self::ReplacedRemembered,
        Self::ItemUnheard,
        Self::MovedElsewhere,
        Self::GapHidden,
        Self::OkForNothing,
        Self::FalseLive,
        Self::MediaLossHidden,
        Self::MediaFalseUp,
        Self::MediaNoVerdict,
        Self::TransportLeft,
        Self::TransportStale,
        Self::MediaBackTooEarly,
    ];

    /// Sees to it that a run gives the bug a chance; the laws are the same for all.
    pub(crate) fn suit(self, mix: &mut Mix, chance: &mut Chance) {
        match self {
            Self::LostWakeUp => mix.provider.large = 300,
            Self::ForgottenDeduplication => {
                mix.crash_every = Some(chance.between(2, 6) * SECOND);
                mix.acts_every = (50 * MS, 400 * MS);
            }
            Self::BudgetReset => {
                mix.strikes = vec![Kind::Offline];
                mix.strikes_every = 3 * SECOND;
                mix.give_up = Some(6 * SECOND);
                // Waits of commands are reckoned by the same clock; here it is about the recovery's.
                mix.acts_every = (3 * SECOND, 6 * SECOND);
                mix.chaos = 40 * SECOND;
            }
            Self::ResumeOffByOne | Self::LostTimer | Self::FalseLive => {
                mix.strikes = vec![Kind::Reset, Kind::Offline];
                mix.strikes_every = 2 * SECOND;
            }
            Self::StaleConnection => {
                mix.strikes = vec![Kind::HalfOpen, Kind::DeafServer];
                mix.strikes_every = 3 * SECOND;
            }
            Self::SlotLeaked => {
                mix.provider.hangs = 600;
                mix.provider.stubborn = 500;
            }
            Self::WordsDoubled => (mix.busy, mix.steers) = (BusyPolicy::Steer, true),
            Self::ReplacedRemembered => mix.busy = BusyPolicy::Replace,
            Self::ItemUnheard => {
                // It has called a tool before it has said anything.
                mix.provider.first_item = 500;
                mix.provider.crashes = 500;
            }
            Self::MovedElsewhere => {
                mix.busy = BusyPolicy::Queue { max: 4 };
                mix.acts_every = (50 * MS, 400 * MS);
            }
            Self::GapHidden => mix.snapshot_joins = 700,
            // A verdict takes longer than most runs break things.
            Self::MediaNoVerdict => mix.chaos = 80 * SECOND,
            Self::OkForNothing
            | Self::LateTimer
            | Self::MediaLossHidden
            | Self::MediaFalseUp
            | Self::TransportLeft
            | Self::TransportStale
            | Self::MediaBackTooEarly
            | Self::TellBeforeCommit
            | Self::StaleParams
            | Self::DoubleTerminal => {}
        }
    }
}

impl Mutant {
    /// The same, of what breaks of media.
    pub(crate) const fn suit_media(self, media: &mut Media) {
        match self {
            Self::MediaLossHidden
            | Self::MediaFalseUp
            | Self::MediaNoVerdict
            | Self::TransportLeft
            | Self::TransportStale
            | Self::MediaBackTooEarly => {
                media.on = true;
                media.blows_every = 4 * SECOND;
            }
            Self::LostWakeUp
            | Self::LostTimer
            | Self::LateTimer
            | Self::ForgottenDeduplication
            | Self::TellBeforeCommit
            | Self::BudgetReset
            | Self::ResumeOffByOne
            | Self::StaleParams
            | Self::StaleConnection
            | Self::DoubleTerminal
            | Self::SlotLeaked
            | Self::WordsDoubled
            | Self::ReplacedRemembered
            | Self::ItemUnheard
            | Self::MovedElsewhere
            | Self::GapHidden
            | Self::OkForNothing
            | Self::FalseLive => media.on = false,
        }
    }
}

impl World {
    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// What a client says, as a broken server would take it.
    pub(crate) fn mutate_up(&mut self, _link: usize, bytes: Vec<u8>) -> Vec<u8> {
        if !self.has(Mutant::ResumeOffByOne) || !crate::wires::is_hello(&bytes) {
            return bytes;
        }
        let Ok(Decoded::Known(ClientFrame::Hello(mut hello))) =
            ClientFrame::decode(&bytes, usize::MAX)
        else {
            return bytes;
        };
        let Some(resume) = &mut hello.resume else {
            return bytes;
        };
        resume.cursor.seq = resume.cursor.seq.next();
        self.mutated = true;
        ClientFrame::from(hello).encode()
    }

    /// What a server says, as a broken client would take it.
    pub(crate) fn mutate_down(
        &mut self,
        link: usize,
        conn: ConnId,
        bytes: Arc<[u8]>,
    ) -> Vec<(ConnId, Vec<u8>)> {
        let client = self.links[link].client;
        if self.has(Mutant::StaleConnection) && bytes.starts_with(br#"{"type":"replayed""#) {
            // The older connection was closed as superseded: its last word comes in here.
            let older = self.actors[client].links.len() > 1;
            if older {
                self.mutated = true;
                let fault = keel_wire::Fault::new(
                    keel_wire::FaultId::from_bits(1),
                    keel_wire::Code::Superseded,
                    keel_wire::Origin::Server,
                    0,
                );
                let stale = ServerFrame::from(FaultFrame { fault }).encode();
                let end = keel_core::client::ConnEnd::Close {
                    code: keel_wire::CloseCode(4409),
                    reason: String::new(),
                };
                self.queue.at(
                    self.now + 1,
                    crate::queue::Happening::Down {
                        link,
                        what: crate::link::Down::End(end),
                    },
                );
                return vec![(conn, bytes.to_vec()), (conn, stale)];
            }
        }
        vec![(conn, bytes.to_vec())]
    }

    /// What a client tells its application, as a broken one would.
    pub(crate) fn mutate_told(&mut self, client: usize, event: Event) -> Vec<Event> {
        if self.has(Mutant::BudgetReset) && matches!(event, Event::AttemptFailed { .. }) {
            let actor = &mut self.actors[client];
            let spent = self.now.saturating_sub(actor.last_try_at);
            if actor.view.lost_at.is_some() && spent > 0 {
                actor.lag += spent;
                actor.wall_off = actor.wall_off.wrapping_sub(spent / 1_000);
                self.mutated = true;
            }
        }
        match &event {
            Event::Gap { .. } if self.has(Mutant::GapHidden) => {
                self.mutated = true;
                Vec::new()
            }
            Event::Log {
                event: keel_core::client::LogEvent::Known(known),
                range,
            } if self.has(Mutant::DoubleTerminal)
                && matches!(known, keel_wire::Event::TurnEnded(_)) =>
            {
                self.mutated = true;
                let mut next = *range;
                next.from = range.to.next();
                next.to = next.from;
                let again = Event::Log {
                    range: next,
                    event: keel_core::client::LogEvent::Known(known.clone()),
                };
                vec![event, again]
            }
            Event::Log {
                event: keel_core::client::LogEvent::Known(keel_wire::Event::TurnMoved(moved)),
                range,
            } if self.has(Mutant::MovedElsewhere) => {
                self.mutated = true;
                let mut moved = moved.clone();
                moved.position += 1;
                let event = keel_core::client::LogEvent::Known(moved.into());
                vec![Event::Log {
                    event,
                    range: *range,
                }]
            }
            Event::MediaLost { .. } if self.has(Mutant::MediaLossHidden) => {
                self.mutated = true;
                Vec::new()
            }
            Event::MediaLost { .. } if self.has(Mutant::MediaBackTooEarly) => {
                let back = Event::MediaRecovered {
                    strategy: keel_wire::Strategy::Fast,
                    attempts: 0,
                    lost_ms: 0,
                };
                self.mutated = true;
                vec![event, back]
            }
            Event::MediaRecovered { .. }
                if self.has(Mutant::MediaLossHidden) || self.has(Mutant::MediaBackTooEarly) =>
            {
                Vec::new()
            }
            _ => vec![event],
        }
    }

    /// How a client says that it is, as a broken one would.
    pub(crate) fn mutate_status(&mut self, _client: usize, mut status: Status) -> Status {
        if self.has(Mutant::FalseLive) && status.state == keel_wire::State::Recovering {
            self.mutated = true;
            status.state = keel_wire::State::Live;
            status.fault = None;
            status.legs.clear();
        }
        let mut others = status.legs.iter().filter(|leg| leg.leg != Leg::Media);
        let alone = others.all(|leg| leg.state == LegState::Up);
        for leg in status.legs.iter_mut().filter(|leg| leg.leg == Leg::Media) {
            match &leg.state {
                LegState::Recovering { .. } if alone && self.has(Mutant::MediaFalseUp) => {
                    self.mutated = true;
                    leg.state = LegState::Up;
                    status.state = keel_wire::State::Live;
                    status.fault = None;
                }
                LegState::Down { fault } if self.has(Mutant::MediaNoVerdict) => {
                    self.mutated = true;
                    leg.state = LegState::Recovering {
                        strategy: keel_wire::Strategy::Rejoin,
                        attempt: 1,
                        next_ms: 0,
                        waiting_for: None,
                        deadline_ms: None,
                        fault: fault.clone(),
                    };
                }
                _ => {}
            }
        }
        status
    }
}
