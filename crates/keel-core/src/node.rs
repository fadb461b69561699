//! The Node: which sessions are in memory, which connection belongs to which, who gets a slot.
//!
//! It takes every input of a server process and hands it to the one session that it concerns. A panic
//! in a session ends there: the session is rebuilt from the store, its connections stay, and the rest
//! of the Node does not notice.

mod asks;
mod config;
mod conn;
mod ctx;
mod drain;
mod giving;
mod handover;
mod handshake;
mod ice;
mod injection;
mod io;
pub mod media;
mod moved;
mod opening;
mod pressure;
mod registry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use asks::{Answer, Ask, Census, Presence, Strike, Wired};
pub use config::{Backend, Capacity, Config, MediaRule, SlotKind, TurnClocks};
pub use giving::{Delivered, Giving};
pub use handover::Progress;
pub use io::{
    AskId, CommitFailure, ConnEnd, ConnId, Input, LoadFailure, Output, Outputs, RunEnd, RunFailure,
    RunId, RunOutput, RunRequest,
};
pub use opening::{Misplaced, Opening};
pub use pressure::Load;

pub use ice::{HandOut, IceClient, IceServers};
pub use media::{MediaFact, MediaOrder};

pub(crate) use conn::{Conn, Delivery, Phase, ms};
pub(crate) use ctx::Ctx;

use keel_wire::{Code, Ephemeral, FaultFrame, Origin, RawData, SessionId, record::SlotRow};
use serde_json::json;

use crate::{
    Deadline, Instant, Mint, Now,
    admission::{Admission, Change},
    limits,
    session::Session,
};

use conn::{Conns, Due};
use ctx::Runs;
use pressure::Pressure;
use registry::Entry;

/// See the module's text.
#[derive(Debug)]
pub struct Node {
    config: Config,
    mint: Mint,
    conns: Conns,
    sessions: BTreeMap<SessionId, Entry>,
    /// When each session in memory wants to be looked at.
    timers: BTreeSet<(Instant, SessionId)>,
    admissions: BTreeMap<String, Admission>,
    runs: Runs,
    peers: media::Peers,
    start: Start,
    drain: Option<drain::Drain>,
    /// All sessions go, or went, to another server.
    exodus: Option<handover::Exodus>,
    pressure: Pressure,
}

/// How far the Node is with what a server before it left behind.
#[derive(Debug)]
struct Start {
    /// All pages of unsettled sessions are read: new work is taken.
    ready: bool,
    /// The last that was read.
    after: Option<SessionId>,
    /// Sessions that are still to be brought into memory and settled.
    settle: VecDeque<SessionId>,
    /// Sessions that are being.
    settling: BTreeSet<SessionId>,
    /// Connections that said hello before that.
    early: Vec<ConnId>,
    /// The store could not be asked; it is asked again then.
    again_at: Option<Instant>,
}

