//! Admission: who may use a backend's slots, and who waits in which order.
//!
//! One machine a backend. A slot belongs to a session and is held by its id; a place in line is held
//! by its order, which is persisted, so that a restart changes nobody's place. A slot granted to a
//! session whose owner is away is kept for a grace, then goes to the next in line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keel_wire::SessionId;

use crate::{Deadline, Instant, limits, node::Capacity};

/// The answer to a request for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The session holds a slot.
    Granted,
    /// The session stands in line.
    Waiting(Place),
    /// Neither: no slot is free and it did not want to wait, or the line is full.
    Full {
        /// Slots there are.
        limit: usize,
        /// Slots taken.
        active: usize,
    },
}

/// A place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) position: u32,
    /// How long the line is.
    pub(crate) of: u32,
    /// What keeps the place over a restart; lower comes first.
    pub(crate) order: u64,
}

/// What admission decided by itself, to be told to the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its turn came.
    Granted(SessionId),
    /// Its place is given up: it waited too long, or its turn came and nobody took it.
    Expired(SessionId),
    /// Its place changed.
    Moved(SessionId, Place),
}

#[derive(Debug)]
struct Ticket {
    session: SessionId,
    until: Instant,
}

/// One backend's slots and line.
#[derive(Debug)]
pub(crate) struct Admission {
    capacity: Capacity,
    /// Holders; `Some` until an absent owner has to claim.
    held: BTreeMap<SessionId, Option<Instant>>,
    line: BTreeMap<u64, Ticket>,
    place_of: BTreeMap<SessionId, u64>,
    next_order: u64,
    changes: VecDeque<Change>,
}

impl Admission {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            held: BTreeMap::new(),
            line: BTreeMap::new(),
            place_of: BTreeMap::new(),
            next_order: 1,
            changes: VecDeque::new(),
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// A slot now, or a place in line until `wait_until`. Asking again changes nothing.
    pub(crate) fn request(&mut self, session: &SessionId, wait_until: Option<Instant>) -> Verdict {
        if let Some(claim) = self.held.get_mut(session) {
            *claim = None;
            return Verdict::Granted;
        }
        if let Some(place) = self.place(session) {
            return Verdict::Waiting(place);
        }
        let free = self.held.len() < self.capacity.slots && self.line.is_empty();
        match wait_until {
            _ if free => {
                self.held.insert(session.clone(), None);
                Verdict::Granted
            }
            Some(until) if self.line.len() < self.capacity.queue.min(limits::QUEUE_MAX) => {
                let order = self.next_order;
                self.enqueue(session.clone(), order, until);
                self.place(session)
                    .map_or_else(|| self.full(), Verdict::Waiting)
            }
            Some(_) | None => self.full(),
        }
    }

    fn full(&self) -> Verdict {
        Verdict::Full {
            limit: self.capacity.slots,
            active: self.held.len(),
        }
    }

    /// A slot that was held before a restart: kept, even beyond the capacity, until `claim_by`.
    pub(crate) fn reserve(&mut self, session: SessionId, claim_by: Instant) {
        self.held.insert(session, Some(claim_by));
    }

    /// Somebody of the session is there: its slot waits for nobody any more.
    pub(crate) fn claim(&mut self, session: &SessionId) {
        if let Some(claim) = self.held.get_mut(session) {
            *claim = None;
        }
    }

    /// Whether the session has a slot.
    pub(crate) fn holds(&self, session: &SessionId) -> bool {
        self.held.contains_key(session)
    }

    /// A place in line that was held before a restart.
    pub(crate) fn enqueue(&mut self, session: SessionId, order: u64, until: Instant) {
        // A session that came from another server brings that one's order.
        let taken = self.line.get(&order);
        let order = if taken.is_some_and(|ticket| ticket.session != session) {
            self.next_order
        } else {
            order
        };
        self.next_order = self.next_order.max(order + 1);
        self.place_of.insert(session.clone(), order);
        self.line.insert(order, Ticket { session, until });
    }

    /// A place at the end of the line, however long that is: for what was accepted already.
    pub(crate) fn enqueue_last(&mut self, session: SessionId, until: Instant) {
        self.enqueue(session, self.next_order, until);
    }

    /// Whether a session would get a slot or a place in line.
    pub(crate) fn has_room(&self, session: &SessionId) -> bool {
        let free = self.held.len() < self.capacity.slots && self.line.is_empty();
        let known = self.held.contains_key(session) || self.place_of.contains_key(session);
        free || known || self.line.len() < self.capacity.queue
    }

    pub(crate) const fn slots(&self) -> usize {
        self.capacity.slots
    }

