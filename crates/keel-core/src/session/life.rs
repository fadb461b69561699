//! A session's life: opened or read back, its deadlines, its end.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use keel_wire::{
    BusyPolicy, CloseCode, Code, EndReason, Ended, Event, Fault, FaultFrame, Grant, ParamsChanged,
    ReceiptBody, Seq, SessionCreated, SessionEnded, SessionId, Snapshot, TurnEnd, TurnId,
    TurnState, UnixMillis,
    journal::Fact,
    record::{About, Loaded, SessionRow, SlotRow},
};
use serde_json::Value;

use super::{
    Life, Session,
    commit::{Effect, Stage},
    deliver::Crowd,
    gather::Gather,
    health::{Legs, StoreLeg},
    members::Member,
    memory::{Memory, StopFor},
    quarantine::Quarantine,
    streams::Stream,
    turns::Turn,
};
use crate::{
    Deadline, Instant, Now,
    node::{Answer, AskId, ConnId, Ctx, Opening, Output},
    resume_key,
    ring::Ring,
    small_map::SmallMap,
};

/// What a log says of a turn besides its fold.
#[derive(Default)]
struct Asked {
    prompt: String,
    begin_by: Option<UnixMillis>,
}

impl Session {
    fn empty(row: SessionRow, now: Instant) -> Self {
        Self {
            id: row.session.clone(),
            life: Life::Open,
            fold: Snapshot::default(),
            ring: Ring::default(),
            committed: Seq::ZERO,
            staged: Seq::ZERO,
            members: SmallMap::default(),
            streams: SmallMap::default(),
            params: Value::Null,
            params_version: Seq::ZERO,
            params_applied: Seq::ZERO,
            turns: VecDeque::new(),
            quarantine: Quarantine::default(),
            memory: Memory::default(),
            run: None,
            dying: None,
            stage: Stage::default(),
            inflight: None,
            doing: None,
            lost: false,
            key: [0; 32],
            moves: 0,
            leaving: super::Leaving::No,
            store: StoreLeg::Up,
            legs: Legs::default(),
            media: super::media::Media::default(),
            snapshot_seq: Seq::ZERO,
            away_first: None,
            idle_since: Some(now),
            ends_at: None,
            end_announced: false,
            since: row.created_at,
            told_status: None,
            injected: Vec::new(),
            compactable: VecDeque::new(),
            crowd: Crowd::default(),
            gather: Gather::default(),
            queued_at: None,
            place: (0, 0),
            row,
        }
    }

    /// A session that begins. `slot` is what admission decided.
    pub(crate) fn open(
        id: SessionId,
        opening: Opening,
        grant: &Grant,
        slot: Option<SlotRow>,
        ctx: &Ctx<'_>,
    ) -> Self {
        let backend = opening
            .backend
            .unwrap_or_else(|| ctx.config.default_backend.clone());
        let project = grant.project.clone().or(opening.project);
        let default_busy = ctx
            .config
            .backends
            .get(&backend)
            .map(|backend| backend.busy);
        let row = SessionRow {
            session: id,
            subject: grant.subject.clone(),
            backend: backend.clone(),
            project: project.clone(),
            created_at: ctx.now.wall,
            last_activity: ctx.now.wall,
            ends_by: grant.session_ms_max.map(|ms| ctx.now.wall + ms),
            epoch: ctx.config.epoch,
            head: Seq::ZERO,
            trimmed: Seq::ZERO,
            open_turn: false,
            waiting: false,
            ended: false,
            slot,
            about: About {
                title: opening.title.filter(|title| !title.is_empty()),
                cwd: opening.cwd,
                tags: opening.tags,
                ..About::default()
            },
        };
        let mut session = Self::empty(row, ctx.now.mono);
        session.key = resume_key::of_session(&ctx.config.secret, &session.id);
        session.ends_at = grant
            .session_ms_max
            .map(|ms| ctx.now.mono + Duration::from_millis(ms));
        if matches!(slot, Some(SlotRow::Waiting { .. })) {
            session.life = Life::Queued;
            session.queued_at = Some(ctx.now.mono);
        }
        let busy = opening.busy.or(default_busy).unwrap_or_default();
        // Decided on before it is committed: nothing else can change it.
        session.fold.busy = busy;
        session.stage_event(SessionCreated {
            backend,
            project,
            busy,
            title: session.row.about.title.clone(),
            cwd: session.row.about.cwd.clone(),
            tags: session.row.about.tags.clone(),
        });
        if let Some(params) = opening.params.filter(Value::is_object) {
            session.params = params.clone();
            session.params_version = session.params_version.next();
            let version = session.params_version;
            session.stage_event(ParamsChanged {
                version,
                patch: params,
                by: None,
            });
        }
        session
    }

