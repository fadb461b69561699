//! Runs: one try at a turn, its clocks, and what it says.
//!
//! A run ends as exactly one value, whatever became of it, so nothing here waits for good manners. Its
//! idle clock stands still while its output is not read, because then the silence is ours.

use std::collections::VecDeque;

use keel_wire::{
    Action, AgentBound, CancelStep, Code, Ephemeral, Fault, Item, Origin, ParamsApplied,
    ParticipantId, RawData, Text, TurnCancelling, TurnEnd, TurnId, TurnRetrying,
    journal::Fact,
    json_len,
    limits::{AGENT_ID_BYTES_MAX, ITEM_BYTES_MAX, STOP_REASON_BYTES_MAX, TEXT_BYTES_MAX},
};
use serde_json::{Value, json};

use super::{Session, commit::Effect, memory::StopFor, words::Words};
use crate::{
    Deadline, Instant, limits,
    node::{Ctx, Output, RunEnd, RunFailure, RunId, RunOutput, RunRequest, TurnClocks},
};

/// One try at a turn.
#[derive(Debug)]
pub(crate) struct Run {
    pub(super) id: RunId,
    pub(super) turn: TurnId,
    /// Which attempt its text is of.
    pub(super) attempt: u32,
    /// When it was begun; not before its start is committed.
    pub(super) begun_at: Option<Instant>,
    signed_at: Option<Instant>,
    pub(super) spoke_at: Option<Instant>,
    /// Bytes of text that it has said.
    pub(super) at_byte: u64,
    /// The beginning of it, as far as searches look.
    pub(super) said: String,
    /// Bytes of its output that are not committed.
    pub(super) held: usize,
    /// What it waits for, and since when; then what it asks besides, which is told after that.
    pub(super) waiting: Option<(Action, Instant)>,
    pub(super) asks_next: VecDeque<Action>,
    /// What was said into it and it has not taken.
    pub(super) words: VecDeque<Words>,
    cancelled_at: Option<Instant>,
    /// It is stopped for a turn that came.
    pub(super) stopped_for: Option<StopFor>,
    /// The last step on its way to its end.
    stopping: Option<CancelStep>,
    stall_told: bool,
}

impl Run {
    pub(super) const fn new(id: RunId, turn: TurnId, attempt: u32) -> Self {
        Self {
            id,
            turn,
            attempt,
            begun_at: None,
            signed_at: None,
            spoke_at: None,
            at_byte: 0,
            said: String::new(),
            held: 0,
            waiting: None,
            asks_next: VecDeque::new(),
            words: VecDeque::new(),
            cancelled_at: None,
            stopped_for: None,
            stopping: None,
            stall_told: false,
        }
    }

    /// Whether it did not stop when asked.
    pub(super) fn is_forced(&self) -> bool {
        self.stopping == Some(CancelStep::Killing)
    }

    /// Whether it was asked to stop.
    pub(super) const fn is_stopping(&self) -> bool {
        self.cancelled_at.is_some()
    }

    const fn is_read(&self) -> bool {
        self.held < limits::UNCOMMITTED_BYTES_MAX
    }

    /// The clock that runs out first, and what it says when it does.
    fn clock(&self, clocks: &TurnClocks) -> Option<Deadline> {
        let begun = self.begun_at?;
        if let Some(at) = self.cancelled_at {
            return Some(Deadline {
                at: at + limits::CANCEL_WITHIN,
                why: "cancel",
            });
        }
        let whole = Deadline {
            at: begun + clocks.whole,
            why: "whole turn",
        };
        let step = match (&self.waiting, self.signed_at, self.spoke_at) {
            (Some((_, since)), _, _) => Some(Deadline {
                at: *since + clocks.action,
                why: "answer",
            }),
            (None, None, _) => Some(Deadline {
                at: begun + clocks.spawn,
                why: "spawn",
            }),
            (None, Some(signed), None) => Some(Deadline {
                at: signed + clocks.first_output,
                why: "first output",
            }),
            (None, Some(_), Some(spoke)) => self.is_read().then(|| Deadline {
                at: spoke + clocks.idle,
                why: "idle",
            }),
        };
        Deadline::earlier(step, Some(whole))
    }

    /// Since when nothing was heard from it, where that is the provider's silence.
    fn silent_since(&self) -> Option<Instant> {
        let quiet = self.waiting.is_none() && self.is_read();
        self.spoke_at
            .or(self.signed_at)
            .or(self.begun_at)
            .filter(|_| quiet)
    }

    fn stall_at(&self) -> Option<Instant> {
        let since = self.silent_since().filter(|_| !self.stall_told)?;
        Some(since + limits::TURN_STALLED_AFTER)
    }
}

