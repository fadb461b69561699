//! Reads a journal, entry by entry, and keeps the last incident.

use std::collections::BTreeMap;

use keel_wire::{
    CloseCode, EndReason, Evidence, Fault, Joined, Origin, ParticipantId, Range, Strategy, TurnEnd,
    UnixMillis,
    journal::{Entry, Fact},
};

use super::{About, Observed, Verdict, Why, told};

/// A connection that the server knows to be lost.
struct Loss {
    at: UnixMillis,
    fault: Fault,
    silent_ms: u64,
    close: Option<CloseCode>,
}

#[derive(Default)]
pub(super) struct Reader {
    losses: BTreeMap<ParticipantId, Loss>,
    /// The last incident, and whose it is.
    last: Option<(Option<ParticipantId>, Why)>,
    /// A server was there before this one and was cut off, or stopped.
    restarted: bool,
    hibernated: bool,
    seen: bool,
}

impl Reader {
    pub(super) fn read(&mut self, entry: &Entry) {
        let (at, who) = (entry.at, entry.participant.as_ref());
        match &entry.fact {
            Fact::ConnectionLost {
                fault,
                silent_ms,
                close,
            } => self.lost(at, who, fault, *silent_ms, *close),
            Fact::Connected {
                how,
                strategy,
                missed,
                away_ms,
                evidence,
            } => {
                let came_back = matches!(how, Joined::Resumed | Joined::Rejoined);
                if let Some(who) = who.filter(|_| came_back) {
                    self.came_back(at, who, *strategy, *missed, *away_ms, evidence.as_ref());
                }
                self.seen = true;
                (self.restarted, self.hibernated) = (false, false);
            }
            Fact::Replayed { events, took_ms } => {
                if let Some(why) = self.recovery_of(who) {
                    why.replayed = *events;
                    why.recovered_ms = why.recovered_ms.map(|ms| ms + took_ms);
                }
            }
            Fact::Gap { range, fault } => self.gap(who, *range, fault.as_deref()),
            Fact::Activated { .. } => self.restarted = self.seen && !self.hibernated,
            Fact::Hibernated => self.hibernated = true,
            Fact::Detached => {
                if let Some(who) = who {
                    self.losses.remove(who);
                }
            }
            Fact::Refused { fault } => {
                self.keep(who, Why::new(About::Refusal, Verdict::Failed, at, fault));
            }
            Fact::TurnEnded { end, fault, .. } => {
                let bad = matches!(end, TurnEnd::Failed | TurnEnd::Interrupted);
                if let Some(fault) = fault.as_ref().filter(|_| bad) {
                    self.keep(
                        None,
                        Why::new(About::Turn(*end), Verdict::Failed, at, fault),
                    );
                }
            }
            Fact::StoreFailed { fault } => {
                self.keep(None, Why::new(About::Store, Verdict::Recovering, at, fault));
            }
            Fact::StoreHealed { after_ms } => {
                if let Some((_, why)) = &mut self.last
                    && why.about == About::Store
                {
                    (why.verdict, why.recovered_ms) = (Verdict::Recovered, Some(*after_ms));
                }
            }
            Fact::MediaLost { fault } => {
                self.keep(who, Why::new(About::Media, Verdict::Recovering, at, fault));
            }
            Fact::MediaRecovered { after_ms } => {
                if let Some((whose, why)) = &mut self.last
                    && why.about == About::Media
                    && whose.as_ref() == who
                {
                    (why.verdict, why.recovered_ms) = (Verdict::Recovered, Some(*after_ms));
                }
            }
            Fact::Panicked { fault } => {
                let mut why = Why::new(About::Session, Verdict::Recovered, at, fault);
                why.recovered_ms = Some(0);
                self.keep(None, why);
            }
            Fact::AuditFailed { law } => {
                if let Some((_, why)) = &mut self.last {
                    why.duplicated += u64::from(law.ends_with("once"));
                    why.lost += u64::from(law.ends_with("holes"));
                }
            }
            Fact::Ended { reason } => {
                self.losses.clear();
                if let Some((_, why)) = &mut self.last
                    && *reason == EndReason::Failed
                {
                    why.verdict = Verdict::Failed;
                }
            }
            Fact::Superseded { .. }
            | Fact::Queued { .. }
            | Fact::Granted { .. }
            | Fact::Released
            | Fact::TurnStarted { .. }
            | Fact::TurnStalled { .. }
            | Fact::AttemptFailed { .. }
            | Fact::AnswerRefused { .. }
            | Fact::ProtocolError { .. }
            | Fact::Injected { .. } => {}
        }
    }

