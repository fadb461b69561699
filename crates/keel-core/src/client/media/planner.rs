//! What to do next about media: one pure function, and nothing that remembers.
//!
//! The rungs are a keyframe, the lines anew, a restart of ICE, a new transport. Like the planner of
//! connections this one is asked after every input, and its answer is done at once or forgotten.

use std::time::Duration;

use crate::limits;

/// What flows on an open transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Everything that is expected.
    Fine,
    /// Nothing is silent, but not everything came since it was told as lost.
    Pending,
    /// What is silent is silent at its source; the way is good.
    Source,
    /// Some lines are silent, or bring packets and no pictures; others flow.
    Line,
    /// Nothing comes on any line.
    All {
        /// For how long, as far as it was looked at.
        silent: Duration,
    },
    /// The transport finds nobody at the other end.
    Lost,
    /// And will not by itself.
    Failed,
}

/// The last step that was taken on a transport since it was told as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// None.
    Told,
    /// A keyframe was asked for.
    Keyframe,
    /// Lines were asked to begin anew.
    Anew,
    /// ICE was restarted.
    Restart,
}

/// What there is of transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    /// None that is of use.
    Nothing {
        /// What is left to wait before the next.
        wait: Duration,
    },
    /// One that was not connected yet.
    Opening {
        /// For how long descriptions could pass.
        since: Duration,
    },
    /// One that was.
    Open {
        /// What flows on it.
        flow: Flow,
        /// The last step.
        rung: Rung,
        /// Since then.
        since: Duration,
        /// Transports that were made anew for this loss.
        rejoins: u32,
        /// Whether there is a silent line that the server has something for.
        refreshable: bool,
    },
}

/// Everything that the next step depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Situation {
    /// Whether somebody wants media, and the session goes on.
    pub(super) wanted: bool,
    /// Whether descriptions can pass.
    pub(super) signaled: bool,
    /// It was given up.
    pub(super) is_down: bool,
    pub(super) there: There,
    /// For how long it was tried, with descriptions that could pass.
    pub(super) tried: Duration,
    /// Transports opened in [`limits::REJOIN_LIMIT_SPAN`].
    pub(super) opens: usize,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Nothing before descriptions can pass.
    AwaitSignaling,
    /// Nothing, for so long at most.
    Wait(Duration),
    /// Close what there is.
    Close,
    /// Open a transport.
    Open,
    /// Give up the one that is being opened.
    Abandon,
    /// Ask for keyframes.
    Keyframe,
    /// Ask for lines to begin anew.
    Anew,
    /// Restart ICE.
    Restart,
    /// Give the leg up.
    GiveUp(Why),
}

/// Why the leg is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It took too long.
    Deadline,
    /// Everything was tried for a line, and others flow.
    Exhausted,
    /// `rejoin_limit`.
    RejoinLimit,
}

/// The next step. Total.
pub(super) fn plan(s: &Situation) -> Step {
    if !s.wanted {
        return match s.there {
            There::Nothing { .. } => Step::Rest,
            There::Opening { .. } | There::Open { .. } => Step::Close,
        };
    }
    let is_well = matches!(
        s.there,
        There::Open {
            flow: Flow::Fine | Flow::Source,
            ..
        }
    );
    if s.is_down || is_well {
        return Step::Rest;
    }
    if !s.signaled {
        return Step::AwaitSignaling;
    }
    let rest = limits::VERDICT_WITHIN.saturating_sub(s.tried);
    if rest.is_zero() {
        return Step::GiveUp(Why::Deadline);
    }
    let step = match s.there {
        There::Nothing { wait } => after(Duration::ZERO, wait, open(s)),
        There::Opening { since } => after(since, limits::MEDIA_CONNECT_WITHIN, Step::Abandon),
        There::Open {
            flow,
            rung,
            since,
            rejoins,
            refreshable,
        } => climb(s, (flow, rung, since), rejoins, refreshable),
    };
    match step {
        Step::Wait(span) => Step::Wait(span.min(rest)),
        Step::Rest => Step::Wait(rest),
        Step::AwaitSignaling
        | Step::Close
        | Step::Open
        | Step::Abandon
        | Step::Keyframe
        | Step::Anew
        | Step::Restart
        | Step::GiveUp(_) => step,
    }
}

fn climb(
    s: &Situation,
    (flow, rung, since): (Flow, Rung, Duration),
    rejoins: u32,
    refreshable: bool,
) -> Step {
    match (flow, rung) {
        (Flow::Fine | Flow::Source | Flow::Pending, _) => Step::Rest,

        (Flow::Lost | Flow::Failed, Rung::Told | Rung::Keyframe | Rung::Anew) => Step::Restart,
        (Flow::Lost | Flow::Failed | Flow::All { .. }, Rung::Restart) => {
            after(since, limits::MEDIA_RESTART_WITHIN, open(s))
        }

        (Flow::All { .. } | Flow::Line, Rung::Told) if refreshable => Step::Keyframe,
        (Flow::All { .. }, Rung::Keyframe) if refreshable => {
            after(since, limits::MEDIA_REFRESH_WITHIN, Step::Anew)
        }
        (Flow::All { silent }, Rung::Anew) if since < limits::MEDIA_REFRESH_WITHIN => {
            let rest = limits::MEDIA_RESTART_SILENT.saturating_sub(silent);
            Step::Wait(rest.max(limits::MEDIA_REFRESH_WITHIN - since))
        }
        (Flow::All { silent }, Rung::Told | Rung::Keyframe | Rung::Anew) => {
            after(silent, limits::MEDIA_RESTART_SILENT, Step::Restart)
        }

        (Flow::Line, Rung::Told | Rung::Keyframe | Rung::Anew) if !refreshable => {
            after(since, limits::MEDIA_LINE_ANEW_WITHIN, Step::Restart)
        }
        (Flow::Line, Rung::Told | Rung::Keyframe) => {
            after(since, limits::MEDIA_LINE_KEYFRAME_WITHIN, Step::Anew)
        }
        (Flow::Line, Rung::Anew) => after(since, limits::MEDIA_LINE_ANEW_WITHIN, Step::Restart),
        (Flow::Line, Rung::Restart) => {
            let last = if rejoins > 0 {
                Step::GiveUp(Why::Exhausted)
            } else {
                open(s)
            };
            after(since, limits::MEDIA_RESTART_WITHIN, last)
        }
    }
}

const fn open(s: &Situation) -> Step {
    if s.opens >= limits::REJOIN_LIMIT {
        Step::GiveUp(Why::RejoinLimit)
    } else {
        Step::Open
    }
}

/// A step that is due when `since` has become `span`.
fn after(since: Duration, span: Duration, step: Step) -> Step {
    let rest = span.saturating_sub(since);
    if rest.is_zero() {
        step
    } else {
        Step::Wait(rest)
    }
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
