//! From staged to told: one commit in flight a session, and nothing told before its commit.
//!
//! What arrives while a commit is in flight forms the next one, so that a busy session writes few
//! large batches and an idle one writes at once; text may wait a little longer (`gather`). A batch that
//! was not written is written again, as it is; one whose fate is unknown is looked up first. Neither is
//! told meanwhile.

use std::sync::Arc;

use keel_wire::{
    CommandId, Event, ReceiptBody, Seq, StreamId, Text,
    journal::Fact,
    limits::TEXT_BYTES_MAX,
    record::{Batch, SearchText, SlotRow, StoredEvent, StoredReceipt, StoredSnapshot},
};

use super::{
    Session,
    gather::{Gather, Gathered},
    health::StoreLeg,
};
use crate::{
    Instant, audit, limits,
    node::{Answer, AskId, CommitFailure, ConnId, Ctx, Output, RunId},
    ring::Frame,
};

/// What happens once a batch is committed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    /// A new participant may be welcomed.
    Welcome { conn: ConnId },
    /// A place in line may be told.
    TellQueued,
    /// A run may begin.
    Begin { run: RunId },
    /// Words may be given to a run.
    Steer { run: RunId, command: CommandId },
    /// So many bytes of a run's output are kept; as many more may be read.
    Credit { run: RunId, bytes: usize },
    /// The end may be told.
    TellEnd,
    /// The end may be told to one who has no part in the log.
    TellEndTo { conn: ConnId },
    /// A command that came over HTTP may be answered.
    Reply { ask: AskId, command: CommandId },
    /// Who asked over HTTP for the session to begin or to end may be answered.
    ReplyDone { ask: AskId },
    /// The machine panics, because this command asked for that.
    Panic { command: CommandId },
}

/// What the next batch will write.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    events: Vec<(Seq, Event)>,
    receipts: Vec<StoredReceipt>,
    streams: Vec<StreamId>,
    streams_dropped: Vec<StreamId>,
    effects: Vec<Effect>,
    row: bool,
    /// What turns that ended are found by.
    search: Vec<SearchText>,
    /// Pieces of text in it.
    pieces: usize,
}

impl Stage {
    /// How much text there is, if there is nothing else.
    fn text_alone(&self) -> Option<Gathered> {
        let [(_, Event::Text(text))] = &self.events[..] else {
            return None;
        };
        let follows_from_text = |effect: &Effect| matches!(effect, Effect::Credit { .. });
        let alone = self.streams.is_empty()
            && self.receipts.is_empty()
            && self.streams_dropped.is_empty()
            && self.effects.iter().all(follows_from_text)
            && self.search.is_empty()
            && !self.row;
        alone.then_some(Gathered {
            bytes: text.data.len(),
            pieces: self.pieces,
        })
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.receipts.is_empty()
            && self.streams_dropped.is_empty()
            && self.effects.is_empty()
            && !self.row
    }
}

/// The batch that is being written.
#[derive(Debug)]
pub(crate) struct InFlight {
    n: u64,
    batch: Arc<Batch>,
    events: Vec<Event>,
    effects: Vec<Effect>,
    sent_at: Instant,
    /// It was not acknowledged; what comes next, and when.
    retry: Option<(Instant, Retry)>,
    /// It may have been written or not, and the log's end was asked for.
    looking: bool,
    refusals: u32,
}

/// What comes after a commit that was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// It was not written: write it again.
    Write,
    /// It may have been written: look where the log ends.
    Look,
}

impl Session {
    /// Stages an event; it gets its position now and is told when it is committed.
    pub(super) fn stage_event(&mut self, event: impl Into<Event>) -> Seq {
        self.staged = self.staged.next();
        self.stage.events.push((self.staged, event.into()));
        self.staged
    }

    /// Stages text, put together with what was staged just before where it belongs to the same run.
    pub(super) fn stage_text(&mut self, text: Text) {
        self.stage.pieces += 1;
        if let Some((_, Event::Text(last))) = self.stage.events.last_mut()
            && last.turn == text.turn
            && last.attempt == text.attempt
            && last.data.len() + text.data.len() <= TEXT_BYTES_MAX
        {
            last.data.push_str(&text.data);
            return;
        }
        self.stage_event(text);
    }

    pub(super) fn stage_receipt(&mut self, receipt: StoredReceipt) {
        self.stage_stream(&receipt.stream);
        self.stage.receipts.push(receipt);
    }

