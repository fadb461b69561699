//! Installs what the tests need and a fresh machine has not: a C compiler, Chromium, Node.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::shell::{self, has, is_ci, root};

/// A program, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 5] = [
    ("cc", "gcc"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// `cargo xtask setup`.
pub(crate) fn run(yes: bool) -> Result<()> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !has_anywhere(program))
        .collect();
    if missing.is_empty() {
        eprintln!("setup: every program is there");
    } else {
        let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
        eprintln!("setup: missing {}", packages.join(", "));
        if !has("apt-get") {
            let why = format!(
                "install {} by hand: there is no apt-get here",
                packages.join(", ")
            );
            if is_ci() {
                bail!(why);
            }
            eprintln!("skipped{{needs: {}}}: {why}", packages.join(","));
            return Ok(());
        }
        if !yes && !is_ci() && !agreed("Install them with apt-get?")? {
            eprintln!("skipped{{needs: {}}}", packages.join(","));
            return Ok(());
        }
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        shell::run_with("apt-get", &["update", "-qq"], &quiet)?;
        let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
        args.extend(packages);
        shell::run_with("apt-get", &args, &quiet)?;
    }
    for folder in ["tests/page", "js/sdk"] {
        let there = root().join(folder);
        if there.join("package.json").is_file() && !there.join("node_modules").is_dir() {
            shell::run(
                "npm",
                &["ci", "--prefix", folder, "--no-audit", "--no-fund"],
            )?;
        }
    }
    Ok(())
}

fn has_anywhere(program: &str) -> bool {
    has(program)
        || ["/usr/sbin", "/sbin"]
            .iter()
            .any(|p| root().join(p).join(program).is_file())
}

fn agreed(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
