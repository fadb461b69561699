//! H: the model's server behind a session, and everything that it does wrong, over every API that is
//! spoken with one.

use super::{
    Spec,
    kinds::Kind,
    programs::{Expected, misbehaves},
};
use crate::mutant::Mutant;

/// What a model's server does, and what must come of it.
#[derive(Clone, Copy)]
struct Case {
    id: &'static str,
    fault: &'static str,
    /// What the fake model answers; absent where there is none to ask.
    mode: Option<&'static str>,
    more: &'static str,
    /// How the turn must end: done, or failed with this code.
    code: Option<&'static str>,
    /// What must be told of it.
    text: &'static str,
    /// Retries that must be told, each with its cause.
    retries: usize,
    within_ms: f64,
    mutant: Mutant,
}

const CASE: Case = Case {
    id: "",
    fault: "",
    mode: None,
    more: "tries = 1",
    code: None,
    text: "",
    retries: 0,
    within_ms: 2_000.,
    mutant: Mutant::CrashIsDone,
};
/// What the fake model usually says, and what it says before most of what goes wrong.
const ALL: &str = "Hello from the fake model.";
const SOME: &str = "Hello from ";

const CASES: &[Case] = &[
    Case {
        id: "H01/401",
        fault: "401, which repeats the key",
        mode: Some("401"),
        more: "",
        code: Some("provider_auth"),
        ..CASE
    },
    Case {
        id: "H01/404",
        fault: "404",
        mode: Some("404"),
        more: "",
        code: Some("provider_refused"),
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H02/once",
        fault: "429 with a time, then an answer",
        mode: Some("n:1:429:ms:200"),
        more: "",
        text: ALL,
        retries: 1,
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "H02/absurd",
        fault: "429 until the year 2057",
        mode: Some("429:absurd"),
        more: "clocks = { whole_ms = 2000 }",
        code: Some("provider_rate_limited"),
        within_ms: 4_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "H03/twice",
        fault: "503 two times, then an answer",
        mode: Some("n:2:503:ms:50"),
        more: "",
        text: ALL,
        retries: 2,
        within_ms: 4_000.,
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "H03/always",
        fault: "500 at each try",
        mode: Some("500:ms:50"),
        more: "",
        code: Some("provider_unavailable"),
        retries: 2,
        within_ms: 4_000.,
        mutant: Mutant::LogMute,
        ..CASE
    },
    Case {
        id: "H04/refused",
        fault: "nobody listens there",
        code: Some("provider_unavailable"),
        ..CASE
    },
    Case {
        id: "H05/hang",
        fault: "takes the request and says nothing",
        mode: Some("hang"),
        more: "tries = 1\nfirst_byte_ms = 1500",
        code: Some("provider_timeout"),
        within_ms: 6_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H06/hangmid",
        fault: "falls silent after some words",
        mode: Some("hangmid"),
        more: "tries = 1\nstream_idle_ms = 1500",
        code: Some("provider_timeout"),
        text: SOME,
        within_ms: 5_000.,
        mutant: Mutant::ToldLate,
        ..CASE
    },
    Case {
        id: "H07/fin",
        fault: "ends the connection after some words",
        mode: Some("cutfin"),
        code: Some("provider_unavailable"),
        text: SOME,
        ..CASE
    },
    Case {
        id: "H07/rst",
        fault: "resets the connection after some words",
        mode: Some("cutrst"),
        code: Some("provider_unavailable"),
        text: SOME,
        mutant: Mutant::EndlessRun,
        ..CASE
    },
    Case {
        id: "H08/noend",
        fault: "ends well and does not say why",
        mode: Some("noend"),
        code: Some("provider_protocol"),
        text: SOME,
        ..CASE
    },
    Case {
        id: "H09/badjson",
        fault: "sends events that are no JSON",
        mode: Some("badsse:badjson"),
        code: Some("provider_protocol"),
        mutant: Mutant::LogMute,
        ..CASE
    },
    Case {
        id: "H09/comments",
        fault: "sends comments for ever",
        mode: Some("badsse:comments"),
        code: Some("provider_protocol"),
        within_ms: 8_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "H10/html",
        fault: "answers with a page",
        mode: Some("html"),
        code: Some("provider_protocol"),
        ..CASE
    },
    Case {
        id: "H10/bomb",
        fault: "answers with an archive of 4 GiB",
        mode: Some("gzipbomb"),
        code: Some("provider_protocol"),
        within_ms: 4_000.,
        ..CASE
    },
    Case {
        id: "H11/error",
        fault: "tells an error inside a good stream",
        mode: Some("errorevent"),
        code: Some("provider_unavailable"),
        text: SOME,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H12/arguments",
        fault: "calls a tool with half an argument",
        mode: Some("badtoolargs"),
        code: Some("provider_unavailable"),
        ..CASE
    },
    Case {
        id: "H13/length",
        fault: "stops at its limit",
        mode: Some("length"),
        text: ALL,
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "H14/usage",
        fault: "counts below nothing",
        mode: Some("badusage:negative"),
        text: ALL,
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "H15/redirect",
        fault: "sends elsewhere",
        mode: Some("redirect:metadata"),
        code: Some("provider_protocol"),
        ..CASE
    },
    Case {
        id: "H16/slow",
        fault: "says a word in 10 s, where a turn has 2.5",
        mode: Some("vslow"),
        more: "tries = 1\nclocks = { whole_ms = 2500 }",
        code: Some("provider_timeout"),
        within_ms: 6_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H17/twice",
        fault: "says all of it twice",
        mode: Some("twice"),
        text: ALL,
        mutant: Mutant::TextDoubled,
        ..CASE
    },
];

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for kind in Kind::MODELS {
        rows.extend(CASES.iter().map(|case| row(*case, *kind)));
    }
    rows
}

/// `H07/mid-turn/owner/fin/chat`.
fn id_of(id: &str, kind: Kind) -> String {
    let (fault, how) = id.split_once('/').unwrap_or((id, ""));
    format!("{fault}/mid-turn/owner/{how}/{}", kind.name())
}

fn row(case: Case, kind: Kind) -> Spec {
    let expected = Expected {
        code: case.code,
        text: Some(case.text),
        retries: Some(case.retries),
    };
    let url = case.mode.map_or(NOWHERE, |_| "{model}");
    let toml = format!("{}{}\n", kind.model_at(url), case.more);
    let spec = Spec::new(&id_of(case.id, kind), case.fault, case.mutant, move |rig| {
        Box::pin(misbehaves(rig, expected))
    })
    .told_within(case.within_ms)
    .config(toml)
    .backend(kind.name());
    let spec = match case.mode {
        Some(mode) => spec.model(mode),
        None => spec,
    };
    match case.code {
        Some(code) => spec.fails().cause(code),
        None => spec,
    }
}
