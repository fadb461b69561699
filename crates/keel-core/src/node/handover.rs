//! All sessions of this server go to another one.
//!
//! Those in memory are closed up at once, each by itself; the others are read, a few at a time. Each goes
//! when nothing of it runs any more, and what is left here is a sign that says where it is, and the
//! connections and transports of those who have not gone there yet.
//!
//! The other server may stop answering. What it was offered then is offered until it answers: whose it
//! is only that one knows. It keeps no other from going, though ([`limits::HANDOVER_STUCK_AFTER`]), and
//! once what runs had its time, nothing waits for a server that takes none: what was offered to nobody
//! is nobody else's for certain, and goes on here.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use keel_wire::{
    SessionId,
    record::{SessionRow, SlotRow},
};

use super::{
    Node, Output, Outputs,
    registry::{Entry, Waiter},
};
use crate::{Deadline, Instant, Now, limits, session::Readiness};

/// How far the handing-over of all sessions is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Sessions that have moved.
    pub moved: u64,
    /// Sessions that were not taken and stay.
    pub stayed: u64,
    /// Sessions that have something to end first, or have to be read.
    pub waiting: usize,
    /// Sessions that are offered.
    pub under_way: usize,
    /// Sessions that have moved and whose clients are still here.
    pub lingering: usize,
    /// Nothing of it is left to do.
    pub done: bool,
}

/// All sessions leave.
#[derive(Debug)]
pub(super) struct Exodus {
    peer: String,
    address: String,
    stop_at: Instant,
    pub(super) linger: Duration,
    /// The last session that was listed, and whether there may be more.
    after: Option<SessionId>,
    more: bool,
    asked: bool,
    list_again_at: Option<Instant>,
    /// Sessions that are to be looked at.
    queue: VecDeque<SessionId>,
    /// Sessions that are being read for it.
    reading: BTreeSet<SessionId>,
    /// Sessions that are closed up.
    closing: BTreeSet<SessionId>,
    ready: BTreeSet<SessionId>,
    going: BTreeSet<SessionId>,
    /// Those that are going and of which nobody has said for long who has them.
    stuck: BTreeSet<SessionId>,
    /// When the last was taken, or this began; and whether one was not taken since.
    taken_at: Instant,
    refused: bool,
    /// No more are offered.
    given_up: bool,
    /// Sessions that have moved and whose clients are still here, by when they are sent after them.
    pub(super) lingering: BTreeSet<(Instant, SessionId)>,
    /// Those that are waited for are looked at again then.
    look_at: Instant,
    moved: u64,
    stayed: u64,
    done: bool,
}

impl Exodus {
    fn progress(&self) -> Progress {
        Progress {
            moved: self.moved,
            stayed: self.stayed,
            waiting: self.queue.len() + self.reading.len() + self.closing.len(),
            under_way: self.going.len(),
            lingering: self.lingering.len(),
            done: self.done,
        }
    }

    /// Whether every session has left or stays.
    fn is_through(&self) -> bool {
        let listed = !self.more && !self.asked;
        let looked_at = self.queue.is_empty() && self.reading.is_empty();
        listed && looked_at && self.closing.is_empty() && self.going.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let at = |at: Option<Instant>, why| at.map(|at| Deadline { at, why });
        let all = [
            at(self.list_again_at, "list again"),
            at(self.lingering.first().map(|(at, _)| *at), "linger"),
            at(
                Some(self.look_at).filter(|_| !self.is_through()),
                "handover",
            ),
        ];
        all.into_iter().fold(None, Deadline::earlier)
    }

    /// An offer came to an end, whichever: whether there was one.
    fn goes_no_more(&mut self, id: &SessionId) -> bool {
        self.stuck.remove(id);
        self.going.remove(id)
    }

    /// A session was not taken.
    const fn was_refused(&mut self) {
        self.stayed += 1;
        self.refused = true;
    }

    /// A session has moved; its clients are kept here until then.
    pub(super) fn has_moved(&mut self, now: Instant, id: &SessionId, until: Instant) {
        self.goes_no_more(id);
        self.moved += 1;
        (self.taken_at, self.refused) = (now, false);
        self.lingering.insert((until, id.clone()));
    }

