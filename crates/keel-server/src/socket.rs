//! One WebSocket connection: bytes to inputs, outputs to bytes. Decides nothing about the protocol.
//!
//! One task a connection, and small: reading is tungstenite's over a non-blocking pipe, writing is
//! vectored from the Node's own buffers, so that nothing is kept of what was sent. A write error
//! never stops reading: what the peer said last, and how it closed, is told first.

mod ending;
mod pipe;
mod transport;
mod upgrade;
mod writer;

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use keel_core::{
    limits::{OUTCOME_SEALED_WITHIN, WINDOW_BYTES},
    node::{ConnEnd, ConnId, Input},
};
use keel_wire::{CloseCode, limits::FRAME_IN_BYTES_MAX};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tungstenite::{
    Error, Message, WebSocket,
    protocol::{Role, WebSocketConfig},
};

use crate::{driver::Event, meter::Meter, tickets::Ticket};

use ending::{End, ended};
use pipe::Pipe;
use transport::Transport;
pub(crate) use upgrade::{connect, tune};
use writer::Writer;

/// The read buffer of a connection: what clients send is small, and an idle one keeps it.
const READ_BYTES: usize = 1024;
/// Bytes that may arrive without completing a message (DESIGN: frames are 64 KiB).
const INCOMPLETE_BYTES_MAX: usize = 2 * FRAME_IN_BYTES_MAX;
/// How long a message may take to arrive once it has begun.
const MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// Pings and pongs at once.
const CONTROL_BURST: u32 = 128;
/// Pings and pongs a second.
const CONTROL_PER_S: u32 = 32;
/// Answers to pings that a peer may leave unread.
const REPLIES_BYTES_MAX: usize = 16 * 1024;
/// Bytes that the transport has taken, until the Node is told so: a part of its window, so that it
/// never waits for what it was not told, and that not every frame costs it an input.
const FLUSHED_TOLD_BYTES: usize = WINDOW_BYTES / 8;

/// What a connection is to do.
#[derive(Debug)]
pub(crate) enum Out {
    /// Write a message.
    Frame(Arc<[u8]>),
    /// Write a close frame and end.
    Close {
        /// With which code.
        code: CloseCode,
        /// For a person.
        reason: Box<str>,
    },
    /// End without a word.
    Abort,
    /// Neither read nor write any more, and break after a while.
    Freeze {
        /// How long.
        span: Duration,
    },
}

pub(crate) struct Socket {
    conn: ConnId,
    ws: WebSocket<Pipe>,
    writer: Writer,
    /// Bytes that the transport has taken, and of which the Node was not told.
    flushed: usize,
    outbox: mpsc::UnboundedReceiver<Out>,
    events: mpsc::Sender<Event>,
    meter: Meter,
    /// Since when a message is incomplete.
    incomplete_since: Option<Instant>,
    control: Control,
    _ticket: Ticket,
}

/// Pings and pongs that may still come.
struct Control {
    left: u32,
    at: Instant,
}

impl Control {
    fn take(&mut self) -> bool {
        let elapsed = self.at.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let more = u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX);
            let more = more.saturating_mul(CONTROL_PER_S);
            self.left = self.left.saturating_add(more).min(CONTROL_BURST);
            self.at = Instant::now();
        }
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

impl Socket {
    pub(crate) fn new(
        conn: ConnId,
        transport: Transport,
        head: &[u8],
        outbox: mpsc::UnboundedReceiver<Out>,
        events: mpsc::Sender<Event>,
        meter: Meter,
        ticket: Ticket,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(REPLIES_BYTES_MAX)
            .max_message_size(Some(FRAME_IN_BYTES_MAX))
            .max_frame_size(Some(FRAME_IN_BYTES_MAX))
            .accept_unmasked_frames(false);
        let ws = WebSocket::from_raw_socket(Pipe::new(transport, head), Role::Server, Some(config));
        Self {
            conn,
            ws,
            writer: Writer::default(),
            flushed: 0,
            outbox,
            events,
            meter,
            incomplete_since: None,
            control: Control {
                left: CONTROL_BURST,
                at: Instant::now(),
            },
            _ticket: ticket,
        }
    }

