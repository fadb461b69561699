//! Who belongs to a session, and on which connection each is.
//!
//! A participant has at most one attachment, an attachment at most one connection. Coming back is
//! proven by a key; which of two connections is meant is told by the instance's attempt, so that bytes
//! of an older one change nothing.

use keel_wire::{
    Code, EndReason, Ended, Ephemeral, Fault, Hello, InstanceId, LeaveReason, Origin,
    ParticipantId, ParticipantJoined, ParticipantLeft, RawData, Resume, Role, Strategy,
    journal::Fact,
};
use serde_json::json;

use super::{Life, Session, commit::Effect, slot::Admitted, welcome::Arrival};
use crate::{
    Instant, limits,
    node::{ConnEnd, ConnId, Ctx, Presence},
    resume_key::{self, Proof},
};

/// A durable member, and its live presence.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) role: Role,
    /// Whose token it came with.
    subject: Box<str>,
    /// Counts its attachments. Forgotten with the process: a key then says it.
    pub(super) incarnation: u64,
    pub(crate) conn: Option<ConnId>,
    /// The SDK instance that it was last connected from, and that instance's attempt.
    instance: Option<(InstanceId, u32)>,
    /// Since when there is no connection.
    away_since: Option<Instant>,
}

impl Member {
    pub(super) fn absent(role: Role, subject: &str, now: Instant) -> Self {
        Self {
            role,
            subject: subject.into(),
            incarnation: 0,
            conn: None,
            instance: None,
            away_since: Some(now),
        }
    }
}

impl Session {
    /// The connections that it has.
    pub(crate) fn connections(&self) -> Vec<ConnId> {
        self.members
            .values()
            .filter_map(|member| member.conn)
            .collect()
    }

    pub(super) fn has_connections(&self) -> bool {
        self.members.values().any(|member| member.conn.is_some())
    }

    /// Who is there.
    pub(crate) fn presence(&self) -> Vec<Presence> {
        let presence = self.members.iter().map(|(participant, member)| Presence {
            participant: participant.clone(),
            role: member.role,
            connected: member.conn.is_some(),
        });
        presence.collect()
    }

    /// Lets a connection in that has said hello, or refuses it.
    pub(crate) fn join(&mut self, id: ConnId, hello: Hello, ctx: &mut Ctx<'_>) {
        if self.stands_still() {
            let fault = self.on_its_way(ctx);
            return ctx.conns.refuse(id, fault, ctx.out);
        }
        let known = hello.resume.as_ref().and_then(|resume| {
            let proof = resume_key::check(&self.key, &self.id, &resume.participant, &resume.key)?;
            self.members
                .contains_key(&resume.participant)
                .then_some(proof)
        });
        match (&hello.resume, known) {
            (Some(resume), Some(proof)) => {
                let resume = resume.clone();
                self.come_back(id, &hello, &resume, proof, ctx);
            }
            (
                Some(Resume {
                    strategy: Strategy::Fast,
                    ..
                }),
                None,
            ) => {
                self.refuse(id, Code::ResumeRefused, ctx);
            }
            (Some(_) | None, _) => self.join_anew(id, &hello, ctx),
        }
    }

    pub(super) fn refuse(&self, id: ConnId, code: Code, ctx: &mut Ctx<'_>) {
        let fault = ctx.fault(code).session(&self.id);
        self.refuse_with(id, fault, ctx);
    }

    fn refuse_with(&self, id: ConnId, fault: Fault, ctx: &mut Ctx<'_>) {
        let boxed = Box::new(fault.clone());
        self.journal(None, Fact::Refused { fault: boxed }, ctx);
        ctx.conns.refuse(id, fault, ctx.out);
    }

