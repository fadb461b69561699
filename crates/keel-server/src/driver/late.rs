//! Inputs that are held back on purpose: an injected fault, by which overload can be seen.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{EVENTS_WAITING_MAX, Event};

/// Delays what it is given for a while, and never turns the order round.
#[derive(Debug, Default)]
pub(super) struct Late {
    held: VecDeque<(Instant, Event)>,
    until: Option<(Instant, Duration)>,
}

impl Late {
    pub(super) fn begin(&mut self, span: Duration, late: Duration) {
        self.until = Some((Instant::now() + span, late));
    }

    pub(super) fn has_room(&self) -> bool {
        self.held.len() < EVENTS_WAITING_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Gives the event back if it is not to be late.
    pub(super) fn pass(&mut self, event: Event) -> Option<Event> {
        let now = Instant::now();
        let late = match self.until {
            Some((until, late)) if now < until => late,
            Some(_) | None => Duration::ZERO,
        };
        if late.is_zero() && self.held.is_empty() {
            return Some(event);
        }
        self.held.push_back((now + late, event));
        None
    }

    /// The next that is due. To be asked only if there is one; nothing is lost if it is not waited
    /// for to the end.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.held.front() {
                Some((due, _)) => sleep_until(*due).await,
                None => std::future::pending().await,
            }
            if let Some((_, event)) = self.held.pop_front() {
                return event;
            }
        }
    }
}
