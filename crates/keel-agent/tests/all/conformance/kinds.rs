//! The kinds of provider, as variants that can be made to behave; and what a variant cannot do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keel_agent::{Budgets, KINDS, Provider};

use super::{acp, chain, echo, endpoints, process};
use crate::all::{
    harness::{Driven, Heard, assert_nothing_left, cgroups_of, left_of},
    model::Model,
};

/// How a provider can be made to behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Behaviour {
    /// Says "one two three " and is done.
    Speak,
    /// Is done without a word.
    Mute,
    /// Says at least [`HUGE_BYTES`].
    Huge,
    /// Says what it was asked.
    SayBack,
    /// Takes its time over "one two three ", and is done.
    Slow,
    /// Says "one two three " beside a flood of what is no answer, and is done.
    Flood,
    /// Crashes before it says anything.
    CrashAtOnce,
    /// Says "one " and crashes.
    CrashMidway,
    /// Says "one two three ", says that it is done, and crashes.
    CrashAfter,
    /// Ends with an exit code and no word; one subject a code.
    ExitCodes,
    /// Is killed by a signal; one subject a signal.
    Signals,
    /// Says nothing, ever.
    HangAtOnce,
    /// Says a word, then nothing for ever.
    Hang,
    /// Says a word, and can be stopped by force only.
    Stubborn,
    /// Says what nobody understands.
    Garbage,
    /// Says a word and ends in the middle of the next.
    Truncated,
    /// Asks, and says the answer.
    Ask,
    /// Never ends.
    Endless,
}

impl Behaviour {
    pub(super) const ALL: [Self; 18] = [
        Self::Speak,
        Self::Mute,
        Self::Huge,
        Self::SayBack,
        Self::Slow,
        Self::Flood,
        Self::CrashAtOnce,
        Self::CrashMidway,
        Self::CrashAfter,
        Self::ExitCodes,
        Self::Signals,
        Self::HangAtOnce,
        Self::Hang,
        Self::Stubborn,
        Self::Garbage,
        Self::Truncated,
        Self::Ask,
        Self::Endless,
    ];
}

pub(super) const HUGE_BYTES: usize = 1024 * 1024;
pub(super) const EXIT_CODES: [i32; 6] = [1, 2, 77, 126, 143, 255];
/// The sessions that ask: the harness's own, and two at once.
pub(super) const SESSIONS: [&str; 3] = ["s-1", "s-one", "s-two"];
/// Who asked a model's server has left it within this.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
/// HUP, INT, KILL, SEGV, PIPE, TERM.
pub(super) const SIGNALS: [i32; 6] = [1, 2, 9, 11, 13, 15];

/// What a variant cannot be made to do, and why. What is neither here nor done fails the suite.
pub(super) const CANNOT: &[(&str, &[Behaviour], &str)] = &[
    (
        "echo",
        &[
            Behaviour::CrashAfter,
            Behaviour::ExitCodes,
            Behaviour::Signals,
            Behaviour::Stubborn,
        ],
        "it is a function: it has no process, and its last step is its end",
    ),
    (
        "echo",
        &[Behaviour::Flood, Behaviour::Truncated],
        "it has no second output and no lines",
    ),
    (
        "process/lines",
        &[Behaviour::Garbage, Behaviour::Truncated, Behaviour::Ask],
        "all that it writes is the answer: no line is garbage, half of one, or a question",
    ),
    (
        "process/lines",
        &[Behaviour::CrashAfter],
        "its exit is the end: whatever is wrong with that is wrong with the answer",
    ),
    (
        "openai/chat",
        &[
            Behaviour::ExitCodes,
            Behaviour::Signals,
            Behaviour::Stubborn,
        ],
        "it is no program: statuses take the place of exit codes, and we close its connection",
    ),
    (
        "openai/chat",
        &[Behaviour::Flood, Behaviour::Ask],
        "a stream has no second output, and nothing in it waits for a person",
    ),
    (
        "openai/responses",
        &[
            Behaviour::ExitCodes,
            Behaviour::Signals,
            Behaviour::Stubborn,
        ],
        "it is no program: statuses take the place of exit codes, and we close its connection",
    ),
    (
        "openai/responses",
        &[Behaviour::Flood, Behaviour::Ask],
        "a stream has no second output, and nothing in it waits for a person",
    ),
    (
        "anthropic",
        &[
            Behaviour::ExitCodes,
            Behaviour::Signals,
            Behaviour::Stubborn,
        ],
        "it is no program: statuses take the place of exit codes, and we close its connection",
    ),
    (
        "anthropic",
        &[Behaviour::Flood, Behaviour::Ask],
        "a stream has no second output, and nothing in it waits for a person",
    ),
];

