//! A program and all that it starts, killed as one.
//!
//! The leader is not reaped before its tree is dead: until then neither its number nor its group's
//! can pass on to somebody else, so no signal of ours ever hits a stranger.

use std::{
    collections::BTreeSet,
    io,
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpgrp, kill_process_group, waitid, waitpid,
};

use super::{
    NODE_MARKER, RUN_MARKER,
    cgroup::{self, Cgroup},
    scan::{self, Found},
};
use crate::Exit;

/// How long a killed tree may take to be gone before it is given up, loudly.
const DEAD_WITHIN: Duration = Duration::from_secs(1);
const LEFTOVERS_DEAD_WITHIN: Duration = Duration::from_secs(2);

/// Leaders that are not reaped yet. Held while one is started or reaped, and while adopted zombies
/// are, so that nobody reaps a leader that another owns.
static LEADERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

pub(crate) fn leaders() -> MutexGuard<'static, BTreeSet<i32>> {
    // A set of numbers is valid whoever panicked.
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program and all that it starts. Dropping it kills all of it.
#[derive(Debug)]
pub(crate) struct Tree {
    leader: Option<Child>,
    pid: Pid,
    marker: String,
    cgroup: Option<Cgroup>,
}

/// What was left of a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Felled {
    /// How the leader ended.
    pub(crate) exit: Option<Exit>,
    /// Something in it was killed for the memory that it took.
    pub(crate) out_of_memory: bool,
    /// Processes that outlived it.
    pub(crate) orphans: u32,
}

impl Tree {
    /// Takes over `leader`, which was just started and is in [`leaders`].
    pub(crate) fn new(leader: Child, run: &str, cgroup: Option<Cgroup>) -> Self {
        let pid = Pid::from_child(&leader);
        Self {
            leader: Some(leader),
            pid,
            marker: format!("{RUN_MARKER}={run}"),
            cgroup,
        }
    }

    pub(crate) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Asks the leader and its group to end.
    pub(crate) fn terminate(&self) {
        if self.leader.is_some() {
            // It may have ended by itself.
            let _ = kill_process_group(self.pid, Signal::TERM);
        }
    }

    /// Kills all of it, waits until it is gone, and reaps what is ours. Blocks, for no longer than
    /// [`DEAD_WITHIN`] and a little.
    pub(crate) fn fell(mut self) -> Felled {
        self.fell_now()
    }

