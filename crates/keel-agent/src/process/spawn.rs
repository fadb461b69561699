//! Starts a program: nothing of the server's comes with it but what was listed.
//!
//! One thread that never ends starts all of them, as the signal that a child gets at its parent's
//! death comes at the death of the *thread* that started it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::{Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
};

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getpid, getppid, pidfd_open,
    set_parent_process_death_signal, setrlimit,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::unix::pipe,
    sync::oneshot,
};

use super::{
    NODE_MARKER, RUN_MARKER,
    cgroup::Cgroup,
    config::Config,
    tree::{Tree, leaders},
};
use crate::Failure;

/// A program under way.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) tree: Tree,
    /// Readable once the program has ended.
    pub(crate) ended: AsyncFd<OwnedFd>,
    pub(crate) stdin: pipe::Sender,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
    /// The environment that it was given.
    pub(crate) env: Vec<(String, String)>,
}

struct Job {
    command: Command,
    run: String,
    cgroup: Option<Cgroup>,
    reply: oneshot::Sender<io::Result<Started>>,
}

struct Started {
    tree: Tree,
    ended: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Starts what `config` says, marked as `run`.
pub(crate) async fn spawn(config: &Config, run: String) -> Result<Spawned, Failure> {
    let failed = |error: io::Error| Failure::Spawn {
        path: config.program.display().to_string(),
        error: error.to_string(),
        errno: error.raw_os_error(),
    };
    if let Some(cwd) = config.cwd.as_ref().filter(|cwd| !cwd.is_dir()) {
        let error = "not a directory to run in".to_owned();
        return Err(Failure::Spawn {
            path: cwd.display().to_string(),
            error,
            errno: None,
        });
    }
    let env = config.env.resolve();
    let cgroup = config
        .cgroups
        .then(|| Cgroup::create(&config.owner, &run, config.limits));
    let cgroup = cgroup.and_then(Result::ok);
    let command = command(config, &env, &run, cgroup.as_ref()).map_err(failed)?;

    let (reply, replied) = oneshot::channel();
    // A thread that is gone drops the job, and with it the reply.
    let _ = spawner().send(Job {
        command,
        run,
        cgroup,
        reply,
    });
    let gone = || io::Error::other("the thread that starts programs is gone");
    let started = replied
        .await
        .unwrap_or_else(|_| Err(gone()))
        .map_err(failed)?;
    watch(started, env).map_err(failed)
}

fn watch(started: Started, env: Vec<(String, String)>) -> io::Result<Spawned> {
    // SAFETY: an `OwnedFd` is open, and the same, for as long as the `AsyncFd` owns it.
    let ended = unsafe { AsyncFd::register_with_interest(started.ended, Interest::READABLE) };
    Ok(Spawned {
        tree: started.tree,
        ended: ended.map_err(io::Error::from)?,
        stdin: pipe::Sender::from_owned_fd(started.stdin)?,
        stdout: pipe::Receiver::from_owned_fd(started.stdout)?,
        stderr: pipe::Receiver::from_owned_fd(started.stderr)?,
        env,
    })
}

fn command(
    config: &Config,
    env: &[(String, String)],
    run: &str,
    cgroup: Option<&Cgroup>,
) -> io::Result<Command> {
    let mut command = Command::new(&config.program);
    command
        .args(&config.args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .env(NODE_MARKER, &config.owner)
        .env(RUN_MARKER, run)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(cwd) = &config.cwd {
        command.current_dir(cwd);
    }
    let birth = Birth {
        parent: getpid(),
        place: config
            .cwd
            .as_ref()
            .filter(|_| config.exact_cwd)
            .map(|cwd| cwd.as_os_str().as_bytes().to_vec()),
        doors: cgroup.map_or_else(|| Ok(Vec::new()), Cgroup::doors)?,
        // Limits that no cgroup keeps.
        processes_max: config
            .limits
            .processes_max
            .filter(|_| !cgroup.is_some_and(|made| made.limits_processes)),
        memory_bytes_max: config
            .limits
            .memory_bytes_max
            .filter(|_| !cgroup.is_some_and(|made| made.limits_memory)),
    };
    // SAFETY: the closure runs between fork and exec. It makes system calls only: it allocates
    // nothing, takes no lock, and touches nothing but what it owns.
    unsafe { command.pre_exec(move || birth.prepare()) };
    Ok(command)
}

/// What a child does to itself before it becomes the program.
struct Birth {
    parent: Pid,
    /// Where it must be, whatever became of the path on the way.
    place: Option<Vec<u8>>,
    doors: Vec<File>,
    processes_max: Option<u64>,
    memory_bytes_max: Option<u64>,
}

impl Birth {
    fn prepare(&self) -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(self.parent) {
            // The server died before it was asked to tell of its death.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.place.as_ref().is_some_and(|place| !is_here(place)) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        for door in &self.doors {
            rustix::io::write(door.as_fd(), b"0")?;
        }
        limit(Resource::Core, Some(0))?;
        limit(Resource::Nproc, self.processes_max)?;
        limit(Resource::As, self.memory_bytes_max)?;
        close_on_exec();
        Ok(())
    }
}

/// Whether the working directory is the one of that path, as the kernel names it.
fn is_here(place: &[u8]) -> bool {
    let mut path = [0_u8; 4096];
    // SAFETY: it writes no more than so many bytes into the array, and reads a text that ends in NUL.
    let length = unsafe {
        libc::readlink(
            c"/proc/self/cwd".as_ptr(),
            path.as_mut_ptr().cast(),
            path.len(),
        )
    };
    usize::try_from(length).is_ok_and(|length| path.get(..length) == Some(place))
}

fn limit(resource: Resource, max: Option<u64>) -> io::Result<()> {
    let Some(max) = max else {
        return Ok(());
    };
    Ok(setrlimit(
        resource,
        Rlimit {
            current: Some(max),
            maximum: Some(max),
        },
    )?)
}

/// Marks every descriptor but the standard ones to be closed, those too that the server itself
/// inherited from who knows whom.
fn close_on_exec() {
    let flags = libc::CLOSE_RANGE_CLOEXEC.cast_signed();
    // SAFETY: it marks descriptors, and touches no memory. A kernel without it (before 5.11) leaves
    // what the standard library does: descriptors of our own are marked from the start.
    unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
}

fn spawner() -> &'static mpsc::Sender<Job> {
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("keel-spawn".to_owned());
        let started = thread.spawn(move || {
            for job in queue {
                // If nobody waits any more, what was started is killed by its own drop.
                let _ = job.reply.send(start(job.command, &job.run, job.cgroup));
            }
        });
        started.expect("a process that serves sessions can start a thread");
        jobs
    })
}

fn start(mut command: Command, run: &str, cgroup: Option<Cgroup>) -> io::Result<Started> {
    let mut leaders = leaders();
    let mut child = command.spawn()?;
    leaders.insert(child.id().cast_signed());
    drop(leaders);

    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let tree = Tree::new(child, run, cgroup);
    let ended = pidfd_open(tree.pid(), PidfdFlags::empty())?;
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other(
            "a child without the pipes that were asked for",
        ));
    };
    Ok(Started {
        tree,
        ended,
        stdin: stdin.into(),
        stdout: stdout.into(),
        stderr: stderr.into(),
    })
}
