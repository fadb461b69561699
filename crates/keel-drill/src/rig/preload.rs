//! What stands between a process and its C library: a library of a few lines of C, which obeys a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// More of a process's environment.
pub(crate) type Env = Vec<(&'static str, PathBuf)>;

/// Compiles the library into a folder; the environment of a process that is linked with it first, and told
/// by that name where the file is that it obeys.
pub(super) async fn compile(
    dir: &Path,
    source: &str,
    obeys: (&'static str, PathBuf),
) -> Result<Env> {
    let (code, library) = (dir.join("preload.c"), dir.join("preload.so"));
    fs::write(&code, source)?;
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&code);
    let output = compiler.output().await.context("cc")?;
    if !output.status.success() {
        bail!("cc: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(vec![("LD_PRELOAD", library), obeys])
}

/// What this host lacks for it, if anything.
pub(crate) fn lacks_compiler() -> Option<String> {
    let there = std::process::Command::new("cc")
        .arg("--version")
        .output()
        .is_ok();
    (!there).then(|| "cc, to put something before the C library".to_owned())
}
