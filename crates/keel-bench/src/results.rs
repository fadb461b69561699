//! What was measured, for machines: the format of `docs/results.md`; and the table for a person.

use std::fmt::Write;

use serde::Serialize;

use crate::samples::Samples;

/// One figure, with the bare thing beside it.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Unique, and the same from run to run.
    pub name: String,
    /// Of every figure here: `ms`, `us`, `bytes`, `per_s`, `ratio`.
    pub unit: &'static str,
    /// Samples.
    pub n: usize,
    /// The median; or the figure, where it is a single one. Null when it could not be measured.
    pub p50: Option<f64>,
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
    /// What `ratio` has to keep to: at least this for what is counted `per_s`, at most this otherwise.
    pub target_ratio: Option<f64>,
    /// What the figure itself has to keep to, in words.
    pub target: Option<String>,
    /// Whether every target is kept; null where there is none.
    pub pass: Option<bool>,
    /// How it was measured, and on what.
    pub method: String,
}

impl Measured {
    /// The median of samples, and how they spread.
    pub(crate) fn of(name: &str, unit: &'static str, samples: &Samples) -> Self {
        Self {
            p99: Some(samples.p99()),
            min: Some(samples.min()),
            max: Some(samples.max()),
            ..Self::figure(name, unit, samples.len(), samples.median())
        }
    }

    /// A single figure that `n` samples make.
    pub(crate) fn figure(name: &str, unit: &'static str, n: usize, figure: f64) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            n,
            p50: Some(figure),
            p99: None,
            min: None,
            max: None,
            baseline: None,
            ratio: None,
            target_ratio: None,
            target: None,
            pass: None,
            method: String::new(),
        }
    }

    /// What could not be measured has not kept to anything.
    pub(crate) fn missing(name: &str, why: &str) -> Self {
        Self {
            p50: None,
            pass: Some(false),
            method: format!("could not be measured: {why}"),
            ..Self::figure(name, "ms", 0, 0.)
        }
    }

    /// Beside the bare thing.
    pub(crate) fn beside(mut self, baseline: f64) -> Self {
        self.baseline = Some(baseline);
        self.ratio = self.p50.map(|figure| figure / baseline);
        self
    }

    /// A cost that may be so many times the bare thing's.
    pub(crate) fn costs_at_most(mut self, ratio: f64) -> Self {
        self.target_ratio = Some(ratio);
        let holds = self.ratio.is_some_and(|is| is <= ratio);
        self.and(holds)
    }

    /// A rate that must be such a part of the bare thing's.
    pub(crate) fn yields_at_least(mut self, ratio: f64) -> Self {
        self.target_ratio = Some(ratio);
        let holds = self.ratio.is_some_and(|is| is >= ratio);
        self.and(holds)
    }

    /// Something else that it has to keep to.
    pub(crate) fn target(mut self, says: impl Into<String>, holds: bool) -> Self {
        let says = says.into();
        self.target = Some(match self.target.take() {
            Some(before) => format!("{before}; {says}"),
            None => says,
        });
        self.and(holds)
    }

    pub(crate) fn method(mut self, method: impl Into<String>) -> Self {
        self.method = method.into();
        self
    }

    fn and(mut self, holds: bool) -> Self {
        self.pass = Some(self.pass.unwrap_or(true) && holds);
        self
    }
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
            let _ = writeln!(text, "{}\n      {}", result.line(), result.method);
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

impl Measured {
    /// One line for a person.
    #[must_use]
    pub fn line(&self) -> String {
        let verdict = match self.pass {
            Some(true) => "pass",
            Some(false) => "FAIL",
            None => "-",
        };
        let figure_ = self.p50.map_or_else(|| "-".to_owned(), figure);
        let mut text = format!("{verdict:<5} {:<28} {figure_:>8} {}", self.name, self.unit);
        if let (Some(p99), Some(max)) = (self.p99, self.max) {
            let _ = write!(text, ", p99 {}, max {}", figure(p99), figure(max));
        }
        if let (Some(baseline), Some(ratio)) = (self.baseline, self.ratio) {
            let _ = write!(text, "; bare {}, ratio {ratio:.2}", figure(baseline));
        }
        if let Some(ratio) = self.target_ratio {
            let side = if self.unit == "per_s" { ">=" } else { "<=" };
            let _ = write!(text, ", target {side} {ratio}");
        }
        if let Some(target) = &self.target {
            let _ = write!(text, "; target {target}");
        }
        let _ = write!(text, " (n = {})", self.n);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_passes_only_if_each_of_its_targets_is_kept() {
        let cost = Measured::figure("cost", "ms", 1, 6.).beside(2.);
        assert_eq!(cost.pass, None);
        assert_eq!(cost.clone().costs_at_most(3.).pass, Some(true));
        assert_eq!(cost.clone().costs_at_most(2.9).pass, Some(false));
        let both = cost.costs_at_most(2.9).target("exact", true);
        assert_eq!(both.pass, Some(false));
        let rate = Measured::figure("rate", "per_s", 1, 4.).beside(10.);
        assert_eq!(rate.clone().yields_at_least(0.5).pass, Some(false));
        assert_eq!(rate.yields_at_least(0.4).pass, Some(true));
        assert_eq!(Measured::missing("m", "why").pass, Some(false));
    }
}
