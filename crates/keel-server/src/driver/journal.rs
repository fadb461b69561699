//! The journal on its way to the store: counted and logged at once, kept when there is time.

use keel_store::StoreError;
use keel_wire::{
    SessionId,
    journal::{Entry, Fact},
};

use super::Work;
use crate::meter::{code_label, fact_name, fault_of};

/// Entries at which the journal is put away without waiting for the next beat.
const FLUSH_AT: usize = 256;
/// Entries that wait at most; further ones are dropped and counted.
const WAITING_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Journal {
    waiting: Vec<(SessionId, Entry)>,
    flushing: bool,
}

impl Journal {
    /// Everything that waits.
    pub(super) fn take(&mut self) -> Vec<(SessionId, Entry)> {
        std::mem::take(&mut self.waiting)
    }

    /// What is to be put away now; nothing while that is under way.
    pub(super) fn begin_flush(&mut self) -> Option<Vec<(SessionId, Entry)>> {
        if self.flushing || self.waiting.is_empty() {
            return None;
        }
        self.flushing = true;
        Some(self.take())
    }
}

impl Work {
    pub(super) fn keep(&mut self, session: SessionId, entry: Entry) {
        self.meter.fact(&entry.fact);
        log(&session, &entry);
        if self.journal.waiting.len() >= WAITING_MAX {
            self.meter.journal_dropped(1);
            return;
        }
        self.journal.waiting.push((session, entry));
        if self.journal.waiting.len() >= FLUSH_AT {
            self.flush_journal();
        }
    }

    pub(super) fn journal_flushed(&mut self, result: Result<(), (u64, StoreError)>) {
        self.journal.flushing = false;
        if let Err((count, error)) = result {
            self.meter.journal_dropped(count);
            tracing::warn!(count, %error, "journal entries were not kept");
        }
    }
}

/// One line a fact. What people wrote and said is in none of them.
fn log(session: &SessionId, entry: &Entry) {
    let (fact, fault) = (fact_name(&entry.fact), fault_of(&entry.fact));
    let participant = entry.participant.as_ref().map(tracing::field::display);
    let code = fault.map(|fault| code_label(&fault.code));
    let id = fault.map(|fault| tracing::field::display(&fault.id));
    match &entry.fact {
        Fact::AuditFailed { law } => {
            tracing::error!(%session, participant, fact, law, "a law did not hold");
        }
        Fact::Panicked { .. } => {
            tracing::error!(%session, participant, fact, code, fault = id, "a session panicked");
        }
        Fact::Injected { injected } => {
            let (id, injection) = (&injected.id, &injected.fault);
            tracing::warn!(%session, participant, fact, %id, ?injection, "audit: broken on purpose");
        }
        Fact::StoreFailed { .. } => {
            tracing::warn!(%session, fact, code, fault = id, "the store refuses to write");
        }
        Fact::AttemptFailed { turn, attempt, .. } => {
            tracing::warn!(%session, fact, %turn, attempt, code, fault = id, "an attempt failed");
        }
        Fact::AnswerRefused { turn, action, .. } => {
            tracing::warn!(%session, participant, fact, %turn, %action, code, fault = id, "audit: an answer was refused");
        }
        Fact::TurnEnded {
            turn, end, took_ms, ..
        } => {
            tracing::info!(%session, fact, %turn, ?end, took_ms, code, fault = id, "a turn ended");
        }
        Fact::Connected {
            how,
            missed,
            away_ms,
            evidence,
            ..
        } => {
            let cause = evidence.as_ref().map(|evidence| code_label(&evidence.code));
            tracing::info!(%session, participant, fact, ?how, missed, away_ms, cause, "connected");
        }
        Fact::ConnectionLost { silent_ms, .. } => {
            tracing::info!(%session, participant, fact, code, fault = id, silent_ms, "lost");
        }
        Fact::Activated { .. }
        | Fact::Hibernated
        | Fact::Replayed { .. }
        | Fact::Detached
        | Fact::Refused { .. }
        | Fact::Superseded { .. }
        | Fact::Gap { .. }
        | Fact::Queued { .. }
        | Fact::Granted { .. }
        | Fact::Released
        | Fact::TurnStarted { .. }
        | Fact::TurnStalled { .. }
        | Fact::ProtocolError { .. }
        | Fact::StoreHealed { .. }
        | Fact::MediaLost { .. }
        | Fact::MediaRecovered { .. }
        | Fact::Ended { .. } => {
            tracing::info!(%session, participant, fact, code, fault = id, "fact");
        }
    }
}
