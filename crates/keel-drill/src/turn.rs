//! A TURN server that can be killed and started again: coturn, on loopback.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::timeout,
};

const TURNSERVER: &str = "/usr/bin/turnserver";
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Shared by it and the server that makes credentials for it.
const SECRET: &str = "a secret of the drill and its relay";

/// Why there is none on this host.
pub(crate) fn lacks_coturn() -> Option<String> {
    (!Path::new(TURNSERVER).is_file()).then(|| "coturn".to_owned())
}

/// A TURN server.
#[derive(Debug)]
pub(crate) struct Coturn {
    dir: PathBuf,
    addr: SocketAddr,
    child: Option<Child>,
}

impl Coturn {
    /// Starts one; and what a server is told of it, whose credentials last for so many seconds.
    pub(crate) async fn start(dir: &Path, ttl_s: u64) -> Result<(Self, String)> {
        let dir = dir.join("coturn");
        fs::create_dir_all(&dir)?;
        let secret = dir.join("secret");
        fs::write(&secret, SECRET)?;
        let addr = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let told = format!(
            "[turn]\nurls = [\"turn:{addr}?transport=udp\"]\nttl_s = {ttl_s}\nsecret_file = {:?}\n",
            secret.display().to_string()
        );
        let mut coturn = Self {
            dir,
            addr,
            child: None,
        };
        coturn.launch().await?;
        Ok((coturn, told))
    }

    /// Starts it (again), at the same address; returns when it answers.
    pub(crate) async fn launch(&mut self) -> Result<()> {
        let child = Command::new(TURNSERVER)
            .args(["-n", "--use-auth-secret", "--realm=evenkeel", "--no-cli"])
            .args(["--no-tls", "--no-dtls", "--allow-loopback-peers"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .arg(format!("--listening-port={}", self.addr.port()))
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--pidfile={}", self.dir.join("pid").display()))
            .arg("--log-file=stdout")
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(fs::File::create(self.dir.join("log"))?)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("coturn could not be started")?;
        self.child = Some(child);
        self.answers().await
    }

    /// Kills it (-9): its relays are gone, and nobody is told.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("coturn runs")?;
        Ok(child.kill().await?)
    }

    /// A Binding request (RFC 8489 §3), until it is answered.
    async fn answers(&self) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend([7; 12]);
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            // Nothing listens there yet: as on any way.
            let _ = socket.send_to(&request, self.addr).await;
            let mut answer = [0; 512];
            let got = timeout(Duration::from_millis(50), socket.recv(&mut answer)).await;
            if got.is_ok_and(|got| got.is_ok()) && answer[..2] == [1, 1] {
                return Ok(());
            }
        }
        bail!("coturn does not answer")
    }
}
