//! Sessions that another server has, and whose clients are still here: who comes is told where it is,
//! and who does not go there is sent after it.

use std::collections::BTreeSet;

use keel_wire::{Code, Fault, Goaway, Grant, Origin, SessionId, record::SessionRow};

use super::{
    Answer, Ask, ConnId, MediaFact, MediaOrder, Node, Output, Outputs,
    media::PeerId,
    ms,
    registry::{Entry, Waiter},
};
use crate::{Now, limits};

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

impl Node {
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
            exodus.has_moved(now.mono, id, now.mono + linger);
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
    pub(super) fn linger(&mut self, now: Now, out: &mut Outputs) {
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
                Ask::Status { .. }
                | Ask::Media { .. }
                | Ask::Census
                | Ask::Open { .. }
                | Ask::Inject(_) => false,
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
}
