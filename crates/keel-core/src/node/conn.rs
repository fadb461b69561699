//! Connections, as the Node sees them: how far each handshake is, how much is on its way, when the
//! other side was last heard.
//!
//! What a session knows of a connection it knows through here; what a connection still has to be sent
//! is a position in the session's log ([`Delivery`]), never a queue.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use keel_wire::{
    Beat, CloseCode, Code, Fault, FaultFrame, Grant, Hello, Origin, ParticipantId, Seq,
    ServerFrame, SessionId, StreamId, limits::FRAME_OUT_BYTES_MAX,
};

use super::{ConnId, Misplaced, Output, Outputs};
use crate::{Instant, Mint, Now, limits, ring::Frame};

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The upgrade is done; hello is not here.
    AwaitHello,
    /// The token of its hello is being checked.
    AwaitVerdict { hello: Box<Hello> },
    /// Its session is being brought into memory, or the Node is still settling after its start.
    AwaitSession {
        hello: Box<Hello>,
        session: Option<SessionId>,
    },
    /// It is a participant's. `welcomed` once the log is flowing.
    Attached {
        session: SessionId,
        participant: ParticipantId,
        welcomed: bool,
    },
}

/// What is known of the directory that a hello names.
#[derive(Debug, Default)]
pub(crate) enum Place {
    /// Nothing was asked.
    #[default]
    Unasked,
    /// It is being looked at.
    Asked,
    /// It may be used, as this path.
    Found(String),
    /// It may not.
    Refused(Misplaced),
}

/// What a welcomed connection has been sent of the log.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Sent through here.
    pub(crate) sent: Seq,
    /// `replayed` is due when this is sent.
    pub(crate) replay_to: Option<Seq>,
    /// When it was welcomed, and what it then missed.
    pub(crate) welcomed_at: Instant,
    /// Events that it missed then.
    pub(crate) missed: u64,
    /// The ring's total when it was last caught up, moved on by what was sent since.
    pub(crate) ring_total: u64,
    /// Frames of a page read from the store, not yet sent.
    pub(crate) page: VecDeque<Frame>,
    /// A page is being read.
    pub(crate) reading: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) phase: Phase,
    /// What its token allows.
    pub(crate) grant: Option<Box<Grant>>,
    /// Where the programs of the session that it opens are to work.
    pub(crate) place: Place,
    /// Its hello, until it is welcomed.
    hello: Option<Box<Hello>>,
    /// When its token expires, and when it is told that it will.
    expires: Option<Instant>,
    tell_expiry_at: Option<Instant>,
    /// Where its commands go.
    pub(crate) stream: Option<StreamId>,
    /// The highest command number that this connection has brought.
    pub(crate) command_n: Seq,
    pub(crate) delivery: Option<Box<Delivery>>,
    /// Bytes on their way that the transport has not taken.
    pub(crate) outstanding: usize,
    /// When the last byte came from it.
    pub(crate) heard: Instant,
    /// Neither read nor written any more, on purpose.
    frozen: bool,
    opened: Instant,
    beat_n: Seq,
    beat_at: Instant,
    /// The last beat told the faster plan.
    told_busy: bool,
    busy: bool,
    armed: Instant,
    /// Frames that it may send, in thousandths, and when that was reckoned.
    tokens: u64,
    tokens_at: Instant,
    pub(crate) unknown_frames: u32,
    /// When it is told of STUN and TURN servers with fresh credentials.
    pub(crate) ice_fresh_at: Option<Instant>,
}

impl Conn {
    const fn plan(&self) -> (Duration, Duration) {
        if self.busy {
            (limits::BEAT_BUSY, limits::SUSPECT_BUSY)
        } else {
            (limits::BEAT_IDLE, limits::SUSPECT_IDLE)
        }
    }

    /// Takes one frame's allowance; false when there is none.
    pub(crate) fn take_token(&mut self, now: Instant, frames_per_s: u32) -> bool {
        let gained = now
            .ms_since(self.tokens_at)
            .saturating_mul(u64::from(frames_per_s));
        self.tokens = (self.tokens + gained).min(u64::from(limits::FRAMES_BURST) * 1_000);
        self.tokens_at = now;
        let paid = self.tokens.checked_sub(1_000);
        self.tokens = paid.unwrap_or(self.tokens);
        paid.is_some()
    }

    fn expires_soon(&self, now: Instant) -> bool {
        self.tell_expiry_at.is_some_and(|at| at <= now)
    }

    /// What its token allows from here on.
    pub(crate) fn set_grant(&mut self, grant: Grant, now: Now) {
        let left = Duration::from_millis(grant.expires.saturating_sub(now.wall));
        // A token that lasts for less is not to be refreshed the moment that it comes.
        let before = limits::EXPIRY_TOLD_BEFORE.min(left - left / 10);
        self.expires = Some(now.mono + left);
        self.tell_expiry_at = Some(now.mono + left.saturating_sub(before));
        self.grant = Some(Box::new(grant));
    }