    /// Whether one more may be offered: those that are stuck move no bytes, and take nobody's place.
    fn has_room(&self) -> bool {
        self.going.len() - self.stuck.len() < limits::HANDOVERS_AT_ONCE
    }

    /// Whether what was not offered is to wait no longer: what ran had its time, and the other server
    /// has taken none for a while, though it was to.
    fn is_in_vain(&self, now: Instant) -> bool {
        let unheeded = self.refused || !self.stuck.is_empty();
        let late = self
            .stop_at
            .max(self.taken_at + limits::HANDOVER_STUCK_AFTER);
        unheeded && late <= now
    }

    /// Until when what runs in a session that is to leave may end.
    pub(super) fn closes(&self, id: &SessionId) -> Option<Instant> {
        self.closing.contains(id).then_some(self.stop_at)
    }

    /// What a step of a session in memory made of it.
    pub(super) fn note(&mut self, id: &SessionId, readiness: Readiness) {
        match readiness {
            Readiness::Ready if self.closing.contains(id) => {
                self.ready.insert(id.clone());
            }
            Readiness::Stays if self.closing.remove(id) => {
                self.ready.remove(id);
            }
            Readiness::Stays if self.goes_no_more(id) => self.was_refused(),
            Readiness::Ready
            | Readiness::Stays
            | Readiness::NotYet
            | Readiness::Going
            | Readiness::Gone => {}
        }
    }
}

impl Node {
    pub(super) fn progress(&self) -> Option<Progress> {
        self.exodus.as_ref().map(Exodus::progress)
    }

    pub(super) fn hand_over(
        &mut self,
        now: Now,
        peer: String,
        address: String,
        within: Duration,
        out: &mut Outputs,
    ) {
        let before = self.exodus.take();
        let stop_at = now.mono + within;
        let mut exodus = Exodus {
            peer,
            address,
            stop_at,
            linger: within.min(limits::MOVED_LINGER_MAX),
            after: None,
            more: true,
            asked: false,
            list_again_at: None,
            queue: VecDeque::new(),
            reading: BTreeSet::new(),
            closing: BTreeSet::new(),
            ready: BTreeSet::new(),
            going: BTreeSet::new(),
            stuck: BTreeSet::new(),
            taken_at: now.mono,
            refused: false,
            given_up: false,
            lingering: BTreeSet::new(),
            look_at: now.mono + limits::HANDOVER_LOOK_EVERY,
            moved: 0,
            stayed: 0,
            done: false,
        };
        if let Some(before) = before {
            exodus.going = before.going;
            exodus.stuck = before.stuck;
            exodus.lingering = before.lingering;
            exodus.moved = before.moved;
            exodus.asked = before.asked;
        }
        self.exodus = Some(exodus);
        let ids: Vec<SessionId> = self.sessions.keys().cloned().collect();
        for id in ids {
            self.close_up(now, &id, out);
        }
    }

    /// A session in memory is to leave.
    fn close_up(&mut self, now: Now, id: &SessionId, out: &mut Outputs) {
        let Some(exodus) = &mut self.exodus else {
            return;
        };
        let Some(Entry::Active { session, .. }) = self.sessions.get(id) else {
            return;
        };
        match session.readiness() {
            // It is on its way since before.
            Readiness::Going | Readiness::Gone => {
                exodus.going.insert(id.clone());
            }
            Readiness::Stays | Readiness::NotYet | Readiness::Ready if exodus.given_up => {
                exodus.stayed += 1;
            }
            Readiness::Stays | Readiness::NotYet | Readiness::Ready => {
                exodus.closing.insert(id.clone());
                let stop_at = exodus.stop_at;
                self.with(now, id, out, |session, _| session.close_up(stop_at));
            }
        }
    }