    /// A session as the store has it. What ran without an owner is ended here.
    pub(crate) fn read_back(loaded: Loaded, ctx: &mut Ctx<'_>) -> Result<Self, String> {
        let now = ctx.now.mono;
        let mut session = Self::empty(loaded.row, now);
        session.key = resume_key::of_session(&ctx.config.secret, &session.id);
        let mut asked = BTreeMap::new();
        if let Some(stored) = loaded.snapshot {
            session.snapshot_seq = stored.seq;
            session.fold = stored.snapshot;
            session.quarantine = Quarantine::kept(stored.crashed);
            session.memory = Memory::kept(&stored.prompts, stored.memory);
            asked.extend(stored.prompts.into_iter().map(|(turn, prompt)| {
                let by = stored.begin_by.iter().find(|(of, _)| *of == turn);
                let begin_by = by.map(|(_, by)| *by);
                (turn, Asked { prompt, begin_by })
            }));
        }
        for stored in &loaded.events {
            let event = Event::decode(&stored.kind, stored.data.get())
                .map_err(|error| format!("event {}: {error}", stored.from))?;
            let Some(event) = event else { continue };
            if let Event::TurnAccepted(accepted) = &event {
                let prompt = accepted.text.clone();
                let begin_by = accepted.begin_by;
                asked.insert(accepted.turn.clone(), Asked { prompt, begin_by });
            }
            session.quarantine.replay(&event, |turn| {
                asked.get(turn).map(|asked| asked.prompt.as_str())
            });
            session.fold.apply(&event);
            session.memory.apply(&event, &session.fold);
        }
        session.committed = session.row.head;
        session.staged = session.row.head;
        session.params = session.fold.params.clone();
        session.params_version = session.fold.params_version;
        session.params_applied = session.fold.params_applied;
        session.members = session
            .fold
            .participants
            .iter()
            .map(|view| {
                let member = Member::absent(view.role, &view.subject, now);
                (view.participant.clone(), member)
            })
            .collect();
        session.note_away();
        session.read_tracks_back();
        session.streams = loaded
            .streams
            .into_iter()
            .map(|stream| Stream::loaded(stream, now))
            .collect();
        session.ends_at = session
            .row
            .ends_by
            .map(|by| now + Duration::from_millis(by.saturating_sub(ctx.now.wall)));
        if let Some(ended) = &session.fold.ended {
            session.life = Life::Ended {
                reason: ended.reason,
                fault: ended.fault.clone(),
                told: true,
            };
        } else if matches!(session.row.slot, Some(SlotRow::Waiting { .. })) {
            session.life = Life::Queued;
            session.queued_at = Some(now);
        }
        // Rebuilt after a panic: what ran is being killed, and nothing runs until it is gone.
        session.dying = ctx.runs.of_session(&session.id);
        if let Some(handover) = loaded.handover {
            session.read_handover(handover, ctx);
        }
        session.settle_turns(&mut asked, ctx);
        Ok(session)
    }

