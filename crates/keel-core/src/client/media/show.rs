//! How the leg is, as this end sees it; the server's view counts where it sees nothing itself.

use keel_wire::{Fault, Leg, LegState, LegStatus, Strategy, WaitingFor};

use super::{Client, Cx};
use crate::limits;

impl Client {
    fn servers_media(&self) -> Option<&LegState> {
        let server = self.server.as_deref()?;
        let mut legs = server.legs.iter();
        legs.find(|leg| leg.leg == Leg::Media).map(|leg| &leg.state)
    }

    /// What the server finds wrong with media.
    pub(super) fn servers_media_fault(&self) -> Option<&Fault> {
        match self.servers_media()? {
            LegState::Up => None,
            LegState::Degraded { fault }
            | LegState::Down { fault }
            | LegState::Recovering { fault, .. } => Some(fault),
        }
    }

    /// The leg, if there is one.
    pub(in crate::client) fn compose_media(&self, cx: &Cx<'_>) -> Option<LegStatus> {
        let servers = self.servers_media();
        let state = match self.own_media_state(cx) {
            Some(state) => state,
            // It says how the session's media is. Of this client's there is none yet.
            None if servers == Some(&LegState::Up) && self.opens_first() => return None,
            None => servers?.clone(),
        };
        Some(LegStatus {
            leg: Leg::Media,
            state,
        })
    }

    /// What the leg's recovery waits for, while there is one.
    pub(in crate::client) fn media_waits_for(&self) -> Option<Option<WaitingFor>> {
        let loss = self.media.loss.as_ref()?;
        let recovers = self.media.down.is_none() && !loss.of_source;
        recovers.then(|| self.media_way())
    }

    /// What has to be there before a step can be taken.
    fn media_way(&self) -> Option<WaitingFor> {
        (!self.is_signaled()).then_some(WaitingFor::Network)
    }

    const fn opens_first(&self) -> bool {
        self.media.wanted && self.media.shown.is_none()
    }

    fn own_media_state(&self, cx: &Cx<'_>) -> Option<LegState> {
        if let Some(fault) = &self.media.down {
            let fault = fault.clone();
            return Some(LegState::Down { fault });
        }
        let loss = self.media.loss.as_ref()?;
        let fault = loss.fault.clone();
        if loss.of_source {
            let servers = self.servers_media().filter(|state| **state != LegState::Up);
            return Some(servers.cloned().unwrap_or(LegState::Degraded { fault }));
        }
        let now = cx.now.mono;
        let wait = self.media_wait(now);
        let shown = self.media.shown.as_ref();
        let rebuilds = shown.is_none_or(|shown| shown.superseded) || loss.rejoins > 0;
        let waits = u32::from(!wait.is_zero());
        let deadline = self
            .media
            .tried_from
            .map(|from| from + limits::VERDICT_WITHIN);
        Some(LegState::Recovering {
            strategy: if rebuilds {
                Strategy::Rejoin
            } else {
                Strategy::Fast
            },
            attempt: loss.attempts.saturating_add(waits).max(1),
            next_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            waiting_for: self.media_way(),
            deadline_ms: deadline.map(|at| at.ms_since(now)),
            fault,
        })
    }
}
