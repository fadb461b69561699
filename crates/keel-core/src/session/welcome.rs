//! The first word to a connection that is let in: welcome, or its place in line.

use keel_wire::{
    BeatPlan, Code, Cursor, Hello, History, Joined, Queued, Resume, Seq, SessionLimits, Strategy,
    Welcome, journal::Fact, limits::FRAME_IN_BYTES_MAX,
};

use super::{Life, Session};
use crate::{
    limits,
    node::{ConnId, Ctx, Delivery, Phase, ms},
    resume_key::{self, Proof},
};

/// How a connection that is let in has to be brought up to the log's end.
pub(super) struct Arrival {
    pub(super) how: Joined,
    pub(super) cursor: Seq,
    pub(super) strategy: Option<Strategy>,
    pub(super) away_ms: Option<u64>,
    /// A gap is due first.
    pub(super) gap: Option<Option<Code>>,
}

impl Session {
    /// How a participant comes back that its key has proven.
    pub(super) fn arrival_of(&self, resume: &Resume) -> Arrival {
        // Who has applied nothing is at the beginning of any log.
        let same_log = resume.cursor.epoch == self.row.epoch || resume.cursor.seq == Seq::ZERO;
        let in_log = same_log && resume.cursor.seq <= self.committed;
        Arrival {
            how: if resume.strategy == Strategy::Fast {
                Joined::Resumed
            } else {
                Joined::Rejoined
            },
            cursor: if in_log { resume.cursor.seq } else { Seq::ZERO },
            strategy: Some(resume.strategy),
            away_ms: None,
            gap: (!in_log).then_some(Some(Code::LogRewound)),
        }
    }

    /// A new participant is committed, or has come out of the line: it may be welcomed.
    pub(super) fn welcome_new(&mut self, id: ConnId, ctx: &mut Ctx<'_>) {
        let Some(hello) = ctx.conns.take_hello(id) else {
            return;
        };
        let consumed = self
            .streams
            .get(&hello.stream.id)
            .map_or(Seq::ZERO, |stream| stream.consumed);
        let participant = ctx.conns.participant(id);
        let came_back = hello
            .resume
            .as_ref()
            .filter(|resume| Some(&resume.participant) == participant.as_ref());
        if let Some(resume) = came_back {
            // It has waited in line for a session that it was in before.
            let arrival = self.arrival_of(resume);
            return self.welcome(id, &hello, &arrival, consumed, ctx);
        }
        let opener = self.members.len() == 1 && hello.session.is_none();
        let arrival = Arrival {
            how: if opener {
                Joined::Created
            } else {
                Joined::Joined
            },
            cursor: Seq::ZERO,
            strategy: hello.resume.as_ref().map(|resume| resume.strategy),
            away_ms: None,
            gap: (hello.history == History::Snapshot).then_some(None),
        };
        self.welcome(id, &hello, &arrival, consumed, ctx);
    }

    pub(super) fn welcome(
        &mut self,
        id: ConnId,
        hello: &Hello,
        arrival: &Arrival,
        consumed: Seq,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(participant) = ctx.conns.participant(id) else {
            return;
        };
        let ice_servers = match self.media_rule(ctx) {
            Some(_) => ctx.ice_servers(id, &participant),
            None => Vec::new(),
        };
        let Some(member) = self.members.get(&participant) else {
            return;
        };
        let proof = Proof {
            incarnation: member.incarnation,
            head: self.committed,
        };
        let missed = self.committed.since(arrival.cursor);
        let welcome = Welcome {
            session: self.id.clone(),
            participant: participant.clone(),
            role: member.role,
            how: arrival.how,
            resume_key: resume_key::make(&self.key, &self.id, &participant, proof),
            resume_window_ms: ms(ctx.config.resume_window),
            cursor: Cursor {
                epoch: self.row.epoch,
                seq: self.committed,
            },
            consumed,
            beat: self.beat_plan(),
            limits: SessionLimits {
                frame_bytes: FRAME_IN_BYTES_MAX as u64,
                commands: limits::RECEIPTS_MAX as u32,
                frames_per_s: ctx.config.frames_per_s,
            },
            // Those that are staged are told when they are committed.
            params: self.fold.params.clone(),
            params_version: self.fold.params_version,
            status: self.status(),
            ice_servers,
            peer: self.media.number(&participant),
        };
        let ring_total = self.ring.total();
        let busy = self.is_watched();
        let now = ctx.now.mono;
        let Some(conn) = ctx.conns.get_mut(id) else {
            return;
        };
        conn.stream = Some(hello.stream.id.clone());
        if let Phase::Attached { welcomed, .. } = &mut conn.phase {
            *welcomed = true;
        }
        conn.delivery = Some(Box::new(Delivery {
            sent: arrival.cursor,
            replay_to: Some(self.committed),
            welcomed_at: now,
            missed,
            ring_total,
            page: std::collections::VecDeque::new(),
            reading: false,
        }));
        ctx.conns.set_busy(id, busy, now);
        ctx.conns.tell(id, &Box::new(welcome).into(), ctx.out);
        let fact = Fact::Connected {
            how: arrival.how,
            strategy: arrival.strategy,
            missed,
            away_ms: arrival.away_ms,
            evidence: hello.evidence.clone(),
        };
        self.journal(Some(&participant), fact, ctx);
        self.idle_since = None;
        self.queued_at = None;
        self.tell_receipts(id, ctx);
        self.resume_media(&participant, ctx);
        self.tell_wishes(id, &participant, arrival.how, ctx);
        self.tell_presence(&participant, true, ctx);
        if let Some(code) = arrival.gap {
            self.pass_over(id, code, ctx);
        }
        self.pump(id, ctx);
    }

    pub(super) fn beat_plan(&self) -> BeatPlan {
        let (every, suspect) = if self.is_watched() {
            (limits::BEAT_BUSY, limits::SUSPECT_BUSY)
        } else {
            (limits::BEAT_IDLE, limits::SUSPECT_IDLE)
        };
        BeatPlan {
            every_ms: ms(every),
            suspect_ms: ms(suspect),
        }
    }

    /// Tells everyone who waits where the session stands in line.
    pub(crate) fn tell_queued(&mut self, ctx: &mut Ctx<'_>) {
        if self.life != Life::Queued {
            // Granted meanwhile.
            for conn in self.connections() {
                self.welcome_new(conn, ctx);
            }
            return;
        }
        let place = ctx
            .admissions
            .get(&self.row.backend)
            .and_then(|line| line.place(&self.id));
        let Some(place) = place else { return };
        self.place = (place.position, place.of);
        for (participant, member) in self.members.iter() {
            let Some(conn) = member.conn else { continue };
            let proof = Proof {
                incarnation: member.incarnation,
                head: self.committed,
            };
            let queued = Queued {
                session: self.id.clone(),
                participant: participant.clone(),
                resume_key: resume_key::make(&self.key, &self.id, participant, proof),
                position: place.position,
                of: place.of,
                beat: self.beat_plan(),
            };
            ctx.conns.tell(conn, &queued.into(), ctx.out);
        }
        let fact = Fact::Queued {
            position: place.position,
            of: place.of,
        };
        self.journal(None, fact, ctx);
    }
}
