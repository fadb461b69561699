//! From a WebSocket that is open to a participant of a session, or to one refusal.

use keel_wire::{
    Admission as Wanted, ClientFrame, Code, Grant, Hello, Origin, Role, SessionId,
    codec::{DecodeError, Decoded, depth_of},
    json_len,
    limits::{FRAME_IN_BYTES_MAX, PROJECT_BYTES_MAX},
    record::SlotRow,
};

use super::{
    ConnId, Ctx, Node, Output, Outputs,
    config::SlotKind,
    conn::Phase,
    registry::{Entry, Waiter, may_enter},
};
use crate::{Now, admission::Verdict, limits, session::Session};

impl Node {
    pub(super) fn opened(&mut self, now: Now, id: ConnId, out: &mut Outputs) {
        self.conns.open(id, now.mono);
        if self.drain.is_some() {
            let code = Code::ServerShutdown;
            self.conns.refuse_as(id, code, now, &mut self.mint, out);
        } else if self.conns.len() - self.conns.attached() > limits::HANDSHAKES_MAX {
            self.conns
                .refuse_as(id, Code::RateLimited, now, &mut self.mint, out);
        }
    }

    /// A text message: decoded, metered, and handed to whom it concerns.
    pub(super) fn frame(&mut self, now: Now, id: ConnId, bytes: &[u8], out: &mut Outputs) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        conn.heard = now.mono;
        if !conn.take_token(now.mono, self.config.frames_per_s) {
            let fault = self.mint.fault(now, Code::RateLimited, Origin::Client);
            return self.forget(now, id, fault, out);
        }
        let frame = match ClientFrame::decode(bytes, FRAME_IN_BYTES_MAX) {
            Ok(Decoded::Known(frame)) => frame,
            Ok(Decoded::Unknown { name }) => {
                conn.unknown_frames += 1;
                let fatal = conn.unknown_frames > limits::UNKNOWN_FRAMES_MAX;
                let name: String = name.chars().take(40).collect();
                let why = format!("there is no frame {name:?}");
                return self.protocol_error(now, id, &why, fatal, out);
            }
            Err(error) => {
                let fatal = match error {
                    DecodeError::TooLarge { .. } | DecodeError::NotUtf8 { .. } => true,
                    DecodeError::TooDeep | DecodeError::Shape(_) => false,
                };
                let early = matches!(conn.phase, Phase::AwaitHello);
                return self.protocol_error(now, id, &error.to_string(), fatal || early, out);
            }
        };
        self.known_frame(now, id, frame, out);
    }

    fn known_frame(&mut self, now: Now, id: ConnId, frame: ClientFrame, out: &mut Outputs) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        match (&conn.phase, frame) {
            (Phase::AwaitHello, ClientFrame::Hello(hello)) => {
                let token = hello.token.clone();
                conn.phase = Phase::AwaitVerdict { hello };
                out.push(Output::Verify { conn: id, token });
            }
            (Phase::AwaitHello, _) => {
                self.protocol_error(now, id, "the first frame is hello", true, out);
            }
            (_, ClientFrame::Hello(_)) => {
                self.protocol_error(now, id, "hello comes once", true, out);
            }
            (Phase::Attached { .. }, ClientFrame::Auth(auth)) => {
                out.push(Output::Verify {
                    conn: id,
                    token: auth.token,
                });
            }
            // They were heard, and that is all: what is kept does not hang on what is applied.
            (Phase::Attached { .. }, ClientFrame::Beat(_) | ClientFrame::Ack(_)) => {}
            (
                Phase::Attached {
                    session,
                    participant,
                    ..
                },
                frame,
            ) => {
                let (session, participant) = (session.clone(), participant.clone());
                self.with(now, &session, out, |session, ctx| {
                    session.frame(id, &participant, frame, ctx);
                });
            }
            (Phase::AwaitVerdict { .. } | Phase::AwaitSession { .. }, frame) => {
                // Nothing but hello makes sense before the answer to it; beats do no harm.
                if !matches!(frame, ClientFrame::Beat(_) | ClientFrame::Ack(_)) {
                    self.protocol_error(now, id, "hello is not answered yet", true, out);
                }
            }
        }
    }

    /// A token was checked: that of a hello, or a fresh one of a connection that goes on.
    pub(super) fn verified(
        &mut self,
        now: Now,
        id: ConnId,
        verdict: Result<Grant, Code>,
        out: &mut Outputs,
    ) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let grant = match verdict {
            Ok(grant) => grant,
            Err(code) => {
                let fault = self.mint.fault(now, code, Origin::Server);
                return self.forget(now, id, fault, out);
            }
        };
        match std::mem::replace(&mut conn.phase, Phase::AwaitHello) {
            Phase::AwaitVerdict { hello } => {
                let session = hello.session.clone();
                conn.set_grant(grant, now);
                conn.phase = Phase::AwaitSession { hello, session };
                self.enter(now, id, out);
            }
            Phase::Attached {
                session,
                participant,
                welcomed,
            } => {
                let here = grant.session.as_ref().is_none_or(|only| *only == session);
                conn.phase = Phase::Attached {
                    session,
                    participant,
                    welcomed,
                };
                let narrows = here
                    && conn
                        .grant
                        .as_ref()
                        .is_some_and(|old| old.may_become(&grant));
                if narrows {
                    conn.set_grant(grant, now);
                } else {
                    let code = Code::PermissionDenied;
                    let fault = self.mint.fault(now, code, Origin::Client);
                    let why = "a fresh token is for the same subject and session, and no wider";
                    self.forget(now, id, fault.message(why), out);
                }
            }
            phase @ (Phase::AwaitHello | Phase::AwaitSession { .. }) => conn.phase = phase,
        }
    }

    /// Brings a connection with a grant to the session that it wants.
    pub(super) fn enter(&mut self, now: Now, id: ConnId, out: &mut Outputs) {
        if !self.start.ready {
            self.start.early.push(id);
            return;
        }
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let (Phase::AwaitSession { hello, session }, Some(grant)) = (&conn.phase, &conn.grant)
        else {
            return;
        };
        if hello.role > grant.role {
            return self
                .conns
                .refuse_as(id, Code::PermissionDenied, now, &mut self.mint, out);
        }
        match session.clone() {
            Some(session) => self.when_active(now, &session, Waiter::Conn(id), out),
            None if hello.resume.is_some() => {
                let fault = self.mint.fault(now, Code::InvalidRequest, Origin::Client);
                let why = "what is resumed is a session: name it";
                self.conns.refuse(id, fault.message(why), out);
            }
            None => {
                let (hello, grant) = (hello.clone(), grant.clone());
                self.open_session(now, id, &hello, &grant, out);
            }
        }
    }

    /// Lets a connection into a session that is in memory.
    pub(super) fn join(&mut self, now: Now, session_id: &SessionId, id: ConnId, out: &mut Outputs) {
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let (Phase::AwaitSession { hello, .. }, Some(grant)) = (&conn.phase, &conn.grant) else {
            return;
        };
        let allowed = self
            .active(session_id)
            .is_some_and(|session| may_enter(session, grant));
        if !allowed {
            // As if it were not there: who may not enter does not learn that it is.
            return self
                .conns
                .refuse_as(id, Code::SessionNotFound, now, &mut self.mint, out);
        }
        let hello: Hello = (**hello).clone();
        self.with(now, session_id, out, |session, ctx| {
            session.join(id, hello, ctx)
        });
    }

    /// Whether a connection opens the session that it names, where there is none: its token is for that
    /// session, so that who makes tokens gives the name; it is an owner's; and its hello says what is
    /// to serve it.
    pub(super) fn may_open(&self, id: ConnId, session: &SessionId) -> bool {
        let Some(conn) = self.conns.get(id) else {
            return false;
        };
        let (Phase::AwaitSession { hello, .. }, Some(grant)) = (&conn.phase, &conn.grant) else {
            return false;
        };
        grant.session.as_ref() == Some(session)
            && hello.role == Role::Owner
            && hello.backend.is_some()
            && hello.resume.is_none()
    }

    /// Opens a session under the name that its opener's token gives.
    pub(super) fn open_named(
        &mut self,
        now: Now,
        id: ConnId,
        session: &SessionId,
        out: &mut Outputs,
    ) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let (Phase::AwaitSession { hello, .. }, Some(grant)) = (&mut conn.phase, &conn.grant)
        else {
            return;
        };
        // From here on it is as any that opens a new one.
        hello.session = None;
        let (hello, grant) = (hello.clone(), grant.clone());
        self.open_session_as(now, id, session.clone(), &hello, &grant, out);
    }

    fn open_session(
        &mut self,
        now: Now,
        id: ConnId,
        hello: &Hello,
        grant: &Grant,
        out: &mut Outputs,
    ) {
        if grant.session.is_some() {
            return self
                .conns
                .refuse_as(id, Code::PermissionDenied, now, &mut self.mint, out);
        }
        let session = SessionId::from_bits(self.mint.bits());
        self.open_session_as(now, id, session, hello, grant, out);
    }

    fn open_session_as(
        &mut self,
        now: Now,
        id: ConnId,
        session_id: SessionId,
        hello: &Hello,
        grant: &Grant,
        out: &mut Outputs,
    ) {
        if let Some(address) = self.goes_elsewhere().map(str::to_owned) {
            let goaway = keel_wire::Goaway {
                reason: "this server takes no new sessions".to_owned(),
                deadline_ms: 0,
                target: Some(address),
            };
            self.conns.tell(id, &goaway.into(), out);
            let code = Code::ServerShutdown;
            return self.conns.refuse_as(id, code, now, &mut self.mint, out);
        }
        if self.drain.is_some() || self.sessions.len() >= limits::SESSIONS_MAX {
            let code = if self.drain.is_some() {
                Code::ServerShutdown
            } else {
                Code::SessionLimit
            };
            return self.conns.refuse_as(id, code, now, &mut self.mint, out);
        }
        if let Some(fault) = self.too_pressed(now) {
            return self.conns.refuse(id, fault, out);
        }
        let name = hello
            .backend
            .as_ref()
            .unwrap_or(&self.config.default_backend);
        let allowed = grant
            .backends
            .as_ref()
            .is_none_or(|list| list.contains(name));
        let Some(backend) = self.config.backends.get(name).filter(|_| allowed) else {
            return self
                .conns
                .refuse_as(id, Code::BackendNotFound, now, &mut self.mint, out);
        };
        let project = grant.project.as_ref().or(hello.project.as_ref());
        let fits = hello.params.as_ref().is_none_or(|params| {
            json_len(params) <= limits::PARAMS_BYTES_MAX
                && depth_of(params) <= limits::VALUE_DEPTH_MAX
        }) && project.is_none_or(|project| project.len() <= PROJECT_BYTES_MAX)
            && limits::may_describe(hello.title.as_deref(), hello.cwd.as_deref(), &hello.tags);
        if !fits {
            return self
                .conns
                .refuse_as(id, Code::InvalidRequest, now, &mut self.mint, out);
        }
        let by_session = backend
            .capacity
            .is_some_and(|capacity| capacity.kind == SlotKind::Session);
        let name = name.clone();
        let slot = if by_session {
            match self.ask_for_slot(now, id, &name, &session_id, hello, out) {
                Some(slot) => Some(slot),
                None => return,
            }
        } else {
            None
        };
        let ctx = Ctx {
            now,
            stopping: self.is_stopping(),
            config: &self.config,
            mint: &mut self.mint,
            conns: &mut self.conns,
            admissions: &mut self.admissions,
            runs: &mut self.runs,
            peers: &mut self.peers,
            out,
        };
        let session = Session::open(session_id.clone(), hello, grant, slot, &ctx);
        let entry = Entry::Active {
            session: Box::new(session),
            armed: None,
            panics: super::registry::Panics::default(),
        };
        self.sessions.insert(session_id.clone(), entry);
        self.join(now, &session_id, id, out);
    }

    /// A slot for a new session, a place in line, or a refusal that says how full it is.
    fn ask_for_slot(
        &mut self,
        now: Now,
        id: ConnId,
        backend: &str,
        session: &SessionId,
        hello: &Hello,
        out: &mut Outputs,
    ) -> Option<SlotRow> {
        let wait_ms = match hello.admission {
            Wanted::Fail => None,
            Wanted::Wait { max_ms } => {
                let bound = super::ms(limits::QUEUE_WAIT_MAX);
                Some(max_ms.map_or(bound, |ms| ms.min(bound)))
            }
        };
        let until = wait_ms.map(|ms| now.mono + std::time::Duration::from_millis(ms));
        let admission = self.admissions.get_mut(backend)?;
        match admission.request(session, until) {
            Verdict::Granted => Some(SlotRow::Held),
            Verdict::Waiting(place) => Some(SlotRow::Waiting {
                order: place.order,
                until: now.wall + wait_ms.unwrap_or(0),
                again: false,
            }),
            Verdict::Full { limit, active } => {
                let fault = self
                    .mint
                    .fault(now, Code::AtCapacity, Origin::Server)
                    .detail("backend", backend)
                    .detail("limit", limit)
                    .detail("active", active);
                self.conns.refuse(id, fault, out);
                None
            }
        }
    }
}
