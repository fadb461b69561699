//! A client process: the SDK in a process of its own, that can be stopped, killed, and asked.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    ledger::{Account, Line, Seen},
    mutant::Mutant,
    rig::children,
    spoil::{LATE, Spoiler},
};

/// The browser's side of a drill: of this repository, where it is.
fn script() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    crates.join("../../tests/page/drill-peer.mjs")
}

/// What this host lacks for a browser, if anything.
pub(crate) fn lacks_browser() -> Option<String> {
    let chromium = std::env::var_os("CHROMIUM")
        .map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_node = std::env::split_paths(&path).any(|folder| folder.join("node").is_file());
    let driver = script().with_file_name("node_modules/playwright-core");
    let lacking = [
        ("chromium", chromium.is_file()),
        ("node", has_node),
        ("playwright-core", driver.is_dir()),
    ];
    let lacking: Vec<&str> = lacking
        .iter()
        .filter(|(_, is_there)| !is_there)
        .map(|(name, _)| *name)
        .collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

/// A client process.
#[derive(Debug)]
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<Line>>>,
    count: watch::Receiver<usize>,
    reader: JoinHandle<()>,
}

impl Client {
    /// Starts a client of `url`, with more arguments of `drill-client`.
    pub(crate) fn start(exe: &Path, url: &str, token: &str, args: &[&str]) -> Result<Self> {
        Self::start_in(exe, url, token, args, &[])
    }

    /// The same, with more of an environment.
    pub(crate) fn start_in(
        exe: &Path,
        url: &str,
        token: &str,
        args: &[&str],
        env: &[(&str, PathBuf)],
    ) -> Result<Self> {
        let mut command = Command::new(exe);
        command
            .arg("drill-client")
            .args(["--url", url])
            .args(args)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("EVENKEEL_TOKEN", token);
        Self::run(command, Spoiler::default())
    }

    /// Starts a browser that is a client of `url`, with more arguments of `tests/page/drill-peer.mjs`.
    /// A mutant stands between it and whoever reads its lines.
    pub(crate) fn start_browser(
        url: &str,
        token: &str,
        args: &[String],
        mutant: Option<Mutant>,
    ) -> Result<Self> {
        let mut command = Command::new("node");
        command
            .arg(script())
            .arg(format!("--url={url}"))
            .args(args)
            .env("EVENKEEL_TOKEN", token);
        Self::run(command, Spoiler::new(mutant))
    }

    fn run(mut command: Command, mut spoiler: Spoiler) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .context("a client could not be started")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its output is piped")?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (told, count) = watch::channel(0);
        let reader = tokio::spawn({
            let lines = Arc::clone(&lines);
            async move {
                let mut output = BufReader::new(stdout).lines();
                while let Ok(Some(text)) = output.next_line().await {
                    let line = serde_json::from_str::<Line>(&text).unwrap_or_else(|error| Line {
                        t: 0,
                        what: Seen::Note {
                            text: format!("not a line: {error}: {text}"),
                        },
                    });
                    let passed = spoiler.pass(line.what);
                    let late = if passed.late { LATE } else { Duration::ZERO };
                    let t = line.t + u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
                    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                    lines.extend(passed.what.into_iter().map(|what| Line { t, what }));
                    told.send_replace(lines.len());
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            lines,
            count,
            reader,
        })
    }

    /// Everything that it saw.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What it saw comes to.
    pub(crate) fn account(&self) -> Account {
        Account::of(&self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until it has seen something; what `look` made of the line.
    pub(crate) async fn until<T>(
        &self,
        within: Duration,
        what: &str,
        mut look: impl FnMut(&Line) -> Option<T>,
    ) -> Result<T> {
        let mut count = self.count.clone();
        let mut next = 0;
        let wait = async {
            loop {
                {
                    let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
                    for line in &lines[next..] {
                        if let Some(found) = look(line) {
                            return Ok(found);
                        }
                    }
                    next = lines.len();
                }
                if count.changed().await.is_err() {
                    bail!("the client ended before {what}");
                }
            }
        };
        match tokio::time::timeout(within, wait).await {
            Ok(found) => found,
            Err(_) => bail!("not within {within:?}: {what}"),
        }
    }

    /// The session that it is in.
    pub(crate) async fn session(&self) -> Result<String> {
        self.until(Duration::from_secs(20), "joined", |line| match &line.what {
            Seen::Joined { session, .. } => Some(Ok(session.clone())),
            Seen::Failed { code, .. } => Some(Err(anyhow::anyhow!("refused: {code}"))),
            _ => None,
        })
        .await?
    }

    /// Tells it to do something: a line of `drill-client`'s input.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is open")?;
        stdin.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    /// Sends it a signal: to all of its processes, but for the driver of a browser, which writes the ledger.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("it runs")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("a process has an id")?;
        let of_a_browser = descendants(pid);
        if of_a_browser.is_empty() {
            return Ok(kill_process(pid, signal)?);
        }
        for pid in of_a_browser {
            match kill_process(pid, signal) {
                // It ended with its parent.
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Keeps what it saw in a file, for whoever wants to know more.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let mut text = String::new();
        for line in self.lines() {
            text.push_str(&serde_json::to_string(&line)?);
            text.push('\n');
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Lets it end, and waits until it has.
    pub(crate) async fn close(mut self) -> Result<()> {
        let _ = self.signal(Signal::CONT);
        drop(self.stdin.take());
        let ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        if ended.is_err() {
            self.child.kill().await?;
        }
        self.reader.abort();
        Ok(())
    }
}

/// Every process that a process has started, and what those have.
fn descendants(of: Pid) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut open = vec![of];
    while let Some(pid) = open.pop() {
        let own = children(pid).unwrap_or_default().into_iter();
        let own: Vec<Pid> = own.filter_map(Pid::from_raw).collect();
        found.extend(&own);
        open.extend(own);
    }
    found
}