/// A provider that is about to behave.
pub(super) struct Subject {
    /// The variant, and what of it where there are several.
    pub(super) name: String,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) prompt: String,
    /// Whose processes must be gone afterwards.
    pub(super) owner: Option<String>,
    /// The model's server, which must have no answer under way afterwards.
    pub(super) model: Option<Model>,
}

impl Subject {
    pub(super) fn new(name: impl Into<String>, provider: Arc<dyn Provider>, prompt: &str) -> Self {
        Self {
            name: name.into(),
            provider,
            prompt: prompt.to_owned(),
            owner: None,
            model: None,
        }
    }

    pub(super) async fn run(&self, budgets: Budgets) -> Heard {
        let heard = self.start(budgets).finish().await;
        self.check_nothing_left().await;
        heard
    }

    /// Runs to the end, which must come within this.
    pub(super) async fn run_within(&self, within: Duration) -> Heard {
        let heard = self.run(Budgets::default()).await;
        assert!(heard.took < within, "{}: {:?}", self.name, heard.took);
        heard
    }

    pub(super) fn start(&self, budgets: Budgets) -> Driven {
        Driven::start(Arc::clone(&self.provider), &self.prompt, budgets)
    }

    /// Checks that no process is left, and no connection.
    pub(super) async fn check_nothing_left(&self) {
        if let Some(model) = &self.model {
            let closed = tokio::time::timeout(CLOSED_WITHIN, model.aborted()).await;
            closed.unwrap_or_else(|_| panic!("{}: an answer is left open", self.name));
        }
        // What is kept for the session's next turn goes with the session.
        for session in SESSIONS {
            self.provider.release(&session.parse().expect("an id"));
        }
        let Some(owner) = &self.owner else { return };
        let until = Instant::now() + CLOSED_WITHIN;
        let is_left = || !left_of(owner).is_empty() || cgroups_of(owner) > 0;
        while is_left() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_nothing_left(owner);
    }
}

/// A variant of a kind, and how it is made to behave; nothing where it cannot.
type Recipe = fn(Behaviour) -> Vec<Subject>;

/// The variants of a registered kind.
fn variants(kind: &str) -> Vec<(&'static str, Recipe)> {
    match kind {
        "echo" => vec![("echo", echo::that)],
        "process" => vec![
            ("process/lines", process::lines_that),
            ("process/json_lines", process::json_lines_that),
        ],
        "openai" => vec![
            ("openai/chat", endpoints::chat_that),
            ("openai/responses", endpoints::responses_that),
        ],
        "acp" => vec![("acp", acp::that)],
        "anthropic" => vec![("anthropic", endpoints::messages_that)],
        "fallback" => vec![("fallback", chain::that)],
        other => panic!("{other} is registered, and cannot be made to behave: it is not tested"),
    }
}

/// Everybody who can do it, over all that is registered.
pub(super) fn all_that(behaviour: Behaviour) -> Vec<Subject> {
    let variants = KINDS.iter().flat_map(|kind| variants(kind));
    variants
        .flat_map(|(name, recipe)| of_variant(name, recipe, behaviour))
        .collect()
}

fn of_variant(name: &str, recipe: Recipe, behaviour: Behaviour) -> Vec<Subject> {
    let subjects = recipe(behaviour);
    let excused = CANNOT
        .iter()
        .any(|(of, behaviours, _)| *of == name && behaviours.contains(&behaviour));
    assert_ne!(
        subjects.is_empty(),
        !excused,
        "{name}: {behaviour:?} is either done or excused"
    );
    subjects
}

/// Every variant's name, with its kind.
pub(super) fn names() -> Vec<(&'static str, &'static str)> {
    let of = |kind: &&'static str| {
        let kind = *kind;
        variants(kind)
            .into_iter()
            .map(move |(name, _)| (kind, name))
    };
    KINDS.iter().flat_map(of).collect()
}
