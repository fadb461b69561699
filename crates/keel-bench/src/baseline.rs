//! The bare thing: an axum WebSocket server, tuned as one should be, that keeps no promises.
//!
//! It echoes, and it publishes to viewers: what is ready for a viewer goes out in one write. It runs as
//! a process of its own, so that its memory and its time are read as the server's are.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{
        State,
        ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    },
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use futures_util::SinkExt;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::broadcast::{self, error::RecvError},
    time::MissedTickBehavior,
};

/// Largest message that it reads; Evenkeel's bound.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// What a slow peer may leave unread.
const UNREAD_BYTES_MAX: usize = 128 * 1024;
/// Messages that a viewer may lag behind.
const LAG_MAX: usize = 4_096;
/// Bytes that are put together for one write.
const WRITE_BYTES: usize = 16 * 1024;

/// What it says once it listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Listening {
    pub(crate) addr: SocketAddr,
}

/// What it is to publish.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Publish {
    /// Messages.
    pub(crate) count: u64,
    /// Between two, in milliseconds.
    pub(crate) pace_ms: u64,
    /// Each one's size.
    pub(crate) bytes: usize,
}

/// What it did publish.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Published {
    pub(crate) count: u64,
}

type Topic = Arc<broadcast::Sender<Utf8Bytes>>;

/// Runs it until standard input ends.
///
/// # Errors
/// When it cannot listen, or is asked for what it does not understand.
pub async fn main() -> Result<()> {
    let topic: Topic = Arc::new(broadcast::channel(LAG_MAX).0);
    let app = Router::new()
        .route("/echo", get(echo))
        .route("/viewers", get(viewer))
        .with_state(Arc::clone(&topic));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    say(&Listening { addr })?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        let order = serde_json::from_str(&order).context("an order that is none")?;
        say(&publish(&topic, order).await)?;
    }
    serving.abort();
    Ok(())
}

/// A line for whoever started this process.
pub(crate) fn say<T: Serialize>(what: &T) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

async fn publish(topic: &Topic, order: Publish) -> Published {
    let mut beat = tokio::time::interval(Duration::from_millis(order.pace_ms.max(1)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..order.count {
        beat.tick().await;
        let text = format!("{n:0>width$}", width = order.bytes);
        // Nobody may be there to see it.
        let _ = topic.send(text.into());
    }
    Published { count: order.count }
}

fn tuned(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(4_096)
        .write_buffer_size(0)
        .max_write_buffer_size(UNREAD_BYTES_MAX)
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    tuned(upgrade).on_upgrade(async |mut socket: WebSocket| {
        while let Some(Ok(message)) = socket.recv().await {
            match message {
                Message::Text(_) | Message::Binary(_) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(_) => return,
            }
        }
    })
}

async fn viewer(upgrade: WebSocketUpgrade, State(topic): State<Topic>) -> Response {
    let upgrade = tuned(upgrade).write_buffer_size(WRITE_BYTES);
    upgrade.on_upgrade(move |socket| view(socket, topic))
}

/// Whatever is ready goes into one write.
async fn view(mut socket: WebSocket, topic: Topic) {
    let mut news = topic.subscribe();
    loop {
        let first = tokio::select! {
            first = news.recv() => first,
            said = socket.recv() => match said {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return,
            },
        };
        let mut next = match first {
            Ok(text) => Some(text),
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        while let Some(text) = next {
            if socket.feed(Message::Text(text)).await.is_err() {
                return;
            }
            next = news.try_recv().ok();
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}
