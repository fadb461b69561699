//! TURN credentials against coturn itself: what a client is handed opens a relay, and nothing else does.

use std::{
    fs,
    net::{SocketAddr, UdpSocket as Blocking},
    path::Path,
    process::Stdio,
    time::Duration,
};

use keel_server::config::{Backend, BackendKind, StoreKind, Turn};
use keel_wire::Role;
use serde_json::{Value, json};
use tokio::{
    net::UdpSocket,
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::support::{Host, PATIENCE, hello};

const SECRET: &str = "a secret that two servers share";
const TURNSERVER: &str = "/usr/bin/turnserver";

/// coturn on loopback; it ends with the value.
struct Coturn {
    _child: Child,
    port: u16,
}

impl Coturn {
    /// `None`, told, where it is not installed; an error in CI.
    async fn start(dir: &Path) -> Option<Self> {
        if !Path::new(TURNSERVER).exists() {
            assert!(std::env::var_os("CI").is_none(), "CI has coturn");
            eprintln!("skipped{{needs: coturn}}: run `cargo xtask setup`");
            return None;
        }
        let probe = Blocking::bind("127.0.0.1:0").expect("a port");
        let port = probe.local_addr().expect("an address").port();
        drop(probe);
        let child = Command::new(TURNSERVER)
            .args(["-n", "--use-auth-secret", "--realm=evenkeel", "--no-cli"])
            .args(["--no-tls", "--no-dtls", "--allow-loopback-peers"])
            .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .arg(format!("--listening-port={port}"))
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--pidfile={}", dir.join("pid").display()))
            .arg("--log-file=stdout")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("coturn");
        let coturn = Self {
            _child: child,
            port,
        };
        assert!(coturn.answers().await, "coturn does not answer");
        Some(coturn)
    }

    /// A Binding request (RFC 8489 §3), until it is answered.
    async fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend([7; 12]);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let to = SocketAddr::from(([127, 0, 0, 1], self.port));
            let _ = socket.send_to(&request, to).await;
            let mut answer = [0; 512];
            let got = timeout(Duration::from_millis(200), socket.recv(&mut answer)).await;
            if got.is_ok_and(|got| got.is_ok()) && answer[..2] == [1, 1] {
                return true;
            }
        }
        false
    }

    /// Whether a client with these credentials gets data through a relay.
    async fn relays(&self, username: &str, credential: &str) -> bool {
        let ran = Command::new("/usr/bin/turnutils_uclient")
            .args(["-y", "-c", "-n", "3", "-m", "1", "-l", "100"])
            .args(["-u", username, "-w", credential])
            .args(["-p", &self.port.to_string(), "127.0.0.1"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = timeout(PATIENCE * 2, ran).await.expect("in time");
        let ran = ran.expect("turnutils_uclient");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        ran.status.success() && said.contains("Total lost packets 0")
    }
}

async fn host(coturn: &Coturn, ttl_s: u64, dir: &Path) -> Host {
    let secret_file = dir.join("turn.secret");
    fs::write(&secret_file, format!("{SECRET}\n")).expect("written");
    let urls = json!([format!("turn:127.0.0.1:{}?transport=udp", coturn.port)]);
    let turn = json!({ "urls": urls, "secret_file": secret_file, "ttl_s": ttl_s });
    let turn: Turn = serde_json::from_value(turn).expect("a configuration");
    Host::start(StoreKind::Memory, |config| {
        config.media.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config
            .backends
            .insert("room".to_owned(), Backend::of(BackendKind::Room));
        config.turn = Some(turn);
    })
    .await
}

fn credentials(server: &Value) -> (String, String) {
    let text = |name: &str| server[name].as_str().expect("text").to_owned();
    (text("username"), text("credential"))
}

#[tokio::test]
async fn what_a_client_is_handed_opens_a_relay_of_coturns_and_nothing_else_does_a54() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let Some(coturn) = Coturn::start(dir.path()).await else {
        return;
    };
    let host = host(&coturn, 600, dir.path()).await;
    let join = async |subject: &str| {
        let token = host.token_with(|claims| {
            claims.sub = subject.to_owned();
            claims.role = Role::Owner;
        });
        let mut wire = host.dial().await;
        let mut first = hello(&token);
        first["backend"] = json!("room");
        wire.send(first).await;
        let welcome = wire.until(|frame| frame["type"] == "welcome").await;
        welcome.last().expect("one").clone()
    };
    let welcome = join("ann").await;
    let server = &welcome["ice_servers"][0];
    let (username, credential) = credentials(server);
    let participant = welcome["participant"].as_str().expect("an id");
    let (expires, of) = username.split_once(':').expect("two parts");
    assert_eq!(of, participant);
    assert!(coturn.relays(&username, &credential).await, "{server}");
    // Another's password, a later end, and no password at all open nothing.
    let other = join("bob").await;
    let (_, others) = credentials(&other["ice_servers"][0]);
    assert!(!coturn.relays(&username, &others).await, "another's");
    let later = format!("{}:{of}", expires.parse::<u64>().expect("a time") + 86_400);
    assert!(!coturn.relays(&later, &credential).await, "a later end");
    let past = format!("1000000000:{of}");
    assert!(
        !coturn.relays(&past, &credential).await,
        "an end that is past"
    );
    host.close().await;
}

#[tokio::test]
async fn credentials_are_refreshed_while_a_connection_lives_a54() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let Some(coturn) = Coturn::start(dir.path()).await else {
        return;
    };
    let host = host(&coturn, 600, dir.path()).await;
    // A token's end is theirs: what is left of it is soon three quarters over.
    let token = host.token_with(|claims| claims.exp = claims.iat.unwrap_or(0) + 9);
    let mut wire = host.dial().await;
    let mut first = hello(&token);
    first["backend"] = json!("room");
    wire.send(first).await;
    let frames = wire.until(|frame| frame["type"] == "welcome").await;
    let (before, _) = credentials(&frames.last().expect("one")["ice_servers"][0]);
    let expires = |name: &str| name.split(':').next().and_then(|s| s.parse::<u64>().ok());
    let longer = host.token_with(|claims| claims.exp = claims.iat.unwrap_or(0) + 600);
    wire.send(json!({ "type": "auth", "token": longer })).await;
    let frames = wire.until(|frame| frame["type"] == "ice_servers").await;
    let (after, credential) = credentials(&frames.last().expect("one")["ice_servers"][0]);
    assert!(expires(&after) > expires(&before), "{before} {after}");
    assert!(coturn.relays(&after, &credential).await);
    host.close().await;
}