impl Session {
    /// The run's start is committed: it begins.
    pub(super) fn begin_run(&mut self, id: RunId, ctx: &mut Ctx<'_>) {
        let Some(run) = self.run.as_mut().filter(|run| run.id == id) else {
            return;
        };
        ctx.runs.begin(id, &self.id);
        run.begun_at = Some(ctx.now.mono);
        let (turn, attempt) = (run.turn.clone(), run.attempt);
        let prompt = self
            .turns
            .front()
            .map_or_else(String::new, |turn| turn.prompt.clone());
        let request = RunRequest {
            session: self.id.clone(),
            backend: self.row.backend.clone(),
            turn: turn.clone(),
            attempt,
            prompt,
            // What is not committed is not told, to programs neither.
            params: self.fold.params.clone(),
            cwd: self.fold.cwd.clone(),
            bound: self.fold.agent.clone(),
            history_to: self.committed,
            forget: self.memory.forgotten_for(&turn),
        };
        ctx.out.push(Output::Run {
            run: id,
            request: Box::new(request),
        });
        let version = self.fold.params_version;
        if self.params_applied < version {
            self.params_applied = version;
            self.stage_event(ParamsApplied {
                version,
                turn: turn.clone(),
            });
        }
        self.journal(None, Fact::TurnStarted { turn, attempt }, ctx);
    }

    pub(super) fn credit_run(&mut self, id: RunId, bytes: usize, ctx: &mut Ctx<'_>) {
        if let Some(run) = self.run.as_mut().filter(|run| run.id == id) {
            let was_read = run.is_read();
            run.held = run.held.saturating_sub(bytes);
            if !was_read && run.spoke_at.is_some() {
                // We did not read until now: its silence begins here.
                run.spoke_at = Some(ctx.now.mono);
            }
            ctx.out.push(Output::Credit { run: id, bytes });
        }
    }

    /// A run says something.
    pub(crate) fn run_output(&mut self, id: RunId, output: RunOutput, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let Some(run) = self.run.as_mut().filter(|run| run.id == id) else {
            return;
        };
        run.signed_at.get_or_insert(now);
        if !matches!(output, RunOutput::Started) {
            run.spoke_at = Some(now);
        }
        if std::mem::take(&mut run.stall_told) {
            self.backend_recovered(ctx);
        }
        match output {
            RunOutput::Started | RunOutput::Alive => {}
            RunOutput::Text(text) => self.run_text(id, &text),
            RunOutput::Item(data) => self.run_item(id, data),
            RunOutput::NewAttempt { failure } => self.run_restarts(failure, ctx),
            RunOutput::Retrying { in_ms, failure } => self.run_retries(in_ms, failure, ctx),
            RunOutput::Bound { provider, id } => self.run_is_bound(provider, id),
            RunOutput::Cancelling(step) => self.run_is_stopping(step, None),
            RunOutput::NeedsAction(action) => self.run_asks(action, ctx),
            RunOutput::WordsTaken => self.words_are_taken(),
        }
    }

