//! A server that does what a script says, frame by frame.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use evenkeel::{Builder, Client, wire::SUBPROTOCOL};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::CloseFrame,
    },
};

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    sockets: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Fake {
    /// Runs `script` for every TCP connection, one after the other; it is told which it is, from 1.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let sockets = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sockets);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Else a frame waits for the acknowledgement of the one before.
                stream.set_nodelay(true).expect("an option");
                let n = counted.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(script(n, stream));
            }
        });
        Self {
            address,
            sockets,
            task,
        }
    }

    /// As [`Fake::start`], after the upgrade.
    pub(crate) async fn upgraded<F, Fut>(script: F) -> Self
    where
        F: Fn(usize, Wire) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start(move |n, stream| {
            let script = script.clone();
            async move {
                let wire = Wire::accept(stream).await;
                script(n, wire).await;
            }
        })
        .await
    }

    pub(crate) fn builder(&self) -> Builder {
        Client::builder()
            .url(format!("ws://{}", self.address))
            .token("token")
    }

    /// Connections so far.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) struct Wire(pub(crate) WebSocketStream<TcpStream>);

impl Wire {
    #[expect(clippy::result_large_err, reason = "the library's callback wants it")]
    async fn accept(stream: TcpStream) -> Self {
        let protocol = |_: &Request, mut response: Response| {
            let value = SUBPROTOCOL.parse().expect("a value");
            response
                .headers_mut()
                .insert("sec-websocket-protocol", value);
            Ok(response)
        };
        Self(
            accept_hdr_async(stream, protocol)
                .await
                .expect("an upgrade"),
        )
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.0
            .send(Message::text(frame.to_string()))
            .await
            .expect("sent");
    }

    /// The next frame of the client; `None` when it is gone.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await? {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).ok(),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn hello(&mut self) -> Value {
        let hello = self.next().await.expect("a hello");
        assert_eq!(hello["type"], "hello", "{hello}");
        hello
    }

    /// Takes the hello and welcomes it to an empty log.
    pub(crate) async fn welcome(&mut self, how: &str, head: u64) -> Value {
        let hello = self.hello().await;
        self.send(welcome(how, head)).await;
        self.send(json!({ "type": "replayed", "to": head })).await;
        hello
    }

    pub(crate) async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        let _ = self.0.close(Some(frame)).await;
        while let Some(Ok(_)) = self.0.next().await {}
    }

    /// Stays until the client goes.
    pub(crate) async fn stay(mut self) {
        while self.next().await.is_some() {}
    }

    pub(crate) fn reset(self) {
        reset(self.0.into_inner());
    }
}

pub(crate) fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("an option");
}

/// Answers the upgrade with an HTTP status instead.
pub(crate) async fn answer(mut stream: TcpStream, head: &str) {
    let _ = stream
        .write_all(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n").as_bytes())
        .await;
    let mut rest = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
}

pub(crate) fn fault(code: &str, retry: &Value) -> Value {
    json!({ "type": "fault", "fault": {
        "id": "f-1", "code": code, "scope": "session", "origin": "server", "retry": retry,
        "message": "as scripted", "at": 1,
    }})
}

pub(crate) fn welcome(how: &str, head: u64) -> Value {
    json!({
        "type": "welcome", "session": "s-1", "participant": "p-1", "role": "owner", "how": how,
        "resume_key": "key", "resume_window_ms": 60_000, "cursor": { "epoch": 1, "seq": head },
        "consumed": 0, "beat": { "every_ms": 1_000, "suspect_ms": 60_000 },
        "limits": { "frame_bytes": 65_536, "commands": 64, "frames_per_s": 200 },
        "params": {}, "params_version": 0, "status": { "state": "live", "legs": [], "since": 1 },
    })
}

pub(crate) fn queued() -> Value {
    json!({
        "type": "queued", "session": "s-1", "participant": "p-1", "resume_key": "key",
        "position": 1, "of": 1, "beat": { "every_ms": 1_000, "suspect_ms": 60_000 },
    })
}