    /// Runs the connection to its end; when it returns, the transport is closed.
    pub(crate) async fn run(mut self) {
        let mut broken: Option<(Instant, String)> = None;
        // What came with the upgrade request is read before the transport is asked.
        let mut ready = true;
        loop {
            let transport = self.ws.get_ref().transport();
            let unwritten = self.writer.is_pending() || transport.wants_write();
            tokio::select! {
                out = self.outbox.recv() => match out {
                    Some(out) => if let Some(last) = self.take(out) {
                        return Box::pin(self.leave(last)).await;
                    },
                    None => {
                        let reason = "the server is stopping".into();
                        let last = Out::Close { code: CloseCode(1001), reason };
                        return Box::pin(self.leave(last)).await;
                    }
                },
                _ = poll_fn(|cx| transport.poll_write_ready(cx)), if unwritten && broken.is_none() => {}
                _ = poll_fn(|cx| transport.poll_read_ready(cx)), if !ready => ready = true,
                () = std::future::ready(()), if ready => {
                    ready = false;
                    if let Some(end) = self.read().await {
                        return Box::pin(self.end(end)).await;
                    }
                }
                () = sealed(broken.as_ref()), if broken.is_some() => {
                    let error = broken.map_or_else(String::new, |(_, error)| error);
                    let end = End::Peer(ConnEnd::Broken { error });
                    return Box::pin(self.end(end)).await;
                }
            }
            if broken.is_none()
                && let Err(error) = self.write().await
            {
                self.writer.clear();
                broken = Some((Instant::now() + OUTCOME_SEALED_WITHIN, error.to_string()));
            }
        }
    }

    /// Puts frames into the writer, up to what ends the connection.
    fn take(&mut self, out: Out) -> Option<Out> {
        let mut next = Some(out);
        while let Some(out) = next {
            match out {
                Out::Frame(bytes) => self.writer.push_text(bytes),
                Out::Close { .. } | Out::Abort | Out::Freeze { .. } => return Some(out),
            }
            next = self.outbox.try_recv().ok();
        }
        None
    }

    async fn write(&mut self) -> io::Result<()> {
        self.flushed += self.writer.write(self.ws.get_mut().transport_mut())?;
        if self.flushed >= FLUSHED_TOLD_BYTES {
            let (conn, bytes) = (self.conn, std::mem::take(&mut self.flushed));
            self.tell(Input::Flushed { conn, bytes }).await;
        }
        Ok(())
    }

    async fn tell(&self, input: Input) {
        // The driver is gone only when the server is being closed, and wants to know nothing then.
        let _ = self.events.send(Event::Input(input)).await;
    }

    /// Reads until there is nothing more for now.
    async fn read(&mut self) -> Option<End> {
        let conn = self.conn;
        self.ws.get_mut().allow_more();
        loop {
            let message = self.ws.read();
            let replies = self.ws.get_mut().take_replies();
            if !replies.is_empty() {
                self.writer.push_raw(replies);
            }
            match message {
                Ok(Message::Text(text)) => {
                    self.complete();
                    let bytes = Vec::from(text.as_bytes());
                    drop(text);
                    self.tell(Input::Frame { conn, bytes }).await;
                }
                Ok(Message::Binary(bytes)) => {
                    self.complete();
                    drop(bytes);
                    self.tell(Input::NotText { conn }).await;
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {
                    self.complete();
                    let unread = self.writer.raw_bytes() > REPLIES_BYTES_MAX;
                    if unread || !self.control.take() {
                        return Some(End::Violation(1008, "too many control frames"));
                    }
                    tokio::task::coop::consume_budget().await;
                }
                Ok(Message::Close(frame)) => {
                    // tungstenite answers a close with its next write.
                    let _ = self.ws.flush();
                    let echo = self.ws.get_mut().take_replies();
                    self.writer.push_raw(echo);
                    let (code, reason) = frame.map_or((CloseCode::NONE, String::new()), |frame| {
                        (
                            CloseCode(frame.code.into()),
                            frame.reason.as_str().to_owned(),
                        )
                    });
                    return Some(End::Peer(ConnEnd::Close { code, reason }));
                }
                Ok(Message::Frame(_)) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.incomplete();
                }
                Err(error) => return Some(ended(error)),
            }
        }
    }

    fn complete(&mut self) {
        self.ws.get_mut().complete();
        self.incomplete_since = None;
    }

    /// What a message that goes on and on comes to.
    fn incomplete(&mut self) -> Option<End> {
        let bytes = self.ws.get_ref().incomplete_bytes();
        if bytes == 0 {
            return None;
        }
        let since = *self.incomplete_since.get_or_insert_with(Instant::now);
        if bytes > INCOMPLETE_BYTES_MAX {
            Some(End::Violation(1009, "the message does not end"))
        } else if since.elapsed() > MESSAGE_WITHIN {
            Some(End::Violation(1008, "the message came too slowly"))
        } else {
            None
        }
    }
}

async fn sealed(broken: Option<&(Instant, String)>) {
    match broken {
        Some((at, _)) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}
