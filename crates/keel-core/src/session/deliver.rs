//! The log, to whoever is attached: replay, live and slow readers are one path.
//!
//! A reader is a position. It is sent the frame behind its position from the ring, else from a page
//! read from the store, as long as its transport takes it. What can no longer be delivered is passed
//! over in the open, by a gap that carries the fold in its place.

use keel_wire::{Code, Gap, Range, Replayed, Role, Seq, journal::Fact, record::StoredEvent};

use super::{Life, Session, members::Member};
use crate::{
    Instant, limits,
    node::{Conn, ConnId, Ctx, Output},
    ring::Frame,
};

/// When a session's viewers, who are many, were told last, and when the rest is due.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    told_at: Option<Instant>,
    due: Option<Instant>,
}

/// What a reader is to be sent next.
enum Next {
    /// This frame.
    Send(Frame),
    /// Nothing until a page is read.
    Read,
    /// Nothing before its transport has taken more, or its page is here.
    Wait,
    /// A gap; the fault's code, where it is one.
    PassOver(Option<Code>),
    /// It has everything.
    CaughtUp,
}

impl Session {
    /// Sends everybody what there is.
    pub(super) fn pump_all(&mut self, ctx: &mut Ctx<'_>) {
        self.crowd = Crowd {
            told_at: Some(ctx.now.mono),
            due: None,
        };
        for conn in self.connections() {
            self.pump(conn, ctx);
        }
        if self.is_settled() && self.run.is_none() {
            self.ring.shrink(limits::RING_IDLE_BYTES_MAX);
        }
    }

    /// Something was committed. Whoever takes part is sent it at once, and so are viewers while they
    /// are few; a crowd of them in steps, because a write costs more than what is in it.
    pub(super) fn pump_committed(&mut self, ctx: &mut Ctx<'_>) {
        let over = matches!(self.life, Life::Ended { .. });
        let step = self.crowd.told_at.map(|at| at + limits::CROWD_STEP);
        let connected = self.members.values().filter(|member| member.conn.is_some());
        let is_crowd = connected.count() >= limits::CROWD_MIN;
        match step.filter(|at| *at > ctx.now.mono && !over) {
            Some(at) if is_crowd => {
                self.crowd.due = Some(at);
                let takes_part = |member: &&Member| member.role != Role::Viewer;
                let members = self.members.values().filter(takes_part);
                for conn in members.filter_map(|member| member.conn).collect::<Vec<_>>() {
                    self.pump(conn, ctx);
                }
            }
            Some(_) | None => self.pump_all(ctx),
        }
    }

    /// When the crowd is told what it was not told yet.
    pub(super) const fn crowd_due(&self) -> Option<Instant> {
        self.crowd.due
    }

    /// Sends a connection what its transport takes now.
    pub(crate) fn pump(&mut self, id: ConnId, ctx: &mut Ctx<'_>) {
        loop {
            let Some(conn) = ctx.conns.get_mut(id) else {
                return;
            };
            match self.next_for(conn) {
                Next::Send(frame) => {
                    let Some(delivery) = conn.delivery() else {
                        return;
                    };
                    delivery.sent = frame.to;
                    delivery.ring_total += frame.bytes.len() as u64;
                    conn.send(id, frame.bytes, ctx.out);
                }
                Next::Read => {
                    let Some(delivery) = conn.delivery() else {
                        return;
                    };
                    delivery.reading = true;
                    let after = delivery.sent;
                    self.read_begins(ctx.now.mono);
                    ctx.out.push(Output::Read {
                        conn: id,
                        session: self.id.clone(),
                        after,
                        events: limits::PAGE_EVENTS,
                        bytes: limits::PAGE_BYTES,
                    });
                    return;
                }
                Next::PassOver(code) => self.pass_over(id, code, ctx),
                Next::CaughtUp => return self.caught_up(id, ctx),
                Next::Wait => return,
            }
        }
    }