    fn come_back(
        &mut self,
        id: ConnId,
        hello: &Hello,
        resume: &Resume,
        proof: Proof,
        ctx: &mut Ctx<'_>,
    ) {
        let participant = &resume.participant;
        let Some(member) = self.members.get_mut(participant) else {
            return;
        };
        let rejoins = resume.strategy != Strategy::Fast;
        if !rejoins && proof.incarnation < member.incarnation {
            return self.refuse(id, Code::ResumeRefused, ctx);
        }
        let same = member
            .instance
            .as_ref()
            .filter(|(instance, _)| *instance == hello.instance);
        if same.is_some_and(|(_, attempt)| hello.attempt <= *attempt) {
            // An older connection of the same instance: it touches nothing else.
            return self.refuse(id, Code::Superseded, ctx);
        }
        let takeover = same.is_none() && member.instance.is_some();
        let admitted = match self.admit_again(hello.admission, ctx) {
            Ok(admitted) => admitted,
            Err(fault) => return self.refuse_with(id, *fault, ctx),
        };
        let Some(member) = self.members.get_mut(participant) else {
            return;
        };
        member.incarnation = member.incarnation.max(proof.incarnation) + u64::from(rejoins);
        member.instance = Some((hello.instance.clone(), hello.attempt));
        let away_ms = member
            .away_since
            .take()
            .map(|since| ctx.now.mono.ms_since(since));
        if let Some(old) = member.conn.replace(id) {
            let by = hello.instance.clone();
            self.journal(Some(participant), Fact::Superseded { by, takeover }, ctx);
            let fault = ctx.fault(Code::Superseded).session(&self.id);
            ctx.conns.refuse(old, fault, ctx.out);
        }
        self.note_away();
        ctx.conns.attach(id, self.id.clone(), participant.clone());
        self.is_attended(ctx);
        if proof.head > self.committed {
            // The key proves it: this log has been longer.
            self.rewind(ctx);
        }
        let consumed = match self.open_stream(participant, &hello.stream, true, ctx) {
            Ok(consumed) => consumed,
            Err(fault) => return self.turn_away(id, *fault, ctx),
        };
        if self.life == Life::Queued {
            ctx.conns.hold_hello(id, hello.clone());
            return match admitted {
                Admitted::Here => self.tell_queued(ctx),
                Admitted::InLine => self.after_commit(Effect::TellQueued),
            };
        }
        let arrival = Arrival {
            away_ms,
            ..self.arrival_of(resume)
        };
        self.welcome(id, hello, &arrival, consumed, ctx);
    }

    /// Refuses a connection that was attached already.
    fn turn_away(&mut self, id: ConnId, fault: Fault, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        for member in self
            .members
            .values_mut()
            .filter(|member| member.conn == Some(id))
        {
            member.conn = None;
            member.away_since = Some(now);
        }
        self.note_away();
        self.note_idle(now);
        ctx.conns.refuse(id, fault, ctx.out);
    }

    /// Somebody is there: a slot that is kept for the session is claimed, a place in line stays.
    fn is_attended(&mut self, ctx: &mut Ctx<'_>) {
        self.idle_since = None;
        if let Some(admission) = ctx.admissions.get_mut(&self.row.backend) {
            admission.claim(&self.id);
        }
    }

    /// This log has provably been longer: a new epoch begins, and everyone is told.
    fn rewind(&mut self, ctx: &mut Ctx<'_>) {
        tracing::error!(session = %self.id, committed = %self.committed, "the log has been rewound");
        self.row.epoch = keel_wire::Epoch(self.row.epoch.0.next());
        self.stage_row();
        for conn in self.connections() {
            self.pass_over(conn, Some(Code::LogRewound), ctx);
        }
    }