    /// Turns without an owner: those that had begun are interrupted, the others wait on.
    fn settle_turns(&mut self, asked: &mut BTreeMap<TurnId, Asked>, ctx: &mut Ctx<'_>) {
        let mut begun: Vec<(TurnId, u64)> = Vec::new();
        for view in self.fold.turns.iter().filter(|view| view.is_open()) {
            let Asked { prompt, begin_by } = asked.remove(&view.turn).unwrap_or_default();
            let mut turn = Turn::queued(view.turn.clone(), view.by.clone(), prompt, ctx.now.mono);
            // The time that no server was there counts: the limit is one of the wall clock.
            turn.begin_by = begin_by.map(|wall| Now {
                mono: ctx.now.mono + Duration::from_millis(wall.saturating_sub(ctx.now.wall)),
                wall,
            });
            turn.attempts = view.attempt;
            self.turns.push_back(turn);
            match view.state {
                TurnState::Queued => {}
                TurnState::Running | TurnState::Waiting { .. } => {
                    begun.push((view.turn.clone(), view.bytes));
                }
                TurnState::Ended { .. } => unreachable!("only open turns are looked at"),
            }
        }
        let unclean = !begun.is_empty();
        self.journal(None, Fact::Activated { unclean }, ctx);
        // What waits behind a turn under this policy was said to replace it.
        let replaced = self.fold.busy == BusyPolicy::Replace && self.turns.len() > begun.len();
        let reason = replaced.then(|| StopFor::Replace.name().to_owned());
        for (turn, bytes) in begun {
            self.interrupt(&turn, bytes, reason.clone(), ctx);
        }
        self.start_next(ctx);
        self.claim_for_turns(ctx);
        self.note_idle(ctx.now.mono);
    }

    /// Sends what this input staged. Called once after each input.
    pub(crate) fn finish_step(&mut self, ctx: &mut Ctx<'_>) {
        self.flush(ctx);
    }

    /// When to look at it again, and why.
    pub(crate) fn deadline(&self, config: &crate::node::Config) -> Option<Deadline> {
        let clocks = config
            .backends
            .get(&self.row.backend)
            .map(|backend| backend.clocks);
        let at = |at: Option<Instant>, why| at.map(|at| Deadline { at, why });
        if self.stands_still() {
            return at(self.leaving_at(), "handover");
        }
        let open = !matches!(self.life, Life::Ended { .. });
        let all = [
            at(self.leaving_at(), "handover"),
            self.run_deadline(&clocks.unwrap_or_default()),
            at(self.commit_retry_at(), "commit retry"),
            at(self.commit_slow_at(), "slow commit"),
            at(self.read_slow_at(), "slow page"),
            at(self.legs.read_again_at, "page retry"),
            at(self.crowd_due(), "crowd step"),
            at(self.gather.due(), "text step"),
            at(self.turn_expires_at(), "turn expiry"),
            at(
                self.members_expire_at(config.resume_window)
                    .filter(|_| open),
                "resume window",
            ),
            at(self.ends_at.filter(|_| open), "session duration"),
            at(
                self.announce_at().filter(|_| open),
                "session duration warning",
            ),
            at(self.media.restart_at().filter(|_| open), "media restart"),
            at(
                self.media
                    .settled_ends_at(config.resume_window)
                    .filter(|_| open),
                "settled media",
            ),
            at(self.release_at(config.resume_window), "slot release"),
            at(self.injected_until(), "injected fault"),
            at(self.hibernate_at(config.hibernate_after), "hibernation"),
        ];
        all.into_iter().fold(None, Deadline::earlier)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        self.go_on_leaving(ctx);
        if self.stands_still() {
            return;
        }
        self.expire_injected(ctx);
        self.check_run(ctx);
        self.retry_commit(ctx);
        if due(self.commit_slow_at()) || due(self.read_slow_at()) {
            self.store_is_slow(ctx);
        }
        if due(self.legs.read_again_at) {
            self.legs.read_again_at = None;
            self.pump_all(ctx);
        }
        if due(self.crowd_due()) {
            self.pump_all(ctx);
        }
        self.expire_turns(ctx);
        if !matches!(self.life, Life::Ended { .. }) {
            self.expire_members(ctx);
            self.restart_media(ctx);
            self.end_settled_media(ctx);
            if due(self.announce_at()) {
                self.announce_end(ctx);
            }
            if due(self.ends_at) {
                self.end(EndReason::DurationLimit, None, ctx);
            }
        }
        if due(self.release_at(ctx.config.resume_window)) {
            self.release_slot(ctx);
        }
        self.start_next(ctx);
    }

