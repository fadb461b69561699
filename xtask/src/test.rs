//! Everything that has to hold before a change lands, in the order in which it fails fastest.

use anyhow::{Context, Result, bail};

use crate::{
    setup,
    shell::{self, Steps},
    spec, tidy,
};

pub(crate) fn run(full: bool) -> Result<()> {
    let mut steps = Steps::new();
    steps.step("set up", || setup::run(false))?;
    steps.step("format", || {
        shell::run("cargo", &["fmt", "--all", "--check"])
    })?;
    steps.step("tidy", tidy::run)?;
    steps.step("spec is fresh", || spec::run(true))?;
    steps.step("clippy", || {
        shell::run(
            "cargo",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        )
    })?;
    steps.step("tests", || shell::run("cargo", &["test", "--workspace"]))?;
    steps.step("build", || {
        shell::run(
            "cargo",
            &["build", "-p", "evenkeel-cli", "-p", "keel-agent", "--bins"],
        )
    })?;
    let evenkeel = shell::root().join("target/debug/evenkeel");
    let evenkeel = evenkeel
        .to_str()
        .context("the path of the repository is UTF-8")?;
    let seeds = if full { "20000" } else { "2000" };
    steps.step("the simulator", || {
        shell::run(evenkeel, &["sim", "--seeds", seeds, "--mutants"])
    })?;
    steps.step("drill", || drill(evenkeel, full))?;
    steps.step("the heart", || {
        let span = if full { "600" } else { "60" };
        shell::run(evenkeel, &["drill", "--only", "heart", "--heart-s", span])
    })?;
    steps.step("the page, in Chromium", || page(evenkeel, full))?;
    steps.summary();
    Ok(())
}

/// Rows that are run before every change lands; all of them with `--full`.
const ROWS: [&str; 20] = [
    "N01/mid-turn",
    "N02/mid-turn",
    "N03/mid-turn",
    "N05/mid-turn",
    "N16",
    "N20",
    "P07",
    "P09",
    "P10",
    "S01",
    "S07",
    "S14",
    "S16",
    "S20",
    "C01",
    "C02",
    "C03",
    "C04",
    "C08",
    "C09",
];

fn drill(evenkeel: &str, full: bool) -> Result<()> {
    // The heart is a step of its own; every other row's id begins with one of these.
    let all = ["N", "P", "S", "C"];
    let rows: &[&str] = if full { &all } else { &ROWS };
    let mut args = vec!["drill"];
    for row in rows {
        args.extend(["--only", row]);
    }
    if full {
        args.push("--mutants");
    }
    shell::run(evenkeel, &args)
}

fn page(evenkeel: &str, full: bool) -> Result<()> {
    if !shell::has("chromium") || !shell::has("node") {
        if shell::is_ci() {
            bail!("the page's tests need chromium and node: run `cargo xtask setup`");
        }
        eprintln!("skipped{{needs: chromium, node}}");
        return Ok(());
    }
    let mut env = vec![("EVENKEEL_BIN", evenkeel)];
    if full {
        env.push(("FULL", "1"));
    }
    shell::run_with("node", &["--test", "tests/page/probe.test.mjs"], &env)
}