    /// The session's place in line.
    pub(crate) fn place(&self, session: &SessionId) -> Option<Place> {
        let order = *self.place_of.get(session)?;
        let position = self.line.range(..=order).count();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Place {
            position: count(position),
            of: count(self.line.len()),
            order,
        })
    }

    /// The session wants neither slot nor place any more.
    pub(crate) fn release(&mut self, session: &SessionId, now: Instant) {
        let held = self.held.remove(session).is_some();
        let place = self
            .place_of
            .remove(session)
            .and_then(|order| self.line.remove(&order));
        if held || place.is_some() {
            self.advance(now);
        }
    }

    /// Grants what is free, in order, and tells the rest that they moved.
    pub(crate) fn advance(&mut self, now: Instant) {
        let mut moved = false;
        while self.held.len() < self.capacity.slots {
            let Some((_, ticket)) = self.line.pop_first() else {
                break;
            };
            self.place_of.remove(&ticket.session);
            self.held
                .insert(ticket.session.clone(), Some(now + limits::CLAIM_WITHIN));
            self.changes.push_back(Change::Granted(ticket.session));
            moved = true;
        }
        if moved || !self.changes.is_empty() {
            self.tell_moved();
        }
    }

    fn tell_moved(&mut self) {
        let of = u32::try_from(self.line.len()).unwrap_or(u32::MAX);
        let moved = self
            .line
            .iter()
            .zip(1..)
            .map(|((order, ticket), position)| {
                Change::Moved(
                    ticket.session.clone(),
                    Place {
                        position,
                        of,
                        order: *order,
                    },
                )
            });
        self.changes.extend(moved);
    }

    /// What has run out by now: claims that nobody made, places that waited too long.
    pub(crate) fn expire(&mut self, now: Instant) {
        let unclaimed: BTreeSet<SessionId> = self
            .held
            .iter()
            .filter(|(_, claim)| claim.is_some_and(|by| by <= now))
            .map(|(session, _)| session.clone())
            .collect();
        let late: Vec<u64> = self
            .line
            .iter()
            .filter(|(_, t)| t.until <= now)
            .map(|(order, _)| *order)
            .collect();
        for session in unclaimed {
            self.held.remove(&session);
            self.changes.push_back(Change::Expired(session));
        }
        for order in late {
            if let Some(ticket) = self.line.remove(&order) {
                self.place_of.remove(&ticket.session);
                self.changes.push_back(Change::Expired(ticket.session));
            }
        }
        if !self.changes.is_empty() {
            self.advance(now);
        }
    }

    /// What was decided next, and not yet told.
    pub(crate) fn take_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        let claim = self.held.values().flatten().min().copied();
        let place = self.line.values().map(|ticket| ticket.until).min();
        Deadline::earlier(
            claim.map(|at| Deadline {
                at,
                why: "slot claim",
            }),
            place.map(|at| Deadline {
                at,
                why: "place in line",
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::SlotKind;

    const NOW: Instant = Instant::ORIGIN;

    fn session(n: u128) -> SessionId {
        SessionId::from_bits(n)
    }

    fn of(slots: usize, queue: usize) -> Admission {
        Admission::new(Capacity {
            kind: SlotKind::Session,
            slots,
            queue,
        })
    }

    fn told(admission: &mut Admission) -> Vec<Change> {
        std::iter::from_fn(|| admission.take_change()).collect()
    }

    fn later(s: u64) -> Instant {
        NOW + Duration::from_secs(s)
    }

    #[test]
    fn full_is_told_with_figures_and_waiting_is_a_choice_s16_m8() {
        let mut admission = of(1, 1);
        assert_eq!(admission.request(&session(1), None), Verdict::Granted);
        assert_eq!(
            admission.request(&session(2), None),
            Verdict::Full {
                limit: 1,
                active: 1
            }
        );
        let waits = admission.request(&session(2), Some(later(60)));
        assert_eq!(
            waits,
            Verdict::Waiting(Place {
                position: 1,
                of: 1,
                order: 1
            })
        );
        assert_eq!(
            admission.request(&session(3), Some(later(60))),
            Verdict::Full {
                limit: 1,
                active: 1
            },
            "the line has a bound"
        );
    }

    #[test]
    fn slots_go_in_order_and_nobody_new_passes_the_line_m9_e14() {
        let mut admission = of(1, 9);
        for n in 1..=3 {
            admission.request(&session(n), Some(later(60)));
        }
        admission.release(&session(1), NOW);
        let changes = told(&mut admission);
        assert_eq!(changes[0], Change::Granted(session(2)));
        assert!(
            matches!(&changes[1], Change::Moved(s, Place { position: 1, .. }) if *s == session(3))
        );
        assert!(matches!(
            admission.request(&session(4), None),
            Verdict::Full { .. }
        ));
        assert_eq!(
            admission.request(&session(2), None),
            Verdict::Granted,
            "claimed"
        );
    }

    #[test]
    fn an_unclaimed_grant_goes_to_the_next_e14() {
        let mut admission = of(1, 9);
        for n in 1..=3 {
            admission.request(&session(n), Some(later(3600)));
        }
        admission.release(&session(1), NOW);
        told(&mut admission);
        admission.expire(NOW + limits::CLAIM_WITHIN);
        let changes = told(&mut admission);
        assert!(changes.contains(&Change::Expired(session(2))));
        assert!(changes.contains(&Change::Granted(session(3))));
    }

    #[test]
    fn a_restart_changes_nobodys_place_e14() {
        let mut admission = of(1, 9);
        admission.reserve(session(1), later(120));
        admission.enqueue(session(3), 8, later(600));
        admission.enqueue(session(2), 5, later(600));
        assert_eq!(
            admission.place(&session(2)).map(|place| place.position),
            Some(1)
        );
        let new = admission.request(&session(4), Some(later(600)));
        assert_eq!(
            new,
            Verdict::Waiting(Place {
                position: 3,
                of: 3,
                order: 9
            })
        );
        assert_eq!(
            admission.request(&session(1), None),
            Verdict::Granted,
            "reserved for it"
        );
    }
}