    // Idleness.

    pub(super) fn note_idle(&mut self, now: Instant) {
        let idle = !self.has_connections() && self.turns.is_empty() && self.dying.is_none();
        if idle {
            self.idle_since.get_or_insert(now);
        } else {
            self.idle_since = None;
        }
    }

    fn hibernate_at(&self, after: Duration) -> Option<Instant> {
        let quiet = self.is_settled()
            && self.row.slot.is_none()
            && self.dying.is_none()
            && !self.is_leaving();
        let since = self
            .idle_since
            .filter(|_| quiet && !self.has_connections() && self.media.is_idle())?;
        Some(since + after)
    }

    /// Whether it may leave memory.
    pub(crate) fn may_hibernate(&self, after: Duration, ctx: &Ctx<'_>) -> bool {
        self.hibernate_at(after)
            .is_some_and(|at| at <= ctx.now.mono)
    }

    /// Nobody belongs to it any more.
    pub(super) fn abandoned(&mut self, ctx: &mut Ctx<'_>) {
        match self.life {
            Life::Queued if !self.stands_again() => self.end(EndReason::Ended, None, ctx),
            Life::Queued => self.release_slot(ctx),
            Life::Open if self.turns.is_empty() => self.release_slot(ctx),
            Life::Open | Life::Ended { .. } => {}
        }
    }

    // The end.

    fn announce_at(&self) -> Option<Instant> {
        let at = self.ends_at.filter(|_| !self.end_announced)?;
        Some(Instant::from_micros(at.micros().saturating_sub(60_000_000)))
    }

    fn announce_end(&mut self, ctx: &mut Ctx<'_>) {
        self.end_announced = true;
        let Some(at) = self.ends_at else { return };
        let in_ms = at.ms_since(ctx.now.mono);
        let data = keel_wire::RawData::from_value(&serde_json::json!({ "in_ms": in_ms }));
        let kind = "session.ending_soon".to_owned();
        self.tell_all(&keel_wire::Ephemeral { kind, data }.into(), ctx);
    }

    /// Ends the session: the only place that does.
    pub(crate) fn end(&mut self, reason: EndReason, fault: Option<Fault>, ctx: &mut Ctx<'_>) {
        if matches!(self.life, Life::Ended { .. }) {
            return;
        }
        let turns: Vec<TurnId> = self.turns.iter().map(|turn| turn.id.clone()).collect();
        self.kill_run(ctx);
        let turn_end = if fault.is_some() {
            TurnEnd::Interrupted
        } else {
            TurnEnd::Cancelled
        };
        for turn in turns {
            self.end_turn(&turn, turn_end, None, fault.clone(), ctx);
        }
        let fault = fault.map(Box::new);
        self.stage_event(SessionEnded {
            reason,
            fault: fault.clone(),
        });
        self.row.ended = true;
        self.life = Life::Ended {
            reason,
            fault,
            told: false,
        };
        self.end_media(ctx);
        self.release_slot(ctx);
        self.release_provider(ctx);
        self.journal(None, Fact::Ended { reason }, ctx);
        self.after_commit(Effect::TellEnd);
        self.note_idle(ctx.now.mono);
    }

    /// Nothing that a provider keeps for the session is needed any more.
    pub(super) fn release_provider(&self, ctx: &mut Ctx<'_>) {
        ctx.out.push(Output::Release {
            session: self.id.clone(),
            backend: self.row.backend.clone(),
        });
    }

