//! All sessions of this server go to another one.
//!
//! Those in memory are closed up at once, each by itself; the others are read, a few at a time. Each goes
//! when nothing of it runs any more, and what is left here is a sign that says where it is, and the
//! connections and transports of those who have not gone there yet.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use keel_wire::{
    Code, Fault, Goaway, Grant, Origin, SessionId,
    record::{SessionRow, SlotRow},
};

use super::{
    Answer, Ask, ConnId, MediaFact, MediaOrder, Node, Output, Outputs,
    media::PeerId,
    ms,
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
    linger: Duration,
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
    /// Sessions that have moved and whose clients are still here, by when they are sent after them.
    lingering: BTreeSet<(Instant, SessionId)>,
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
            Readiness::Stays if self.going.remove(id) => self.stayed += 1,
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
            lingering: BTreeSet::new(),
            look_at: now.mono + limits::HANDOVER_LOOK_EVERY,
            moved: 0,
            stayed: 0,
            done: false,
        };
        if let Some(before) = before {
            exodus.going = before.going;
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
            let waited = exodus.reading.remove(id) | exodus.going.remove(id);
            exodus.stayed += u64::from(waited && !is_gone);
        }
    }

    /// Goes on with what can go on. Called once after each input.
    pub(super) fn go_on_leaving(&mut self, now: Now, out: &mut Outputs) {
        if self.exodus.is_none() {
            return;
        }
        self.look_after(now, out);
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
            exodus.going.remove(&id);
            exodus.ready.remove(&id);
            if here {
                self.close_up(now, &id, out);
            } else {
                exodus.queue.push_back(id);
            }
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
            if exodus.going.len() >= limits::HANDOVERS_AT_ONCE {
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

    /// That a session has moved may be written: then its machine goes, and its clients are told.
    pub(super) fn leave_if_moved(&mut self, now: Now, id: &SessionId, out: &mut Outputs) {
        let Some(Entry::Active { session, .. }) = self.sessions.get(id) else {
            return;
        };
        let Some(address) = session.moved_to().map(str::to_owned) else {
            return;
        };
        let mut moved = Moved {
            address,
            head: session.committed(),
            row: Box::new(session.row().clone()),
            conns: session.connections().into_iter().collect(),
            peers: session.transports().collect(),
        };
        let linger = self
            .exodus
            .as_ref()
            .map_or(limits::MOVED_LINGER_MAX, |exodus| exodus.linger);
        if let Some(Entry::Active {
            armed: Some(at), ..
        }) = self.sessions.remove(id)
        {
            self.timers.remove(&(at, id.clone()));
        }
        for admission in self.admissions.values_mut() {
            admission.release(id, now.mono);
        }
        out.push(Output::Release {
            session: id.clone(),
            backend: moved.row.backend.clone(),
        });
        let goaway = Goaway {
            reason: "the session has moved to another server".to_owned(),
            deadline_ms: ms(linger),
            target: Some(moved.address.clone()),
        };
        tracing::info!(session = %id, to = moved.address, "a session has moved");
        for conn in moved.conns.clone() {
            if self.conns.is_welcomed(conn) {
                self.conns.tell(conn, &goaway.clone().into(), out);
            } else {
                // It has nothing here that it would keep: it stood in line.
                moved.conns.remove(&conn);
                self.send_after(now, id, conn, &moved.address, out);
            }
        }
        self.sessions.insert(id.clone(), Entry::Moved(moved));
        self.start.settling.remove(id);
        if let Some(exodus) = &mut self.exodus {
            exodus.going.remove(id);
            exodus.moved += 1;
            exodus.lingering.insert((now.mono + linger, id.clone()));
        } else {
            // It had been offered by a server before this one.
            return self.forget_moved(now, id, out);
        }
        self.forget_if_left(now, id, out);
    }

    /// A session that has moved and that nobody is at any more is forgotten.
    fn forget_if_left(&mut self, now: Now, id: &SessionId, out: &mut Outputs) {
        let left = |entry: &Entry| match entry {
            Entry::Moved(moved) => moved.conns.is_empty() && moved.peers.is_empty(),
            Entry::Active { .. } | Entry::Loading { .. } => false,
        };
        if self.sessions.get(id).is_some_and(left) {
            self.forget_moved(now, id, out);
        }
    }

    /// A connection is gone; it may have been one of a session that has moved.
    pub(super) fn left_moved(&mut self, now: Now, id: &SessionId, conn: ConnId, out: &mut Outputs) {
        if let Some(Entry::Moved(moved)) = self.sessions.get_mut(id) {
            moved.conns.remove(&conn);
            self.forget_if_left(now, id, out);
        }
    }

    /// Those who have not gone where their session went are sent after it, when it is time.
    fn linger(&mut self, now: Now, out: &mut Outputs) {
        let Some(exodus) = &self.exodus else { return };
        let due = exodus.lingering.iter();
        let over: Vec<SessionId> = due
            .take_while(|(until, _)| *until <= now.mono)
            .map(|(_, id)| id.clone())
            .collect();
        for id in over {
            self.forget_moved(now, &id, out);
        }
        if let Some(exodus) = &mut self.exodus {
            exodus.lingering.retain(|(until, _)| *until > now.mono);
        }
    }

    /// Nothing of a session that has moved is kept in memory.
    pub(super) fn forget_moved(&mut self, now: Now, id: &SessionId, out: &mut Outputs) {
        let Some(Entry::Moved(moved)) = self.sessions.get(id) else {
            return;
        };
        let address = moved.address.clone();
        for conn in moved.conns.clone() {
            self.send_after(now, id, conn, &address, out);
        }
        for peer in self.peers.take_of(id) {
            out.push(Output::Media(MediaOrder::Close { peer }));
        }
        self.sessions.remove(id);
        if let Some(exodus) = &mut self.exodus {
            exodus.lingering.retain(|(_, of)| of != id);
        }
    }

    /// What a transport of a session that has moved says: whether it was of such a one.
    pub(super) fn fact_of_moved(
        &mut self,
        now: Now,
        id: &SessionId,
        fact: &MediaFact,
        out: &mut Outputs,
    ) -> bool {
        let Some(Entry::Moved(moved)) = self.sessions.get_mut(id) else {
            return false;
        };
        if let MediaFact::Failed { peer, .. } = fact {
            moved.peers.remove(peer);
            self.peers.close(*peer);
            self.forget_if_left(now, id, out);
        }
        true
    }

    fn moved_fault(&mut self, now: Now, id: &SessionId, address: &str) -> Fault {
        self.mint
            .fault(now, Code::SessionMoved, Origin::Server)
            .session(id)
            .detail("target", address)
    }

    /// Tells a connection where its session is, and ends it.
    fn send_after(
        &mut self,
        now: Now,
        id: &SessionId,
        conn: ConnId,
        address: &str,
        out: &mut Outputs,
    ) {
        let goaway = Goaway {
            reason: "the session has moved to another server".to_owned(),
            deadline_ms: 0,
            target: Some(address.to_owned()),
        };
        let fault = self.moved_fault(now, id, address);
        self.conns.tell(conn, &goaway.into(), out);
        self.conns.refuse(conn, fault, out);
    }

    /// Answers who wants a session that has moved, and may enter it.
    pub(super) fn direct(
        &mut self,
        now: Now,
        id: &SessionId,
        waiter: Waiter,
        (address, row): (&str, &SessionRow),
        out: &mut Outputs,
    ) {
        let may = |grant: &Grant| grant.may_enter(row);
        let allowed = match &waiter {
            Waiter::Conn(conn) => {
                let grant = self.conns.get(*conn).and_then(|conn| conn.grant.as_ref());
                grant.is_some_and(|grant| may(grant))
            }
            Waiter::Ask(_, question) => match &**question {
                Ask::Command { grant, .. } | Ask::End { grant, .. } => may(grant),
                Ask::Status { .. } | Ask::Census | Ask::Open { .. } | Ask::Inject(_) => false,
            },
            Waiter::Leave => return self.not_read_to_leave(id, true),
        };
        if !allowed {
            let fault = self.mint.fault(now, Code::SessionNotFound, Origin::Server);
            return self.turn_away(id, waiter, fault, out);
        }
        match waiter {
            Waiter::Conn(conn) => self.send_after(now, id, conn, address, out),
            Waiter::Ask(ask, _) => {
                let fault = Box::new(self.moved_fault(now, id, address));
                let answer = Answer::Receipt(keel_wire::ReceiptBody::Fault(fault));
                out.push(Output::Reply { ask, answer });
            }
            Waiter::Leave => {}
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

/// A session that has moved, and whose clients are still here.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) address: String,
    pub(super) head: keel_wire::Seq,
    pub(super) row: Box<SessionRow>,
    /// Those of its participants, and their transports.
    pub(super) conns: BTreeSet<ConnId>,
    pub(super) peers: BTreeSet<PeerId>,
}
