//! Effects on connections and askers.

use std::sync::Arc;

use keel_core::node::{Answer, AskId, ConnId, Input};

use super::{Asker, Work, store_io::Done};
use crate::socket::Out;

impl Work {
    /// To a connection that the Node believes in; the Node hears soon if it is gone.
    pub(super) fn out(&self, conn: ConnId, out: Out) {
        if let Some(conn) = self.conns.get(&conn) {
            let _ = conn.outbox.send(out);
        }
    }

    /// After this the Node has ended the connection, and hears of it no more.
    pub(super) fn last_out(&mut self, conn: ConnId, out: Out) {
        if let Some(conn) = self.conns.remove(&conn) {
            let _ = conn.outbox.send(out);
        }
    }

    /// Checks a token on another thread: a signature takes as long as ten inputs.
    pub(super) fn verify(&self, conn: ConnId, token: String) {
        let tokens = self.tokens.clone();
        let origin = self
            .conns
            .get(&conn)
            .and_then(|conn| conn.origin.as_ref().map(Arc::clone));
        let verdict = tokio::spawn(async move { tokens.verify(&token, origin.as_deref()) });
        self.ops.push(Box::pin(async move {
            let verdict = verdict.await.unwrap_or(Err(keel_wire::Code::Internal));
            Done::input(Input::Verified { conn, verdict })
        }));
    }

    /// A connection that has shown a good token is no longer counted as one that has not.
    pub(super) fn verified(&mut self, input: &Input) {
        if let Input::Verified {
            conn,
            verdict: Ok(_),
        } = input
            && let Some(conn) = self.conns.get_mut(conn)
        {
            conn.handshake = None;
        }
    }

    pub(super) fn reply(&mut self, ask: AskId, answer: Answer) {
        match self.asks.remove(&ask) {
            Some(Asker::Caller(reply)) => {
                // The caller may have hung up.
                let _ = reply.send(answer);
            }
            Some(Asker::Gauges) => {
                if let Answer::Census(census) = answer {
                    self.meter.census(&census);
                }
            }
            None => {}
        }
    }
}
