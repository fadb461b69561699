//! A client written by hand: for what no SDK would do.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::mutant::Mutant;

/// A WebSocket whose frames are made by hand (RFC 6455).
#[derive(Debug)]
pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
    mutant: Option<Mutant>,
    /// The number of the next command, where a mutant numbers them.
    next: u64,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Frame {
    Json(Value),
    Closed(Option<u16>),
}

impl Raw {
    /// Connects and upgrades.
    pub(crate) async fn connect(addr: SocketAddr, protocol: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(addr).await?;
        let head = format!(
            "GET /v1/connect HTTP/1.1\r\nhost: {addr}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        if !answer.starts_with(b"HTTP/1.1 101") {
            let rest = Duration::from_millis(500);
            let _ = tokio::time::timeout(rest, stream.read_to_end(&mut answer)).await;
            bail!("no upgrade: {}", String::from_utf8_lossy(&answer));
        }
        Ok(Self {
            stream,
            buffer: Vec::new(),
            mutant: None,
            next: 1,
        })
    }

    /// Connects and says hello, with more members.
    pub(crate) async fn join(
        addr: SocketAddr,
        token: &str,
        more: &Value,
        mutant: Option<Mutant>,
    ) -> Result<(Self, Value)> {
        let mut raw = Self::connect(addr, "evenkeel.v1.json").await?;
        raw.mutant = mutant;
        let mut hello = json!({
            "type": "hello", "token": token, "instance": "i-drill", "attempt": 1, "role": "owner",
            "stream": { "id": "c-drill", "next": 1, "receipts_ack": 0 }, "sdk": "drill/0"
        });
        if let (Some(hello), Some(more)) = (hello.as_object_mut(), more.as_object()) {
            hello.extend(more.clone());
        }
        raw.next = hello["stream"]["next"].as_u64().unwrap_or(1);
        raw.send(&hello).await?;
        let welcome = raw.until("welcome").await?;
        Ok((raw, welcome))
    }

    /// Sends a text frame.
    pub(crate) async fn send(&mut self, frame: &Value) -> Result<()> {
        if self.mutant == Some(Mutant::SaysTwice) && frame["type"] == "command" {
            // What is sent again is no repetition any more.
            let mut frame = frame.clone();
            frame["n"] = json!(self.next);
            self.next += 1;
            return self.send_text(&frame.to_string()).await;
        }
        self.send_text(&frame.to_string()).await
    }

    /// Sends a text frame that need not be JSON.
    pub(crate) async fn send_text(&mut self, text: &str) -> Result<()> {
        let mut out = vec![0x81];
        if text.len() < 126 {
            out.push(0x80 | u8::try_from(text.len())?);
        } else {
            out.push(0x80 | 126);
            out.extend(u16::try_from(text.len())?.to_be_bytes());
        }
        // The mask may be anything; zeros leave the text as it is.
        out.extend([0; 4]);
        out.extend(text.as_bytes());
        Ok(self.stream.write_all(&out).await?)
    }

    /// The next frame that carries something.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some((kind, payload)) = self.take() {
                match kind {
                    1 => {
                        let mut frame = serde_json::from_slice(&payload)?;
                        self.mutate(&mut frame);
                        return Ok(Frame::Json(frame));
                    }
                    8 => {
                        let code = payload.get(..2).map(|c| u16::from_be_bytes([c[0], c[1]]));
                        return Ok(Frame::Closed(code));
                    }
                    _ => continue,
                }
            }
            let mut part = [0; 16 * 1024];
            match self.stream.read(&mut part).await {
                Ok(0) | Err(_) => return Ok(Frame::Closed(None)),
                Ok(n) => self.buffer.extend(&part[..n]),
            }
        }
    }

    /// Changes the causes that it is told, where it is a mutant that does.
    fn mutate(&self, frame: &mut Value) {
        if self.mutant != Some(Mutant::CauseChanged) {
            return;
        }
        for at in ["/fault/code", "/data/fault/code"] {
            if let Some(code) = frame.pointer_mut(at) {
                *code = json!("duplicate");
            }
        }
    }

    /// When beats came, for a while; each is answered.
    pub(crate) async fn beats(&mut self, span: Duration) -> Result<Vec<Instant>> {
        let mut beats = Vec::new();
        let listen = async {
            loop {
                let beat = self.until("beat").await?;
                beats.push(Instant::now());
                let answer = json!({ "type": "beat", "n": beat["n"], "seq": beat["seq"] });
                self.send(&answer).await?;
            }
        };
        let ended: Result<Result<()>, _> = tokio::time::timeout(span, listen).await;
        if let Ok(ended) = ended {
            ended?;
        }
        Ok(beats)
    }

    /// Waits for a frame of a type.
    pub(crate) async fn until(&mut self, kind: &str) -> Result<Value> {
        self.find(kind, |frame| frame["type"] == kind).await
    }

    /// Waits for a frame; beats are answered on the way.
    pub(crate) async fn find(
        &mut self,
        what: &str,
        mut is_it: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        let look = async {
            loop {
                match self.next().await? {
                    Frame::Json(frame) if is_it(&frame) => return Ok(frame),
                    Frame::Json(frame) if frame["type"] == "beat" => {
                        let answer =
                            json!({ "type": "beat", "n": frame["n"], "seq": frame["seq"] });
                        let _ = self.send(&answer).await;
                    }
                    Frame::Json(frame) if frame["type"] == "fault" => {
                        bail!("before {what}: {frame}");
                    }
                    Frame::Json(_) => {}
                    Frame::Closed(code) => bail!("closed with {code:?} before {what}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), look)
            .await
            .with_context(|| format!("no {what}"))?
    }

    /// Reads until it is closed; the code of the last fault.
    pub(crate) async fn closed(&mut self) -> Result<Option<String>> {
        let mut said = None;
        let read = async {
            loop {
                match self.next().await? {
                    Frame::Json(frame) if frame["type"] == "fault" => {
                        let code = frame["fault"]["code"]
                            .as_str()
                            .or_else(|| frame["code"].as_str());
                        said = code.map(str::to_owned);
                    }
                    Frame::Json(_) => {}
                    Frame::Closed(_) => return anyhow::Ok(()),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(15), read)
            .await
            .context("it is not closed")??;
        Ok(said)
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let short = usize::from(*self.buffer.get(1)? & 0x7f);
        let (head, length) = match short {
            126 => (
                4,
                usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().ok()?)),
            ),
            127 => {
                let long = u64::from_be_bytes(self.buffer.get(2..10)?.try_into().ok()?);
                (10, usize::try_from(long).ok()?)
            }
            _ => (2, short),
        };
        if self.buffer.len() < head + length {
            return None;
        }
        let payload = self.buffer[head..head + length].to_vec();
        let kind = self.buffer[0] & 0x0f;
        self.buffer.drain(..head + length);
        Some((kind, payload))
    }
}