impl Node {
    /// A Node that has not been started.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let limited = config.backends.iter().filter_map(|(name, backend)| {
            backend
                .capacity
                .map(|capacity| (name.clone(), Admission::new(capacity)))
        });
        Self {
            admissions: limited.collect(),
            config,
            mint: Mint::new(seed),
            conns: Conns::default(),
            sessions: BTreeMap::new(),
            timers: BTreeSet::new(),
            runs: Runs::default(),
            peers: media::Peers::default(),
            start: Start {
                ready: false,
                after: None,
                settle: VecDeque::new(),
                settling: BTreeSet::new(),
                early: Vec::new(),
                again_at: None,
            },
            drain: None,
            exodus: None,
            pressure: Pressure::default(),
        }
    }

    /// Whether everything that a server before it left open has been settled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.start.ready && self.start.settle.is_empty() && self.start.settling.is_empty()
    }

    /// When to call again, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        let at = |at: Option<Instant>, why| at.map(|at| Deadline { at, why });
        let admission = self.admissions.values().filter_map(Admission::deadline);
        let exodus = self.exodus.as_ref().and_then(handover::Exodus::deadline);
        let all = [
            exodus,
            at(self.conns.deadline(), "beat"),
            at(self.timers.first().map(|(at, _)| *at), "session"),
            admission.fold(None, |a, b| Deadline::earlier(a, Some(b))),
            at(self.drain_stops_at(), "drain"),
            at(self.start.again_at, "recover"),
        ];
        all.into_iter().fold(None, Deadline::earlier)
    }

    /// Takes one input. Total: there is no input that is an error, and no state that refuses one.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Outputs) {
        match input {
            Input::Start => self.recover(out),
            Input::Recovered { rows } => self.recovered(now, rows, out),
            Input::Opened { conn } => self.opened(now, conn, out),
            Input::Frame { conn, bytes } => self.frame(now, conn, &bytes, out),
            Input::NotText { conn } => self.not_text(now, conn, out),
            Input::Flushed { conn, bytes } => self.flushed(now, conn, bytes, out),
            Input::Lost { conn, end } => self.lost(now, conn, &end, out),
            Input::Placed { conn, place } => self.placed(now, conn, place, out),
            Input::Verified { conn, verdict } => self.verified(now, conn, verdict, out),
            Input::Loaded { session, loaded } => self.loaded(now, &session, loaded, out),
            Input::Committed { session, n } => {
                self.commit_answered(&session, n, out);
                self.with(now, &session, out, |session, ctx| {
                    session.committed_batch(n, ctx)
                });
                self.settled(now, &session, out);
            }
            Input::CommitFailed {
                session,
                n,
                failure,
            } => {
                self.commit_answered(&session, n, out);
                self.with(now, &session, out, |session, ctx| {
                    session.commit_failed(n, failure, ctx);
                });
                self.settled(now, &session, out);
            }
            Input::Head { session, head } => {
                self.with(now, &session, out, |session, ctx| {
                    session.head_is(head, ctx)
                });
            }
            Input::Page {
                conn,
                session,
                events,
            } => {
                self.with(now, &session, out, |session, ctx| {
                    session.page(conn, events, ctx)
                });
            }
            Input::RunOutput { run, output } => {
                if let Some(session) = self.runs.session(run).cloned() {
                    self.with(now, &session, out, |session, ctx| {
                        session.run_output(run, output, ctx);
                    });
                }
            }
            Input::RunEnded { run, end } => {
                if let Some(session) = self.runs.session(run).cloned() {
                    self.with(now, &session, out, |session, ctx| {
                        session.run_ended(run, end, ctx)
                    });
                    self.runs.end(run);
                }
            }
            Input::Media(fact) => {
                if let Some(session) = self.peers.session(&fact).cloned()
                    && !self.fact_of_moved(now, &session, &fact, out)
                {
                    self.with(now, &session, out, |session, ctx| {
                        session.media_fact(fact, ctx)
                    });
                }
            }
            Input::Ask { ask, question } => self.ask(now, ask, question, out),
            Input::Revoked { token_id } => self.revoked(now, &token_id, out),
            Input::Drain { within, target } => self.begin_drain(now, within, target, out),
            Input::HandOver {
                peer,
                address,
                within,
            } => self.hand_over(now, peer, address, within, out),
            Input::Held { sessions } => self.held(now, sessions),
            Input::Marked { session, result } => {
                self.with(now, &session, out, |session, ctx| {
                    session.marked(result, ctx);
                });
                self.leave_if_moved(now, &session, out);
            }
            Input::Delivered {
                session,
                id,
                outcome,
            } => {
                self.with(now, &session, out, |session, ctx| {
                    session.delivered(&id, outcome, ctx);
                });
            }
            Input::TookOver { row } => self.took_over(now, *row, out),
            Input::Load(load) => self.pressed(now, load, out),
            Input::Tick => {}
        }
        self.look_at_leaving(now, out);
        self.run_timers(now, out);
        self.tell_admission(now, out);
        self.tell_gone(now, out);
        self.go_on_leaving(now, out);
        self.tell_gone(now, out);
        self.go_on_draining(now, out);
    }

    /// Connections that were closed from here are their sessions' no longer, whoever closed them.
    fn tell_gone(&mut self, now: Now, out: &mut Outputs) {
        for (session, participant, conn) in self.conns.take_gone() {
            self.left_moved(now, &session, conn, out);
            self.with(now, &session, out, |session, ctx| {
                session.let_go(&participant, conn, ctx);
            });
        }
    }

    fn run_timers(&mut self, now: Now, out: &mut Outputs) {
        if self.start.again_at.is_some_and(|at| at <= now.mono) {
            self.start.again_at = None;
            self.recover(out);
        }
        while let Some(conn) = self.conns.next_due(now.mono) {
            self.conn_due(now, conn, out);
        }
        while let Some((at, session)) = self.timers.first().cloned() {
            if at > now.mono {
                break;
            }
            self.timers.remove(&(at, session.clone()));
            match self.sessions.get_mut(&session) {
                Some(Entry::Active { armed, .. }) => *armed = None,
                Some(Entry::Loading { again_at, .. }) => {
                    *again_at = None;
                    out.push(Output::Load { session });
                    continue;
                }
                Some(Entry::Moved(_)) | None => {}
            }
            self.with(now, &session, out, |session, ctx| session.tick(ctx));
            let after = self.config.hibernate_after;
            self.hibernate_if_idle(now, &session, after, out);
        }
        for admission in self.admissions.values_mut() {
            if admission
                .deadline()
                .is_some_and(|deadline| deadline.at <= now.mono)
            {
                admission.expire(now.mono);
            }
        }
    }

    fn conn_due(&mut self, now: Now, id: ConnId, out: &mut Outputs) {
        match self.conns.check(id, now.mono) {
            Due::Nothing => {}
            Due::NoHello => {
                let code = Code::HandshakeTimeout;
                self.conns.refuse_as(id, code, now, &mut self.mint, out);
            }
            Due::Beat => {
                let head = self.session_of(id).and_then(|id| self.head_of(&id));
                self.conns
                    .beat(id, head.unwrap_or(keel_wire::Seq::ZERO), out);
            }
            Due::ExpiresSoon => {
                let in_ms = self
                    .conns
                    .get(id)
                    .map_or(0, |conn| conn.expires_in_ms(now.mono));
                let data = RawData::from_value(&json!({ "in_ms": in_ms }));
                let kind = "token.expiring".to_owned();
                if self.conns.is_welcomed(id) {
                    self.conns.tell(id, &Ephemeral { kind, data }.into(), out);
                }
            }
            Due::IceServers => {
                let participant = self.conns.participant(id);
                if let (Some(session), Some(participant)) = (self.session_of(id), participant) {
                    self.with(now, &session, out, |_, ctx| {
                        ctx.tell_ice_servers(id, &participant);
                    });
                }
            }
            Due::Expired => {
                let fault = self.mint.fault(now, Code::TokenExpired, Origin::Server);
                self.stop_media(now, id, out);
                self.forget(now, id, fault, out);
            }
            Due::Silent => {
                let fault = self
                    .mint
                    .fault(now, Code::HeartbeatTimeout, Origin::Network);
                self.forget(now, id, fault, out);
            }
        }
    }

    /// A connection's token is no longer good: its participant is sent nothing more, and nothing of it
    /// is sent on. Its place is kept as after any loss.
    fn stop_media(&mut self, now: Now, id: ConnId, out: &mut Outputs) {
        let participant = self.conns.participant(id);
        if let (Some(session), Some(participant)) = (self.session_of(id), participant) {
            self.with(now, &session, out, |session, ctx| {
                session.stop_media_of(&participant, ctx);
            });
        }
    }

    /// A connection is given up: its participant is away, it is told why, and closed.
    fn forget(&mut self, now: Now, id: ConnId, fault: keel_wire::Fault, out: &mut Outputs) {
        let heard = self.conns.get(id).map_or(now.mono, |conn| conn.heard);
        let participant = self.conns.participant(id);
        if let (Some(session), Some(participant)) = (self.session_of(id), participant) {
            let told = fault.clone();
            self.with(now, &session, out, |session, ctx| {
                session.lost(&participant, id, told, heard, None, ctx);
            });
        }
        self.conns.refuse(id, fault, out);
    }

    /// Grants, expiries and moves in line that admission decided by itself.
    fn tell_admission(&mut self, now: Now, out: &mut Outputs) {
        // What a session does about a change may be another: each gives up a slot or a place at most
        // once, so this comes to an end.
        while let Some(change) = self
            .admissions
            .values_mut()
            .find_map(Admission::take_change)
        {
            match change {
                Change::Granted(session) => {
                    self.with(now, &session, out, |session, ctx| session.slot_granted(ctx));
                }
                Change::Expired(session) => {
                    self.with(now, &session, out, |session, ctx| session.slot_expired(ctx));
                }
                Change::Moved(session, _) => {
                    self.with(now, &session, out, |session, ctx| session.place_moved(ctx));
                }
            }
        }
    }

    // Start.

    fn recover(&self, out: &mut Outputs) {
        out.push(Output::Recover {
            after: self.start.after.clone(),
            limit: 256,
        });
    }

    fn recovered(
        &mut self,
        now: Now,
        rows: Result<Vec<keel_wire::record::SessionRow>, String>,
        out: &mut Outputs,
    ) {
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(error, "the store cannot say what is unsettled");
                self.start.again_at = Some(now.mono + limits::STORE_RETRY_CAP);
                return;
            }
        };
        let more = !rows.is_empty();
        for row in rows {
            self.start.after = Some(row.session.clone());
            if let (Some(slot), Some(admission)) = (row.slot, self.admissions.get_mut(&row.backend))
            {
                match slot {
                    SlotRow::Held => {
                        admission.reserve(row.session.clone(), now.mono + self.config.resume_window)
                    }
                    SlotRow::Waiting { order, until, .. } => {
                        let left = std::time::Duration::from_millis(until.saturating_sub(now.wall));
                        admission.enqueue(row.session.clone(), order, now.mono + left);
                    }
                }
            }
            self.start.settle.push_back(row.session);
        }
        if more {
            return self.recover(out);
        }
        self.start.ready = true;
        for conn in std::mem::take(&mut self.start.early) {
            self.enter(now, conn, out);
        }
        self.settle_more(out);
        for admission in self.admissions.values_mut() {
            admission.advance(now.mono);
        }
    }

    fn settle_more(&mut self, out: &mut Outputs) {
        while self.start.settling.len() < limits::SETTLING_AT_ONCE {
            let Some(session) = self.start.settle.pop_front() else {
                return;
            };
            match self.sessions.get(&session) {
                // Read for somebody meanwhile, which settles it.
                Some(Entry::Active { .. } | Entry::Moved(_)) => {}
                Some(Entry::Loading { .. }) => {
                    self.start.settling.insert(session);
                }
                None => {
                    self.start.settling.insert(session.clone());
                    self.load(&session, Vec::new(), out);
                }
            }
        }
    }

    fn settled(&mut self, _now: Now, session: &SessionId, out: &mut Outputs) {
        let done = self.active(session).is_none_or(Session::is_settled);
        if done && self.start.settling.remove(session) {
            self.settle_more(out);
        }
    }

    fn revoked(&mut self, now: Now, token_id: &str, out: &mut Outputs) {
        let with_it: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| {
                conn.grant
                    .as_ref()
                    .is_some_and(|g| g.token_id.as_deref() == Some(token_id))
            })
            .map(|(id, _)| id)
            .collect();
        for id in with_it {
            let fault = self.mint.fault(now, Code::Unauthenticated, Origin::Server);
            self.stop_media(now, id, out);
            self.forget(now, id, fault.message("the token has been revoked"), out);
        }
    }

    fn not_text(&mut self, now: Now, id: ConnId, out: &mut Outputs) {
        if self.conns.get(id).is_some() {
            let fault = self
                .mint
                .fault(now, Code::ProtocolError, Origin::Client)
                .message("frames are text messages");
            self.forget(now, id, fault, out);
        }
    }

    fn flushed(&mut self, now: Now, id: ConnId, bytes: usize, out: &mut Outputs) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let before = conn.outstanding;
        conn.outstanding = before.saturating_sub(bytes);
        // A connection whose window was not full has been sent everything that there was.
        let waits = before >= limits::WINDOW_BYTES && conn.outstanding < limits::WINDOW_BYTES;
        if let Some(session) = self.session_of(id).filter(|_| waits) {
            self.with(now, &session, out, |session, ctx| session.pump(id, ctx));
        }
    }

    fn lost(&mut self, now: Now, id: ConnId, end: &ConnEnd, out: &mut Outputs) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let heard = conn.heard;
        let participant = self.conns.participant(id);
        if let (Some(session), Some(participant)) = (self.session_of(id), participant) {
            self.with(now, &session, out, |session, ctx| {
                let fault = Session::fault_of_end(end, ctx);
                session.lost(&participant, id, fault, heard, Some(end), ctx);
            });
        }
        self.conns.remove(id);
    }

    /// Tells a connection that something it sent made no sense.
    fn protocol_error(&mut self, now: Now, id: ConnId, why: &str, fatal: bool, out: &mut Outputs) {
        let fault = self
            .mint
            .fault(now, Code::ProtocolError, Origin::Client)
            .message(why);
        if let Some(session) = self.session_of(id) {
            let participant = self.conns.participant(id);
            let entry = keel_wire::journal::Entry {
                at: now.wall,
                participant,
                fact: keel_wire::journal::Fact::ProtocolError {
                    fault: Box::new(fault.clone()),
                },
            };
            out.push(Output::Journal {
                session,
                entry: Box::new(entry),
            });
        }
        if fatal {
            self.forget(now, id, fault, out);
        } else {
            self.conns.tell(id, &FaultFrame { fault }.into(), out);
        }
    }
}
