//! The model server of a row: `keel-fake-model`, which answers as a file says that is read anew for
//! each request.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, ChildStdin, Command},
};

/// How long it may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where a program of the agents' crate lies: beside the binary that is drilled.
pub(crate) fn beside(exe: &Path, name: &str) -> PathBuf {
    exe.with_file_name(name)
}

/// A model server.
#[derive(Debug)]
pub(crate) struct Model {
    exe: PathBuf,
    mode: PathBuf,
    url: String,
    running: Option<(Child, ChildStdin)>,
}

impl Model {
    /// Starts one that answers as `mode` says.
    pub(super) async fn start(exe: &Path, dir: &Path, mode: &str) -> Result<Self> {
        let mut model = Self {
            exe: beside(exe, "keel-fake-model"),
            mode: dir.join("mode"),
            url: String::new(),
            running: None,
        };
        model.answer(mode)?;
        model.launch().await?;
        Ok(model)
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers so.
    pub(crate) fn answer(&self, mode: &str) -> Result<()> {
        // Never half a line: whoever reads it has the old one or the new one.
        let new = self.mode.with_extension("new");
        fs::write(&new, mode)?;
        Ok(fs::rename(&new, &self.mode)?)
    }

    /// Kills it (-9), and everything that it was saying.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Starts it, on the port that it had.
    pub(crate) async fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(&self.exe);
        if let Some((_, port)) = self.url.rsplit_once(':') {
            command.args(["--port", port]);
        }
        let mut child = command
            .arg("--mode-file")
            .arg(&self.mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| self.exe.display().to_string())?;
        let stdin = child.stdin.take().context("its input is piped")?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let mut said = BufReader::new(stdout).lines();
        let url = tokio::time::timeout(READY_WITHIN, said.next_line()).await??;
        self.url = url.context("the model server says where it listens")?;
        self.running = Some((child, stdin));
        Ok(())
    }

    /// What it counted: `open` answers, requests by prompt.
    pub(crate) async fn counts(&self) -> Result<Value> {
        let addr = self.url.trim_start_matches("http://");
        let asking = async {
            let mut stream = TcpStream::connect(addr).await?;
            let request = format!("GET /counts HTTP/1.1\r\nhost: {addr}\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            // It hangs up on who will ask nothing more.
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = tokio::time::timeout(READY_WITHIN, asking).await??;
        let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
        serde_json::from_str(body).context("counts are JSON")
    }
}
