//! H: the model's server behind a session, and everything that it does wrong, over every API that is
//! spoken with one.

use super::{Spec, case::Case, kinds::Kind};
use crate::mutant::Mutant;

/// What the fake model answers; absent where there is none to ask.
type Mode = Option<&'static str>;

const CASE: Case<Mode> = Case {
    more: "tries = 1",
    text: Some(""),
    retries: Some(0),
    ..Case::of(None)
};
/// What the fake model usually says, and what it says before most of what goes wrong.
const ALL: &str = "Hello from the fake model.";
const SOME: &str = "Hello from ";

const CASES: &[Case<Mode>] = &[
    Case {
        id: "H01/401",
        fault: "401, which repeats the key",
        does: Some("401"),
        more: "",
        code: Some("provider_auth"),
        ..CASE
    },
    Case {
        id: "H01/404",
        fault: "404",
        does: Some("404"),
        more: "",
        code: Some("provider_refused"),
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H02/once",
        fault: "429 with a time, then an answer",
        does: Some("n:1:429:ms:200"),
        more: "",
        text: Some(ALL),
        retries: Some(1),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "H02/absurd",
        fault: "429 until the year 2057",
        does: Some("429:absurd"),
        more: "clocks = { whole_ms = 2000 }",
        code: Some("provider_rate_limited"),
        within_ms: 4_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "H03/twice",
        fault: "503 two times, then an answer",
        does: Some("n:2:503:ms:50"),
        more: "",
        text: Some(ALL),
        retries: Some(2),
        within_ms: 4_000.,
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "H03/always",
        fault: "500 at each try",
        does: Some("500:ms:50"),
        more: "",
        code: Some("provider_unavailable"),
        retries: Some(2),
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
        does: Some("hang"),
        more: "tries = 1\nfirst_byte_ms = 1500",
        code: Some("provider_timeout"),
        within_ms: 6_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H06/hangmid",
        fault: "falls silent after some words",
        does: Some("hangmid"),
        more: "tries = 1\nstream_idle_ms = 1500",
        code: Some("provider_timeout"),
        text: Some(SOME),
        within_ms: 5_000.,
        mutant: Mutant::ToldLate,
        ..CASE
    },
    Case {
        id: "H07/fin",
        fault: "ends the connection after some words",
        does: Some("cutfin"),
        code: Some("provider_unavailable"),
        text: Some(SOME),
        ..CASE
    },
    Case {
        id: "H07/rst",
        fault: "resets the connection after some words",
        does: Some("cutrst"),
        code: Some("provider_unavailable"),
        text: Some(SOME),
        mutant: Mutant::EndlessRun,
        ..CASE
    },
    Case {
        id: "H08/noend",
        fault: "ends well and does not say why",
        does: Some("noend"),
        code: Some("provider_protocol"),
        text: Some(SOME),
        ..CASE
    },
    Case {
        id: "H09/badjson",
        fault: "sends events that are no JSON",
        does: Some("badsse:badjson"),
        code: Some("provider_protocol"),
        mutant: Mutant::LogMute,
        ..CASE
    },
    Case {
        id: "H09/comments",
        fault: "sends comments for ever",
        does: Some("badsse:comments"),
        code: Some("provider_protocol"),
        within_ms: 8_000.,
        mutant: Mutant::JournalLost,
        ..CASE
    },
    Case {
        id: "H10/html",
        fault: "answers with a page",
        does: Some("html"),
        code: Some("provider_protocol"),
        ..CASE
    },
    Case {
        id: "H10/bomb",
        fault: "answers with an archive of 4 GiB",
        does: Some("gzipbomb"),
        code: Some("provider_protocol"),
        within_ms: 4_000.,
        ..CASE
    },
    Case {
        id: "H11/error",
        fault: "tells an error inside a good stream",
        does: Some("errorevent"),
        code: Some("provider_unavailable"),
        text: Some(SOME),
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H12/arguments",
        fault: "calls a tool with half an argument",
        does: Some("badtoolargs"),
        code: Some("provider_unavailable"),
        ..CASE
    },
    Case {
        id: "H13/length",
        fault: "stops at its limit",
        does: Some("length"),
        text: Some(ALL),
        mutant: Mutant::TextDropped,
        ..CASE
    },
    Case {
        id: "H14/usage",
        fault: "counts below nothing",
        does: Some("badusage:negative"),
        text: Some(ALL),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
    Case {
        id: "H15/redirect",
        fault: "sends elsewhere",
        does: Some("redirect:metadata"),
        code: Some("provider_protocol"),
        ..CASE
    },
    Case {
        id: "H16/slow",
        fault: "says a word in 10 s, where a turn has 2.5",
        does: Some("vslow"),
        more: "tries = 1\nclocks = { whole_ms = 2500 }",
        code: Some("provider_timeout"),
        within_ms: 6_000.,
        mutant: Mutant::CauseChanged,
        ..CASE
    },
    Case {
        id: "H17/twice",
        fault: "says all of it twice",
        does: Some("twice"),
        text: Some(ALL),
        mutant: Mutant::TextDoubled,
        ..CASE
    },
];

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for kind in Kind::MODELS {
        rows.extend(CASES.iter().map(|case| row(case, *kind)));
    }
    rows
}

/// `H07/mid-turn/owner/fin/chat`.
fn id_of(id: &str, kind: Kind) -> String {
    let (fault, how) = id.split_once('/').unwrap_or((id, ""));
    format!("{fault}/mid-turn/owner/{how}/{}", kind.name())
}

fn row(case: &'static Case<Mode>, kind: Kind) -> Spec {
    let url = case.does.map_or(NOWHERE, |_| "{model}");
    let spec = case
        .row(&id_of(case.id, kind), &kind.model_at(url))
        .backend(kind.name());
    match case.does {
        Some(mode) => spec.model(mode),
        None => spec,
    }
}
