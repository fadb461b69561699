//! Why a session is as it is, in one sentence: the last thing that went wrong, read from its journal.
//!
//! A journal holds what the server saw; what a client saw of a loss comes with the hello of its
//! recovery. The server's own words about the end come first where it had any, the client's evidence
//! next, and what the server's transport told last.

mod told;

use std::collections::BTreeMap;

use keel_wire::{
    CloseCode, Code, EndReason, Evidence, Fault, FaultCode, Joined, Origin, ParticipantId, Range,
    Strategy, TurnEnd, UnixMillis,
    journal::{Entry, Fact},
};
use serde::{Serialize, Serializer};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing went wrong, as far as the journal goes back.
    Healthy,
    /// It was put right, without anybody's doing.
    Recovered,
    /// It has not been put right yet.
    Recovering,
    /// It came to nothing: a turn failed, somebody was refused, or nobody came back.
    Failed,
}

/// Who saw what as the cause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Observed {
    /// The server; null where it noticed nothing.
    pub server: Option<FaultCode>,
    /// The client; null where it said nothing.
    pub client: Option<FaultCode>,
}

/// What the incident was about, for the sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    Nothing,
    Connection {
        strategy: Option<Strategy>,
        attempts: Option<u32>,
    },
    Refusal,
    Turn(TurnEnd),
    Store,
    Session,
}

/// The last thing that went wrong, and what became of it. `docs/results.md` defines its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// What became of it.
    pub verdict: Verdict,
    /// The first cause; null when nothing went wrong.
    pub cause: Option<FaultCode>,
    /// Where to look; null when nothing went wrong.
    #[serde(serialize_with = "told::origin")]
    pub blame: Option<Origin>,
    /// Who saw what.
    pub observed: Observed,
    /// Milliseconds from the last byte to being told; null where no connection was lost.
    pub told_ms: Option<u64>,
    /// Milliseconds from being told to all being as before; null where it is not, or never broke.
    pub recovered_ms: Option<u64>,
    /// Events that were delivered late.
    pub replayed: u64,
    /// Positions of the log that were passed over, with a snapshot in their place.
    pub lost: u64,
    /// Events that the auditor found twice.
    pub duplicated: u64,
    /// When it began, by the server's clock.
    #[serde(skip)]
    pub at: Option<UnixMillis>,
    #[serde(skip)]
    about: About,
}

/// A connection that the server knows to be lost.
struct Loss {
    at: UnixMillis,
    fault: Fault,
    silent_ms: u64,
    close: Option<CloseCode>,
}

#[derive(Default)]
struct Reader {
    losses: BTreeMap<ParticipantId, Loss>,
    /// The last incident, and whose it is.
    last: Option<(Option<ParticipantId>, Why)>,
    /// A server was there before this one and was cut off, or stopped.
    restarted: bool,
    hibernated: bool,
    seen: bool,
}

/// Explains a journal, oldest entry first.
#[must_use]
pub fn explain(entries: &[Entry]) -> Why {
    let mut reader = Reader::default();
    for entry in entries {
        reader.read(entry);
    }
    reader.verdict()
}

impl Why {
    fn new(about: About, verdict: Verdict, at: UnixMillis, fault: &Fault) -> Self {
        Self {
            verdict,
            cause: Some(fault.code.clone()),
            blame: Some(fault.origin),
            observed: Observed {
                server: Some(fault.code.clone()),
                client: None,
            },
            told_ms: None,
            recovered_ms: None,
            replayed: 0,
            lost: 0,
            duplicated: 0,
            at: Some(at),
            about,
        }
    }

    fn healthy() -> Self {
        Self {
            verdict: Verdict::Healthy,
            cause: None,
            blame: None,
            observed: Observed::default(),
            told_ms: None,
            recovered_ms: None,
            replayed: 0,
            lost: 0,
            duplicated: 0,
            at: None,
            about: About::Nothing,
        }
    }
}

impl Reader {
    fn read(&mut self, entry: &Entry) {
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

    fn verdict(self) -> Why {
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
