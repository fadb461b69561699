//! What the driver orders of the plane, in order, and what becomes of it where the plane is behind.

use std::collections::VecDeque;

use keel_core::node::{MediaFact, MediaOrder};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Orders that wait for the plane. What finds no room fails its transport; what must not be lost waits
/// outside, and is bounded by the transports and tracks that there are.
const ORDERS_MAX: usize = 16_384;
/// Of those, when what clients say is no longer taken: each may be as large as a frame.
const ORDERS_BEFORE_SIGNALS: usize = 1_024;

/// Gives the plane its orders.
#[derive(Debug)]
pub(crate) struct Orders {
    orders: mpsc::Sender<MediaOrder>,
    owed: VecDeque<MediaOrder>,
    /// What is told of transports whose orders found no room.
    refused: VecDeque<MediaFact>,
}

impl Orders {
    /// And where they are taken.
    pub(super) fn new() -> (Self, mpsc::Receiver<MediaOrder>) {
        Self::of(ORDERS_MAX)
    }

    fn of(most: usize) -> (Self, mpsc::Receiver<MediaOrder>) {
        let (orders, taken) = mpsc::channel(most);
        let (owed, refused) = Default::default();
        let given = Self {
            orders,
            owed,
            refused,
        };
        (given, taken)
    }

    /// Never waits, since whoever gives orders has sessions without media, too. A plane that is so far
    /// behind that it cannot take an order fails the transport that it is about: its client is told, and
    /// makes another.
    pub(crate) fn give(&mut self, order: MediaOrder) {
        self.catch_up();
        let is_owed = matches!(order, MediaOrder::Close { .. } | MediaOrder::Mute { .. });
        if is_owed && !self.owed.is_empty() {
            // Behind those that wait already, or what was said last is not what holds.
            return self.owe(order);
        }
        let waiting = self.orders.max_capacity() - self.orders.capacity();
        if matches!(order, MediaOrder::Signal { .. }) && waiting >= ORDERS_BEFORE_SIGNALS {
            return self.refuse(order);
        }
        // The plane is gone only with the server.
        if let Err(TrySendError::Full(order)) = self.orders.try_send(order) {
            self.refuse(order);
        }
    }

    /// Gives what found no room, as far as there is room by now.
    pub(crate) fn catch_up(&mut self) {
        while let Some(owed) = self.owed.pop_front() {
            if let Err(TrySendError::Full(owed)) = self.orders.try_send(owed) {
                return self.owed.push_front(owed);
            }
        }
    }

    /// It is given as soon as there is room. Of a track the last holds, and a transport is closed once: no more
    /// wait than there are of both.
    fn owe(&mut self, order: MediaOrder) {
        self.owed.retain(|owed| match (owed, &order) {
            (MediaOrder::Mute { stream: owed, .. }, MediaOrder::Mute { stream, .. }) => {
                owed != stream
            }
            (MediaOrder::Close { peer: owed }, MediaOrder::Close { peer }) => owed != peer,
            _ => true,
        });
        self.owed.push_back(order);
    }

    fn refuse(&mut self, order: MediaOrder) {
        let peer = match order {
            MediaOrder::Close { .. } | MediaOrder::Mute { .. } => return self.owe(order),
            MediaOrder::Open { peer, .. }
            | MediaOrder::Signal { peer, .. }
            | MediaOrder::Subscribe { peer, .. }
            | MediaOrder::Unsubscribe { peer, .. }
            | MediaOrder::Restart { peer }
            | MediaOrder::Resume { peer }
            | MediaOrder::Refresh { peer, .. }
            | MediaOrder::Settle { peer } => peer,
        };
        tracing::warn!("the media plane is behind: a transport is given up");
        let why = "the media plane is behind".to_owned();
        let full = false;
        self.refused
            .push_back(MediaFact::Failed { peer, full, why });
    }

    /// What is to be told of an order that found no room. Whoever gives orders asks after each input, so that
    /// no more wait than one brings.
    pub(crate) fn take_refused(&mut self) -> Option<MediaFact> {
        self.refused.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use keel_core::node::media::{PeerId, StreamId};

    use super::*;

    #[test]
    fn a_plane_that_is_behind_fails_transports_and_never_holds_up_sessions() {
        let (mut given, mut taken) = Orders::new();
        let peer = PeerId(1);
        for _ in 0..ORDERS_BEFORE_SIGNALS {
            given.give(MediaOrder::Resume { peer });
        }
        assert_eq!(given.take_refused(), None, "there is room");
        let candidate = String::new();
        let signal = keel_core::node::media::Signal::Candidate { candidate };
        given.give(MediaOrder::Signal { peer, signal });
        let told = given.take_refused();
        assert!(matches!(told, Some(MediaFact::Failed { .. })), "{told:?}");
        // Nothing that ends something is lost, however far behind it is.
        let all = 2 * ORDERS_MAX as u64;
        for peer in (0..all).map(PeerId) {
            given.give(MediaOrder::Close { peer });
        }
        let mut closed = Vec::new();
        while let Ok(order) = taken.try_recv() {
            if let MediaOrder::Close { peer } = order {
                closed.push(peer);
            }
            given.catch_up();
        }
        assert!(
            closed.into_iter().eq((0..all).map(PeerId)),
            "each, in order"
        );
    }

    #[test]
    fn what_is_owed_to_a_plane_that_was_behind_is_given_without_another_order() {
        let (mut given, mut taken) = Orders::of(1);
        let mute = |stream, muted| MediaOrder::Mute {
            peer: PeerId(1),
            stream: StreamId(stream),
            muted,
        };
        let said = [
            mute(1, true),
            mute(2, true),
            mute(1, false),
            MediaOrder::Close { peer: PeerId(1) },
            MediaOrder::Close { peer: PeerId(1) },
        ];
        for order in &said {
            given.give(order.clone());
        }
        let mut came = Vec::new();
        for _ in 0..2 * said.len() {
            came.extend(taken.try_recv());
            given.catch_up();
        }
        let last = [&said[..1], &said[1..4]].concat();
        assert_eq!(came, last, "and in order, what holds of each");
    }
}