    fn join_anew(&mut self, id: ConnId, hello: &Hello, ctx: &mut Ctx<'_>) {
        match self.life {
            Life::Ended { told: true, .. } => return self.tell_end_to_stranger(id, ctx),
            Life::Ended { told: false, .. } => {
                return self.after_commit(Effect::TellEndTo { conn: id });
            }
            Life::Open | Life::Queued => {}
        }
        if self.members.len() >= limits::PARTICIPANTS_MAX {
            return self.refuse(id, Code::SessionLimit, ctx);
        }
        if self.store_is_refusing() {
            return self.refuse(id, Code::StoreFailed, ctx);
        }
        if let Err(fault) = self.admit_again(hello.admission, ctx) {
            return self.refuse_with(id, *fault, ctx);
        }
        let Some(conn) = ctx.conns.get(id) else {
            return;
        };
        let subject = conn
            .grant
            .as_ref()
            .map_or_else(String::new, |grant| grant.subject.clone());
        let ghost = self.unwelcomed(hello, &subject, ctx);
        let participant = ParticipantId::from_bits(ctx.mint.bits());
        let mut member = Member::absent(hello.role, &subject, ctx.now.mono);
        member.conn = Some(id);
        member.away_since = None;
        member.incarnation = 1;
        member.instance = Some((hello.instance.clone(), hello.attempt));
        self.members.insert(participant.clone(), member);
        ctx.conns.attach(id, self.id.clone(), participant.clone());
        self.is_attended(ctx);
        ctx.conns.hold_hello(id, hello.clone());
        let role = hello.role;
        self.stage_event(ParticipantJoined {
            participant: participant.clone(),
            role,
            subject,
        });
        let came_back = hello.resume.is_some();
        if let Some(ghost) = ghost {
            self.leave(&ghost, LeaveReason::Removed, ctx);
        }
        if came_back {
            self.forget_outcomes(&participant, &hello.stream, ctx);
        }
        if let Err(fault) = self.open_stream(&participant, &hello.stream, came_back, ctx) {
            return self.turn_away(id, *fault, ctx);
        }
        self.stage_stream(&hello.stream.id);
        let queued = self.life == Life::Queued;
        self.after_commit(if queued {
            Effect::TellQueued
        } else {
            Effect::Welcome { conn: id }
        });
    }

    /// A participant of this instance that it never heard of, or cannot prove to be: it would stay
    /// behind as a ghost. The command stream tells it, too: a page that was reloaded before it heard
    /// of its participant keeps its stream, but is another instance.
    ///
    /// Neither id is a secret, so it must be of the same subject.
    fn unwelcomed(
        &mut self,
        hello: &Hello,
        subject: &str,
        ctx: &mut Ctx<'_>,
    ) -> Option<ParticipantId> {
        let streams_owner = self
            .streams
            .get(&hello.stream.id)
            .map(|stream| &stream.participant);
        let of = |who: &ParticipantId, member: &Member| {
            let instance = member.instance.as_ref().map(|(instance, _)| instance);
            let owner = streams_owner == Some(who) && member.conn.is_none();
            (instance == Some(&hello.instance) || owner) && *member.subject == *subject
        };
        let (ghost, member) = self
            .members
            .iter_mut()
            .find(|(who, member)| of(who, member))?;
        let ghost = ghost.clone();
        if let Some(old) = member.conn.take() {
            let fault = ctx.fault(Code::Superseded).session(&self.id);
            ctx.conns.refuse(old, fault, ctx.out);
        }
        Some(ghost)
    }

    /// A connection is gone that was a participant's. Told once a connection, because the connection
    /// is forgotten with it.
    pub(crate) fn lost(
        &mut self,
        participant: &ParticipantId,
        id: ConnId,
        fault: Fault,
        heard: Instant,
        end: Option<&ConnEnd>,
        ctx: &mut Ctx<'_>,
    ) {
        let now = ctx.now.mono;
        let Some(member) = self.members.get_mut(participant) else {
            return;
        };
        if member.conn != Some(id) {
            return;
        }
        member.conn = None;
        member.away_since = Some(now);
        let fault = self.blame_conn(id, fault);
        self.note_away();
        let close = match end {
            Some(ConnEnd::Close { code, .. }) => Some(*code),
            Some(ConnEnd::Eof | ConnEnd::Broken { .. }) | None => None,
        };
        let fault = Box::new(fault.session(&self.id));
        let fact = Fact::ConnectionLost {
            fault,
            silent_ms: now.ms_since(heard),
            close,
        };
        self.journal(Some(participant), fact, ctx);
        self.tell_presence(participant, false, ctx);
        self.note_idle(now);
    }

