//! One WebSocket, from the dial to its end: one task, two loops, no decisions.
//!
//! Reading and writing do not wait for each other, and a failed write never stops reading: what the
//! server said last is the better evidence. The end is told once, after everything that came before.

mod dial;
mod end;
mod endpoint;
mod trust;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use keel_core::client::{ConnEnd, ConnId, Input};
use keel_wire::CloseCode;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes, protocol::CloseFrame};
use tokio_util::sync::CancellationToken;

pub(crate) use endpoint::Endpoint;
pub(crate) use trust::Trust;

/// Frames that wait to be written; a connection that takes no more is broken.
const ORDERS_MAX: usize = 1_024;
/// How long a closing handshake may take.
const LINGER: Duration = Duration::from_secs(1);

type Socket = dial::Socket;

/// What a connection is to do.
#[derive(Debug)]
enum Order {
    Send(Vec<u8>),
    Close(CloseCode),
}

/// The driver's end of a connection. Without it nothing more is written.
#[derive(Debug)]
pub(crate) struct Connection {
    orders: mpsc::Sender<Order>,
    leaving: CancellationToken,
    abort: CancellationToken,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct Task {
    conn: ConnId,
    orders: mpsc::Receiver<Order>,
    reports: mpsc::Sender<Input>,
    leaving: CancellationToken,
    abort: CancellationToken,
}

impl Connection {
    /// A connection that reports to `reports`, and the task that is to be run for it.
    pub(crate) fn new(
        conn: ConnId,
        reports: mpsc::Sender<Input>,
        abort: CancellationToken,
    ) -> (Self, Task) {
        let (orders, queue) = mpsc::channel(ORDERS_MAX);
        let leaving = CancellationToken::new();
        let task = Task {
            conn,
            orders: queue,
            reports,
            leaving: leaving.clone(),
            abort: abort.clone(),
        };
        let connection = Self {
            orders,
            leaving,
            abort,
        };
        (connection, task)
    }

    /// False when it takes no more.
    pub(crate) fn send(&self, bytes: Vec<u8>) -> bool {
        match self.orders.try_send(Order::Send(bytes)) {
            // One that is at its end says so itself.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => false,
        }
    }

    /// Leaves, with a closing handshake where there is a code for it. Nothing is reported from here.
    pub(crate) fn leave(self, code: Option<CloseCode>) {
        self.leaving.cancel();
        let asked = code.is_some_and(|code| self.orders.try_send(Order::Close(code)).is_ok());
        if !asked {
            self.abort.cancel();
        }
    }
}

impl Task {
    pub(crate) async fn run(self, endpoint: Result<Endpoint, String>, trust: Trust) {
        let (leaving, abort) = (self.leaving.clone(), self.abort.clone());
        let leave = async {
            leaving.cancelled().await;
            sleep(LINGER).await;
        };
        tokio::select! {
            () = Box::pin(self.work(endpoint, trust)) => {}
            () = abort.cancelled() => {}
            () = leave => {}
        }
    }

    async fn work(self, endpoint: Result<Endpoint, String>, trust: Trust) {
        let conn = self.conn;
        let dialed = match endpoint {
            Ok(endpoint) => {
                // Nothing has been said yet that would be worth a closing handshake.
                tokio::select! {
                    dialed = dial::dial(&endpoint, &trust) => dialed,
                    () = self.leaving.cancelled() => return,
                }
            }
            Err(message) => Err(dial::Failed::other(message)),
        };
        let socket = match dialed {
            Ok(socket) => socket,
            Err(failed) => {
                let end = failed.into_end();
                report(&self.reports, &self.leaving, Input::Closed { conn, end }).await;
                return;
            }
        };
        report(&self.reports, &self.leaving, Input::Opened { conn }).await;
        let (sink, stream) = socket.split();
        let reset = AtomicBool::new(false);
        let reports = (&self.reports, &self.leaving);
        let writing = async {
            if let Some(end) = write(sink, self.orders, &reset).await {
                report(reports.0, reports.1, Input::Closed { conn, end }).await;
            }
            // The end of reading is the end.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = read(stream, conn, reports, &reset) => {}
            () = writing => {}
        }
    }
}

/// Tells the driver, unless it has left this connection.
async fn report(reports: &mpsc::Sender<Input>, leaving: &CancellationToken, input: Input) {
    tokio::select! {
        biased;
        () = leaving.cancelled() => {}
        _ = reports.send(input) => {}
    }
}

async fn read(
    mut stream: SplitStream<Socket>,
    conn: ConnId,
    (reports, leaving): (&mpsc::Sender<Input>, &CancellationToken),
    reset: &AtomicBool,
) {
    loop {
        let bytes: Vec<u8> = match stream.next().await {
            Some(Ok(Message::Text(text))) => bytes_of(text),
            // The machine says what is wrong with it.
            Some(Ok(Message::Binary(bytes))) => bytes.into(),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
            Some(Ok(Message::Close(frame))) => {
                let end = end::of_close(frame);
                report(reports, leaving, Input::Closed { conn, end }).await;
                // Our half of the closing handshake.
                let _ = timeout(LINGER, async { while stream.next().await.is_some() {} }).await;
                return;
            }
            Some(Err(error)) => {
                let end = end::of_error(&error, reset.load(Ordering::Relaxed));
                report(reports, leaving, Input::Closed { conn, end }).await;
                return;
            }
            None => {
                let end = ConnEnd::Eof;
                report(reports, leaving, Input::Closed { conn, end }).await;
                return;
            }
        };
        report(reports, leaving, Input::Frame { conn, bytes }).await;
    }
}

fn bytes_of(text: Utf8Bytes) -> Vec<u8> {
    tokio_tungstenite::tungstenite::Bytes::from(text).into()
}

/// Writes until there is nothing more to write: `Some` when nothing can be written any more.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut orders: mpsc::Receiver<Order>,
    reset: &AtomicBool,
) -> Option<ConnEnd> {
    while let Some(order) = orders.recv().await {
        let mut next = Some(order);
        // Whatever waits goes out together.
        while let Some(order) = next {
            let (message, is_last) = match order {
                // The machine writes JSON, which is UTF-8.
                Order::Send(bytes) => (Message::Text(Utf8Bytes::try_from(bytes).ok()?), false),
                Order::Close(code) => {
                    let frame = CloseFrame {
                        code: code.0.into(),
                        reason: Utf8Bytes::default(),
                    };
                    (Message::Close(Some(frame)), true)
                }
            };
            if let Err(error) = sink.feed(message).await {
                return end::of_write(&error, reset);
            }
            next = if is_last {
                None
            } else {
                orders.try_recv().ok()
            };
            if is_last {
                let _ = sink.flush().await;
                return None;
            }
        }
        if let Err(error) = sink.flush().await {
            return end::of_write(&error, reset);
        }
    }
    None
}
