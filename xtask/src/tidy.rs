//! Checks that no compiler makes: documents in step with code, files within bounds, one of each crate
//! that may not be there twice.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail};
use keel_wire::Code;

use crate::{guarantees, shell::root};

/// Lines of a source file beyond which it wants splitting; tests and generated code are not counted.
const FILE_LINES_MAX: usize = 600;
/// Lines of ARCHITECTURE.md.
const ARCHITECTURE_LINES_MAX: usize = 250;

pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    every_code_has_a_paragraph(&mut wrong);
    guarantees::check(&mut wrong);
    files_are_short(&root().join("crates"), &mut wrong)?;
    files_are_short(&root().join("xtask"), &mut wrong)?;
    pure_crates_stay_pure(&mut wrong);
    no_second_crypto(&mut wrong)?;
    architecture_is_short(&mut wrong);
    for what in &wrong {
        eprintln!("tidy: {what}");
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        bail!("{} things are untidy", wrong.len())
    }
}

fn every_code_has_a_paragraph(wrong: &mut Vec<String>) {
    let text = fs::read_to_string(root().join("docs/faults.md")).unwrap_or_default();
    for code in Code::ALL {
        if !text.contains(&format!("### `{}`", code.name())) {
            wrong.push(format!("docs/faults.md has no paragraph for `{code}`"));
        }
    }
}

fn files_are_short(folder: &Path, wrong: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            files_are_short(&path, wrong)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let lines = fs::read_to_string(&path)?.lines().count();
            let in_tests = path.components().any(|part| part.as_os_str() == "tests");
            if lines > FILE_LINES_MAX && !in_tests {
                wrong.push(format!(
                    "{} has {lines} lines: split it by noun",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

/// The manifests of the deterministic crates cannot do IO.
fn pure_crates_stay_pure(wrong: &mut Vec<String>) {
    for pure in ["keel-wire", "keel-core", "keel-sim"] {
        let manifest = root().join("crates").join(pure).join("Cargo.toml");
        let text = fs::read_to_string(manifest).unwrap_or_default();
        let shipped = text.split("[dev-dependencies]").next().unwrap_or_default();
        for banned in ["tokio", "rustix", "getrandom", "rusqlite", "hyper", "axum"] {
            if shipped.lines().any(|line| line.starts_with(banned)) {
                wrong.push(format!("{pure} must not depend on {banned}"));
            }
        }
    }
}

/// Two crypto providers compiled in are a panic at first use.
fn no_second_crypto(wrong: &mut Vec<String>) -> Result<()> {
    let tree = Command::new("cargo")
        .args(["tree", "--workspace", "-i", "ring", "--depth", "1"])
        .current_dir(root())
        .output()?;
    if tree.status.success() && !tree.stdout.is_empty() {
        wrong.push("ring is in the tree beside aws-lc-rs".to_owned());
    }
    Ok(())
}

fn architecture_is_short(wrong: &mut Vec<String>) {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap_or_default();
    let lines = text.lines().count();
    if !(1..ARCHITECTURE_LINES_MAX).contains(&lines) {
        wrong.push(format!(
            "ARCHITECTURE.md has {lines} lines, not 1 to {ARCHITECTURE_LINES_MAX}"
        ));
    }
}