    /// Sessions that are here, as the store says.
    pub(super) fn held(&mut self, now: Now, sessions: Result<Vec<SessionId>, String>) {
        let Some(exodus) = &mut self.exodus else {
            return;
        };
        exodus.asked = false;
        match sessions {
            Ok(_) | Err(_) if exodus.given_up => {}
            Ok(sessions) => {
                exodus.more = sessions.len() >= limits::HANDOVER_PAGE;
                if let Some(last) = sessions.last() {
                    exodus.after = Some(last.clone());
                }
                exodus.queue.extend(sessions);
            }
            Err(error) => {
                tracing::warn!(error, "the store cannot say which sessions are here");
                exodus.list_again_at = Some(now.mono + limits::STORE_RETRY_CAP);
            }
        }
    }

    /// A session was read that is to leave, or could not be.
    pub(super) fn read_to_leave(&mut self, now: Now, id: &SessionId, out: &mut Outputs) {
        if let Some(exodus) = &mut self.exodus {
            exodus.reading.remove(id);
            if self.active(id).is_some() {
                self.close_up(now, id, out);
            }
        }
    }

    pub(super) fn not_read_to_leave(&mut self, id: &SessionId, is_gone: bool) {
        if let Some(exodus) = &mut self.exodus {
            let waited = exodus.reading.remove(id) | exodus.goes_no_more(id);
            exodus.stayed += u64::from(waited && !is_gone);
        }
    }

    /// Sees how those that leave are doing. Called before sessions are told the time: what is not to leave
    /// any more is not stopped for it.
    pub(super) fn look_at_leaving(&mut self, now: Now, out: &mut Outputs) {
        self.look_after(now, out);
        self.give_up_in_vain(now, out);
    }

    /// Goes on with what can go on. Called once after each input.
    pub(super) fn go_on_leaving(&mut self, now: Now, out: &mut Outputs) {
        if self.exodus.is_none() {
            return;
        }
        self.read_more(now, out);
        self.offer_more(now, out);
        self.linger(now, out);
        let Some(exodus) = &mut self.exodus else {
            return;
        };
        if !exodus.done && exodus.is_through() && exodus.lingering.is_empty() {
            exodus.done = true;
            out.push(Output::HandedOver(exodus.progress()));
        }
    }

    /// Those that are waited for may have been rebuilt, or may be gone: nobody tells.
    fn look_after(&mut self, now: Now, out: &mut Outputs) {
        let Some(exodus) = self
            .exodus
            .as_mut()
            .filter(|exodus| exodus.look_at <= now.mono)
        else {
            return;
        };
        exodus.look_at = now.mono + limits::HANDOVER_LOOK_EVERY;
        let stuck = |id: &&SessionId| match self.sessions.get(*id) {
            Some(Entry::Active { session, .. }) => session
                .owed_since()
                .is_some_and(|since| since + limits::HANDOVER_STUCK_AFTER <= now.mono),
            Some(Entry::Loading { .. } | Entry::Moved(_)) | None => false,
        };
        exodus.stuck = exodus.going.iter().filter(stuck).cloned().collect();
        let mut again = Vec::new();
        for id in exodus.closing.iter().chain(&exodus.going) {
            match self.sessions.get(id) {
                Some(Entry::Active { session, .. }) if session.readiness() == Readiness::Stays => {
                    again.push((id.clone(), true));
                }
                Some(Entry::Active { .. } | Entry::Loading { .. } | Entry::Moved(_)) => {}
                None => again.push((id.clone(), false)),
            }
        }
        for (id, here) in again {
            let Some(exodus) = &mut self.exodus else {
                return;
            };
            exodus.closing.remove(&id);
            exodus.goes_no_more(&id);
            exodus.ready.remove(&id);
            if here {
                self.close_up(now, &id, out);
            } else {
                exodus.queue.push_back(id);
            }
        }
    }

