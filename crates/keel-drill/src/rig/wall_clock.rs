//! A wall clock that jumps: the time of day of one process is as far from the host's as a file says. What
//! only ever goes forward, the monotonic clock, is left alone, as a jump of the clock and a sleeping machine
//! leave it.

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
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *ahead_s;

__attribute__((constructor)) static void open_dial(void) {
    const char *path = getenv("EVENKEEL_DRILL_AHEAD_S");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(0, sizeof *ahead_s, PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) ahead_s = at;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && ahead_s && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead_s;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec at;
    int failed = clock_gettime(CLOCK_REALTIME, &at);
    if (!failed && now) *now = (struct timeval){ at.tv_sec, at.tv_nsec / 1000 };
    return failed;
}

time_t time(time_t *now) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (now) *now = at.tv_sec;
    return at.tv_sec;
}
"#;

/// The file that says how many seconds the clock is ahead, as the machine's own integer of 64 bits.
fn dial(dir: &Path) -> PathBuf {
    dir.join("ahead_s")
}

/// The environment of a process whose clock obeys it.
pub(super) async fn prepare(dir: &Path) -> Result<Env> {
    fs::write(dial(dir), 0_i64.to_ne_bytes())?;
    preload::compile(dir, SOURCE, ("EVENKEEL_DRILL_AHEAD_S", dial(dir))).await
}

impl super::Rig {
    /// From here on, the clock of whoever is struck is so many seconds ahead of the host's.
    pub(crate) fn clock_is_ahead(&self, seconds: i64) -> Result<()> {
        use std::os::unix::fs::FileExt;
        // In its place: it is mapped.
        let dial = fs::File::options().write(true).open(dial(&self.dir))?;
        Ok(dial.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
