//! Why a connection ended: evidence is collected, and the outcome sealed once.
//!
//! What the server said beats how it closed, that beats what the transport said, that beats a timer;
//! within a class the first counts. The rest is kept as suppressed. Every exit of a connection reads
//! its outcome from here, and there is one cell a connection, so nothing leaks into the next.

use std::time::Duration;

use keel_wire::{
    CloseCode, Code, Fault, FaultCode, Origin, Phase, Retry, Todo, Verdict,
    limits::FAULT_CAUSES_MAX,
};

use super::{Ask, ConnEnd, DialFailure};
use crate::{Mint, Now};

/// How good a witness is; the lower is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A fault frame.
    Fault,
    /// The server said that it would stop.
    Goaway,
    /// A close code.
    Close,
    /// The transport.
    Transport,
    /// A timer of ours.
    Timeout,
}

/// Why a connection ended, and what that asks for.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) fault: Fault,
    pub(super) ask: Ask,
}

/// The evidence about one connection.
#[derive(Debug, Default)]
pub(super) struct Cell(Vec<(Class, Outcome)>);

impl Cell {
    pub(super) fn note(&mut self, class: Class, outcome: Outcome) {
        // One more than is told, so that the last place can be had by a better witness.
        let worst = self.0.iter().map(|(class, _)| *class).max();
        if self.0.len() > FAULT_CAUSES_MAX {
            match worst {
                Some(worst) if worst > class => {
                    let at = self.0.iter().rposition(|(class, _)| *class == worst);
                    self.0.remove(at.unwrap_or_default());
                }
                Some(_) | None => return,
            }
        }
        self.0.push((class, outcome));
    }

    /// What the server said is history once it goes on talking as if nothing had happened.
    pub(super) fn forget_faults(&mut self) {
        self.0.retain(|(class, _)| *class != Class::Fault);
    }

    /// What the server has said last, if that stands.
    pub(super) fn best(&self) -> Option<Outcome> {
        self.0
            .iter()
            .min_by_key(|(class, _)| *class)
            .map(|(_, outcome)| outcome.clone())
    }

    /// The one cause. `None` without evidence.
    pub(super) fn seal(self) -> Option<Outcome> {
        let mut seen = self.0;
        seen.sort_by_key(|(class, _)| *class);
        let mut seen = seen.into_iter().map(|(_, outcome)| outcome);
        let mut first = seen.next()?;
        for later in seen {
            if later.fault.id != first.fault.id {
                first.fault.suppress(later.fault);
            }
        }
        Some(first)
    }
}

/// What a fault asks for.
pub(super) fn ask(fault: &Fault) -> Ask {
    match (&fault.code, fault.retry) {
        // Capacity is the caller's decision (req M8), whatever the hint.
        (FaultCode::Known(Code::AtCapacity | Code::SessionLimit), _) => Ask::Never,
        (FaultCode::Known(Code::ProtocolError), Retry::Now) => Ask::FastOnce,
        (FaultCode::Known(Code::SessionMoved), Retry::Now) => Ask::Migrate,
        (_, Retry::Now) => Ask::Fast,
        (_, Retry::After { ms }) => Ask::Later(Duration::from_millis(ms)),
        (
            _,
            Retry::AfterAction {
                what: Todo::RefreshToken,
            },
        ) => Ask::Token,
        (_, Retry::AfterAction { what: Todo::Rejoin }) => Ask::Rejoin,
        (
            _,
            Retry::AfterAction {
                what: Todo::TryAgain | Todo::ConfigureProvider,
            },
        )
        | (_, Retry::Never) => Ask::Never,
    }
}

