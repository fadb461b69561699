//! Installs what the tests need and a fresh machine has not: a C compiler, Chromium, Firefox, Node,
//! coturn, GStreamer with its Python bindings, and aiortc and schemathesis in environments of their own.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::shell::{self, has, is_ci, root};

/// A program, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 7] = [
    ("turnserver", "coturn"),
    ("cc", "gcc"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("chromium", "chromium"),
    ("firefox-esr", "firefox-esr"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// What has no program of its own: a file that says that it is there, and the package.
const LIBRARIES: [(&str, &str); 6] = [
    ("gstreamer-1.0/libgstwebrtc.so", "gstreamer1.0-plugins-bad"),
    ("gstreamer-1.0/libgstvpx.so", "gstreamer1.0-plugins-good"),
    ("gstreamer-1.0/libgstnice.so", "gstreamer1.0-nice"),
    (
        "girepository-1.0/GstWebRTC-1.0.typelib",
        "gir1.2-gst-plugins-bad-1.0",
    ),
    (
        "girepository-1.0/GstSdp-1.0.typelib",
        "gir1.2-gst-plugins-base-1.0",
    ),
    (
        "/usr/lib/python3/dist-packages/gi/__init__.py",
        "python3-gi",
    ),
];

/// `cargo xtask setup`.
pub(crate) fn run(yes: bool) -> Result<()> {
    let programs = PROGRAMS
        .iter()
        .filter(|(program, _)| !has_anywhere(program));
    let libraries = LIBRARIES.iter().filter(|(file, _)| !has_library(file));
    let missing: Vec<_> = programs.chain(libraries).collect();
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
    for environment in [AIORTC, SCHEMATHESIS] {
        if !root().join(environment.python).is_file() && has("python3") {
            environment.make()?;
        }
    }
    Ok(())
}

/// An environment of Python's, with packages at pinned versions.
#[derive(Clone, Copy)]
pub(crate) struct Environment {
    /// Where it is.
    folder: &'static str,
    /// Its Python.
    pub(crate) python: &'static str,
    /// What is in it.
    requirements: &'static str,
}

/// What `tests/aiortc` needs.
pub(crate) const AIORTC: Environment = Environment {
    folder: "target/aiortc",
    python: "target/aiortc/bin/python",
    requirements: "tests/aiortc/requirements.txt",
};

/// What `tests/schemathesis` needs.
pub(crate) const SCHEMATHESIS: Environment = Environment {
    folder: "target/schemathesis",
    python: "target/schemathesis/bin/python",
    requirements: "tests/schemathesis/requirements.txt",
};

/// What the test against LiteLLM needs. It is large, and so made only where that test is run.
pub(crate) const LITELLM: Environment = Environment {
    folder: "target/litellm",
    python: "target/litellm/bin/python",
    requirements: "tests/litellm/requirements.txt",
};

impl Environment {
    pub(crate) fn make(self) -> Result<()> {
        shell::run("python3", &["-m", "venv", self.folder])?;
        // A program's path is resolved before the working directory is changed.
        let python = root().join(self.python).to_string_lossy().into_owned();
        let args = ["-m", "pip", "install", "--quiet", "-r", self.requirements];
        let installed = shell::run(&python, &args);
        if installed.is_err() {
            // Half an environment would pass for one.
            std::fs::remove_dir_all(root().join(self.folder))?;
        }
        installed
    }
}

fn has_library(file: &str) -> bool {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
        "/usr/lib64",
    ];
    // An absolute path takes the folder's place.
    folders
        .iter()
        .any(|folder| std::path::Path::new(folder).join(file).is_file())
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
