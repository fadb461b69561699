//! Which witness is believed, and how it is said.

use std::fmt;

use keel_wire::{TurnEnd, UnixMillis};

use super::{About, Code, Fault, FaultCode, Origin, Serializer, Strategy, Verdict, Why};

/// What the server said itself, else what the client saw, else what the server's transport saw.
pub(super) fn cause(server: Option<&Fault>, client: Option<&FaultCode>) -> Option<FaultCode> {
    let said = server.filter(|fault| !is_hearsay(&fault.code));
    let code = said.map(|fault| &fault.code).or(client);
    code.or_else(|| server.map(|fault| &fault.code)).cloned()
}

/// A code that says how a connection went, and not why.
fn is_hearsay(code: &FaultCode) -> bool {
    let vague = [
        Code::TransportError,
        Code::ConnectionClosed,
        Code::HeartbeatTimeout,
    ];
    vague.iter().any(|vague| code == vague)
}

pub(super) fn blame(cause: &FaultCode, server: Option<&Fault>) -> Origin {
    match server {
        Some(fault) if fault.code == *cause && !is_hearsay(cause) => fault.origin,
        Some(_) | None if is_hearsay(cause) => Origin::Network,
        Some(_) | None if *cause == Code::ProtocolError || *cause == Code::SlowConsumer => {
            Origin::Client
        }
        Some(_) | None => Origin::Server,
    }
}

const fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Client => "client",
        Origin::Network => "network",
        Origin::Server => "server",
        Origin::Provider => "provider",
        Origin::Store => "store",
    }
}

#[expect(clippy::ref_option, reason = "serde asks for it")]
pub(super) fn origin<S: Serializer>(
    origin: &Option<Origin>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match origin {
        Some(origin) => serializer.serialize_str(origin_name(*origin)),
        None => serializer.serialize_none(),
    }
}

/// The time of day, in UTC.
struct Clock(UnixMillis);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, ms) = (self.0 / 1_000, self.0 % 1_000);
        let (h, m) = (s / 3_600 % 24, s / 60 % 60);
        write!(f, "{h:02}:{m:02}:{:02}.{ms:03} UTC", s % 60)
    }
}

const fn rung(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Fast => "fast",
        Strategy::Rejoin => "rejoin",
        Strategy::Migrate => "migrate",
    }
}

/// The sentence.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(cause), Some(blame)) = (&self.cause, self.blame) else {
            return f.write_str("nothing went wrong, as far as the journal goes back");
        };
        let (at, blame) = (Clock(self.at.unwrap_or_default()), origin_name(blame));
        match &self.about {
            About::Nothing => Ok(()),
            About::Connection { strategy, attempts } => {
                write!(f, "dropped at {at} by {cause} ({blame})")?;
                if let Some(ms) = self.told_ms {
                    write!(f, ", told after {ms} ms")?;
                }
                if self.verdict == Verdict::Recovering {
                    return f.write_str(", and not back yet");
                }
                let how = strategy.map_or("a new start", rung);
                write!(f, ", recovered by {how}")?;
                if let Some(ms) = self.recovered_ms {
                    write!(f, " in {ms} ms")?;
                }
                if let Some(attempts) = attempts {
                    let s = if *attempts == 1 { "" } else { "s" };
                    write!(f, " after {attempts} attempt{s}")?;
                }
                self.counts(f)
            }
            About::Refusal => write!(f, "refused at {at} with {cause} ({blame})"),
            About::Turn(TurnEnd::Interrupted) => {
                write!(f, "a turn was interrupted at {at} by {cause} ({blame})")
            }
            About::Turn(TurnEnd::Done | TurnEnd::Failed | TurnEnd::Cancelled) => {
                write!(f, "a turn failed at {at} by {cause} ({blame})")
            }
            About::Store => {
                write!(f, "the store refused at {at} with {cause} ({blame})")?;
                match self.recovered_ms {
                    Some(ms) => write!(f, ", and writes again after {ms} ms"),
                    None => f.write_str(", and does not write yet"),
                }
            }
            About::Session => {
                write!(
                    f,
                    "the session's machine panicked at {at} with {cause} ({blame})"
                )?;
                f.write_str(", and was rebuilt from the store")
            }
        }
    }
}

impl Why {
    fn counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (replayed, lost) = (self.replayed, self.lost);
        let duplicated = self.duplicated;
        write!(
            f,
            ", replayed {replayed}, lost {lost}, duplicated {duplicated}"
        )
    }
}

#[cfg(test)]
mod tests {
    use keel_wire::{
        CloseCode, Evidence, FaultId, Joined, ParticipantId, Range, Seq, TurnId,
        journal::{Entry, Fact},
    };

    use super::{
        super::{Observed, explain},
        *,
    };

    const AT: UnixMillis = 43_200_000;

    fn fault(code: Code, origin: Origin) -> Box<Fault> {
        Box::new(Fault::new(FaultId::from_bits(1), code, origin, AT))
    }

    fn entry(at: UnixMillis, fact: Fact) -> Entry {
        let participant = Some(ParticipantId::from_bits(1));
        Entry {
            at,
            participant,
            fact,
        }
    }

    fn connected(how: Joined, missed: u64, evidence: Option<Evidence>) -> Fact {
        let strategy = (how == Joined::Resumed).then_some(Strategy::Fast);
        Fact::Connected {
            how,
            strategy,
            missed,
            away_ms: None,
            evidence,
        }
    }