    pub(super) fn stage_stream(&mut self, stream: &StreamId) {
        self.stage.streams_dropped.retain(|gone| gone != stream);
        if !self.stage.streams.contains(stream) {
            self.stage.streams.push(stream.clone());
        }
    }

    pub(super) fn stage_stream_drop(&mut self, stream: StreamId) {
        self.stage.streams.retain(|touched| *touched != stream);
        self.stage.streams_dropped.push(stream);
    }

    /// Stages what a turn that ends with this batch is found by.
    pub(super) fn stage_search(&mut self, text: SearchText) {
        self.stage.search.push(text);
    }

    /// Stages the row alone: its slot or its end changed.
    pub(super) const fn stage_row(&mut self) {
        self.stage.row = true;
    }

    pub(super) fn after_commit(&mut self, effect: Effect) {
        // Credits of one run add up; everything else happens once each.
        if let Effect::Credit { run, bytes } = effect {
            for staged in &mut self.stage.effects {
                if let Effect::Credit {
                    run: same,
                    bytes: sum,
                } = staged
                    && *same == run
                {
                    *sum += bytes;
                    return;
                }
            }
        }
        self.stage.effects.push(effect);
    }

    /// Whether a command's receipt is staged or in flight.
    pub(super) fn receipt_is_pending(&self, stream: &StreamId, n: Seq) -> bool {
        let of = |receipt: &StoredReceipt| receipt.stream == *stream && receipt.n == n;
        self.stage.receipts.iter().any(of)
            || self
                .inflight
                .as_ref()
                .is_some_and(|batch| batch.batch.receipts.iter().any(of))
    }

    /// The batch that the store has not answered yet.
    pub(crate) fn writing(&self) -> Option<u64> {
        let inflight = self.inflight.as_ref()?;
        let asked = inflight.retry.is_none() && !inflight.looking;
        asked.then_some(inflight.n)
    }

    /// Questions over HTTP that are answered after a commit.
    pub(crate) fn asks(&self) -> Vec<AskId> {
        let inflight = self.inflight.iter().flat_map(|batch| &batch.effects);
        let asks = inflight.chain(&self.stage.effects).filter_map(|effect| {
            if let Effect::Reply { ask, .. } | Effect::ReplyDone { ask } = effect {
                Some(*ask)
            } else {
                None
            }
        });
        asks.collect()
    }

    /// Whether everything staged is committed.
    pub(crate) fn is_settled(&self) -> bool {
        self.inflight.is_none() && self.stage.is_empty()
    }

    /// Sends the next batch, if one is due and none is in flight.
    pub(super) fn flush(&mut self, ctx: &mut Ctx<'_>) {
        if self.inflight.is_some() || self.stage.is_empty() || self.stands_still() {
            return;
        }
        let now = ctx.now.mono;
        let text = self.stage.text_alone();
        let runs = ctx.runs.len();
        if text.is_some_and(|text| self.gather.holds(text, runs, now)) {
            return;
        }
        let stage = std::mem::take(&mut self.stage);
        self.gather.sent(stage.pieces > 0, now);
        let fresh = self.committed == Seq::ZERO;
        // Every listing is in its order: text alone moves it in steps.
        let lasted = ctx.now.wall.saturating_sub(self.row.last_activity);
        if text.is_none() || lasted >= limits::ACTIVITY_STEP_MS {
            self.row.last_activity = ctx.now.wall;
        }
        self.row.head = self.staged;
        self.row.open_turn = !self.turns.is_empty();
        let asks = self.run.as_ref().is_some_and(|run| run.waiting.is_some());
        self.row.waiting = asks || matches!(self.row.slot, Some(SlotRow::Waiting { .. }));
        let batch = Batch {
            fence: ctx.config.fence,
            expected: (!fresh).then_some(self.committed),
            row: self.row.clone(),
            events: stage
                .events
                .iter()
                .map(|(seq, event)| stored(*seq, event))
                .collect(),
            receipts: stage.receipts,
            streams: stage
                .streams
                .iter()
                .filter_map(|id| self.stream_row(id))
                .collect(),
            streams_dropped: stage.streams_dropped,
            snapshot: self.snapshot_due(),
            compact: if fresh {
                None
            } else {
                self.compactable.pop_front()
            },
            search: stage.search,
        };
        let inflight = InFlight {
            n: ctx.mint.number(),
            batch: Arc::new(batch),
            events: stage.events.into_iter().map(|(_, event)| event).collect(),
            effects: stage.effects,
            sent_at: ctx.now.mono,
            retry: None,
            looking: false,
            refusals: 0,
        };
        self.send_commit(&inflight, ctx);
        self.inflight = Some(inflight);
    }

