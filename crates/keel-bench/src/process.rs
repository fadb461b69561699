//! Processes beside the server: ours to start, to ask by lines, and to end; and what the kernel counts
//! of any process.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity},
};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// How long a process may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// A process that answers each line of its input with a line. It ends with its input, or with this.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a verb of the binary, with `secret` as `EVENKEEL_TOKEN`.
    pub(crate) fn start(exe: &Path, args: &[&str], secret: &str) -> Result<Self> {
        let mut child = Command::new(exe)
            .args(args)
            .env("EVENKEEL_TOKEN", secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("a process could not be started")?;
        let stdin = child.stdin.take().context("its input is piped")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout).lines(),
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("it runs")
    }

    /// The next line that it writes.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(ANSWER_WITHIN, self.stdout.next_line())
            .await
            .context("a process does not answer")??;
        line.context("a process ended")
    }

    /// The same, of JSON.
    pub(crate) async fn answer<T: DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.line().await?;
        serde_json::from_str(&line).with_context(|| format!("a process answered {line:?}"))
    }

    /// Writes a line to it.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.stdin.flush().await?)
    }

    /// Writes a line to it, and waits for its answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, line: &str) -> Result<T> {
        self.tell(line).await?;
        self.answer().await
    }
}

/// Of the processors: the first, or all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    First,
    Others,
}

/// Keeps a process, with all threads that it has and will have, on a share of the processors: what is
/// measured and what makes its load would be in each other's way otherwise, as they are not where they are
/// two machines. Where there is one processor, it is left as it is.
pub(crate) fn keep_on(pid: u32, share: Share) -> Result<()> {
    let ours = sched_getaffinity(None)?;
    let ours = (0..CpuSet::MAX_CPU).filter(|processor| ours.is_set(*processor));
    let ours: Vec<usize> = ours.collect();
    let Some((first, others)) = ours.split_first().filter(|(_, others)| !others.is_empty()) else {
        return Ok(());
    };
    let share = match share {
        Share::First => std::slice::from_ref(first),
        Share::Others => others,
    };
    let mut set = CpuSet::new();
    share.iter().for_each(|processor| set.set(*processor));
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?.file_name();
        let thread = thread.to_str().context("a thread has a number")?.parse()?;
        match sched_setaffinity(Pid::from_raw(thread), &set) {
            // It has ended meanwhile.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Memory of a process that is in RAM, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("a process has a resident size")?
        .parse()?;
    Ok(kib * 1_024.)
}

/// Time that the processors have spent for a process, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let [user, system] = ticks[..] else {
        bail!("a process has times");
    };
    // The kernel counts in hundredths of a second for whoever reads this file (proc_pid_stat(5)).
    Ok((user + system) * 10_000.)
}