/// What the end of a transport says.
pub(super) fn of_end(mint: &mut Mint, now: Now, end: ConnEnd) -> (Class, Outcome) {
    let mut broken = |message: &str, kind: &str| {
        mint.fault(now, Code::TransportError, Origin::Network)
            .message(message)
            .detail("kind", kind)
    };
    let fault = match end {
        ConnEnd::DialFailed { kind, message } => {
            return (Class::Transport, of_dial(mint, now, kind, &message));
        }
        ConnEnd::Close { code, reason } => {
            return (Class::Close, of_close(mint, now, code, &reason));
        }
        ConnEnd::Eof => broken("the connection ended without a close frame", "eof"),
        ConnEnd::Reset => broken("the connection was reset", "reset"),
        ConnEnd::WriteFailed => broken("nothing can be sent any more", "write_failed"),
        ConnEnd::Other { message } => broken(&message, "other"),
    };
    (
        Class::Transport,
        Outcome {
            fault,
            ask: Ask::Fast,
        },
    )
}

fn of_dial(mint: &mut Mint, now: Now, kind: DialFailure, message: &str) -> Outcome {
    let mut fault = |code, kind: &str| {
        mint.fault(now, code, Origin::Network)
            .message(message)
            .detail("kind", kind)
    };
    let (fault, ask) = match kind {
        DialFailure::Refused => (fault(Code::TransportError, "refused"), Ask::Unreachable),
        DialFailure::Timeout => (fault(Code::TransportError, "timeout"), Ask::Unreachable),
        DialFailure::Dns => (fault(Code::TransportError, "dns"), Ask::Unreachable),
        // Not for ever: certificates are replaced, and clocks set.
        DialFailure::Tls(failure) => {
            let fault = fault(Code::TransportError, "tls").detail("tls", failure.name());
            (fault, Ask::Unreachable)
        }
        DialFailure::Other => (fault(Code::TransportError, "other"), Ask::Unreachable),
        DialFailure::NotWebSocket {
            status,
            retry_after,
        } => {
            let (code, ask) = match (status, retry_after) {
                // Origin and host are refused before the upgrade; everything else after it.
                (403, _) => (Code::OriginNotAllowed, Ask::Never),
                (426, _) => (Code::UnsupportedVersion, Ask::Never),
                (_, Some(after)) => (Code::TransportError, Ask::Later(after)),
                (_, None) => (Code::TransportError, Ask::Unreachable),
            };
            (fault(code, "not_websocket").detail("status", status), ask)
        }
    };
    Outcome { fault, ask }
}

fn of_close(mint: &mut Mint, now: Now, code: CloseCode, reason: &str) -> Outcome {
    let known = Code::ALL.iter().find(|known| known.close() == Some(code));
    let mut fault = mint
        .fault(
            now,
            known.copied().unwrap_or(Code::ConnectionClosed),
            Origin::Server,
        )
        .detail("close_code", code.0);
    if !reason.is_empty() {
        fault = fault.message(reason);
    }
    if known.is_some() {
        let ask = ask(&fault);
        return Outcome { fault, ask };
    }
    let later = Retry::After { ms: 1_000 };
    let try_again = Retry::AfterAction {
        what: Todo::TryAgain,
    };
    let (ask, retry) = match code.verdict() {
        Verdict::Fast => (Ask::Fast, Retry::Now),
        Verdict::FastOnce => (Ask::FastOnce, Retry::Now),
        Verdict::Rejoin => (Ask::Rejoin, Retry::AfterAction { what: Todo::Rejoin }),
        Verdict::Migrate => (Ask::Migrate, Retry::Now),
        Verdict::Later => (Ask::Later(Duration::from_secs(1)), later),
        Verdict::Never => (Ask::Never, Retry::Never),
        Verdict::Closed => (Ask::Never, try_again),
    };
    Outcome {
        fault: fault.retry(retry),
        ask,
    }
}

/// A wait of ours that was not answered.
pub(super) fn of_timeout(mint: &mut Mint, now: Now, phase: Phase) -> (Class, Outcome) {
    let fault = mint
        .fault(now, Code::HandshakeTimeout, Origin::Network)
        .detail("phase", phase_name(phase));
    let ask = match phase {
        Phase::Token | Phase::Dial => Ask::Unreachable,
        Phase::Hello | Phase::Replay => Ask::Fast,
    };
    (Class::Timeout, Outcome { fault, ask })
}

pub(super) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Token => "token",
        Phase::Dial => "dial",
        Phase::Hello => "hello",
        Phase::Replay => "replay",
    }
}
