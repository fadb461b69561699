//! A disk whose syncs take long: `fsync` and `fdatasync` are delayed for as long as a file says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::preload::{self, Env};

const SOURCE: &str = r#"
#define _GNU_SOURCE
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
fn dial(dir: &Path) -> PathBuf {
    dir.join("sync_ms")
}

/// The environment of a server whose syncs obey it.
pub(super) async fn prepare(dir: &Path) -> Result<Env> {
    fs::write(dial(dir), "0")?;
    preload::compile(dir, SOURCE, ("EVENKEEL_DRILL_SYNC_MS", dial(dir))).await
}

impl super::Rig {
    /// From here on, each sync of the server takes so long.
    pub(crate) fn syncs_take(&self, ms: u32) -> Result<()> {
        Ok(fs::write(dial(&self.dir), ms.to_string())?)
    }
}