    /// Milliseconds until its token expires.
    pub(crate) fn expires_in_ms(&self, now: Instant) -> u64 {
        self.expires.map_or(u64::MAX, |at| at.ms_since(now))
    }

    /// The stream that its commands go to, or will once it is welcomed.
    pub(crate) fn stream_in_use(&self) -> Option<&StreamId> {
        let asked = self.hello.as_ref().map(|hello| &hello.stream.id);
        self.stream.as_ref().or(asked)
    }

    /// As [`Conns::send`], of the connection `id` itself.
    pub(crate) fn send(&mut self, id: ConnId, bytes: Arc<[u8]>, out: &mut Outputs) {
        debug_assert!(bytes.len() <= FRAME_OUT_BYTES_MAX, "no client reads that");
        if !self.frozen {
            self.outstanding += bytes.len();
            out.push(Output::Send { conn: id, bytes });
        }
    }

    /// What the connection has to be sent of the log, once it is welcomed.
    pub(crate) fn delivery(&mut self) -> Option<&mut Delivery> {
        self.delivery.as_deref_mut()
    }
}

/// What a connection's timer found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing; it was armed anew.
    Nothing,
    /// A beat is to be sent.
    Beat,
    /// Its token will expire, and that was not told.
    ExpiresSoon,
    /// Its token has expired.
    Expired,
    /// The credentials of its TURN servers will expire.
    IceServers,
    /// Hello did not come.
    NoHello,
    /// Nothing was heard for too long.
    Silent,
}

/// All connections, and their timers.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    table: BTreeMap<ConnId, Conn>,
    timers: BTreeSet<(Instant, ConnId)>,
    attached: usize,
    /// Connections of participants that were closed from here, for their sessions to be told.
    gone: Vec<(SessionId, ParticipantId, ConnId)>,
}

impl Conns {
    pub(crate) fn open(&mut self, id: ConnId, now: Instant) {
        let armed = now + limits::HELLO_WITHIN;
        let conn = Conn {
            phase: Phase::AwaitHello,
            grant: None,
            place: Place::Unasked,
            hello: None,
            expires: None,
            tell_expiry_at: None,
            stream: None,
            command_n: Seq::ZERO,
            delivery: None,
            outstanding: 0,
            heard: now,
            frozen: false,
            opened: now,
            beat_n: Seq::ZERO,
            beat_at: now,
            told_busy: false,
            busy: false,
            armed,
            tokens: u64::from(limits::FRAMES_BURST) * 1_000,
            tokens_at: now,
            unknown_frames: 0,
            ice_fresh_at: None,
        };
        self.timers.insert((armed, id));
        self.table.insert(id, conn);
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.table.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.table.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> Vec<ConnId> {
        self.table.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.table.iter().map(|(id, conn)| (*id, conn))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) const fn attached(&self) -> usize {
        self.attached
    }

    /// Forgets a connection; inputs of it are ignored from here on.
    pub(crate) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let conn = self.table.remove(&id)?;
        self.timers.remove(&(conn.armed, id));
        if let Phase::Attached {
            session,
            participant,
            ..
        } = &conn.phase
        {
            self.attached -= 1;
            self.gone.push((session.clone(), participant.clone(), id));
        }
        Some(conn)
    }

    /// Connections of participants that are gone since the last call.
    pub(crate) fn take_gone(&mut self) -> Vec<(SessionId, ParticipantId, ConnId)> {
        std::mem::take(&mut self.gone)
    }

    /// Whether a connection is a participant's and the log is flowing.
    pub(crate) fn is_welcomed(&self, id: ConnId) -> bool {
        let phase = self.table.get(&id).map(|conn| &conn.phase);
        matches!(phase, Some(Phase::Attached { welcomed: true, .. }))
    }

    /// The connection is a participant's from here on.
    pub(crate) fn attach(&mut self, id: ConnId, session: SessionId, participant: ParticipantId) {
        let Some(conn) = self.table.get_mut(&id) else {
            return;
        };
        let first = !matches!(conn.phase, Phase::Attached { .. });
        conn.phase = Phase::Attached {
            session,
            participant,
            welcomed: false,
        };
        if first {
            self.attached += 1;
            // Its timer waited for a hello; from here on it is promised a beat.
            conn.beat_at = conn.heard + limits::BEAT_IDLE;
            let at = conn.beat_at.min(conn.armed);
            self.rearm(id, at);
        }
    }

    /// Keeps what a connection asked for until it can be welcomed.
    pub(crate) fn hold_hello(&mut self, id: ConnId, hello: Hello) {
        if let Some(conn) = self.table.get_mut(&id) {
            conn.hello = Some(Box::new(hello));
        }
    }