    fn fell_now(&mut self) -> Felled {
        let Some(leader) = self.leader.take() else {
            return Felled::default();
        };
        // What dies with its leader, by the same kill, is no orphan.
        let outlived = self.leader_is_dead();
        let mut orphans = BTreeSet::new();
        if outlived {
            orphans.extend(self.others().iter().map(|found| (found.pid, found.started)));
        }
        let give_up_at = Instant::now() + DEAD_WITHIN;
        let mut pause = Duration::from_micros(200);
        loop {
            let leader_is_dead = self.leader_is_dead();
            let left = self.kill();
            if outlived {
                orphans.extend(left.iter().map(|found| (found.pid, found.started)));
            }
            if leader_is_dead && left.is_empty() {
                break;
            }
            if Instant::now() > give_up_at {
                tracing::error!(pid = %self.pid, left = left.len(), "killed processes do not end");
                break;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        let exit = self.reap(leader);
        reap_adopted();
        Felled {
            exit,
            out_of_memory: self.cgroup.as_ref().is_some_and(Cgroup::ran_out_of_memory),
            orphans: u32::try_from(orphans.len()).unwrap_or(u32::MAX),
        }
    }

    /// Sends everybody a KILL; who was still there to get it, besides the leader.
    fn kill(&self) -> Vec<Found> {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        // The leader is not reaped, so the group is still its own.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let others = self.others();
        for other in &others {
            other.kill();
        }
        others
    }

    /// Living members of the tree besides the leader: in its cgroup, in its group, descended from
    /// it, or with its marker.
    fn others(&self) -> Vec<Found> {
        let leader = self.pid.as_raw_nonzero().get();
        let all = scan::processes();
        let inside = self.cgroup.as_ref().map(Cgroup::pids).unwrap_or_default();
        let descended = scan::descendants(&all, leader);
        let belongs = |found: &Found| {
            found.group == leader
                || inside.contains(&found.pid)
                || descended.contains(found)
                || found.carries(&self.marker)
        };
        let others = all
            .into_iter()
            .filter(|found| !found.zombie && found.pid != leader);
        others.filter(belongs).collect()
    }

    /// Whether the leader has ended, by asking the kernel.
    pub(crate) fn leader_is_dead(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that there is no such child, dead or alive.
        !matches!(waitid(WaitId::Pid(self.pid), look), Ok(None))
    }

    fn reap(&self, mut leader: Child) -> Option<Exit> {
        let mut leaders = leaders();
        match leader.try_wait() {
            Ok(Some(status)) => {
                leaders.remove(&self.pid.as_raw_nonzero().get());
                Some(exit(status))
            }
            Ok(None) | Err(_) => {
                // In the kernel's hands; it stays a leader, so nobody takes it for an orphan.
                thread::spawn(move || leader.wait());
                None
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.fell_now();
    }
}

fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().map(Exit::Code);
    code.or_else(|| status.signal().map(Exit::Signal))
        .expect("a process that ended did so somehow")
}

/// Reaps the dead whom this process adopted: children that are neither leaders nor of its own
/// process group, as everything that a provider starts is in a group of its own.
fn reap_adopted() {
    let own = std::process::id().cast_signed();
    let own_group = getpgrp().as_raw_nonzero().get();
    let mut adopted = scan::processes();
    adopted.retain(|found| found.zombie && found.parent == own && found.group != own_group);
    let leaders = leaders();
    for found in adopted {
        if !leaders.contains(&found.pid) && Found::look(found.pid) == Some(found) {
            // Only this function reaps it, and it is not run twice at once.
            let _ = waitpid(Pid::from_raw(found.pid), WaitOptions::NOHANG);
        }
    }
}

/// Makes this process the one that adopts orphans of its descendants, so that it can see them end.
/// A server calls this once, at its start.
///
/// # Errors
/// When the kernel refuses.
pub fn become_subreaper() -> io::Result<()> {
    // Any process but none says yes.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// Whether this process may make cgroups for the programs that it runs.
#[must_use]
pub fn has_cgroups() -> bool {
    cgroup::is_available()
}

/// Kills all that an earlier server of this `owner` has left, and removes its cgroups; how many
/// processes there were. A server calls this at its start, before it runs anything. Blocks, for no
/// longer than two seconds and a little.
#[must_use]
pub fn reap_leftovers(owner: &str) -> u32 {
    let marker = format!("{NODE_MARKER}={owner}");
    let give_up_at = Instant::now() + LEFTOVERS_DEAD_WITHIN;
    let mut seen = BTreeSet::new();
    let left = || {
        let mut left: Vec<Found> = scan::processes();
        left.retain(|found| !found.zombie && found.carries(&marker));
        left
    };
    let in_cgroups = loop {
        let found = left();
        let in_cgroups = cgroup::kill_house(owner);
        found.iter().for_each(Found::kill);
        seen.extend(found.iter().map(|found| (found.pid, found.started)));
        if (found.is_empty() && in_cgroups == 0) || Instant::now() > give_up_at {
            break in_cgroups;
        }
        thread::sleep(Duration::from_millis(5));
    };
    if in_cgroups > 0 {
        tracing::error!(
            in_cgroups,
            "killed processes of an earlier server do not end"
        );
    }
    reap_adopted();
    cgroup::remove_house(owner);
    u32::try_from(seen.len()).unwrap_or(u32::MAX)
}