    /// What was to be offered to a server that takes none goes on here instead.
    fn give_up_in_vain(&mut self, now: Now, out: &mut Outputs) {
        let in_vain = |exodus: &&mut Exodus| !exodus.given_up && exodus.is_in_vain(now.mono);
        let Some(exodus) = self.exodus.as_mut().filter(in_vain) else {
            return;
        };
        exodus.given_up = true;
        exodus.more = false;
        exodus.list_again_at = None;
        exodus.ready.clear();
        let closing = std::mem::take(&mut exodus.closing);
        let unread = std::mem::take(&mut exodus.queue);
        let counted = |id: &&SessionId| closing.contains(*id) || exodus.going.contains(*id);
        let unread = unread.iter().filter(|id| !counted(id));
        let left = closing.len() + unread.count();
        exodus.stayed += left as u64;
        tracing::warn!(
            peer = exodus.peer,
            stuck = exodus.stuck.len(),
            left,
            "the other server takes no sessions: what it was not offered stays"
        );
        for id in closing {
            self.with(now, &id, out, |session, ctx| session.stay(ctx));
        }
    }

    fn read_more(&mut self, now: Now, out: &mut Outputs) {
        let ready = self.start.ready;
        if let Some(exodus) = &mut self.exodus {
            exodus.list_again_at.take_if(|at| *at <= now.mono);
        }
        while let Some(exodus) = &mut self.exodus {
            let listing_is_due = exodus.list_again_at.is_none();
            if exodus.queue.is_empty() && exodus.more && !exodus.asked && listing_is_due && ready {
                exodus.asked = true;
                out.push(Output::Held {
                    after: exodus.after.clone(),
                    limit: limits::HANDOVER_PAGE,
                });
            }
            if exodus.reading.len() >= limits::HANDOVERS_AT_ONCE {
                return;
            }
            let Some(id) = exodus.queue.pop_front() else {
                return;
            };
            match self.sessions.get(&id) {
                Some(Entry::Active { .. }) => {
                    let known = exodus.closing.contains(&id) || exodus.going.contains(&id);
                    if !known {
                        self.close_up(now, &id, out);
                    }
                }
                Some(Entry::Moved(_)) => {}
                Some(Entry::Loading { .. }) | None => {
                    exodus.reading.insert(id.clone());
                    self.when_active(now, &id, Waiter::Leave, out);
                }
            }
        }
    }

    fn offer_more(&mut self, now: Now, out: &mut Outputs) {
        while let Some(exodus) = &mut self.exodus {
            if !exodus.has_room() {
                return;
            }
            let Some(id) = exodus.ready.pop_first() else {
                return;
            };
            let (peer, address) = (exodus.peer.clone(), exodus.address.clone());
            let ready = |node: &Self| node.active(&id).map(crate::session::Session::readiness);
            if ready(self) != Some(Readiness::Ready) {
                continue;
            }
            if let Some(exodus) = &mut self.exodus {
                exodus.closing.remove(&id);
                exodus.going.insert(id.clone());
            }
            self.with(now, &id, out, |session, ctx| {
                session.offer(&peer, &address, ctx);
            });
        }
    }

    /// Where whoever wants a new session is sent, while all sessions leave.
    pub(super) fn goes_elsewhere(&self) -> Option<&str> {
        self.exodus.as_ref().map(|exodus| exodus.address.as_str())
    }

    /// A session of another server's is this one's from here on.
    pub(super) fn took_over(&mut self, now: Now, row: SessionRow, out: &mut Outputs) {
        let id = row.session.clone();
        if self.active(&id).is_some() {
            // Told twice.
            return;
        }
        // It was here before, and has come back.
        self.forget_moved(now, &id, out);
        let ready = self.start.ready;
        if let (Some(slot), Some(admission)) = (row.slot, self.admissions.get_mut(&row.backend))
            && !admission.holds(&id)
            && admission.place(&id).is_none()
        {
            match slot {
                SlotRow::Held => {
                    admission.reserve(id.clone(), now.mono + self.config.resume_window);
                }
                SlotRow::Waiting { until, .. } => {
                    // Its place in another server's line says nothing here.
                    let left = Duration::from_millis(until.saturating_sub(now.wall));
                    admission.enqueue_last(id.clone(), now.mono + left);
                }
            }
            if ready {
                // There may be room here; whoever is granted some claims it when it is read.
                admission.advance(now.mono);
            }
        }
        if row.open_turn || row.slot.is_some() {
            self.start.settle.push_back(id);
            if self.start.ready {
                self.settle_more(out);
            }
        }
    }
}