    fn evidence(code: Code) -> Option<Evidence> {
        Some(Evidence {
            code: code.known(),
            silent_ms: 3,
            lost_ms: 40,
            attempts: 1,
        })
    }

    fn lost(code: Code, origin: Origin, close: Option<CloseCode>) -> Fact {
        Fact::ConnectionLost {
            fault: fault(code, origin),
            silent_ms: 5,
            close,
        }
    }

    fn journal(end: Fact, back: Fact) -> Vec<Entry> {
        vec![
            entry(AT - 9, connected(Joined::Created, 0, None)),
            entry(AT, end),
            entry(AT + 41, back),
            entry(
                AT + 42,
                Fact::Replayed {
                    events: 12,
                    took_ms: 1,
                },
            ),
        ]
    }

    #[test]
    fn a_drop_that_was_recovered_is_one_sentence() {
        let end = lost(Code::TransportError, Origin::Network, None);
        let back = connected(Joined::Resumed, 12, evidence(Code::TransportError));
        let why = explain(&journal(end, back));
        assert_eq!(
            why.to_string(),
            "dropped at 12:00:00.000 UTC by transport_error (network), told after 3 ms, recovered by \
             fast in 41 ms after 1 attempt, replayed 12, lost 0, duplicated 0"
        );
        assert_eq!(
            serde_json::to_value(&why).expect("JSON"),
            serde_json::json!({
                "verdict": "recovered", "cause": "transport_error", "blame": "network",
                "observed": { "server": "transport_error", "client": "transport_error" },
                "told_ms": 3, "recovered_ms": 41, "replayed": 12, "lost": 0, "duplicated": 0,
            })
        );
    }

    #[test]
    fn what_a_server_said_is_believed_before_what_a_client_saw() {
        let end = lost(Code::ServerShutdown, Origin::Server, None);
        let back = connected(Joined::Resumed, 0, evidence(Code::TransportError));
        let why = explain(&journal(end, back));
        assert_eq!(why.cause, Some(Code::ServerShutdown.known()));
        assert_eq!(why.blame, Some(Origin::Server));
        assert_eq!(why.observed.client, Some(Code::TransportError.known()));
    }

    #[test]
    fn a_loss_that_only_the_client_noticed_is_told_from_its_evidence() {
        let entries = [
            entry(AT - 9, connected(Joined::Created, 0, None)),
            entry(
                AT + 40,
                connected(Joined::Resumed, 2, evidence(Code::HeartbeatTimeout)),
            ),
        ];
        let why = explain(&entries);
        assert_eq!((why.at, why.verdict), (Some(AT), Verdict::Recovered));
        assert_eq!(why.cause, Some(Code::HeartbeatTimeout.known()));
        assert_eq!(why.observed.server, None);
    }

    #[test]
    fn a_server_that_was_cut_off_is_to_blame_and_not_the_network() {
        let entries = [
            entry(AT - 9, connected(Joined::Created, 0, None)),
            entry(AT + 30, Fact::Activated { unclean: false }),
            entry(
                AT + 40,
                connected(Joined::Resumed, 2, evidence(Code::TransportError)),
            ),
        ];
        assert_eq!(explain(&entries).blame, Some(Origin::Server));
    }

    #[test]
    fn positions_that_were_passed_over_are_counted_as_lost() {
        let end = lost(Code::TransportError, Origin::Network, None);
        let back = connected(Joined::Resumed, 12, evidence(Code::TransportError));
        let mut entries = journal(end, back);
        let seq = |n| Seq::new(n).expect("small");
        let range = Range {
            from: seq(4),
            to: seq(9),
        };
        let fault = Some(fault(Code::ResumeGap, Origin::Server));
        entries.push(entry(AT + 43, Fact::Gap { range, fault }));
        assert_eq!(explain(&entries).lost, 6);
    }

    #[test]
    fn who_is_missing_is_told_and_who_left_is_not() {
        let gone = lost(Code::HeartbeatTimeout, Origin::Network, None);
        let why = explain(&[entry(AT, gone)]);
        assert_eq!(why.verdict, Verdict::Recovering);
        assert_eq!(why.recovered_ms, None);
        let left = lost(
            Code::ConnectionClosed,
            Origin::Client,
            Some(CloseCode::NORMAL),
        );
        let why = explain(&[entry(AT, left)]);
        assert_eq!((why.verdict, why.cause.clone()), (Verdict::Healthy, None));
        assert_eq!(why.observed, Observed::default());
    }

    #[test]
    fn a_failed_turn_and_a_refusal_are_told_too() {
        let ended = Fact::TurnEnded {
            turn: TurnId::from_bits(1),
            end: TurnEnd::Failed,
            took_ms: 9,
            fault: Some(fault(Code::ProviderCrashed, Origin::Provider)),
        };
        let why = explain(&[entry(AT, ended)]);
        assert_eq!(
            why.to_string(),
            "a turn failed at 12:00:00.000 UTC by provider_crashed (provider)"
        );
        let refused = Fact::Refused {
            fault: fault(Code::AtCapacity, Origin::Server),
        };
        assert_eq!(explain(&[entry(AT, refused)]).verdict, Verdict::Failed);
    }
}
