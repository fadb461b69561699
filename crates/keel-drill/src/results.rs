//! What a drill found, for machines: the format of `docs/results.md`.

use serde::Serialize;

/// One row: a fault, in a phase, seen by a role.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// Begins with the catalogue's id, as in `N01/mid-turn/viewer`.
    pub id: String,
    /// `network`, `media`, `peer`, `server`, `provider` or `heart`.
    pub group: String,
    /// What was broken, in words.
    pub fault: String,
    /// What the session was doing.
    pub phase: String,
    /// Who is observed.
    pub role: String,
    /// What serves the session.
    pub backend: String,
    /// `recovered` or `failed`.
    pub expected_outcome: String,
    /// What happened; null if the row never came to a verdict.
    pub outcome: Option<String>,
    /// The code that the loss must be told as; null where none must be.
    pub expected_cause: Option<String>,
    /// The code that it was told as.
    pub cause: Option<String>,
    /// Milliseconds from the fault to being told.
    pub told_ms: Option<f64>,
    /// The published bound.
    pub told_bound_ms: Option<f64>,
    /// Milliseconds from the fault, or from when it was lifted, to recovered.
    pub recovered_ms: Option<f64>,
    /// The published bound.
    pub recovered_bound_ms: Option<f64>,
    /// Bytes of committed output, or pictures over a whole way, that a client never got.
    pub lost: u64,
    /// Bytes, commands or pictures that it got twice.
    pub duplicated: u64,
    /// Pictures that did not come while the way of media was broken; null without media.
    pub pictures_lost: Option<u64>,
    /// Events or pictures out of order.
    pub reordered: u64,
    /// Waits over 5 s that nobody was told about.
    pub silent: u64,
    /// A session beside it saw nothing.
    pub bystander_ok: Option<bool>,
    /// Why the server cannot have seen it; null where its journal, log and metrics must name the cause.
    pub unwitnessed: Option<String>,
    /// What was left behind.
    pub leaked: Leaked,
    /// The mutant that must turn it red.
    pub mutant: Option<String>,
    /// Whether it did; null where it was not planted.
    pub mutant_found: Option<bool>,
    /// What the host lacks for this row; null if it ran.
    pub skipped: Option<String>,
    /// Whether everything held. False for skipped rows.
    pub pass: bool,
    /// What did not hold, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wrong: Vec<String>,
}

/// What a row left behind; null where it was not looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Leaked {
    /// Sessions' runs on the server.
    pub tasks: Option<u64>,
    /// Connections on the server.
    pub sockets: Option<u64>,
    /// Processes of the server's backends.
    pub children: Option<u64>,
    /// Slots held without a session.
    pub slots: Option<u64>,
    /// Transports for media on the server.
    pub peers: Option<u64>,
}

/// Sums over all rows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// Rows, skipped ones included.
    pub rows: usize,
    /// Rows in which everything held.
    pub passed: usize,
    /// Rows that the host cannot run.
    pub skipped: usize,
    /// See [`Row::lost`].
    pub lost: u64,
    /// See [`Row::duplicated`].
    pub duplicated: u64,
    /// See [`Row::reordered`].
    pub reordered: u64,
    /// See [`Row::silent`].
    pub silent: u64,
    /// Null where none was planted.
    pub mutants: Option<MutantCount>,
}

/// Rows that were run with their mutant.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct MutantCount {
    /// How many.
    pub planted: usize,
    /// Those whose verdict named what the mutant does.
    pub found: usize,
}

/// Everything that a drill found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this format.
    pub version: u32,
    /// One each.
    pub rows: Vec<Row>,
    /// Their sums.
    pub summary: Summary,
}

impl Report {
    /// A report of these rows.
    #[must_use]
    pub fn of(rows: Vec<Row>) -> Self {
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum();
        let planted = rows.iter().filter(|row| row.mutant_found.is_some()).count();
        let found = rows.iter().filter(|row| row.mutant_found == Some(true));
        let mutants = MutantCount {
            planted,
            found: found.count(),
        };
        let summary = Summary {
            rows: rows.len(),
            passed: rows.iter().filter(|row| row.pass).count(),
            skipped: rows.iter().filter(|row| row.skipped.is_some()).count(),
            lost: sum(|row| row.lost),
            duplicated: sum(|row| row.duplicated),
            reordered: sum(|row| row.reordered),
            silent: sum(|row| row.silent),
            mutants: (planted > 0).then_some(mutants),
        };
        Self {
            version: 1,
            rows,
            summary,
        }
    }

    /// The table for a person: a line a row, then the sums.
    #[must_use]
    pub fn table(&self) -> String {
        use std::fmt::Write;

        let mut text = String::new();
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms"));
        for row in &self.rows {
            let verdict = match (&row.skipped, row.pass) {
                (Some(needs), _) => format!("skipped{{needs: {needs}}}"),
                (None, true) => "pass".to_owned(),
                (None, false) => "FAIL".to_owned(),
            };
            let _ = writeln!(
                text,
                "{verdict:<8} {:<34} told {:>8}  recovered {:>8}  lost {} dup {} reordered {}",
                row.id,
                ms(row.told_ms),
                ms(row.recovered_ms),
                row.lost,
                row.duplicated,
                row.reordered
            );
            for wrong in &row.wrong {
                let _ = writeln!(text, "         {wrong}");
            }
            if let (Some(false), Some(mutant)) = (row.mutant_found, &row.mutant) {
                let _ = writeln!(text, "         the mutant {mutant} was not found");
            }
        }
        let sum = &self.summary;
        let failed = sum.rows - sum.passed - sum.skipped;
        let _ = write!(
            text,
            "{} rows: lost {}, duplicated {}, reordered {}, silent {}\n{} passed, {failed} failed, {} skipped",
            sum.rows, sum.lost, sum.duplicated, sum.reordered, sum.silent, sum.passed, sum.skipped
        );
        if let Some(MutantCount { planted, found }) = sum.mutants {
            let _ = write!(text, "\n{planted} mutants planted, {found} found");
        }
        text
    }

    /// Whether nothing failed, and no mutant went unseen: skipped rows are no failures, and are counted.
    #[must_use]
    pub fn holds(&self) -> bool {
        let sum = &self.summary;
        let seen = |count: MutantCount| count.planted == count.found;
        sum.passed + sum.skipped == sum.rows && sum.mutants.is_none_or(seen)
    }
}