    /// What a connection asked for, once.
    pub(crate) fn take_hello(&mut self, id: ConnId) -> Option<Hello> {
        self.table.get_mut(&id)?.hello.take().map(|hello| *hello)
    }

    /// Whose connection it is.
    pub(crate) fn participant(&self, id: ConnId) -> Option<ParticipantId> {
        match &self.table.get(&id)?.phase {
            Phase::Attached { participant, .. } => Some(participant.clone()),
            Phase::AwaitHello | Phase::AwaitVerdict { .. } | Phase::AwaitSession { .. } => None,
        }
    }

    /// Something is at stake, or no longer.
    pub(crate) fn set_busy(&mut self, id: ConnId, busy: bool, now: Instant) {
        let Some(conn) = self.table.get_mut(&id) else {
            return;
        };
        if conn.busy == busy {
            return;
        }
        conn.busy = busy;
        if busy && !conn.told_busy {
            // It goes by the slower plan until it is told: now. Once for each time that it was told the
            // slower one, so that brief turns send no burst: beats are what it counts time by.
            conn.beat_at = now;
        } else if busy {
            conn.beat_at = conn.beat_at.min(now + limits::BEAT_BUSY);
        }
        let at = conn.beat_at;
        if busy {
            conn.heard = conn.heard.max(now);
        }
        self.rearm(id, at);
    }

    fn rearm(&mut self, id: ConnId, at: Instant) {
        let Some(conn) = self.table.get_mut(&id) else {
            return;
        };
        self.timers.remove(&(conn.armed, id));
        conn.armed = at;
        self.timers.insert((at, id));
    }

    /// The next connection whose timer is due.
    pub(crate) fn next_due(&self, now: Instant) -> Option<ConnId> {
        self.timers
            .first()
            .filter(|(at, _)| *at <= now)
            .map(|(_, id)| *id)
    }

    /// When the next timer is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Looks at a connection whose timer is due, and arms it anew.
    pub(crate) fn check(&mut self, id: ConnId, now: Instant) -> Due {
        let Some(conn) = self.table.get_mut(&id) else {
            return Due::Nothing;
        };
        let (every, suspect) = conn.plan();
        if now.since(conn.armed) >= limits::LATE_MIN {
            // It is we who were away: what it sent meanwhile may still have to be read.
            conn.heard = now;
        }
        let (due, next) = match conn.phase {
            Phase::AwaitHello if now >= conn.opened + limits::HELLO_WITHIN => {
                (Due::NoHello, now + limits::HELLO_WITHIN)
            }
            Phase::AwaitHello => (Due::Nothing, conn.opened + limits::HELLO_WITHIN),
            // The Node owes it an answer, not the other way round.
            Phase::AwaitVerdict { .. } | Phase::AwaitSession { .. } => {
                (Due::Nothing, now + limits::HELLO_WITHIN)
            }
            Phase::Attached { .. } if conn.expires.is_some_and(|at| at <= now) => {
                (Due::Expired, now + every)
            }
            Phase::Attached { .. } if conn.expires_soon(now) => {
                conn.tell_expiry_at = None;
                (Due::ExpiresSoon, now)
            }
            Phase::Attached { .. } if conn.ice_fresh_at.is_some_and(|at| at <= now) => {
                conn.ice_fresh_at = None;
                (Due::IceServers, now)
            }
            Phase::Attached { .. } if now >= conn.heard + suspect => (Due::Silent, now + suspect),
            Phase::Attached { .. } if now >= conn.beat_at => {
                conn.beat_at = now + every;
                conn.told_busy = conn.busy;
                (Due::Beat, conn.beat_at.min(conn.heard + suspect))
            }
            Phase::Attached { .. } => (Due::Nothing, conn.beat_at.min(conn.heard + suspect)),
        };
        self.rearm(id, next);
        due
    }

    /// Sends a beat that carries the log's end.
    pub(crate) fn beat(&mut self, id: ConnId, seq: Seq, out: &mut Outputs) {
        let attached = self.attached;
        let Some(conn) = self.table.get_mut(&id) else {
            return;
        };
        conn.beat_n = conn.beat_n.next();
        let (_, suspect) = conn.plan();
        let frame = Beat {
            n: conn.beat_n,
            seq,
            suspect_ms: Some(ms(suspect)),
            pace_ms: Some(pace(id, attached)),
        };
        self.tell(id, &frame.into(), out);
    }

    /// Sends a frame of the log: the caller has looked at the window.
    pub(crate) fn send(&mut self, id: ConnId, bytes: Arc<[u8]>, out: &mut Outputs) {
        let Some(conn) = self.table.get_mut(&id) else {
            return;
        };
        conn.send(id, bytes, out);
    }

