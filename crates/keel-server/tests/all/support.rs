//! A server in this process, a raw HTTP client and a raw WebSocket client.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use keel_server::{
    Claims, Config, Running, Server,
    config::{Backend, StoreKind},
};
use keel_wire::{Role, SUBPROTOCOL};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// Longer than anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Host {
    pub(crate) running: Running,
    pub(crate) dir: TempDir,
}

pub(crate) fn config(kind: StoreKind) -> (Config, TempDir) {
    let dir = TempDir::new().expect("a directory");
    let mut config = Config::default();
    config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.server.drain_within_s = 2;
    config.store.kind = kind;
    config.store.path = dir.path().join("data");
    config.backends.insert("echo".to_owned(), Backend::echo());
    (config, dir)
}

impl Host {
    pub(crate) async fn start(kind: StoreKind, change: impl FnOnce(&mut Config)) -> Self {
        let (mut config, dir) = config(kind);
        change(&mut config);
        let server = Server::bind(config).await.expect("a server");
        Self {
            running: server.start().expect("a start"),
            dir,
        }
    }

    pub(crate) async fn memory() -> Self {
        Self::start(StoreKind::Memory, |_| ()).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.local_addr()
    }

    pub(crate) fn token_with(&self, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = Claims::new("ann", Role::Owner, 600);
        change(&mut claims);
        self.running.tokens().mint(&claims)
    }

    pub(crate) fn token(&self) -> String {
        self.token_with(|_| ())
    }

    pub(crate) fn admin(&self) -> String {
        self.token_with(|claims| {
            claims.sub = "root".to_owned();
            claims.admin = true;
            claims.faults = true;
        })
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let headers: Vec<(String, String)> = Vec::new();
        self.request_with(method, path, token, &headers, body).await
    }

    pub(crate) async fn request_with(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        headers: &[(String, String)],
        body: Option<&Value>,
    ) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address());
        text += "connection: close\r\n";
        if let Some(token) = token {
            text += &format!("authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        let body = body.map(Value::to_string);
        if let Some(body) = &body {
            text += &format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
        }
        text += "\r\n";
        text += &body.unwrap_or_default();
        Answer::parse(&self.raw(text.as_bytes()).await)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.request("GET", path, Some(token), None).await
    }

    /// Sends bytes; everything that comes until the server hangs up.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address())
            .await
            .expect("a connection");
        // The server may hang up before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("an end");
        answer
    }

    pub(crate) async fn dial(&self) -> Wire {
        Wire::dial(self.address(), &[]).await.expect("an upgrade")
    }

    pub(crate) async fn close(self) {
        timeout(PATIENCE * 2, self.running.close())
            .await
            .expect("in time")
            .expect("closed");
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body without what differs by nature: a fault's id and time.
    pub(crate) fn shape(&self) -> Value {
        let mut body = self.json();
        for key in ["id", "at"] {
            body.as_object_mut().expect("an object").remove(key);
        }
        body
    }
}

/// A WebSocket client that knows nothing of the protocol but its frames.
pub(crate) struct Wire {
    pub(crate) ws: WebSocketStream<TcpStream>,
}

impl Wire {
    pub(crate) async fn dial(
        address: SocketAddr,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let mut request = format!("ws://{address}/v1/connect").into_client_request()?;
        let protocol = SUBPROTOCOL.parse().expect("a value");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a value"));
        }
        client_async(request, stream)
            .await
            .map(|(ws, _)| Self { ws })
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.ws
            .send(Message::text(frame.to_string()))
            .await
            .expect("sent");
    }

    /// The next frame, or the close code as `{"type": "closed", "code": …}`.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.ws.next())
                .await
                .expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).expect("JSON");
                }
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
                    let reason = frame.map_or(String::new(), |frame| frame.reason.to_string());
                    return json!({ "type": "closed", "code": code, "reason": reason });
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return json!({ "type": "closed", "code": 1006 }),
            }
        }
    }

    /// Frames up to and with the one that `wanted` says yes to. Answers beats on the way.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let frame = self.next().await;
            if frame["type"] == "beat" {
                let beat = json!({ "type": "beat", "n": frame["n"], "seq": 0 });
                // The server may have closed already; what it said is still to be read.
                let _ = self.ws.send(Message::text(beat.to_string())).await;
            }
            let (found, closed) = (wanted(&frame), frame["type"] == "closed");
            seen.push(frame);
            if found {
                return seen;
            }
            assert!(!closed, "closed before: {seen:#?}");
        }
    }

    pub(crate) async fn closed(&mut self) -> (u64, Vec<Value>) {
        let seen = self.until(|frame| frame["type"] == "closed").await;
        let code = seen.last().and_then(|frame| frame["code"].as_u64());
        (code.expect("a code"), seen)
    }

    pub(crate) async fn say(&mut self, n: u64, text: &str) {
        let data = json!({ "text": text });
        self.send(json!({ "type": "command", "n": n, "name": "say", "data": data }))
            .await;
    }
}

pub(crate) fn hello(token: &str) -> Value {
    json!({
        "type": "hello", "token": token, "instance": "i-test", "attempt": 1, "role": "owner",
        "stream": { "id": "c-test", "next": 1, "receipts_ack": 0 }, "sdk": "test/0",
    })
}

/// The text of all text events.
pub(crate) fn text_of(frames: &[Value]) -> String {
    let texts = frames.iter().filter(|frame| frame["kind"] == "text");
    texts
        .filter_map(|frame| frame["data"]["data"].as_str())
        .collect()
}

pub(crate) fn is_turn_end(frame: &Value) -> bool {
    frame["kind"] == "turn.ended"
}
