//! Outputs, each performed: one arm a kind. Those on connections and askers are here.

use std::sync::Arc;

use keel_core::node::{Answer, AskId, ConnId, Input, MediaOrder, Output};
use tokio::time::Instant;

use super::{Asker, Work, store_io::Done};
use crate::{meter::close_label, socket::Out, workplace::Purpose};

impl Work {
    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Send { conn, bytes } => self.out(conn, Out::Frame(bytes)),
            Output::Close { conn, code, reason } => {
                let why = close_label(code, &reason);
                self.meter.closed(why);
                tracing::info!(conn = conn.0, close = code.0, code = why, "closed");
                self.last_out(
                    conn,
                    Out::Close {
                        code,
                        reason: reason.into(),
                    },
                );
            }
            // The Node is told of the loss as of any other.
            Output::Abort { conn } => self.out(conn, Out::Abort),
            Output::Freeze { conn, span } => self.out(conn, Out::Freeze { span }),
            Output::Verify { conn, token } => self.verify(conn, token),
            Output::Place { conn, backend, cwd } => self.place(conn, backend, cwd),
            Output::Recover { after, limit } => self.recover(after, limit),
            Output::Load { session } => self.load(session),
            Output::Commit { session, n, batch } => self.commit(session, n, batch),
            Output::Head { session } => self.head(session),
            Output::Read {
                conn,
                session,
                after,
                events,
                bytes,
            } => {
                self.read(
                    conn,
                    session,
                    after,
                    keel_store::PageLimit { events, bytes },
                );
            }
            Output::Held { after, limit } => self.held(after, limit),
            Output::Mark { session, handover } => self.mark(session, *handover),
            Output::HandOver(giving) => self.hand_over(*giving),
            Output::HandedOver(progress) => {
                tracing::info!(
                    moved = progress.moved,
                    stayed = progress.stayed,
                    "handed over"
                );
                for handed_over in self.handed_over.drain(..) {
                    let _ = handed_over.send(progress);
                }
            }
            Output::Trim { session, through } => self.trim(session, through),
            Output::Run { run, request } => self.runs.start(run, *request),
            Output::Credit { run, bytes } => self.runs.credit(run, bytes),
            Output::CancelRun { run } => self.runs.cancel(run),
            Output::KillRun { run } => self.runs.kill(run),
            Output::StallRun { run, span } => self.runs.stall(run, span),
            Output::AnswerRun {
                run,
                action,
                answer,
            } => self.runs.answer(run, action, answer),
            Output::SteerRun { run, text } => self.runs.steer(run, text),
            Output::Release { session, backend } => self.runs.release(&session, &backend),
            Output::Media(order) => self.media_order(order),
            Output::FailStore { span, injected } => {
                self.store_refuses = Some((Instant::now() + span, injected));
            }
            Output::DelayInputs { span, late } => self.late.begin(span, late),
            Output::Journal { session, entry } => self.keep(session, *entry),
            Output::Reply { ask, answer } => self.reply(ask, answer),
            Output::Drained { .. } => {
                for drained in self.drained.drain(..) {
                    let _ = drained.send(());
                }
            }
        }
    }

    /// To its plane: the configuration sees to it that there is one where a backend takes media.
    fn media_order(&mut self, order: MediaOrder) {
        if let Some(planes) = &mut self.planes {
            planes.give(order);
        }
    }

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

    /// Looks at a directory on another thread.
    fn place(&self, conn: ConnId, backend: String, cwd: String) {
        let workplaces = self.workplaces.clone();
        self.ops.push(Box::pin(async move {
            let place = workplaces.find(backend, cwd, Purpose::Open).await;
            Done::input(Input::Placed { conn, place })
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
