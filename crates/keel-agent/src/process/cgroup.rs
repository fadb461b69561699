//! A cgroup for one attempt: nothing that the attempt starts can leave it.
//!
//! In a tree of version 2, `cgroup.kill` ends all of it at once. Limits come from the same tree if
//! it has the controllers, else from trees of version 1.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use super::config::Limits;

/// The cgroups of one attempt.
#[derive(Debug)]
pub(crate) struct Cgroup {
    unified: PathBuf,
    limiting: Vec<PathBuf>,
    /// Which limits are kept by it.
    pub(crate) limits_processes: bool,
    pub(crate) limits_memory: bool,
}

impl Cgroup {
    /// Makes the cgroups of `run`.
    pub(crate) fn create(owner: &str, run: &str, limits: Limits) -> io::Result<Self> {
        let house = house(owner).ok_or(io::ErrorKind::NotFound)?;
        make_dir(&house)?;
        // Where the controllers are not handed down to us this is refused, and limits fall back.
        let _ = fs::write(house.join("cgroup.subtree_control"), "+pids +memory");
        let unified = house.join(run);
        make_dir(&unified)?;
        let mut made = Self {
            unified,
            limiting: Vec::new(),
            limits_processes: limits.processes_max.is_none(),
            limits_memory: limits.memory_bytes_max.is_none(),
        };
        if !made.unified.join("cgroup.kill").exists() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if let Some(max) = limits.processes_max {
            let files = [("pids.max", max)];
            made.limits_processes = made.limit(owner, run, "pids", &files, &files).is_ok();
        }
        if let Some(max) = limits.memory_bytes_max {
            let unified = [("memory.max", max), ("memory.oom.group", 1)];
            let legacy = [("memory.limit_in_bytes", max)];
            made.limits_memory = made.limit(owner, run, "memory", &unified, &legacy).is_ok();
        }
        Ok(made)
    }

    fn limit(
        &mut self,
        owner: &str,
        run: &str,
        controller: &str,
        unified: &[(&str, u64)],
        legacy: &[(&str, u64)],
    ) -> io::Result<()> {
        if set(&self.unified, unified).is_ok() {
            return Ok(());
        }
        let base = own_base(controller).ok_or(io::ErrorKind::NotFound)?;
        let house = base.join(format!("evenkeel-{owner}"));
        make_dir(&house)?;
        let dir = house.join(run);
        make_dir(&dir)?;
        self.limiting.push(dir.clone());
        set(&dir, legacy)
    }

    /// Files that put the process which writes `0` to them into the cgroups.
    pub(crate) fn doors(&self) -> io::Result<Vec<File>> {
        let dirs = std::iter::once(&self.unified).chain(&self.limiting);
        dirs.map(|dir| {
            OpenOptions::new()
                .write(true)
                .open(dir.join("cgroup.procs"))
        })
        .collect()
    }

    /// Kills all that is in it.
    pub(crate) fn kill(&self) {
        // Fails only if the cgroup is gone, and then so is all that was in it.
        let _ = fs::write(self.unified.join("cgroup.kill"), "1");
    }

    /// Whether something in it was killed for the memory that it took.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        let unified = self.unified.join("memory.events");
        let legacy = self
            .limiting
            .iter()
            .map(|dir| dir.join("memory.oom_control"));
        legacy.chain([unified]).any(|path| {
            let told = fs::read_to_string(path).unwrap_or_default();
            let kills = told.lines().find_map(|line| line.strip_prefix("oom_kill "));
            kills.is_some_and(|kills| kills.trim() != "0")
        })
    }

    /// What is in it; zombies are not told of.
    pub(crate) fn pids(&self) -> Vec<i32> {
        pids(&self.unified)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in self.limiting.iter().chain([&self.unified]) {
            // What cannot be removed is left to the next server's start.
            let _ = fs::remove_dir(dir);
        }
    }
}

/// Kills all that is in any cgroup of `owner`, and removes what can be removed; how many processes
/// there were.
pub(crate) fn kill_house(owner: &str) -> u32 {
    let mut killed = 0;
    if let Some(house) = house(owner) {
        for run in sub_dirs(&house) {
            killed += u32::try_from(pids(&run).len()).unwrap_or(u32::MAX);
            let _ = fs::write(run.join("cgroup.kill"), "1");
        }
    }
    killed
}

/// Removes the cgroups of `owner` that nothing is in.
pub(crate) fn remove_house(owner: &str) {
    let legacy = ["pids", "memory"].into_iter().filter_map(own_base);
    let legacy = legacy.map(|base| base.join(format!("evenkeel-{owner}")));
    for house in legacy.chain(house(owner)) {
        for run in sub_dirs(&house) {
            let _ = fs::remove_dir(run);
        }
        let _ = fs::remove_dir(house);
    }
}

/// Whether this process may make cgroups that can be killed.
pub(crate) fn is_available() -> bool {
    let name = format!("probe-{}", std::process::id());
    let made = Cgroup::create(&name, "probe", Limits::default());
    let available = made.is_ok();
    drop(made);
    remove_house(&name);
    available
}

fn house(owner: &str) -> Option<PathBuf> {
    let is_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let named = !owner.is_empty() && owner.chars().all(is_a_name);
    named.then(|| own_base("").map(|base| base.join(format!("evenkeel-{owner}"))))?
}

/// Where this process is in the tree of `controller` (version 1), or of version 2 if that is empty.
fn own_base(controller: &str) -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| parts.next())?
    })?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let mut parts = line.split(' ').skip(1);
        let (at, kind, options) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        fits.then_some(at)
    })?;
    let base = Path::new(mount).join(path.trim_start_matches('/'));
    base.is_dir().then_some(base)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn set(dir: &Path, files: &[(&str, u64)]) -> io::Result<()> {
    let open = |name| OpenOptions::new().write(true).open(dir.join(name));
    files.iter().try_for_each(|(name, value)| {
        io::Write::write_all(&mut open(name)?, value.to_string().as_bytes())
    })
}

fn pids(dir: &Path) -> Vec<i32> {
    let pids = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.lines().filter_map(|pid| pid.parse().ok()).collect()
}

fn sub_dirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