    fn send_commit(&self, inflight: &InFlight, ctx: &mut Ctx<'_>) {
        ctx.out.push(Output::Commit {
            session: self.id.clone(),
            n: inflight.n,
            batch: Arc::clone(&inflight.batch),
        });
    }

    fn snapshot_due(&self) -> Option<Box<StoredSnapshot>> {
        let due = self.committed.since(self.snapshot_seq) >= limits::SNAPSHOT_EVERY_EVENTS;
        due.then(|| {
            Box::new(StoredSnapshot {
                seq: self.committed,
                snapshot: self.fold.clone(),
                prompts: self.prompts(),
                begin_by: self.begin_by(),
                crashed: self.quarantine.keep(),
                memory: self.memory.keep(),
            })
        })
    }

    /// The store has written batch `n`.
    pub(crate) fn committed_batch(&mut self, n: u64, ctx: &mut Ctx<'_>) {
        let Some(mut inflight) = self.inflight.take_if(|inflight| inflight.n == n) else {
            tracing::debug!(session = %self.id, n, "a commit was answered that is not in flight");
            return;
        };
        let batch = &inflight.batch;
        assert!(batch.row.head >= self.committed, "a log only grows");
        let ring_max = if self.has_connections() {
            limits::RING_BYTES_MAX
        } else {
            limits::RING_IDLE_BYTES_MAX
        };
        for (event, stored) in inflight.events.iter().zip(&batch.events) {
            if let Some(law) = audit::check(&self.fold, event) {
                tracing::error!(session = %self.id, at = %stored.from, law, "a law does not hold");
                self.journal(
                    None,
                    Fact::AuditFailed {
                        law: law.to_owned(),
                    },
                    ctx,
                );
            }
            self.fold.apply(event);
            self.memory.apply(event, &self.fold);
            self.ring.push(Frame::from(stored), ring_max);
        }
        self.committed = batch.row.head;
        if let Some(snapshot) = &batch.snapshot {
            self.snapshot_seq = snapshot.seq;
        }
        self.store_answered(inflight.sent_at, ctx);
        self.gather.took(ctx.now.mono.since(inflight.sent_at));
        for receipt in &batch.receipts {
            self.keep_receipt(receipt, ctx);
        }
        // Whoever waits for an answer has it before a panic.
        inflight
            .effects
            .sort_by_key(|effect| matches!(effect, Effect::Panic { .. }));
        for effect in inflight.effects {
            self.effect(effect, ctx);
        }
        self.trim(ctx);
        self.flush(ctx);
        self.pump_committed(ctx);
    }

    fn effect(&mut self, effect: Effect, ctx: &mut Ctx<'_>) {
        match effect {
            Effect::Welcome { conn } => self.welcome_new(conn, ctx),
            Effect::TellQueued => self.tell_queued(ctx),
            Effect::Begin { run } => self.begin_run(run, ctx),
            Effect::Steer { run, command } => self.give_words(run, &command, ctx),
            Effect::Credit { run, bytes } => self.credit_run(run, bytes, ctx),
            Effect::TellEnd => self.end_is_committed(ctx),
            Effect::TellEndTo { conn } => self.tell_end_to_stranger(conn, ctx),
            Effect::Reply { ask, command } => self.reply_committed(ask, &command, ctx),
            Effect::ReplyDone { ask } => ctx.reply(ask, Answer::Receipt(ReceiptBody::ok())),
            Effect::Panic { command } => {
                self.doing = Some(command);
                panic!("injected");
            }
        }
    }

    /// Trims below the stored snapshot what retention no longer keeps.
    fn trim(&mut self, ctx: &mut Ctx<'_>) {
        let keep_from = Seq::new(
            self.committed
                .get()
                .saturating_sub(ctx.config.retain_events),
        )
        .unwrap_or(Seq::ZERO);
        let through = keep_from.min(self.snapshot_seq);
        // In steps, so that a busy log is not trimmed at every commit.
        if through.since(self.row.trimmed) >= limits::SNAPSHOT_EVERY_EVENTS {
            self.row.trimmed = through;
            ctx.out.push(Output::Trim {
                session: self.id.clone(),
                through,
            });
        }
    }