    fn lost(
        &mut self,
        at: UnixMillis,
        who: Option<&ParticipantId>,
        fault: &Fault,
        silent_ms: u64,
        close: Option<CloseCode>,
    ) {
        let Some(who) = who else { return };
        let loss = Loss {
            at,
            fault: fault.clone(),
            silent_ms,
            close,
        };
        self.losses.insert(who.clone(), loss);
    }

    fn came_back(
        &mut self,
        at: UnixMillis,
        who: &ParticipantId,
        strategy: Option<Strategy>,
        missed: u64,
        away_ms: Option<u64>,
        evidence: Option<&Evidence>,
    ) {
        let loss = self.losses.remove(who);
        let (server, silent_ms) = match &loss {
            Some(loss) => (Some(&loss.fault), Some(loss.silent_ms)),
            None => (None, None),
        };
        let client = evidence.map(|evidence| &evidence.code);
        let Some(cause) = told::cause(server, client) else {
            return;
        };
        let lost_ms = evidence.map(|evidence| evidence.lost_ms);
        let began = loss.as_ref().map(|loss| loss.at);
        let began = began.unwrap_or_else(|| at.saturating_sub(lost_ms.unwrap_or_default()));
        self.keep(
            Some(who),
            Why {
                verdict: Verdict::Recovered,
                blame: Some(if self.restarted {
                    Origin::Server
                } else {
                    told::blame(&cause, server)
                }),
                observed: Observed {
                    server: server.map(|fault| fault.code.clone()),
                    client: client.cloned(),
                },
                cause: Some(cause),
                told_ms: evidence.map(|evidence| evidence.silent_ms).or(silent_ms),
                recovered_ms: lost_ms.or(away_ms),
                replayed: missed,
                lost: 0,
                duplicated: 0,
                at: Some(began),
                about: About::Connection {
                    strategy,
                    attempts: evidence.map(|evidence| evidence.attempts),
                },
            },
        );
    }

    /// Positions that a participant was passed over. Without a fault it had asked for a snapshot.
    fn gap(&mut self, who: Option<&ParticipantId>, range: Range, fault: Option<&Fault>) {
        if let (Some(why), Some(_)) = (self.recovery_of(who), fault) {
            why.lost += range.to.since(range.from) + 1;
        }
    }

    fn recovery_of(&mut self, who: Option<&ParticipantId>) -> Option<&mut Why> {
        let (whose, why) = self.last.as_mut()?;
        let is_it = whose.as_ref() == who && matches!(why.about, About::Connection { .. });
        is_it.then_some(why)
    }

    fn keep(&mut self, who: Option<&ParticipantId>, why: Why) {
        self.last = Some((who.cloned(), why));
    }

    pub(super) fn verdict(self) -> Why {
        // Who closed on purpose is not missed.
        let missing = self.losses.into_values();
        let missing = missing.filter(|loss| loss.close != Some(CloseCode::NORMAL));
        let newest = missing.max_by_key(|loss| loss.at);
        let last = self.last.map(|(_, why)| why);
        match (newest, last) {
            (Some(loss), last) if last.as_ref().is_none_or(|why| why.at <= Some(loss.at)) => {
                let about = About::Connection {
                    strategy: None,
                    attempts: None,
                };
                let mut why = Why::new(about, Verdict::Recovering, loss.at, &loss.fault);
                why.told_ms = Some(loss.silent_ms);
                why
            }
            (_, Some(why)) => why,
            (_, None) => Why::healthy(),
        }
    }
}
