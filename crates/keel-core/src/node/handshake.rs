//! From a WebSocket that is open to a participant of a session, or to one refusal.

use keel_wire::{
    Admission as Wanted, ClientFrame, Code, Fault, Grant, Hello, Origin, ReceiptBody, Role,
    SessionId,
    codec::{DecodeError, Decoded, depth_of},
    json_len,
    limits::{FRAME_IN_BYTES_MAX, PROJECT_BYTES_MAX},
    record::SlotRow,
};

use super::{
    Answer, AskId, ConnId, Ctx, Misplaced, Node, Opening, Output, Outputs,
    config::SlotKind,
    conn::{Phase, Place},
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
        let session = session.clone();
        let opens = match &session {
            Some(session) => self.may_open(id, session),
            None => hello.resume.is_none(),
        };
        if opens && self.ask_for_place(id, out) {
            return;
        }
        let Some(conn) = self.conns.get(id) else {
            return;
        };
        let (Phase::AwaitSession { hello, .. }, Some(grant)) = (&conn.phase, &conn.grant) else {
            return;
        };
        match session {
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

    /// Has the directory looked at that a connection names for a session that it may open. Whether it
    /// is to wait for that.
    fn ask_for_place(&mut self, id: ConnId, out: &mut Outputs) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        let (Phase::AwaitSession { hello, .. }, Some(grant)) = (&conn.phase, &conn.grant) else {
            return false;
        };
        let (Some(cwd), Place::Unasked | Place::Asked) = (&hello.cwd, &conn.place) else {
            return false;
        };
        if matches!(conn.place, Place::Unasked) {
            let default = &self.config.default_backend;
            let backend = hello.backend.as_ref().unwrap_or(default).clone();
            let granted = grant.backends.as_ref();
            if !granted.is_none_or(|list| list.contains(&backend)) {
                // Nothing is looked at for who may not open it.
                conn.place = Place::Refused(Misplaced {
                    code: Code::BackendNotFound,
                    message: "no such backend".to_owned(),
                });
                return false;
            }
            out.push(Output::Place {
                conn: id,
                backend,
                cwd: cwd.clone(),
            });
            conn.place = Place::Asked;
        }
        true
    }

    /// The directory that a connection names was looked at.
    pub(super) fn placed(
        &mut self,
        now: Now,
        id: ConnId,
        place: Result<String, Misplaced>,
        out: &mut Outputs,
    ) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        if matches!(conn.place, Place::Asked) {
            conn.place = match place {
                Ok(path) => Place::Found(path),
                Err(misplaced) => Place::Refused(misplaced),
            };
            self.enter(now, id, out);
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
        let opening = match self.opening(now, id, hello) {
            Ok(opening) => opening,
            Err(fault) => return self.conns.refuse(id, *fault, out),
        };
        let name = match self.may_begin(now, &opening, grant) {
            Ok(name) => name,
            Err(fault) => return self.conns.refuse(id, *fault, out),
        };
        let backend = self.config.backends.get(&name);
        let by_session = backend
            .and_then(|backend| backend.capacity)
            .is_some_and(|capacity| capacity.kind == SlotKind::Session);
        let slot = if by_session {
            match self.ask_for_slot(now, id, &name, &session_id, hello, out) {
                Some(slot) => Some(slot),
                None => return,
            }
        } else {
            None
        };
        self.begin_session(now, &session_id, opening, grant, slot, out);
        self.join(now, &session_id, id, out);
    }

    /// What a hello says about a session that it opens, with the directory that was found to be allowed.
    fn opening(&mut self, now: Now, id: ConnId, hello: &Hello) -> Result<Opening, Box<Fault>> {
        let mut opening = Opening::of(hello);
        let place = self.conns.get_mut(id).map(|conn| &mut conn.place);
        let place = place.map(std::mem::take).unwrap_or_default();
        match (&hello.cwd, place) {
            (None, _) => {}
            (Some(_), Place::Found(path)) => opening.cwd = Some(path),
            (Some(_), Place::Refused(Misplaced { code, message })) => {
                let fault = self.mint.fault(now, code, Origin::Client);
                return Err(Box::new(fault.message(message)));
            }
            (Some(_), Place::Unasked | Place::Asked) => {
                let fault = self.mint.fault(now, Code::Internal, Origin::Server);
                return Err(Box::new(fault));
            }
        }
        Ok(opening)
    }

    /// Whether a session may be opened so, and by what it is served then.
    fn may_begin(
        &mut self,
        now: Now,
        opening: &Opening,
        grant: &Grant,
    ) -> Result<String, Box<Fault>> {
        let refused = |node: &mut Self, code| Box::new(node.mint.fault(now, code, Origin::Server));
        if let Some(address) = self.goes_elsewhere().map(str::to_owned) {
            let fault = refused(self, Code::ServerShutdown);
            return Err(Box::new(fault.detail("target", address)));
        }
        if self.drain.is_some() {
            return Err(refused(self, Code::ServerShutdown));
        }
        if self.sessions.len() >= limits::SESSIONS_MAX {
            return Err(refused(self, Code::SessionLimit));
        }
        if let Some(fault) = self.too_pressed(now) {
            return Err(Box::new(fault));
        }
        let named = opening.backend.as_ref();
        let name = named.unwrap_or(&self.config.default_backend).clone();
        let granted = grant.backends.as_ref();
        let allowed = granted.is_none_or(|list| list.contains(&name));
        if !allowed || !self.config.backends.contains_key(&name) {
            return Err(refused(self, Code::BackendNotFound));
        }
        let project = grant.project.as_ref().or(opening.project.as_ref());
        let params = opening.params.as_ref();
        let fits = params.is_none_or(|params| {
            json_len(params) <= limits::PARAMS_BYTES_MAX
                && depth_of(params) <= limits::VALUE_DEPTH_MAX
        }) && project.is_none_or(|project| project.len() <= PROJECT_BYTES_MAX)
            && limits::may_describe(
                opening.title.as_deref(),
                opening.cwd.as_deref(),
                &opening.tags,
            );
        if fits {
            Ok(name)
        } else {
            Err(refused(self, Code::InvalidRequest))
        }
    }

    fn begin_session(
        &mut self,
        now: Now,
        id: &SessionId,
        opening: Opening,
        grant: &Grant,
        slot: Option<SlotRow>,
        out: &mut Outputs,
    ) {
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
        let session = Session::open(id.clone(), opening, grant, slot, &ctx);
        let entry = Entry::Active {
            session: Box::new(session),
            armed: None,
            panics: super::registry::Panics::default(),
        };
        self.sessions.insert(id.clone(), entry);
    }

    /// Opens a session over HTTP. It has no slot: who comes to it first asks for one.
    pub(super) fn ask_open(
        &mut self,
        now: Now,
        ask: AskId,
        id: &SessionId,
        grant: &Grant,
        opening: Opening,
        out: &mut Outputs,
    ) {
        let known = self.sessions.contains_key(id);
        let refused = match self.may_begin(now, &opening, grant) {
            Ok(_) if known => {
                let fault = self.mint.fault(now, Code::Duplicate, Origin::Server);
                Some(Box::new(fault.session(id)))
            }
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        if let Some(fault) = refused {
            let answer = Answer::Receipt(ReceiptBody::Fault(fault));
            return out.push(Output::Reply { ask, answer });
        }
        self.begin_session(now, id, opening, grant, None, out);
        self.with(now, id, out, |session, _| session.tell_opened(ask));
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