    /// The store has not acknowledged batch `n`.
    pub(crate) fn commit_failed(&mut self, n: u64, failure: CommitFailure, ctx: &mut Ctx<'_>) {
        let Some(inflight) = self.inflight.as_mut().filter(|inflight| inflight.n == n) else {
            return;
        };
        match failure {
            CommitFailure::NotWritten { error } => {
                inflight.refuse(ctx.now.mono, Retry::Write);
                self.store_refused(&error, ctx);
            }
            CommitFailure::Unknown { error } => {
                inflight.looking = true;
                self.store_refused(&error, ctx);
                ctx.out.push(Output::Head {
                    session: self.id.clone(),
                });
            }
            CommitFailure::Fenced | CommitFailure::Conflict => {
                tracing::error!(session = %self.id, ?failure, "the log is not this server's to write");
                self.lose_ownership(ctx);
            }
        }
    }

    /// Where the log ends, after a commit whose fate was unknown.
    pub(crate) fn head_is(&mut self, head: Result<Option<Seq>, String>, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        // An answer to another question than this batch's says nothing.
        let Some(inflight) = self.inflight.as_mut().filter(|batch| batch.looking) else {
            return;
        };
        inflight.looking = false;
        let (n, batch) = (inflight.n, &inflight.batch);
        match head {
            Err(_) => inflight.refuse(now, Retry::Look),
            Ok(head) if head == Some(batch.row.head) && head != batch.expected => {
                self.committed_batch(n, ctx);
            }
            // A batch without events leaves the end where it was, and may be written twice.
            Ok(head) if head == batch.expected => inflight.refuse(now, Retry::Write),
            Ok(head) => {
                tracing::error!(session = %self.id, ?head, "the log ends where nobody wrote");
                self.lose_ownership(ctx);
            }
        }
    }

    /// When a batch that was not acknowledged is taken up again.
    pub(super) fn commit_retry_at(&self) -> Option<Instant> {
        self.inflight.as_ref()?.retry.map(|(at, _)| at)
    }

    /// When the batch in flight is late enough to tell.
    pub(super) fn commit_slow_at(&self) -> Option<Instant> {
        let inflight = self.inflight.as_ref()?;
        let quiet = matches!(self.store, StoreLeg::Up) && inflight.retry.is_none();
        quiet.then(|| inflight.sent_at + limits::STORE_SLOW_AFTER)
    }

    /// Takes a batch up again that was not acknowledged, if that is due.
    pub(super) fn retry_commit(&mut self, ctx: &mut Ctx<'_>) {
        let Some(mut inflight) = self.inflight.take() else {
            return;
        };
        match inflight.retry.take_if(|(at, _)| *at <= ctx.now.mono) {
            Some((_, Retry::Write)) => {
                inflight.n = ctx.mint.number();
                inflight.sent_at = ctx.now.mono;
                self.send_commit(&inflight, ctx);
            }
            Some((_, Retry::Look)) => {
                inflight.looking = true;
                ctx.out.push(Output::Head {
                    session: self.id.clone(),
                });
            }
            None => {}
        }
        self.inflight = Some(inflight);
    }

    /// Another server writes this log: everyone is sent away to find it, nothing is written.
    fn lose_ownership(&mut self, ctx: &mut Ctx<'_>) {
        for ask in self.asks() {
            let fault = ctx.fault(keel_wire::Code::ServerShutdown).session(&self.id);
            let body = ReceiptBody::Fault(Box::new(fault));
            ctx.reply(ask, Answer::Receipt(body));
        }
        self.inflight = None;
        self.stage = Stage::default();
        self.gather = Gather::default();
        for conn in self.connections() {
            let fault = ctx.fault(keel_wire::Code::ServerShutdown).session(&self.id);
            ctx.conns.refuse(conn, fault, ctx.out);
        }
        self.kill_run(ctx);
        self.release_provider(ctx);
        if let Some(admission) = ctx.admissions.get_mut(&self.row.backend) {
            admission.release(&self.id, ctx.now.mono);
        }
        self.lost = true;
        self.journal(
            None,
            Fact::AuditFailed {
                law: "one writer".to_owned(),
            },
            ctx,
        );
    }
}

impl InFlight {
    fn refuse(&mut self, now: Instant, retry: Retry) {
        self.refusals += 1;
        let step = limits::STORE_RETRY_BASE * (1 << (self.refusals - 1).min(6));
        self.retry = Some((now + step.min(limits::STORE_RETRY_CAP), retry));
    }
}

fn stored(seq: Seq, event: &Event) -> StoredEvent {
    StoredEvent {
        from: seq,
        to: seq,
        kind: event.name().into(),
        data: event.encode_data(),
    }
}
