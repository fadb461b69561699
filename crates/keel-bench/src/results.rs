//! What was measured, for machines: the format of `docs/results.md`; and the table for a person.

use std::fmt::Write;

use serde::Serialize;

/// One figure, with the bare thing beside it.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Unique, and the same from run to run.
    pub name: String,
    /// Of every figure here: `ms`, `us`, `bytes`, `per_s`, `ratio`.
    pub unit: &'static str,
    /// Samples.
    pub n: usize,
    /// The median; or the figure, where it is a single one.
    pub p50: f64,
    /// Null where a single figure is all there is.
    pub p99: Option<f64>,
    /// See [`Self::p99`].
    pub min: Option<f64>,
    /// See [`Self::p99`].
    pub max: Option<f64>,
    /// The bare thing's median or figure, from the same run; null where there is none.
    pub baseline: Option<f64>,
    /// Figure by baseline.
    pub ratio: Option<f64>,
    /// What `ratio` has to keep to.
    pub target_ratio: Option<f64>,
    /// What the figure itself has to keep to, in words that begin with the bound.
    pub target: Option<String>,
    /// Whether every target is kept; null where there is none.
    pub pass: Option<bool>,
    /// How it was measured, and on what.
    pub method: String,
}

/// Everything that a run measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of this format.
    pub version: u32,
    /// One each.
    pub results: Vec<Measured>,
}

impl Report {
    /// Whether every target is kept.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.results.iter().all(|result| result.pass != Some(false))
    }

    /// The table for a person: a line a result, its method below.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for result in &self.results {
            let verdict = match result.pass {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "-",
            };
            let _ = write!(
                text,
                "{verdict:<5} {:<44} {:>10} {}",
                result.name,
                figure(result.p50),
                result.unit
            );
            if let Some(p99) = result.p99 {
                let _ = write!(text, ", p99 {}", figure(p99));
            }
            if let (Some(baseline), Some(ratio)) = (result.baseline, result.ratio) {
                let _ = write!(text, "; bare {}, ratio {ratio:.2}", figure(baseline));
            }
            if let Some(target) = &result.target {
                let _ = write!(text, "; target {target}");
            }
            let _ = writeln!(text, " (n = {})\n      {}", result.n, result.method);
        }
        let passed = self.results.iter().filter(|r| r.pass == Some(true)).count();
        let failed = self
            .results
            .iter()
            .filter(|r| r.pass == Some(false))
            .count();
        let _ = write!(text, "{passed} passed, {failed} failed");
        text
    }
}

/// Three significant digits are all that a shared machine is good for.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