    fn next_for(&self, conn: &mut Conn) -> Next {
        let outstanding = conn.outstanding;
        let Some(delivery) = conn.delivery() else {
            return Next::Wait;
        };
        if delivery.sent >= self.committed {
            return Next::CaughtUp;
        }
        if outstanding >= limits::WINDOW_BYTES {
            return Next::Wait;
        }
        if delivery.sent < self.row.trimmed {
            return Next::PassOver(Some(Code::ResumeGap));
        }
        let lag_bytes = self.ring.total().saturating_sub(delivery.ring_total);
        let lag_events = self.committed.since(delivery.sent);
        let lags = lag_bytes > limits::LAG_BYTES_MAX || lag_events > limits::LAG_EVENTS_MAX;
        if delivery.replay_to.is_none() && lags {
            return Next::PassOver(Some(Code::SlowConsumer));
        }
        let sent = delivery.sent;
        if let Some(frame) = self.ring.after(sent) {
            delivery.page.clear();
            return Next::Send(frame.clone());
        }
        while let Some(frame) = delivery.page.pop_front() {
            if frame.to > sent {
                return Next::Send(frame);
            }
        }
        if delivery.reading {
            Next::Wait
        } else {
            Next::Read
        }
    }

    fn caught_up(&self, id: ConnId, ctx: &mut Ctx<'_>) {
        let total = self.ring.total();
        let now = ctx.now.mono;
        let Some(delivery) = delivery(id, ctx) else {
            return;
        };
        delivery.ring_total = total;
        let Some(to) = delivery.replay_to.take() else {
            return self.tell_end(id, ctx);
        };
        let to = to.max(delivery.sent);
        let (events, took_ms) = (delivery.missed, now.ms_since(delivery.welcomed_at));
        ctx.conns.tell(id, &Replayed { to }.into(), ctx.out);
        let participant = ctx.conns.participant(id);
        self.journal(
            participant.as_ref(),
            Fact::Replayed { events, took_ms },
            ctx,
        );
        self.tell_end(id, ctx);
    }

    /// Passes a connection over everything up to the log's end, and sends the fold in its place.
    pub(super) fn pass_over(&self, id: ConnId, code: Option<Code>, ctx: &mut Ctx<'_>) {
        let committed = self.committed;
        let total = self.ring.total();
        let fault = code.map(|code| Box::new(ctx.fault(code).session(&self.id)));
        let Some(delivery) = delivery(id, ctx) else {
            return;
        };
        let from = if code == Some(Code::LogRewound) {
            Seq::ZERO
        } else {
            delivery.sent
        };
        let range = Range {
            from: from.next().min(committed),
            to: committed,
        };
        delivery.sent = committed;
        delivery.ring_total = total;
        delivery.page.clear();
        let gap = Gap {
            from: range.from,
            to: range.to,
            epoch: self.row.epoch,
            snapshot: self.fold.fitted().into_owned(),
            fault: fault.clone(),
        };
        ctx.conns.tell(id, &Box::new(gap).into(), ctx.out);
        let participant = ctx.conns.participant(id);
        self.journal(participant.as_ref(), Fact::Gap { range, fault }, ctx);
    }

    /// A page is here that was read for a connection.
    pub(crate) fn page(
        &mut self,
        id: ConnId,
        events: Result<Vec<StoredEvent>, String>,
        ctx: &mut Ctx<'_>,
    ) {
        self.read_ends(events.is_ok(), ctx);
        let committed = self.committed;
        let Some(delivery) = delivery(id, ctx) else {
            return;
        };
        delivery.reading = false;
        match events {
            Ok(events) => {
                let sent = delivery.sent;
                let frames = events.iter().map(Frame::from);
                delivery.page = frames
                    .filter(|f| f.to > sent && f.to <= committed)
                    .collect();
                // Positions follow each other, or the store no longer has them.
                let follows = delivery
                    .page
                    .front()
                    .is_some_and(|frame| frame.from <= sent.next());
                if follows || sent >= committed {
                    self.pump(id, ctx);
                } else {
                    self.pass_over(id, Some(Code::ResumeGap), ctx);
                    self.pump(id, ctx);
                }
            }
            Err(error) => self.read_refused(&error, ctx),
        }
    }

    /// The session is over, and this connection has been sent all of it.
    fn tell_end(&self, id: ConnId, ctx: &mut Ctx<'_>) {
        if let Life::Ended {
            reason,
            fault,
            told: true,
        } = &self.life
        {
            self.tell_end_now(id, *reason, fault.as_deref(), ctx);
        }
    }
}

fn delivery<'a>(id: ConnId, ctx: &'a mut Ctx<'_>) -> Option<&'a mut crate::node::Delivery> {
    ctx.conns.get_mut(id)?.delivery()
}
