//! What to run, and how.

use std::{path::PathBuf, time::Duration};

use crate::limits::CANCEL_TERMINATE;

/// What to run, and how. See [`Config::new`] for what is usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The program: a path, or a name to look for in the child's `PATH`.
    pub program: PathBuf,
    /// Its arguments, as they are; there is no shell.
    pub args: Vec<String>,
    /// Where it runs; the server's own place if absent.
    pub cwd: Option<PathBuf>,
    /// The program is not started where that path has come to mean another directory.
    pub exact_cwd: bool,
    /// What it finds in its environment.
    pub env: Environment,
    /// How it gets the prompt.
    pub stdin: Stdin,
    /// How it talks.
    pub stdout: Stdout,
    /// What it may take of the machine.
    pub limits: Limits,
    /// How long things may take.
    pub clocks: Clocks,
    /// Longest line of [`Stdout::JsonLines`], in bytes.
    pub line_bytes_max: usize,
    /// Most lines that are not of the protocol.
    pub noise_lines_max: u64,
    /// A success without text is a failure.
    pub text_required: bool,
    /// Use a cgroup where there is one to be had. Without one, a process that has left its group,
    /// its parents and its environment behind can get away.
    pub cgroups: bool,
    /// Names the server on all that it starts; `[a-z0-9-]`, the same after a restart.
    pub owner: String,
}

impl Config {
    /// `program` with the usual settings: prompt on stdin, stdout is the answer.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, owner: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            cwd: None,
            exact_cwd: false,
            env: Environment::default(),
            stdin: Stdin::Prompt,
            stdout: Stdout::Lines,
            limits: Limits::default(),
            clocks: Clocks::default(),
            line_bytes_max: 1024 * 1024,
            noise_lines_max: 1_000,
            text_required: false,
            cgroups: true,
            owner: owner.into(),
        }
    }
}

/// What a child finds in its environment: this, the two markers, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Variables of the server's own that are passed on.
    pub pass: Vec<String>,
    /// Variables that are set, over those passed on.
    pub set: Vec<(String, String)>,
}

impl Default for Environment {
    fn default() -> Self {
        let pass = ["PATH", "HOME", "LANG", "TZ"];
        Self {
            pass: pass.map(str::to_owned).to_vec(),
            set: Vec::new(),
        }
    }
}

impl Environment {
    /// The variables that a child gets, in the order in which later ones win.
    pub(crate) fn resolve(&self) -> Vec<(String, String)> {
        let passed = self.pass.iter();
        let passed = passed.filter_map(|name| Some((name.clone(), std::env::var(name).ok()?)));
        passed.chain(self.set.iter().cloned()).collect()
    }
}

/// How a program gets the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// The prompt as it is, then the end.
    Prompt,
    /// `{"type":"prompt","text":…}` on a line, then `{"type":"answer","action":…,"answer":…}` for
    /// each answer; the end once the program is done or cancelled.
    Dialogue,
}

/// How a program talks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// All that it writes is the answer, byte by byte; exit code 0 means done.
    Lines,
    /// One object a line, by its `type`; any other line is noise.
    ///
    /// `text{text}`, `item{…}`, `needs_action{id, prompt, options?}`, `model_call`,
    /// `new_attempt{fault?}`, and to end: `done{stop_reason?}` or `error{message}`.
    JsonLines,
}

/// What a program and all that it starts may take of the machine; absent means unlimited.
///
/// Kept by a cgroup where the machine has one to give, else by resource limits, which bound each
/// process rather than all together, and do not bind root's number of processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processes and threads.
    pub processes_max: Option<u64>,
    /// Memory, in bytes.
    pub memory_bytes_max: Option<u64>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// From a polite end of a cancelled program to an impolite one; what does not end within
    /// [`crate::limits::CANCEL_MAX`] is killed then.
    pub terminate: Duration,
    /// Without the program reading its stdin.
    pub stdin: Duration,
    /// From the end of stdout to the end of the program.
    pub stdout_closed: Duration,
    /// From the program's last word to its end; then it is killed, and its word stands.
    pub linger: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            terminate: CANCEL_TERMINATE,
            stdin: Duration::from_secs(5),
            stdout_closed: Duration::from_secs(1),
            linger: Duration::from_secs(2),
        }
    }
}
