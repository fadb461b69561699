//! What processes there are, as `/proc` tells it.
//!
//! A process is named by its number *and* the time of its start: a number alone may have passed on
//! to another process between two looks. A signal goes through a pidfd that was checked after it
//! was opened.

use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process as it was when looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) started: u64,
    pub(crate) zombie: bool,
}

impl Found {
    pub(crate) fn look(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, a ')' too; the last one ends it.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        // Field 22 of the whole; 19 fields after the state.
        let started = fields.nth(16)?.parse().ok()?;
        let zombie = matches!(state, "Z" | "X" | "x");
        Some(Self {
            pid,
            parent,
            group,
            started,
            zombie,
        })
    }

    /// Whether its environment has `pair` (`NAME=value`). A zombie's is gone.
    pub(crate) fn carries(&self, pair: &str) -> bool {
        let environ = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == pair.as_bytes())
    }

    /// Kills this very process; not one that has its number since.
    pub(crate) fn kill(&self) {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return;
        };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
            return;
        };
        if Self::look(self.pid).is_some_and(|now| now.started == self.started) {
            // It may have died meanwhile, which is as good.
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

/// All processes but this one.
pub(crate) fn processes() -> Vec<Found> {
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own)
        .filter_map(Found::look)
        .collect()
}

/// Those of `all` that descend from `ancestor`.
pub(crate) fn descendants(all: &[Found], ancestor: i32) -> Vec<Found> {
    let mut line = vec![ancestor];
    let mut found: Vec<Found> = Vec::new();
    while let Some(parent) = line.pop() {
        for child in all.iter().filter(|process| process.parent == parent) {
            if !found.contains(child) {
                found.push(*child);
                line.push(child.pid);
            }
        }
    }
    found
}