    /// A connection was closed from here: if it still is the participant's, that is away.
    pub(crate) fn let_go(&mut self, participant: &ParticipantId, id: ConnId, ctx: &mut Ctx<'_>) {
        let Some(member) = self.members.get_mut(participant) else {
            return;
        };
        if member.conn == Some(id) {
            member.conn = None;
            member.away_since = Some(ctx.now.mono);
            self.note_away();
            self.tell_presence(participant, false, ctx);
            self.note_idle(ctx.now.mono);
        }
    }

    pub(super) fn tell_presence(&self, who: &ParticipantId, connected: bool, ctx: &mut Ctx<'_>) {
        if self.members.len() > limits::PRESENCE_MEMBERS_MAX {
            return;
        }
        let data = RawData::from_value(&json!({ "participant": who, "connected": connected }));
        let frame = Ephemeral {
            kind: "presence".to_owned(),
            data,
        }
        .into();
        for (participant, member) in self.members.iter() {
            let other = member.conn.filter(|_| participant != who);
            if let Some(conn) = other.filter(|conn| ctx.conns.is_welcomed(*conn)) {
                ctx.conns.tell(conn, &frame, ctx.out);
            }
        }
    }

    /// A participant leaves; what it began goes on.
    pub(super) fn detach(&mut self, id: ConnId, ctx: &mut Ctx<'_>) {
        let Some(participant) = ctx.conns.participant(id) else {
            return;
        };
        let ended = Ended {
            reason: EndReason::Detached,
            at: ctx.now.wall,
        };
        ctx.conns.tell(id, &ended.into(), ctx.out);
        ctx.conns.close(
            id,
            keel_wire::CloseCode::NORMAL,
            "detached".to_owned(),
            ctx.out,
        );
        self.journal(Some(&participant), Fact::Detached, ctx);
        self.leave(&participant, LeaveReason::Detached, ctx);
    }

    fn leave(&mut self, participant: &ParticipantId, reason: LeaveReason, ctx: &mut Ctx<'_>) {
        if self.members.remove(participant).is_none() {
            return;
        }
        if !matches!(self.life, Life::Ended { .. }) {
            self.stage_event(ParticipantLeft {
                participant: participant.clone(),
                reason,
            });
            self.drop_streams_of(participant);
        }
        self.forget_media_of(participant, ctx);
        if self.members.is_empty() {
            self.abandoned(ctx);
        }
        self.note_away();
        self.note_idle(ctx.now.mono);
    }

    /// When the first absent participant is given up.
    pub(super) fn members_expire_at(&self, window: std::time::Duration) -> Option<Instant> {
        self.away_first.map(|since| since + window)
    }

    /// Looks anew for who has been away the longest: after each coming and going.
    pub(super) fn note_away(&mut self) {
        self.away_first = self
            .members
            .values()
            .filter_map(|member| member.away_since)
            .min();
    }

    /// Gives up participants that have been away for longer than the resume window.
    pub(super) fn expire_members(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let window = ctx.config.resume_window;
        if self.members_expire_at(window).is_none_or(|at| at > now) {
            return;
        }
        let gone: Vec<ParticipantId> = self
            .members
            .iter()
            .filter(|(_, member)| member.away_since.is_some_and(|since| since + window <= now))
            .map(|(participant, _)| participant.clone())
            .collect();
        for participant in gone {
            self.leave(&participant, LeaveReason::Expired, ctx);
        }
    }

    /// The fault that a connection's end is told as.
    pub(crate) fn fault_of_end(end: &ConnEnd, ctx: &mut Ctx<'_>) -> Fault {
        match end {
            ConnEnd::Close { code, reason } => ctx
                .fault_of(Code::ConnectionClosed, Origin::Client)
                .detail("close_code", code.0)
                .detail("close_reason", reason.chars().take(120).collect::<String>()),
            ConnEnd::Eof => ctx
                .fault_of(Code::ConnectionClosed, Origin::Network)
                .detail("close_code", keel_wire::CloseCode::ABNORMAL.0),
            ConnEnd::Broken { error } => ctx
                .fault_of(Code::TransportError, Origin::Network)
                .detail("error", error.chars().take(120).collect::<String>()),
        }
    }
}
