//! Counters and histograms. Every label is from a closed set: no peer can make a new series.
//!
//! Each server has a recorder of its own, so that several in one process do not mix.

use std::{sync::Arc, time::Duration};

use keel_core::node::Census;
use keel_wire::{CloseCode, Code, Fault, FaultCode, Joined, Strategy, journal::Fact};
use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// Counts what happens. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Meter {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meter")
    }
}

impl Meter {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .expect("there are buckets");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        let meter = Self {
            recorder: Arc::new(recorder),
            handle,
        };
        // Series that matter when they are not there are there from the start.
        meter.run(|| {
            counter!("evenkeel_logs_dropped_total").absolute(0);
            gauge!("evenkeel_stalled").set(0.0);
        });
        meter
    }

    fn run<T>(&self, f: impl FnOnce() -> T) -> T {
        with_local_recorder(&*self.recorder, f)
    }

    /// The Prometheus text format.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Puts away what histograms have gathered.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    pub(crate) fn stalled(&self, stalled: bool) {
        self.run(|| gauge!("evenkeel_stalled").set(if stalled { 1.0 } else { 0.0 }));
        if stalled {
            self.stood_still("driver");
        }
    }

    /// What the gauge forgets when it is over.
    pub(crate) fn stood_still(&self, task: &'static str) {
        self.run(|| counter!("evenkeel_stalls_total", "task" => task).increment(1));
    }

    pub(crate) fn tls_days_left(&self, days: i64) {
        #[expect(clippy::cast_precision_loss, reason = "days are far below 2^52")]
        self.run(|| gauge!("evenkeel_tls_days_left").set(days as f64));
    }

    pub(crate) fn tls_reloaded(&self, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.run(|| counter!("evenkeel_tls_reloads_total", "outcome" => outcome).increment(1));
    }

    pub(crate) fn datagrams_dropped(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.run(|| counter!("evenkeel_media_datagrams_dropped_total").increment(count));
    }

    /// An offer that met one of ours: its maker makes it again.
    pub(crate) fn offer_passed_over(&self) {
        self.run(|| {
            counter!("evenkeel_media_offers_passed_over_total", "why" => "glare").increment(1)
        });
    }

    /// Datagrams for media that were dropped unread.
    pub(crate) fn datagrams_refused(&self, refused: keel_media::Refused) {
        let keel_media::Refused { strangers, overrun } = refused;
        for (why, count) in [("stranger", strangers), ("overrun", overrun)] {
            if count > 0 {
                self.run(|| {
                    counter!("evenkeel_media_datagrams_refused_total", "why" => why)
                        .increment(count);
                });
            }
        }
    }

    pub(crate) fn refused(&self, why: &'static str) {
        self.run(|| counter!("evenkeel_refused_total", "why" => why).increment(1));
    }

    /// A connection was closed by this server.
    pub(crate) fn closed(&self, code: &'static str) {
        self.run(|| counter!("evenkeel_closed_total", "code" => code).increment(1));
    }

    pub(crate) fn violation(&self, close: u16) {
        self.run(|| {
            counter!("evenkeel_websocket_violations_total", "close" => close.to_string())
                .increment(1);
        });
    }

    pub(crate) fn input_handled(&self, took: Duration) {
        self.run(|| histogram!("evenkeel_input_seconds").record(took));
    }

    pub(crate) fn stored(&self, op: &'static str, took: Duration, ok: bool) {
        let outcome = if ok { "ok" } else { "failed" };
        self.run(|| {
            histogram!("evenkeel_store_seconds", "op" => op, "outcome" => outcome).record(took);
        });
    }

    pub(crate) fn journal_dropped(&self, count: u64) {
        self.run(|| counter!("evenkeel_logs_dropped_total").increment(count));
    }

    pub(crate) fn census(&self, census: &Census) {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let set = |name: &'static str, value: usize| gauge!(name).set(value as f64);
        self.run(|| {
            set("evenkeel_sessions", census.sessions);
            set("evenkeel_connections", census.connections);
            set("evenkeel_attached", census.attached);
            set("evenkeel_runs", census.runs);
            set("evenkeel_slots_held", census.slots_held);
            set("evenkeel_slots_waiting", census.slots_waiting);
            set("evenkeel_media_transports", census.peers);
            set("evenkeel_draining", usize::from(census.draining));
            set("evenkeel_overloaded", usize::from(census.overloaded));
            set("evenkeel_memory_short", usize::from(census.memory_short));
            let waited = Duration::from_millis(census.input_wait_ms);
            gauge!("evenkeel_input_wait_seconds").set(waited.as_secs_f64());
        });
    }

    pub(crate) fn fact(&self, fact: &Fact) {
        self.run(|| {
            counter!("evenkeel_facts_total", "fact" => fact_name(fact)).increment(1);
            if let Some(fault) = fault_of(fact) {
                let code = code_label(&fault.code);
                counter!("evenkeel_faults_total", "code" => code).increment(1);
            }
            recovery(fact);
        });
    }
}

