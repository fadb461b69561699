//! How a connection ends: told once, then lingered over so that nobody's last word is eaten.

use std::time::Duration;

use keel_core::{
    limits::LINGER,
    node::{ConnEnd, Input},
};
use tokio::time::timeout;
use tungstenite::{Error, error::ProtocolError};

use super::{Out, Socket, Transport};

/// How long a frozen connection is held after the Node has given it up: its peer is to find out by itself.
const FROZEN_AFTER: Duration = Duration::from_secs(10);

/// How reading ended.
pub(super) enum End {
    /// By the peer or the network: told as it is.
    Peer(ConnEnd),
    /// By us, because of what the peer sent.
    Violation(u16, &'static str),
}

impl Socket {
    pub(super) async fn end(mut self, end: End) {
        let end = match end {
            End::Peer(end) => end,
            End::Violation(code, why) => {
                self.meter.violation(code);
                tracing::info!(conn = self.conn.0, code, why, "closed for what it sent");
                self.writer.push_close(code, why);
                ConnEnd::Broken {
                    error: format!("websocket: {why}"),
                }
            }
        };
        let silent = matches!(end, ConnEnd::Broken { .. }) && !self.writer.is_pending();
        self.tell(Input::Lost {
            conn: self.conn,
            end,
        })
        .await;
        if !silent {
            self.linger().await;
        }
    }

    /// Ends as the Node wants it.
    pub(super) async fn leave(mut self, how: Out) {
        match how {
            Out::Frame(_) => {}
            Out::Close { code, reason } => {
                self.writer.push_close(code.0, &reason);
                self.linger().await;
            }
            Out::Abort => {
                // With nothing to linger for, the kernel sends a reset.
                let _ = rustix::net::sockopt::set_socket_linger(
                    self.ws.get_ref().transport().tcp(),
                    Some(Duration::ZERO),
                );
                let end = ConnEnd::Broken {
                    error: "reset on purpose".to_owned(),
                };
                self.tell(Input::Lost {
                    conn: self.conn,
                    end,
                })
                .await;
            }
            Out::Freeze { span } => {
                let thawed = async {
                    while let Some(Out::Frame(_) | Out::Freeze { .. }) = self.outbox.recv().await {}
                };
                if timeout(span, thawed).await.is_err() {
                    let end = ConnEnd::Broken {
                        error: "frozen on purpose".to_owned(),
                    };
                    return self
                        .tell(Input::Lost {
                            conn: self.conn,
                            end,
                        })
                        .await;
                }
                let held = discard(self.ws.get_ref().transport());
                // Not when the server is being closed: then the driver is gone.
                tokio::select! {
                    _ = timeout(FROZEN_AFTER, held) => {}
                    () = self.events.closed() => {}
                }
            }
        }
    }

    /// Writes what is left, half-closes, and discards what comes until the peer closes: a reset
    /// would eat what was written last.
    async fn linger(mut self) {
        let transport = self.ws.get_mut().transport_mut();
        let flushed = async {
            while self.writer.is_pending() {
                transport.writable().await?;
                self.writer.write(transport)?;
            }
            transport.shutdown().await
        };
        if !matches!(timeout(LINGER, flushed).await, Ok(Ok(()))) {
            return;
        }
        let _ = timeout(LINGER, discard(transport)).await;
    }
}

/// Until the peer closes.
async fn discard(transport: &Transport) {
    while transport.tcp().readable().await.is_ok() {
        if !transport.discard() {
            break;
        }
    }
}

pub(super) fn ended(error: Error) -> End {
    match error {
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Peer(ConnEnd::Eof),
        Error::Io(error) => End::Peer(ConnEnd::Broken {
            error: error.to_string(),
        }),
        Error::Capacity(_) => End::Violation(1009, "the message is too large"),
        Error::Utf8(_) => End::Violation(1007, "the message is not UTF-8"),
        Error::Protocol(_) => End::Violation(1002, "that is no WebSocket frame"),
        Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => End::Peer(ConnEnd::Broken {
            error: error.to_string(),
        }),
    }
}
