//! How much there is to do: measured, not judged.
//!
//! A probe goes through the queue that everybody's inputs go through, and tells how long that takes.
//! One that is still under way has waited at least as long as it is old.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use keel_core::node::Load;
use tokio::{sync::mpsc, time::Instant};

use super::Event;

/// Measurements of memory are as old as so many of the wait.
const MEMORY_EVERY: u32 = 5;

#[derive(Debug)]
pub(super) struct Gauge {
    queue: mpsc::WeakSender<Event>,
    /// The probe under way: since when, and whether it is in the queue or still before it.
    probe: Option<(Instant, bool)>,
    last: Duration,
    memory: Option<Memory>,
    measured: u32,
    used: Option<(u64, u64)>,
}

impl Gauge {
    pub(super) fn new(queue: mpsc::WeakSender<Event>) -> Self {
        Self {
            queue,
            probe: None,
            last: Duration::ZERO,
            memory: Memory::find(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup")),
            measured: 0,
            used: None,
        }
    }

    pub(super) fn arrived(&mut self, now: Instant, sent: Instant) {
        self.last = now - sent;
        self.probe = None;
    }

    pub(super) fn measure(&mut self, now: Instant) -> Load {
        let waited = self
            .probe
            .map_or(self.last, |(since, _)| self.last.max(now - since));
        if !self.probe.is_some_and(|(_, queued)| queued) {
            let sent = self.probe.map_or(now, |(since, _)| since);
            let queued = self.queue.upgrade().is_some_and(|queue| {
                // Full is a measurement, too: whoever has an input waits before the queue.
                queue.try_send(Event::Probe { sent }).is_ok()
            });
            self.probe = Some((sent, queued));
        }
        if self.measured.is_multiple_of(MEMORY_EVERY) {
            self.used = self.memory.as_ref().and_then(Memory::read);
        }
        self.measured = self.measured.wrapping_add(1);
        Load {
            waited,
            memory: self.used,
        }
    }
}

/// The files of this process's cgroup that say what it uses, and of what.
#[derive(Debug)]
struct Memory {
    used: PathBuf,
    limit: PathBuf,
    /// Where the page cache that can be dropped is told, and under which name.
    stat: (PathBuf, &'static str),
}

impl Memory {
    /// Of version 2 where the controller is there, else of version 1.
    fn find(of_process: &Path, root: &Path) -> Option<Self> {
        let text = fs::read_to_string(of_process).ok()?;
        let line = |wanted: &dyn Fn(&str) -> bool| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let two = line(&str::is_empty).map(|path| Self::two(&root.join(path)));
        let is_memory = |controllers: &str| controllers.split(',').any(|one| one == "memory");
        let memory = root.join("memory");
        // In a container the path is the host's, and what is mounted is ours.
        let one = line(&is_memory)
            .into_iter()
            .flat_map(|path| [memory.join(path), memory.clone()])
            .map(|dir| Self::one(&dir));
        let own = Self::two(root);
        let mut all = two.into_iter().chain(one).chain([own]);
        all.find(|memory| memory.used.exists() && memory.limit.exists())
    }

    fn two(dir: &Path) -> Self {
        Self {
            used: dir.join("memory.current"),
            limit: dir.join("memory.max"),
            stat: (dir.join("memory.stat"), "inactive_file"),
        }
    }

    fn one(dir: &Path) -> Self {
        Self {
            used: dir.join("memory.usage_in_bytes"),
            limit: dir.join("memory.limit_in_bytes"),
            stat: (dir.join("memory.stat"), "total_inactive_file"),
        }
    }

    /// In use and allowed; `None` where there is no limit. Cache that can be dropped is not in use.
    fn read(&self) -> Option<(u64, u64)> {
        let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let limit = number(&self.limit).filter(|limit| *limit < 1 << 60)?;
        let used = number(&self.used)?;
        let (stat, name) = &self.stat;
        let stat = fs::read_to_string(stat).unwrap_or_default();
        let cache = stat.lines().find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == *name).then(|| value.parse::<u64>().ok()).flatten()
        });
        Some((used.saturating_sub(cache.unwrap_or(0)), limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn memory_is_read_of_both_versions_without_the_cache_s04() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let root = dir.path();
        let proc = root.join("cgroup");
        write(root, "cgroup", "4:cpu,memory:/a\n0::/b\n");
        assert!(Memory::find(&proc, root).is_none());

        write(root, "memory/a/memory.usage_in_bytes", "900\n");
        write(root, "memory/a/memory.limit_in_bytes", "1000\n");
        write(
            root,
            "memory/a/memory.stat",
            "cache 7\ntotal_inactive_file 300\n",
        );
        let one = Memory::find(&proc, root).expect("version 1");
        assert_eq!(one.read(), Some((600, 1_000)));
        write(
            root,
            "memory/a/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(one.read(), None, "no limit");

        write(root, "b/memory.current", "900\n");
        write(root, "b/memory.max", "1000\n");
        write(root, "b/memory.stat", "anon 1\ninactive_file 100\n");
        let two = Memory::find(&proc, root).expect("version 2");
        assert_eq!(two.read(), Some((800, 1_000)));
        write(root, "b/memory.max", "max\n");
        assert_eq!(two.read(), None, "no limit");
    }

    #[test]
    fn a_probe_under_way_has_waited_as_long_as_it_is_old_s15() {
        let (sender, mut queue) = mpsc::channel(1);
        let mut gauge = Gauge::new(sender.downgrade());
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(gauge.measure(at(0)).waited, Duration::ZERO);
        assert_eq!(gauge.measure(at(300)).waited, Duration::from_millis(300));
        let Ok(Event::Probe { sent }) = queue.try_recv() else {
            panic!("no probe")
        };
        gauge.arrived(at(400), sent);
        assert_eq!(gauge.measure(at(500)).waited, Duration::from_millis(400));
        // The queue is full: who has an input waits before it.
        let Ok(Event::Probe { sent }) = queue.try_recv() else {
            panic!("no probe")
        };
        gauge.arrived(at(500), sent);
        sender
            .try_send(Event::Input(keel_core::node::Input::Tick))
            .expect("room");
        assert_eq!(gauge.measure(at(600)).waited, Duration::ZERO);
        assert_eq!(gauge.measure(at(900)).waited, Duration::from_millis(300));
        assert!(matches!(queue.try_recv(), Ok(Event::Input(_))));
        let _ = gauge.measure(at(1_000));
        let Ok(Event::Probe { sent }) = queue.try_recv() else {
            panic!("no probe")
        };
        assert_eq!(sent, at(600), "it has waited since it was to be sent");
    }
}
