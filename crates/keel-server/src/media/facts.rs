//! What planes tell the driver, each in order, and what becomes of it where the driver is behind.

use std::collections::VecDeque;

use keel_core::node::MediaFact;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Facts that wait for the driver: an answer an order, and one for each change of a track's flow.
const FACTS_MAX: usize = 16_384;
/// Those that found no room there, when the plane does nothing more until there is some: a driver that is so
/// far behind does not run, and none of its sessions does.
const UNTOLD_MAX: usize = 1_024;

/// What planes tell.
pub(crate) type Facts = mpsc::Receiver<MediaFact>;

/// A plane's end.
#[derive(Debug)]
pub(super) struct Teller {
    told: mpsc::Sender<MediaFact>,
    untold: VecDeque<MediaFact>,
}

impl Teller {
    pub(super) fn new() -> (Self, Facts) {
        let (told, facts) = mpsc::channel(FACTS_MAX);
        let untold = VecDeque::new();
        (Self { told, untold }, facts)
    }

    /// The same for another plane.
    pub(super) fn twin(&self) -> Self {
        let (told, untold) = (self.told.clone(), VecDeque::new());
        Self { told, untold }
    }

    /// Never waits.
    pub(super) fn tell(&mut self, fact: MediaFact) {
        if !self.untold.is_empty() {
            // Behind those that wait already.
            return self.untold.push_back(fact);
        }
        // The driver is gone only with the server.
        if let Err(TrySendError::Full(fact)) = self.told.try_send(fact) {
            self.untold.push_back(fact);
        }
    }

    /// Waits until the first that found no room has some; for ever where each did. Cancel-safe.
    pub(super) async fn catch_up(&mut self) {
        if self.untold.is_empty() {
            return std::future::pending().await;
        }
        match self.told.reserve().await {
            Ok(room) => {
                if let Some(fact) = self.untold.pop_front() {
                    room.send(fact);
                }
            }
            Err(_) => self.untold.clear(),
        }
    }

    /// Whether nothing more is to be brought about that would have to be told.
    pub(super) fn is_behind(&self) -> bool {
        self.untold.len() >= UNTOLD_MAX
    }
}

#[cfg(test)]
mod tests {
    use keel_core::node::media::PeerId;

    use super::*;

    #[tokio::test]
    async fn a_driver_that_is_behind_is_told_everything_in_order_and_the_plane_waits_for_it() {
        const TOLD: usize = FACTS_MAX + UNTOLD_MAX;
        let (mut teller, mut facts) = Teller::new();
        let fact = |peer: usize| MediaFact::Reachable {
            peer: PeerId(u64::try_from(peer).expect("it is small")),
            reachable: true,
        };
        for nth in 0..TOLD {
            assert!(!teller.is_behind(), "at {nth}");
            teller.tell(fact(nth));
        }
        assert!(teller.is_behind());
        for nth in 0..TOLD {
            assert_eq!(facts.recv().await, Some(fact(nth)));
            if nth < UNTOLD_MAX {
                teller.catch_up().await;
                assert!(!teller.is_behind(), "at {nth}");
            }
        }
        assert!(facts.try_recv().is_err(), "each once");
    }
}
