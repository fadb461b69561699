//! Everything that has to hold before a change lands, in the order in which it fails fastest.

use anyhow::Result;

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
    let _ = full;
    steps.summary();
    Ok(())
}