fn recovery(fact: &Fact) {
    let Fact::Connected {
        how,
        strategy: Some(strategy),
        away_ms,
        evidence,
        ..
    } = fact
    else {
        return;
    };
    let strategy = match strategy {
        Strategy::Fast => "fast",
        Strategy::Rejoin => "rejoin",
        Strategy::Migrate => "migrate",
    };
    let cause = evidence
        .as_ref()
        .map_or("unknown", |evidence| code_label(&evidence.code));
    let outcome = match how {
        Joined::Created => "created",
        Joined::Joined => "joined",
        Joined::Resumed => "resumed",
        Joined::Rejoined => "rejoined",
    };
    let told_ms = evidence.as_ref().map(|evidence| evidence.lost_ms);
    if let Some(ms) = told_ms.or(*away_ms) {
        histogram!(
            "evenkeel_recovery_seconds",
            "strategy" => strategy, "cause" => cause, "outcome" => outcome
        )
        .record(Duration::from_millis(ms));
    }
}

/// A code's name; those that only a client knows are all one.
pub(crate) fn code_label(code: &FaultCode) -> &'static str {
    match code {
        FaultCode::Known(code) => code.name(),
        FaultCode::Unknown(_) => "unknown",
    }
}

/// The fault that a connection is closed for: by its name, which is the reason, or by the number.
pub(crate) fn close_label(close: CloseCode, reason: &str) -> &'static str {
    let named = Code::ALL.iter().find(|code| code.name() == reason);
    let numbered = || Code::ALL.iter().find(|code| code.close() == Some(close));
    named.or_else(numbered).map_or("none", |code| code.name())
}

pub(crate) fn fault_of(fact: &Fact) -> Option<&Fault> {
    match fact {
        Fact::ConnectionLost { fault, .. }
        | Fact::Refused { fault }
        | Fact::AttemptFailed { fault, .. }
        | Fact::AnswerRefused { fault, .. }
        | Fact::ProtocolError { fault }
        | Fact::StoreFailed { fault }
        | Fact::MediaLost { fault }
        | Fact::Panicked { fault } => Some(fault),
        Fact::Gap { fault, .. } | Fact::TurnEnded { fault, .. } => fault.as_deref(),
        Fact::Activated { .. }
        | Fact::Hibernated
        | Fact::Connected { .. }
        | Fact::Replayed { .. }
        | Fact::Detached
        | Fact::Superseded { .. }
        | Fact::Queued { .. }
        | Fact::Granted { .. }
        | Fact::Released
        | Fact::TurnStarted { .. }
        | Fact::TurnStalled { .. }
        | Fact::StoreHealed { .. }
        | Fact::MediaRecovered { .. }
        | Fact::Injected { .. }
        | Fact::AuditFailed { .. }
        | Fact::Ended { .. } => None,
    }
}

pub(crate) fn fact_name(fact: &Fact) -> &'static str {
    match fact {
        Fact::Activated { .. } => "activated",
        Fact::Hibernated => "hibernated",
        Fact::Connected { .. } => "connected",
        Fact::Replayed { .. } => "replayed",
        Fact::ConnectionLost { .. } => "connection_lost",
        Fact::Detached => "detached",
        Fact::Refused { .. } => "refused",
        Fact::Superseded { .. } => "superseded",
        Fact::Gap { .. } => "gap",
        Fact::Queued { .. } => "queued",
        Fact::Granted { .. } => "granted",
        Fact::Released => "released",
        Fact::TurnStarted { .. } => "turn_started",
        Fact::TurnStalled { .. } => "turn_stalled",
        Fact::AttemptFailed { .. } => "attempt_failed",
        Fact::AnswerRefused { .. } => "answer_refused",
        Fact::TurnEnded { .. } => "turn_ended",
        Fact::ProtocolError { .. } => "protocol_error",
        Fact::StoreFailed { .. } => "store_failed",
        Fact::StoreHealed { .. } => "store_healed",
        Fact::MediaLost { .. } => "media_lost",
        Fact::MediaRecovered { .. } => "media_recovered",
        Fact::Panicked { .. } => "panicked",
        Fact::Injected { .. } => "injected",
        Fact::AuditFailed { .. } => "audit_failed",
        Fact::Ended { .. } => "ended",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_counted_as_the_fault_that_it_is_for() {
        let full = CloseCode(4503);
        assert_eq!(close_label(full, "at_capacity"), "at_capacity");
        assert_eq!(close_label(full, "in words"), "at_capacity");
        // A fault without a close code borrows one; its name says which it is.
        assert_eq!(close_label(CloseCode(4010), "superseded"), "superseded");
        assert_eq!(close_label(CloseCode(1000), "made up by a peer"), "none");
    }
}
