//! What to do next about a lost connection: one pure function, and nothing that remembers.
//!
//! A rung of the ladder says what is rebuilt, and is spent only on a server that answers. Whoever
//! calls this looks at the world first, each time: a plan is never kept.

use std::time::Duration;

use keel_wire::{Strategy, WaitingFor};

use crate::limits;

/// What the end of a connection asks for, whoever said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A new connection.
    Fast,
    /// A new connection, once: the second time without progress in between is for good.
    FastOnce,
    /// A new attachment.
    Rejoin,
    /// Another node.
    Migrate,
    /// Not before this.
    Later(Duration),
    /// A fresh token first.
    Token,
    /// Nothing that is done without the caller.
    Never,
    /// No server answered.
    Unreachable,
}

/// Tries that came to nothing since there was progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// New connections, to a server that answered.
    pub fast: u32,
    /// Those that ended with [`Ask::FastOnce`].
    pub once: u32,
    /// Those that ended with [`Ask::Token`].
    pub token: u32,
    /// Those that no server answered.
    pub unreachable: u32,
}

/// Everything that the next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// What the last end of a connection asks for.
    pub ask: Ask,
    /// The highest rung that this recovery has tried or been told to take.
    pub reached: Strategy,
    /// What came to nothing.
    pub failures: Failures,
    /// Since the loss.
    pub elapsed: Duration,
    /// `None` for never.
    pub give_up_after: Option<Duration>,
    /// Since a server answered, if one does.
    pub answered: Option<Duration>,
    /// Rejoins and migrations in [`limits::REJOIN_LIMIT_SPAN`].
    pub rejoins: usize,
    /// Whether the session may be found at another address.
    pub other_address: bool,
    /// Whether there is a network.
    pub online: bool,
    /// Whether somebody can make a fresh token.
    pub fresh_token: bool,
    /// What the back-off says; `None` when it says no more.
    pub delay: Option<Duration>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try.
    Try {
        /// What is rebuilt.
        strategy: Strategy,
        /// After this wait.
        after: Duration,
        /// What the wait is for, if not merely for patience.
        waiting_for: Option<WaitingFor>,
        /// And for no longer than this.
        within: Duration,
    },
    /// Wait until there is a network, or until it is given up.
    AwaitNetwork,
    /// Give it up.
    GiveUp(Why),
}

/// Why a recovery is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The last end of a connection says so.
    Cause,
    /// `recovery_deadline`.
    Deadline,
    /// `rejoin_limit`.
    RejoinLimit,
}

/// The next step. Total.
#[must_use]
pub fn plan(s: &Situation) -> Step {
    let is_final = match s.ask {
        Ask::Never => true,
        Ask::FastOnce => s.failures.once >= 2,
        Ask::Token => !s.fresh_token || s.failures.token > limits::TOKEN_REFRESHES_MAX,
        Ask::Fast | Ask::Rejoin | Ask::Migrate | Ask::Later(_) | Ask::Unreachable => false,
    };
    if is_final {
        return Step::GiveUp(Why::Cause);
    }
    let Some(rest) = rest(s) else {
        return Step::GiveUp(Why::Deadline);
    };
    if !s.online {
        return Step::AwaitNetwork;
    }
    let Some(delay) = s.delay else {
        return Step::GiveUp(Why::Deadline);
    };
    let strategy = rung(s);
    if strategy != Strategy::Fast && s.rejoins >= limits::REJOIN_LIMIT {
        return Step::GiveUp(Why::RejoinLimit);
    }
    let (after, waiting_for) = match s.ask {
        // A wait that outlasts the recovery is told as such now, not when it is over.
        Ask::Later(after) if after >= rest - limits::ATTEMPT_MIN => {
            return Step::GiveUp(Why::Deadline);
        }
        Ask::Later(after) => (after, Some(WaitingFor::Server)),
        Ask::Unreachable => (
            delay.min(rest - limits::ATTEMPT_MIN),
            Some(WaitingFor::Network),
        ),
        Ask::Token => (
            delay.min(rest - limits::ATTEMPT_MIN),
            Some(WaitingFor::Token),
        ),
        Ask::Fast | Ask::FastOnce | Ask::Rejoin | Ask::Migrate | Ask::Never => {
            (delay.min(rest - limits::ATTEMPT_MIN), None)
        }
    };
    Step::Try {
        strategy,
        after,
        waiting_for,
        within: bound(strategy).min(rest.saturating_sub(after)),
    }
}

/// What is left until the verdict; `None` when it is too little for a try.
fn rest(s: &Situation) -> Option<Duration> {
    let left = |limit: Duration, spent| {
        limit
            .checked_sub(spent)
            .filter(|left| *left > limits::ATTEMPT_MIN)
    };
    let of_recovery = match s.give_up_after {
        Some(limit) => left(limit, s.elapsed)?,
        None => Duration::MAX,
    };
    let of_verdict = match s.answered {
        Some(spent) => left(limits::VERDICT_WITHIN, spent)?,
        None => Duration::MAX,
    };
    Some(of_recovery.min(of_verdict))
}

const fn bound(strategy: Strategy) -> Duration {
    match strategy {
        Strategy::Fast => limits::FAST_WITHIN,
        Strategy::Rejoin => limits::REJOIN_WITHIN,
        Strategy::Migrate => limits::MIGRATE_WITHIN,
    }
}

/// Fast, rejoin, migrate; never down again within one recovery.
fn rung(s: &Situation) -> Strategy {
    let spent = s.answered.unwrap_or_default();
    let asked = match s.ask {
        Ask::Rejoin => Strategy::Rejoin,
        Ask::Migrate => Strategy::Migrate,
        Ask::Fast | Ask::FastOnce | Ask::Later(_) | Ask::Token | Ask::Never | Ask::Unreachable => {
            Strategy::Fast
        }
    };
    let climbed = if spent >= limits::FAST_WITHIN + limits::REJOIN_WITHIN {
        Strategy::Migrate
    } else if spent >= limits::FAST_WITHIN || s.failures.fast >= limits::FAST_ATTEMPTS_MAX {
        Strategy::Rejoin
    } else {
        Strategy::Fast
    };
    let rung = higher(higher(asked, climbed), s.reached);
    // Where nobody answers, the known addresses take turns.
    let elsewhere = s.ask == Ask::Unreachable
        && s.failures.unreachable % 2 == 1
        && s.rejoins < limits::REJOIN_LIMIT;
    match rung {
        Strategy::Fast if elsewhere && s.other_address => Strategy::Migrate,
        Strategy::Rejoin if elsewhere && s.other_address => Strategy::Migrate,
        Strategy::Migrate if elsewhere || !s.other_address => Strategy::Rejoin,
        Strategy::Fast | Strategy::Rejoin | Strategy::Migrate => rung,
    }
}

/// The higher of two rungs.
pub(super) const fn higher(a: Strategy, b: Strategy) -> Strategy {
    match (a, b) {
        (Strategy::Migrate, _) | (_, Strategy::Migrate) => Strategy::Migrate,
        (Strategy::Rejoin, _) | (_, Strategy::Rejoin) => Strategy::Rejoin,
        (Strategy::Fast, Strategy::Fast) => Strategy::Fast,
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
