//! A directory with a `dev` server in it, and the verbs run there.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_evenkeel");

pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) address: String,
    child: Child,
}

pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(EXE);
    command
        .current_dir(dir)
        .env_remove("EVENKEEL_TOKEN")
        .env_remove("CARGO")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Home {
    pub(crate) fn start() -> Self {
        Self::begin(TempDir::new().expect("a directory"), &[])
    }

    /// With a configuration to begin with.
    pub(crate) fn start_with(config: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("first.toml"), config).expect("written");
        Self::begin(dir, &["--config", "first.toml"])
    }

    fn begin(dir: TempDir, more: &[&str]) -> Self {
        let mut child = command(dir.path())
            .args(["dev", "--listen", "127.0.0.1:0"])
            .args(more)
            .spawn()
            .expect("a server");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut head = String::new();
        while !head.contains("stop with") {
            let read = said.read_line(&mut head).expect("text");
            assert!(read > 0, "it ended: {head}");
        }
        let (_, rest) = head.split_once("listening on ").expect("an address");
        let address = rest.split(',').next().expect("an address").to_owned();
        assert!(
            head.contains(&format!("evenkeel connect ws://{address}")),
            "{head}"
        );
        Self {
            dir,
            address,
            child,
        }
    }

    /// The server's.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        command(self.dir.path()).args(args).output().expect("a run")
    }

    pub(crate) fn type_in(&self, args: &[&str], lines: &str) -> Output {
        let mut child = command(self.dir.path())
            .args(args)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a run");
        let mut stdin = child.stdin.take().expect("piped");
        for line in lines.split_inclusive('\n') {
            stdin.write_all(line.as_bytes()).expect("typed");
            // As fast as a person types.
            std::thread::sleep(Duration::from_millis(150));
        }
        drop(stdin);
        child.wait_with_output().expect("an end")
    }

    /// SIGTERM; its exit code and what it logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        terminate(&self.child);
        let status = self.child.wait().expect("an end");
        let mut said = String::new();
        let stderr = self.child.stderr.take();
        stderr
            .expect("piped")
            .read_to_string(&mut said)
            .expect("text");
        (status.code(), said)
    }
}

pub(crate) fn terminate(child: &Child) {
    signal(child, Signal::TERM);
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0");
    kill_process(pid, signal).expect("a signal");
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
