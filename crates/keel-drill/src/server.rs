//! A real server, as a process that can be killed and started again on the same port and data.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::mutant::Mutant;

/// How long a server may take to be ready: debug builds on loaded machines included.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long a token lasts of which nothing else is said: longer than any clock is made to jump.
const TOKEN_TTL_S: &str = "259200";

/// What a server is to be like.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The `evenkeel` binary.
    pub exe: PathBuf,
    /// Where everything of this drill lies.
    pub dir: PathBuf,
    /// Where its data lies, if not in there.
    pub data: Option<PathBuf>,
    /// More of its configuration, as TOML.
    pub more: String,
    /// The most files that it may have open.
    pub files_max: Option<u32>,
}

/// What is odd about a server on purpose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oddity {
    /// More of its environment.
    pub(crate) env: Vec<(&'static str, PathBuf)>,
    pub(crate) mutant: Option<Mutant>,
}

/// A server process.
#[derive(Debug)]
pub struct Server {
    setup: Setup,
    odd: Oddity,
    addr: SocketAddr,
    config: PathBuf,
    child: Option<Child>,
    starts: u32,
}

impl Server {
    /// Writes the configuration and starts the process; returns when it is ready.
    pub async fn start(setup: Setup) -> Result<Self> {
        Self::start_odd(setup, Oddity::default()).await
    }

    /// The same, of a server that is not quite as it should be.
    pub(crate) async fn start_odd(setup: Setup, odd: Oddity) -> Result<Self> {
        let addr = free_port()?;
        fs::create_dir_all(setup.dir.join("witness"))?;
        let config = setup.dir.join("evenkeel.toml");
        let data = setup.data.clone().unwrap_or_else(|| setup.dir.join("data"));
        fs::write(&config, toml(&setup, odd.mutant, addr, &data))?;
        let mut server = Self {
            setup,
            odd,
            addr,
            config,
            child: None,
            starts: 0,
        };
        server.launch().await?;
        Ok(server)
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where its programs keep their witnesses.
    pub fn witness(&self) -> PathBuf {
        self.setup.dir.join("witness")
    }

    /// How often it was started.
    pub(crate) const fn starts(&self) -> u32 {
        self.starts
    }

    /// Where it logs to.
    pub(crate) fn log(&self) -> PathBuf {
        self.setup.dir.join("server.log")
    }

    /// What it has in memory, in KiB.
    pub(crate) fn resident_kb(&self) -> Result<u64> {
        let pid = self.pid().context("no server runs")?;
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("what it has in memory")?.parse()?)
    }

    /// Its configuration.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its process.
    pub fn pid(&self) -> Option<Pid> {
        let id = self.child.as_ref()?.id()?;
        Pid::from_raw(i32::try_from(id).ok()?)
    }

    /// Starts the process again and returns when it is ready.
    pub async fn launch(&mut self) -> Result<()> {
        self.starts += 1;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut command = match self.setup.files_max {
            None => Command::new(&self.setup.exe),
            Some(max) => {
                let mut shell = Command::new("/bin/sh");
                let limit = format!("ulimit -n {max}; exec \"$0\" \"$@\"");
                shell.arg("-c").arg(limit).arg(&self.setup.exe);
                shell
            }
        };
        match self.odd.mutant {
            Some(Mutant::LogMute) => {
                command.arg("serve").env("EVENKEEL_LOG__LEVEL", "off");
            }
            Some(mutant) if mutant.is_in_server() => {
                command.args(["drill-server", "--mutant", mutant.name()]);
            }
            Some(_) | None => {
                command.arg("serve");
            }
        }
        command.envs(self.odd.env.iter().map(|(name, path)| (name, path)));
        let child = command
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the server could not be started")?;
        self.child = Some(child);
        let until = Instant::now() + READY_WITHIN;
        while !self.is_ready().await {
            if let Some(status) = self.exited()? {
                bail!("the server ended with {status}: {}", self.last_words());
            }
            if Instant::now() > until {
                bail!("the server is not ready: {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Whether it takes connections.
    pub async fn is_ready(&self) -> bool {
        get(self.addr, "/healthz", None)
            .await
            .is_ok_and(|(status, _)| status == 200)
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<std::process::ExitStatus>> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?),
            None => Ok(None),
        }
    }

    /// Kills it (-9) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Waits until it has stopped by itself.
    pub async fn stopped(&mut self, within: Duration) -> Result<std::process::ExitStatus> {
        let child = self.child.as_mut().context("no server runs")?;
        Ok(tokio::time::timeout(within, child.wait())
            .await
            .context("it does not stop")??)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().context("no server runs")?;
        Ok(kill_process(pid, signal)?)
    }

    /// A token for a subject.
    pub async fn token(&self, args: &[&str]) -> Result<String> {
        let ttl: &[&str] = match args.contains(&"--ttl-s") {
            true => &[],
            false => &["--ttl-s", TOKEN_TTL_S],
        };
        let output = Command::new(&self.setup.exe)
            .args(["token", "mint", "--config"])
            .arg(&self.config)
            .args(ttl)
            .args(args)
            .output()
            .await?;
        if !output.status.success() {
            bail!("token mint: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// What it logged last.
    pub fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(2_000)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn toml(setup: &Setup, mutant: Option<Mutant>, addr: SocketAddr, data: &Path) -> String {
    let quote = |path: &Path| format!("{:?}", path.display().to_string());
    let (exe, witness) = (quote(&setup.exe), quote(&setup.dir.join("witness")));
    let data = quote(data);
    let lies = if mutant == Some(Mutant::AgentLies) {
        ", \"--lies\""
    } else {
        ""
    };
    format!(
        r#"
[server]
listen = "{addr}"
per_address = 20000
allowed_hosts = ["127.0.0.1"]
drain_within_s = 5

[store]
path = {data}

[session]
default_backend = "drill"

[faults]
enabled = true

[log]
format = "json"

[backends.drill]
kind = "process"
command = [{exe}, "drill-agent", "--witness", {witness}{lies}]
busy = {{ policy = "queue", max = 4 }}

[backends.echo]
kind = "echo"

{more}
"#,
        more = setup.more
    )
}

/// One HTTP request, by hand: the drill must not share code with what it looks at.
pub async fn get(addr: SocketAddr, path: &str, token: Option<&str>) -> Result<(u16, String)> {
    ask(addr, "GET", path, token, "").await
}

/// The same, with a method and a body.
pub async fn ask(
    addr: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Result<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(addr).await?;
        let auth = token
            .map(|t| format!("authorization: Bearer {t}\r\n"))
            .unwrap_or_default();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {addr}\r\n{auth}content-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), ask).await??;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .context("no status")?;
    let (head, body) = text.split_once("\r\n\r\n").context("no body")?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(body)
    } else {
        body.to_owned()
    };
    Ok((status, body))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