    /// Ends the session over HTTP; the answer waits for the commit.
    pub(crate) fn ask_end(&mut self, ask: AskId, reason: EndReason, ctx: &mut Ctx<'_>) {
        if self.stands_still() {
            let fault = Box::new(self.on_its_way(ctx));
            return ctx.reply(ask, Answer::Receipt(ReceiptBody::Fault(fault)));
        }
        let told = matches!(self.life, Life::Ended { told: true, .. });
        if !told && self.store_is_refusing() {
            let fault = Box::new(self.store_fault(ctx));
            return ctx.reply(ask, Answer::Receipt(ReceiptBody::Fault(fault)));
        }
        self.end(reason, None, ctx);
        if told {
            ctx.reply(ask, Answer::Receipt(ReceiptBody::ok()));
        } else {
            self.after_commit(Effect::ReplyDone { ask });
        }
    }

    /// Tells whoever opened it over HTTP that it is there, once it is.
    pub(crate) fn tell_opened(&mut self, ask: AskId) {
        self.after_commit(Effect::ReplyDone { ask });
    }

    /// The end is committed: whoever has the whole log is told now, the others when they have.
    pub(super) fn end_is_committed(&mut self, ctx: &mut Ctx<'_>) {
        if let Life::Ended { told, .. } = &mut self.life {
            *told = true;
        }
        // Those who were never welcomed have no log to wait for.
        for conn in self.connections() {
            let waits = ctx
                .conns
                .get_mut(conn)
                .is_some_and(|conn| conn.delivery().is_none());
            if waits {
                self.tell_end_to_stranger(conn, ctx);
            }
        }
    }

    /// Tells a connection the end that has no part in the log.
    pub(super) fn tell_end_to_stranger(&self, id: ConnId, ctx: &mut Ctx<'_>) {
        match &self.life {
            Life::Ended { reason, fault, .. } => {
                self.tell_end_now(id, *reason, fault.as_deref(), ctx);
            }
            Life::Open | Life::Queued => self.refuse(id, Code::SessionNotFound, ctx),
        }
    }

    pub(super) fn tell_end_now(
        &self,
        id: ConnId,
        reason: EndReason,
        fault: Option<&Fault>,
        ctx: &mut Ctx<'_>,
    ) {
        if let Some(fault) = fault {
            let code = match &fault.code {
                keel_wire::FaultCode::Known(code) => code.close(),
                keel_wire::FaultCode::Unknown(_) => None,
            };
            ctx.conns.tell(
                id,
                &FaultFrame {
                    fault: fault.clone(),
                }
                .into(),
                ctx.out,
            );
            let name = fault.code.name().to_owned();
            return ctx
                .conns
                .close(id, code.unwrap_or(CloseCode(4500)), name, ctx.out);
        }
        ctx.conns.tell(
            id,
            &Ended {
                reason,
                at: ctx.now.wall,
            }
            .into(),
            ctx.out,
        );
        ctx.conns
            .close(id, CloseCode::NORMAL, "ended".to_owned(), ctx.out);
    }

    /// The server stops: what runs is interrupted, nothing more is begun.
    pub(crate) fn stop_for_shutdown(&mut self, ctx: &mut Ctx<'_>) {
        let Some(run) = &self.run else { return };
        let (turn, words) = (run.turn.clone(), run.words_left());
        let stopped_for = run.stopped_for;
        let is_stopping = run.is_stopping();
        let reason = stopped_for.map(|why| why.name().to_owned());
        self.kill_run(ctx);
        let fault = ctx.fault(Code::ServerShutdown);
        self.end_turn(&turn, TurnEnd::Interrupted, reason, Some(fault), ctx);
        if !is_stopping {
            // They were acknowledged, and are run where the session goes on.
            self.words_become_turns(words, ctx);
        }
    }
}
