//! Many cheap clients in a process of their own: WebSockets by hand that read, count, and answer what
//! a server wants answered. What they cost is nobody's figure.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

/// Handshakes at once.
const AT_ONCE: usize = 64;
/// How long one client may take to be in.
const IN_WITHIN: Duration = Duration::from_secs(30);
/// Events after which a client of ours acknowledges, as the SDK does.
const ACK_EVERY: u64 = 64;
/// Bytes that one read takes.
const READ_BYTES: usize = 4 * 1024;

/// What the clients are to be.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// Where they go.
    pub addr: SocketAddr,
    /// The path of the WebSocket.
    pub path: String,
    /// The token that they say hello with; absent for a server that wants no hello.
    pub token: Option<String>,
    /// The session that all of them view; absent means that each opens one.
    pub session: Option<String>,
}

/// An order: so many more clients, or just what there is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct More {
    pub(crate) clients: usize,
}

/// What there is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Clients that are in.
    pub(crate) open: u64,
    /// Messages of the kind that is counted: events, or whatever the bare server says.
    pub(crate) messages: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// Runs the swarm until standard input ends: each line is an order, and is answered.
///
/// # Errors
/// When a client cannot get in, or an order makes no sense.
pub async fn main(swarm: Swarm) -> Result<()> {
    let swarm = Arc::new(swarm);
    let counts = Arc::new(Counts::default());
    let mut clients = JoinSet::new();
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut started = 0;
    while let Some(order) = orders.next_line().await? {
        let more: More = serde_json::from_str(&order).context("an order that is none")?;
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut entering = JoinSet::new();
        for n in started..started + more.clients {
            let (swarm, gate) = (Arc::clone(&swarm), Arc::clone(&gate));
            entering.spawn(async move {
                let _permit = gate.acquire().await?;
                tokio::time::timeout(IN_WITHIN, enter(&swarm, n))
                    .await
                    .context("a client does not get in")?
            });
        }
        started += more.clients;
        while let Some(client) = entering.join_next().await {
            let client = client??;
            counts.open.fetch_add(1, Relaxed);
            let counts = Arc::clone(&counts);
            clients.spawn(async move {
                let _ = client.read(&counts).await;
                counts.open.fetch_sub(1, Relaxed);
            });
        }
        crate::baseline::say(&Seen {
            open: counts.open.load(Relaxed),
            messages: counts.messages.load(Relaxed),
            bytes: counts.bytes.load(Relaxed),
        })?;
    }
    Ok(())
}

/// One client that is in.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    is_ours: bool,
    seen: u64,
    acked: u64,
}

async fn enter(swarm: &Swarm, n: usize) -> Result<Client> {
    let stream = TcpStream::connect(swarm.addr).await?;
    stream.set_nodelay(true)?;
    let mut client = Client {
        stream,
        buffer: Vec::new(),
        is_ours: swarm.token.is_some(),
        seen: 0,
        acked: 0,
    };
    client.upgrade(swarm).await?;
    if let Some(token) = &swarm.token {
        let role = swarm.session.as_ref().map_or("owner", |_| "viewer");
        let mut hello = json!({
            "type": "hello", "token": token, "instance": format!("i-bench-{n}"), "attempt": 1,
            "role": role, "history": "snapshot", "sdk": "bench/0",
            "stream": { "id": format!("c-bench-{n}"), "next": 1, "receipts_ack": 0 },
        });
        match &swarm.session {
            Some(session) => hello["session"] = json!(session),
            None => hello["backend"] = json!("echo"),
        }
        client.send(&hello.to_string()).await?;
        client.welcomed().await?;
    }
    Ok(client)
}

