//! Which plane a session's transports are on, and orders to each.

use std::collections::HashMap;

use keel_core::node::{
    MediaFact, MediaOrder,
    media::{GroupId, PeerId},
};

use super::orders::Orders;

/// A plane, and how many transports it has.
#[derive(Debug)]
struct Plane {
    orders: Orders,
    peers: usize,
}

/// A session's transports.
#[derive(Debug)]
struct Group {
    plane: usize,
    peers: usize,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Planes {
    planes: Vec<Plane>,
    /// Those with a transport.
    groups: HashMap<GroupId, Group>,
    /// Whose a transport is.
    peers: HashMap<PeerId, GroupId>,
}

impl Planes {
    pub(super) fn new(orders: Vec<Orders>) -> Self {
        let planes = orders.into_iter();
        Self {
            planes: planes.map(|orders| Plane { orders, peers: 0 }).collect(),
            groups: HashMap::new(),
            peers: HashMap::new(),
        }
    }

    /// Never waits ([`Orders::give`]). What is about a transport that is no more is of no use to anybody.
    pub(crate) fn give(&mut self, order: MediaOrder) {
        let plane = match &order {
            MediaOrder::Open { peer, group } => Some(self.open(*peer, *group)),
            MediaOrder::Close { peer } => self.forget(*peer),
            MediaOrder::Signal { peer, .. }
            | MediaOrder::Subscribe { peer, .. }
            | MediaOrder::Unsubscribe { peer, .. }
            | MediaOrder::Mute { peer, .. }
            | MediaOrder::Restart { peer }
            | MediaOrder::Resume { peer }
            | MediaOrder::Refresh { peer, .. }
            | MediaOrder::Settle { peer } => self.of(*peer),
        };
        if let Some(plane) = plane.and_then(|plane| self.planes.get_mut(plane)) {
            plane.orders.give(order);
        }
    }

    /// A plane tells something: of a transport that is no more, nothing follows.
    pub(crate) fn told(&mut self, fact: &MediaFact) {
        if let MediaFact::Failed { peer, .. } = fact {
            self.forget(*peer);
        }
    }

    /// Gives what found no room, as far as there is room by now.
    pub(crate) fn catch_up(&mut self) {
        for plane in &mut self.planes {
            plane.orders.catch_up();
        }
    }

    /// See [`Orders::take_refused`]. Its plane has that transport still: what closes it has to get there.
    pub(crate) fn take_refused(&mut self) -> Option<MediaFact> {
        let mut planes = self.planes.iter_mut();
        planes.find_map(|plane| plane.orders.take_refused())
    }

    /// The plane for a new transport: that of its session, or the one with the fewest.
    fn open(&mut self, peer: PeerId, group: GroupId) -> usize {
        let planes = self.planes.iter().enumerate();
        let freest = planes.min_by_key(|(_, plane)| plane.peers);
        let freest = freest.map_or(0, |(nth, _)| nth);
        let session = self.groups.entry(group).or_insert(Group {
            plane: freest,
            peers: 0,
        });
        if self.peers.insert(peer, group).is_none() {
            session.peers += 1;
            self.planes[session.plane].peers += 1;
        }
        session.plane
    }

    /// The plane that a transport is on.
    fn of(&self, peer: PeerId) -> Option<usize> {
        let group = self.peers.get(&peer)?;
        Some(self.groups.get(group)?.plane)
    }

    /// A transport is no more; the plane that it was on.
    fn forget(&mut self, peer: PeerId) -> Option<usize> {
        let group = self.peers.remove(&peer)?;
        let session = self.groups.get_mut(&group)?;
        session.peers -= 1;
        let (plane, is_over) = (session.plane, session.peers == 0);
        self.planes[plane].peers -= 1;
        if is_over {
            self.groups.remove(&group);
        }
        Some(plane)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn two() -> (Planes, [mpsc::Receiver<MediaOrder>; 2]) {
        let (first, at_first) = Orders::new();
        let (second, at_second) = Orders::new();
        (Planes::new(vec![first, second]), [at_first, at_second])
    }

    fn open(peer: u64, group: u64) -> MediaOrder {
        let (peer, group) = (PeerId(peer), GroupId(group));
        MediaOrder::Open { peer, group }
    }

    fn taken(from: &mut mpsc::Receiver<MediaOrder>) -> Vec<MediaOrder> {
        std::iter::from_fn(|| from.try_recv().ok()).collect()
    }

    #[test]
    fn a_session_is_on_one_plane_and_sessions_are_on_all() {
        let (mut planes, [mut first, mut second]) = two();
        // The third session goes where the one of a single transport is.
        let opened = [(1, 7), (2, 7), (3, 8), (4, 9), (5, 7)];
        for (peer, group) in opened {
            planes.give(open(peer, group));
        }
        let peer = PeerId(5);
        planes.give(MediaOrder::Resume { peer });
        let resumed = MediaOrder::Resume { peer };
        assert_eq!(
            taken(&mut first),
            [open(1, 7), open(2, 7), open(5, 7), resumed]
        );
        assert_eq!(taken(&mut second), [open(3, 8), open(4, 9)]);
    }

    #[test]
    fn what_is_over_makes_room_and_is_ordered_nothing_more() {
        let (mut planes, [mut first, mut second]) = two();
        planes.give(open(1, 7));
        planes.give(open(2, 8));
        let why = "on purpose".to_owned();
        let (peer, full) = (PeerId(1), false);
        planes.told(&MediaFact::Failed { peer, full, why });
        planes.give(MediaOrder::Resume { peer });
        planes.give(MediaOrder::Close { peer });
        assert_eq!(taken(&mut first), [open(1, 7)], "it knows");
        let peer = PeerId(2);
        planes.give(MediaOrder::Close { peer });
        planes.give(MediaOrder::Close { peer });
        assert_eq!(taken(&mut second), [open(2, 8), MediaOrder::Close { peer }]);
        assert!(planes.groups.is_empty() && planes.peers.is_empty());
        assert!(planes.planes.iter().all(|plane| plane.peers == 0));
    }
}