    /// Sends a frame that waits for nothing: receipts, status, beats, faults. A connection that does
    /// not take even those is closed: it comes back where it was, and is told then.
    pub(crate) fn tell(&mut self, id: ConnId, frame: &ServerFrame, out: &mut Outputs) {
        let Some(conn) = self.table.get(&id) else {
            return;
        };
        let last_words = matches!(frame, ServerFrame::Fault(_) | ServerFrame::Ended(_));
        if conn.outstanding > limits::WINDOW_BYTES + limits::PRIORITY_BYTES_MAX && !last_words {
            let code = Code::SlowConsumer;
            let close = code.close().unwrap_or(CloseCode::ABNORMAL);
            return self.close(id, close, code.name().to_owned(), out);
        }
        self.send(id, frame.encode().into(), out);
    }

    /// Tells a fault, then closes as that fault does, and forgets the connection.
    pub(crate) fn refuse(&mut self, id: ConnId, fault: Fault, out: &mut Outputs) {
        let code = match &fault.code {
            keel_wire::FaultCode::Known(code) => code.close().unwrap_or(CloseCode(4500)),
            keel_wire::FaultCode::Unknown(_) => CloseCode(4500),
        };
        let reason = fault.code.name().to_owned();
        self.tell(id, &FaultFrame { fault }.into(), out);
        self.close(id, code, reason, out);
    }

    /// As [`Self::refuse`], closing as another code does; one that closes nothing counts as a restart.
    pub(crate) fn refuse_with(
        &mut self,
        id: ConnId,
        fault: Fault,
        as_code: Code,
        out: &mut Outputs,
    ) {
        let code = as_code.close().unwrap_or(CloseCode(4010));
        let reason = fault.code.name().to_owned();
        self.tell(id, &FaultFrame { fault }.into(), out);
        self.close(id, code, reason, out);
    }

    /// As [`Self::refuse`], with the table's fault for a code.
    pub(crate) fn refuse_as(
        &mut self,
        id: ConnId,
        code: Code,
        now: Now,
        mint: &mut Mint,
        out: &mut Outputs,
    ) {
        let fault = mint.fault(now, code, Origin::Server);
        self.refuse(id, fault, out);
    }

    /// Closes and forgets a connection.
    pub(crate) fn close(&mut self, id: ConnId, code: CloseCode, reason: String, out: &mut Outputs) {
        if self.remove(id).is_some() {
            out.push(Output::Close {
                conn: id,
                code,
                reason,
            });
        }
    }

    /// Neither reads nor writes a connection any more (an injected fault).
    pub(crate) fn freeze(&mut self, id: ConnId, span: Duration, out: &mut Outputs) {
        if let Some(conn) = self.table.get_mut(&id) {
            conn.frozen = true;
            out.push(Output::Freeze { conn: id, span });
        }
    }
}

/// Milliseconds of a span.
pub(crate) fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Where one of `clients` lies in the spread of first retries after a loss that hits all of them.
///
/// Connections are numbered in the order in which they came, so their numbers modulo the count are as
/// good as ranks: the server's clients come back one after the other, not all at once.
fn pace(id: ConnId, clients: usize) -> u64 {
    if clients <= limits::PACE_CLIENTS_MIN {
        return 0;
    }
    let rank = id.0 % clients as u64;
    (rank * 1_000 / limits::PACE_PER_S).clamp(1, ms(limits::PACE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_clients_are_not_paced_and_many_are_spread_evenly_n23() {
        assert_eq!(pace(ConnId(7), 10), 0);
        let mut in_first_100_ms = 0;
        for id in 1_000..1_200 {
            let at = pace(ConnId(id), 200);
            assert!(at > 0 && at <= 2_000, "{at}");
            in_first_100_ms += u32::from(at <= 100);
        }
        assert!(in_first_100_ms <= 12, "{in_first_100_ms}");
    }

    #[test]
    fn a_silent_connection_is_suspected_and_a_speaking_one_is_not_n04_m29() {
        let mut conns = Conns::default();
        let id = ConnId(1);
        let start = Instant::ORIGIN;
        conns.open(id, start);
        conns.attach(id, SessionId::from_bits(1), ParticipantId::from_bits(1));
        conns.set_busy(id, true, start);
        let mut now = start;
        for _ in 0..20 {
            now = conns.deadline().unwrap();
            conns.get_mut(id).unwrap().heard = now;
            assert_ne!(conns.check(id, now), Due::Silent);
        }
        let silent_from = now;
        let told = loop {
            let at = conns.deadline().unwrap();
            assert!(at > now || conns.next_due(at).is_some());
            now = at;
            if conns.check(id, now) == Due::Silent {
                break now;
            }
        };
        assert_eq!(told.since(silent_from), limits::SUSPECT_BUSY);
    }
}