impl Client {
    async fn upgrade(&mut self, swarm: &Swarm) -> Result<()> {
        let (addr, path) = (swarm.addr, &swarm.path);
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {addr}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: evenkeel.v1.json\r\n\r\n"
        );
        self.stream.write_all(head.as_bytes()).await?;
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                if !self.buffer.starts_with(b"HTTP/1.1 101") {
                    bail!("no upgrade: {}", String::from_utf8_lossy(&self.buffer));
                }
                self.buffer.drain(..end + 4);
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn welcomed(&mut self) -> Result<()> {
        loop {
            while let Some(frame) = self.take() {
                let frame: Value = serde_json::from_slice(&frame)?;
                match frame["type"].as_str() {
                    Some("welcome") => {
                        self.seen = frame["cursor"]["seq"].as_u64().unwrap_or(0);
                        self.acked = self.seen;
                        return Ok(());
                    }
                    Some("fault") => bail!("refused: {frame}"),
                    Some(_) | None => {}
                }
            }
            self.fill().await?;
        }
    }

    /// Reads until the connection ends.
    async fn read(mut self, counts: &Counts) -> Result<()> {
        loop {
            while let Some(frame) = self.take() {
                self.see(&frame, counts).await?;
            }
            // An idle client keeps nothing.
            if self.buffer.is_empty() {
                self.buffer = Vec::new();
            }
            self.stream.readable().await?;
            self.fill().await?;
        }
    }

    async fn see(&mut self, frame: &[u8], counts: &Counts) -> Result<()> {
        if self.is_ours {
            if frame.starts_with(b"{\"type\":\"beat\"") {
                let n = number(frame, b"\"n\":").context("a beat has a number")?;
                let seen = self.seen;
                let answer = format!("{{\"type\":\"beat\",\"n\":{n},\"seq\":{seen}}}");
                return self.send(&answer).await;
            }
            if !frame.starts_with(b"{\"type\":\"event\"") {
                return Ok(());
            }
            self.seen = number(frame, b"\"to\":").context("an event has a position")?;
        }
        counts.messages.fetch_add(1, Relaxed);
        counts.bytes.fetch_add(frame.len() as u64, Relaxed);
        if self.is_ours && self.seen >= self.acked + ACK_EVERY {
            self.acked = self.seen;
            let ack = format!("{{\"type\":\"ack\",\"seq\":{}}}", self.seen);
            self.send(&ack).await?;
        }
        Ok(())
    }

    /// The next text frame's payload, if it is here; other frames are passed over.
    fn take(&mut self) -> Option<Vec<u8>> {
        loop {
            let short = usize::from(*self.buffer.get(1)? & 0x7f);
            let big = |bytes: &[u8]| bytes.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
            let (head, length) = match short {
                126 => (4, big(self.buffer.get(2..4)?)),
                127 => (10, big(self.buffer.get(2..10)?)),
                _ => (2, short),
            };
            let payload = self.buffer.get(head..head + length)?.to_vec();
            let is_text = self.buffer[0] & 0x0f == 1;
            self.buffer.drain(..head + length);
            if is_text {
                return Some(payload);
            }
        }
    }

    async fn fill(&mut self) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => bail!("the connection ended"),
            _ => Ok(()),
        }
    }

    /// Sends a text frame; a mask of zeros leaves it as it is.
    async fn send(&mut self, text: &str) -> Result<()> {
        let mut frame = vec![0x81];
        match u8::try_from(text.len()) {
            Ok(length @ ..126) => frame.push(0x80 | length),
            Ok(_) | Err(_) => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(text.len())?.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        Ok(self.stream.write_all(&frame).await?)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The number behind the first place where a name is written.
fn number(frame: &[u8], name: &[u8]) -> Option<u64> {
    let from = find(frame, name)? + name.len();
    let digits = frame[from..].iter().take_while(|b| b.is_ascii_digit());
    let mut value = None;
    for digit in digits {
        value = Some(value.unwrap_or(0) * 10 + u64::from(digit - b'0'));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_where_its_name_is_first_written() {
        let frame = br#"{"type":"event","from":7,"to":12,"data":{"to":3}}"#;
        assert_eq!(number(frame, b"\"to\":"), Some(12));
        assert_eq!(number(frame, b"\"n\":"), None);
    }
}
