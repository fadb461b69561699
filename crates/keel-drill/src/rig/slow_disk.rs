//! A disk whose syncs take long: a library of a few lines that stands between the server and its C
//! library, and delays `fsync` and `fdatasync` for as long as a file says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_as_told(void) {
    const char *path = getenv("EVENKEEL_DRILL_SYNC_MS");
    if (!path) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    char text[16] = {0};
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    long ms = n > 0 ? atol(text) : 0;
    struct timespec span = { ms / 1000, ms % 1000 * 1000000 };
    if (ms > 0) nanosleep(&span, 0);
}

int fsync(int fd) { wait_as_told(); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { wait_as_told(); return syscall(SYS_fdatasync, fd); }
"#;

/// The file that says how many milliseconds a sync takes.
pub(super) fn dial(dir: &Path) -> PathBuf {
    dir.join("sync_ms")
}

/// Compiles the library; the environment of a server whose syncs obey it.
pub(super) async fn prepare(dir: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let (source, library) = (dir.join("slow_disk.c"), dir.join("slow_disk.so"));
    fs::write(&source, SOURCE)?;
    fs::write(dial(dir), "0")?;
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source);
    let output = compiler.output().await.context("cc")?;
    if !output.status.success() {
        bail!("cc: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(vec![
        ("LD_PRELOAD", library),
        ("EVENKEEL_DRILL_SYNC_MS", dial(dir)),
    ])
}

/// What this host lacks for it, if anything.
pub(crate) fn lacks_compiler() -> Option<String> {
    let there = std::process::Command::new("cc")
        .arg("--version")
        .output()
        .is_ok();
    (!there).then(|| "cc, to put something before fsync".to_owned())
}

impl super::Rig {
    /// From here on, each sync of the server takes so long.
    pub(crate) fn syncs_take(&self, ms: u32) -> Result<()> {
        Ok(fs::write(dial(&self.dir), ms.to_string())?)
    }
}
