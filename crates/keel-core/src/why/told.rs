//! Which witness is believed, and how it is said.

use std::fmt;

use keel_wire::{Code, Fault, FaultCode, Origin, Strategy, TurnEnd, UnixMillis};
use serde::Serializer;

use super::{About, Verdict, Why};

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
            About::Media => {
                write!(f, "media was lost at {at} by {cause} ({blame})")?;
                match self.recovered_ms {
                    Some(ms) => write!(f, ", and flows again after {ms} ms"),
                    None => f.write_str(", and does not flow yet"),
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