    fn run_text(&mut self, id: RunId, text: &str) {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(TEXT_BYTES_MAX));
            rest = after;
            let Some(run) = self.run.as_mut() else { return };
            let (turn, attempt, at_byte) = (run.turn.clone(), run.attempt, run.at_byte);
            run.at_byte += piece.len() as u64;
            run.held += piece.len();
            let room = limits::SEARCH_ANSWER_BYTES_MAX.saturating_sub(run.said.len());
            run.said.push_str(&piece[..piece.floor_char_boundary(room)]);
            self.stage_text(Text {
                turn,
                attempt,
                at_byte,
                data: piece.to_owned(),
            });
            let staged = self.staged;
            if let Some(turn) = self.turns.front_mut() {
                turn.text_from.get_or_insert(staged);
            }
            self.surfaces();
            self.after_commit(Effect::Credit {
                run: id,
                bytes: piece.len(),
            });
        }
    }

    fn run_item(&mut self, id: RunId, data: Value) {
        let Some(run) = self.run.as_mut() else { return };
        let bytes = json_len(&data);
        run.held += bytes;
        let data = if bytes > ITEM_BYTES_MAX {
            json!({ "type": "omitted", "bytes": bytes })
        } else {
            data
        };
        let (turn, attempt) = (run.turn.clone(), run.attempt);
        self.surfaces();
        self.stage_event(Item {
            turn,
            attempt,
            data,
        });
        self.after_commit(Effect::Credit { run: id, bytes });
    }

    /// The program began its answer anew: what it said before is superseded.
    fn run_restarts(&mut self, failure: RunFailure, ctx: &mut Ctx<'_>) {
        let fault = self.run_fault(failure, ctx);
        let Some(run) = self.run.as_mut() else { return };
        let Some(turn) = self.turns.front_mut() else {
            return;
        };
        turn.attempts += 1;
        run.attempt = turn.attempts;
        run.at_byte = 0;
        run.said.clear();
        // What it asked is superseded, too.
        run.waiting = None;
        run.asks_next.clear();
        let (turn, attempt) = (run.turn.clone(), run.attempt);
        let failed = Fact::AttemptFailed {
            turn: turn.clone(),
            attempt: attempt - 1,
            fault: Box::new(fault.clone()),
        };
        self.journal(None, failed, ctx);
        let fault = Some(Box::new(fault));
        self.stage_event(keel_wire::TurnStarted {
            turn,
            attempt,
            fault,
        });
    }

    /// It failed, and waits before it tries again.
    fn run_retries(&mut self, in_ms: u64, failure: RunFailure, ctx: &mut Ctx<'_>) {
        let Some(run) = &self.run else { return };
        let (turn, attempt) = (run.turn.clone(), run.attempt);
        let fault = Box::new(self.run_fault(failure, ctx).turn(&turn));
        self.stage_event(TurnRetrying {
            turn,
            attempt,
            in_ms,
            fault,
        });
    }

    fn run_is_bound(&mut self, provider: String, id: String) {
        let Some(run) = &self.run else { return };
        let turn = run.turn.clone();
        let known = self.fold.agent.as_ref();
        let known = known.is_some_and(|known| known.id == id && known.provider == provider);
        if known || id.len() > AGENT_ID_BYTES_MAX {
            return;
        }
        self.stage_event(AgentBound { turn, provider, id });
    }

    /// A step on the way to its end; each is told once.
    fn run_is_stopping(&mut self, step: CancelStep, by: Option<&ParticipantId>) {
        let Some(run) = self.run.as_mut() else { return };
        let is_next = run.stopping.is_none_or(|last| rung(last) < rung(step));
        if !is_next || !run.is_stopping() {
            return;
        }
        run.stopping = Some(step);
        let turn = run.turn.clone();
        self.stage_event(TurnCancelling {
            turn,
            step,
            by: by.cloned(),
        });
    }

    fn run_fault(&self, failure: RunFailure, ctx: &mut Ctx<'_>) -> Fault {
        let fault = ctx
            .fault_of(failure.code, Origin::Provider)
            .session(&self.id)
            .message(failure.message);
        let fault = fault.details(failure.detail);
        let fault = match failure.retry {
            Some(retry) => fault.retry(retry),
            None => fault,
        };
        failure.causes.into_iter().fold(fault, Fault::caused_by)
    }

    /// A run is over.
    pub(crate) fn run_ended(&mut self, id: RunId, end: RunEnd, ctx: &mut Ctx<'_>) {
        ctx.runs.end(id);
        if self.dying == Some(id) {
            self.dying = None;
            self.start_next(ctx);
            return self.note_idle(ctx.now.mono);
        }
        let Some(run) = self.run.as_ref().filter(|run| run.id == id) else {
            return;
        };
        let turn = run.turn.clone();
        match end {
            RunEnd::Done { mut stop_reason } => {
                if let Some(reason) = &mut stop_reason {
                    reason.truncate(reason.floor_char_boundary(STOP_REASON_BYTES_MAX));
                }
                self.end_turn(&turn, TurnEnd::Done, stop_reason, None, ctx);
            }
            RunEnd::Cancelled { forced } => {
                if forced {
                    self.run_is_stopping(CancelStep::Killing, None);
                }
                self.end_turn(&turn, TurnEnd::Cancelled, None, None, ctx);
            }
            // It was asked to stop, and its manner of stopping is not held against it.
            RunEnd::Failed(_) if run.cancelled_at.is_some() => {
                self.end_turn(&turn, TurnEnd::Cancelled, None, None, ctx);
            }
            RunEnd::Failed(failure) => self.run_failed(&turn, failure, ctx),
        }
        self.start_next(ctx);
    }

    fn run_failed(&mut self, turn: &TurnId, failure: RunFailure, ctx: &mut Ctx<'_>) {
        let silent = self.turns.front().is_some_and(|turn| !turn.surfaced);
        let attempts = self.turns.front().map_or(0, |turn| turn.attempts);
        let allowed = ctx
            .config
            .backends
            .get(&self.row.backend)
            .map_or(1, |b| b.attempts.max(1));
        let fault = self.run_fault(failure, ctx).turn(turn);
        let fault = match &self.run {
            Some(run) => self.blame_run(run.id, fault),
            None => fault,
        };
        let prompt = self.turns.front().map_or("", |turn| turn.prompt.as_str());
        self.quarantine.failed(prompt, &fault);
        let held = self.quarantine.holds_ms(prompt, ctx.now.wall).is_some();
        let again = matches!(
            &fault.code,
            keel_wire::FaultCode::Known(
                Code::ProviderCrashed | Code::ProviderSpawn | Code::ProviderTimeout
            )
        );
        if silent && again && attempts < allowed && !held {
            let fact = Fact::AttemptFailed {
                turn: turn.clone(),
                attempt: attempts,
                fault: Box::new(fault.clone()),
            };
            self.journal(None, fact, ctx);
            let before = self.run.take();
            self.start_attempt(Some(Box::new(fault)), ctx);
            return self.words_go_on(before);
        }
        self.end_turn(turn, TurnEnd::Failed, None, Some(fault), ctx);
    }

    /// Asks the run to stop; its turn ends when it has, or when its time to do so is over.
    pub(super) fn cancel_run(
        &mut self,
        by: Option<&ParticipantId>,
        stop_for: Option<StopFor>,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(run) = self.run.as_mut() else { return };
        run.stopped_for = run.stopped_for.or(stop_for);
        if run.cancelled_at.replace(ctx.now.mono).is_some() {
            return;
        }
        if run.begun_at.is_some() {
            ctx.out.push(Output::CancelRun { run: run.id });
            self.run_is_stopping(CancelStep::Asked, by);
        } else {
            // It was never begun, and will not be.
            let turn = run.turn.clone();
            self.end_turn(&turn, TurnEnd::Cancelled, None, None, ctx);
            self.start_next(ctx);
        }
    }

    /// Gives a run up: it is killed, and nothing else runs until it is gone.
    pub(super) fn kill_run(&mut self, ctx: &mut Ctx<'_>) {
        let Some(run) = &self.run else { return };
        if run.begun_at.is_some() {
            self.dying = Some(run.id);
            ctx.out.push(Output::KillRun { run: run.id });
        }
    }

    /// When a clock of the run is due.
    pub(super) fn run_deadline(&self, clocks: &TurnClocks) -> Option<Deadline> {
        let run = self.run.as_ref()?;
        let stall = run.stall_at().map(|at| Deadline {
            at,
            why: "turn stalled",
        });
        Deadline::earlier(run.clock(clocks), stall)
    }

    /// Looks at the run's clocks.
    pub(super) fn check_run(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let backend = ctx.config.backends.get(&self.row.backend);
        let clocks = backend.map_or_else(TurnClocks::default, |backend| backend.clocks);
        let Some(run) = self.run.as_ref() else { return };
        if run.stall_at().is_some_and(|at| at <= now) {
            self.tell_stalled(ctx);
        }
        let Some(run) = self.run.as_ref() else { return };
        let Some(clock) = run.clock(&clocks).filter(|clock| clock.at <= now) else {
            return;
        };
        let turn = run.turn.clone();
        match clock.why {
            "answer" => self.nobody_answered(ctx),
            "cancel" => {
                self.run_is_stopping(CancelStep::Killing, None);
                self.kill_run(ctx);
                self.end_turn(&turn, TurnEnd::Cancelled, None, None, ctx);
            }
            why => {
                let silent_ms = run.silent_since().map_or(0, |since| now.ms_since(since));
                let fault = ctx
                    .fault_of(Code::ProviderTimeout, Origin::Provider)
                    .detail("clock", why)
                    .detail("silent_ms", silent_ms);
                self.kill_run(ctx);
                self.end_turn(&turn, TurnEnd::Failed, None, Some(fault), ctx);
            }
        }
    }

    fn tell_stalled(&mut self, ctx: &mut Ctx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let Some(since) = run.silent_since() else {
            return;
        };
        run.stall_told = true;
        let (turn, silent_ms) = (run.turn.clone(), ctx.now.mono.ms_since(since));
        let data = json!({ "turn": turn, "silent_ms": silent_ms });
        let frame = Ephemeral {
            kind: "turn.stalled".to_owned(),
            data: RawData::from_value(&data),
        };
        self.tell_all(&frame.into(), ctx);
        let fault = ctx
            .fault_of(Code::ProviderTimeout, Origin::Provider)
            .session(&self.id)
            .turn(&turn)
            .message("nothing has been heard from the program for a while")
            .detail("silent_ms", silent_ms);
        self.journal(None, Fact::TurnStalled { turn, silent_ms }, ctx);
        self.backend_stalls(fault, ctx);
    }
}

/// The steps of stopping a run follow each other.
const fn rung(step: CancelStep) -> u8 {
    match step {
        CancelStep::Asked => 0,
        CancelStep::Terminating => 1,
        CancelStep::Killing => 2,
    }
}
