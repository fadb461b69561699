//! Readers in a process of their own: each says something, and reads the answer as it comes; of a
//! server of ours over a WebSocket, or of a model's server with nothing between.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Barrier,
    task::JoinSet,
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use super::stamps::{Stamps, now_us};

/// Turns begin within this, once all sessions are there: neither a crowd that comes nor one that speaks
/// at once is measured here.
const BEGIN_WITHIN_MS: u64 = 1_000;
/// How long a turn may take.
const TURN_WITHIN: Duration = Duration::from_secs(50);
/// Events after which a reader of ours acknowledges, as the SDK does.
const ACK_EVERY: u64 = 64;

/// Who speaks to whom.
#[derive(Debug, Clone)]
pub struct Speakers {
    /// The server.
    pub addr: SocketAddr,
    /// The path of the WebSocket, or of the model's API.
    pub path: String,
    /// The token for a server of ours; absent for a model's server.
    pub token: Option<String>,
    /// What a session of ours is served by.
    pub backend: Option<String>,
}

/// An order: so many turns at once, that are asked this.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Speak {
    pub(super) turns: usize,
    pub(super) prompt: String,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Spoken {
    /// Turns that came to their end.
    pub(super) done: u64,
    /// How late the first word of each turn was, and the 99th of 100, in microseconds; of none whose words
    /// are no stamps.
    pub(super) first_us: Vec<f64>,
    pub(super) word_us: Vec<f64>,
    /// Events, or the model's own, that carried words.
    pub(super) messages: u64,
    pub(super) words: u64,
}

/// Obeys orders until standard input ends: each line is one, and is answered.
///
/// # Errors
/// When an order makes no sense, or a turn does not come to its end.
pub async fn main(speakers: Speakers) -> Result<()> {
    let speakers = Arc::new(speakers);
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        let order: Speak = serde_json::from_str(&order).context("an order that is none")?;
        let mut turns = JoinSet::new();
        let all_there = Arc::new(Barrier::new(order.turns));
        for n in 0..order.turns {
            let (speakers, prompt) = (Arc::clone(&speakers), order.prompt.clone());
            let all_there = Arc::clone(&all_there);
            turns.spawn(async move {
                let begins = BEGIN_WITHIN_MS * n as u64 / order.turns as u64;
                let begins = async {
                    all_there.wait().await;
                    tokio::time::sleep(Duration::from_millis(begins)).await;
                };
                let turn = async {
                    match &speakers.token {
                        Some(token) => ours(&speakers, token, &prompt, begins).await,
                        None => bare(&speakers, &prompt, begins).await,
                    }
                };
                tokio::time::timeout(TURN_WITHIN, turn)
                    .await
                    .context("a turn has no end")?
            });
        }
        let mut spoken = Spoken::default();
        while let Some(turn) = turns.join_next().await {
            let turn = turn??;
            spoken.done += 1;
            spoken.messages += turn.messages;
            spoken.words += turn.words;
            if let Some((first, word)) = turn.stamps.figures() {
                spoken.first_us.push(first);
                spoken.word_us.push(word);
            }
        }
        crate::baseline::say(&spoken)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Turn {
    stamps: Stamps,
    messages: u64,
    words: u64,
}

impl Turn {
    fn hear(&mut self, text: &str) {
        self.messages += 1;
        self.words += text.matches(char::is_whitespace).count() as u64;
        self.stamps.take(text, now_us());
    }
}

/// A turn of a session of ours.
async fn ours(
    speakers: &Speakers,
    token: &str,
    prompt: &str,
    begins: impl Future<Output = ()>,
) -> Result<Turn> {
    let stream = TcpStream::connect(speakers.addr).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{}{}", speakers.addr, speakers.path);
    let mut request = url.into_client_request()?;
    let protocol = keel_wire::SUBPROTOCOL.parse()?;
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let (mut ws, _) = client_async(request, stream).await?;
    let hello = json!({
        "type": "hello", "token": token, "instance": "i-bench", "attempt": 1, "role": "owner",
        "backend": speakers.backend, "sdk": "bench/0",
        "stream": { "id": format!("c-bench-{}", fastrand::u64(..)), "next": 1, "receipts_ack": 0 },
    });
    ws.send(Message::text(hello.to_string())).await?;
    let mut turn = Turn::default();
    let (mut begins, mut acked) = (Some(begins), 0);
    while let Some(message) = ws.next().await {
        let Message::Text(text) = message? else {
            continue;
        };
        let frame: Value = serde_json::from_str(&text)?;
        match frame["type"].as_str().unwrap_or_default() {
            "welcome" if let Some(begins) = begins.take() => {
                begins.await;
                let say =
                    json!({ "type": "command", "n": 1, "name": "say", "data": { "text": prompt } });
                ws.send(Message::text(say.to_string())).await?;
            }
            "beat" => {
                let beat = json!({ "type": "beat", "n": frame["n"], "seq": frame["seq"] });
                ws.send(Message::text(beat.to_string())).await?;
            }
            "event" => match frame["kind"].as_str().unwrap_or_default() {
                "text" => {
                    turn.hear(frame["data"]["data"].as_str().unwrap_or_default());
                    let seen = frame["to"].as_u64().unwrap_or_default();
                    if seen >= acked + ACK_EVERY {
                        acked = seen;
                        let ack = json!({ "type": "ack", "seq": seen });
                        ws.send(Message::text(ack.to_string())).await?;
                    }
                }
                "turn.ended" if frame["data"]["end"] == "done" => {
                    let _ = ws.close(None).await;
                    return Ok(turn);
                }
                "turn.ended" => bail!("a turn ended: {frame}"),
                _ => {}
            },
            "fault" => bail!("refused: {frame}"),
            "receipt" if !frame["fault"].is_null() => bail!("refused: {frame}"),
            _ => {}
        }
    }
    bail!("the connection ended before the turn")
}

/// A stream of the model's server, with nothing between.
async fn bare(speakers: &Speakers, prompt: &str, begins: impl Future<Output = ()>) -> Result<Turn> {
    let mut stream = TcpStream::connect(speakers.addr).await?;
    stream.set_nodelay(true)?;
    begins.await;
    let body = json!({
        "model": "m", "stream": true, "messages": [{ "role": "user", "content": prompt }],
    });
    let body = body.to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        speakers.path,
        speakers.addr,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut turn = Turn::default();
    let mut buffer = Vec::with_capacity(4 * 1_024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            bail!("the stream ended before its end");
        }
        // Sizes of chunks are lines of their own, and no data.
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.trim().strip_prefix("data: ") else {
                continue;
            };
            if data == "[DONE]" {
                return Ok(turn);
            }
            let event: Value = serde_json::from_str(data)?;
            if let Some(text) = event
                .pointer("/choices/0/delta/content")
                .and_then(Value::as_str)
                && !text.is_empty()
            {
                turn.hear(text);
            }
        }
    }
}
