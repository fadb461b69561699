//! `bench`: a quick run, and what it writes for machines.

use std::collections::BTreeSet;

use serde_json::Value;
use tempfile::TempDir;

use crate::home::{command, stderr, stdout};

/// The members that `docs/results.md` promises of a result.
const MEMBERS: [&str; 13] = [
    "name",
    "unit",
    "n",
    "p50",
    "p99",
    "min",
    "max",
    "baseline",
    "ratio",
    "target_ratio",
    "target",
    "pass",
    "method",
];

#[test]
fn a_quick_run_writes_the_documented_shape() {
    let dir = TempDir::new().expect("a directory");
    let args = [
        "bench",
        "--quick",
        "--only",
        "resume_after_reset",
        "--only",
        "batched",
        "--json",
        "results.json",
        "--dir",
        ".",
    ];
    let output = command(dir.path()).args(args).output().expect("a run");
    let text = std::fs::read_to_string(dir.path().join("results.json"));
    let text = text.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["version"], 1);
    let results = report["results"].as_array().expect("results");
    let names: Vec<_> = results.iter().map(|result| &result["name"]).collect();
    assert_eq!(names, ["resume_after_reset", "batched_events"]);
    let promised: BTreeSet<_> = MEMBERS.into_iter().collect();
    for result in results {
        let members: BTreeSet<_> = result
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, promised);
        assert!(
            result["p50"].as_f64().is_some_and(|p50| p50 > 0.),
            "{result}"
        );
        assert!(
            result["baseline"].as_f64().is_some_and(|b| b > 0.),
            "{result}"
        );
        assert!(result["ratio"].is_f64() && result["pass"].is_boolean());
        let line = result["method"].as_str().expect("a method");
        assert!(stdout(&output).contains(line), "the method is printed");
    }
    assert_eq!(results[0]["n"], 100, "a tenth of the samples");
    assert!(results[1]["p99"].is_null(), "a single figure has no spread");
    // Whether the targets hold is the machine's matter; that it is told is not.
    let holds = results.iter().all(|result| result["pass"] == true);
    assert_eq!(output.status.code(), Some(i32::from(!holds)));
}

#[test]
fn a_name_that_no_benchmark_has_is_wrong_usage() {
    let dir = TempDir::new().expect("a directory");
    let args = ["bench", "--only", "warp-drive", "--dir", "."];
    let output = command(dir.path()).args(args).output().expect("a run");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("no benchmark"));
}
