//! The machine's outputs, performed.

use std::sync::Arc;

use keel_core::client::{CommandOutcome, ConnEnd, ConnId, Event, Input, Output};
use keel_wire::Fault;
use tokio::task::JoinSet;

use super::{Connection, Driver};
use crate::{connection::Endpoint, error::over};

impl Driver {
    /// Performs what the machine put out for an input of so many bytes.
    pub(super) fn perform(&mut self, bytes: usize) {
        let mut broken = Vec::new();
        for output in std::mem::take(&mut self.out) {
            match output {
                #[cfg(feature = "media")]
                Output::Media(order) => self.media(order),
                // Nothing here has asked for media.
                #[cfg(not(feature = "media"))]
                Output::Media(_) => {}
                Output::FetchToken => self.fetch_token(),
                Output::Dial { conn, address } => self.dial(conn, &address),
                Output::Send { conn, bytes } => {
                    let connection = self.connections.get(&conn);
                    if connection.is_some_and(|connection| !connection.send(bytes)) {
                        broken.push(conn);
                    }
                }
                Output::Hangup { conn, code } => {
                    if let Some(connection) = self.connections.remove(&conn) {
                        connection.leave(code);
                    }
                }
                Output::Receipt { local, outcome } => {
                    if let Some(receipt) = self.waiting.remove(&local) {
                        // Nobody may wait for it any more.
                        let _ = receipt.send(outcome);
                    }
                }
                Output::Status(status) => {
                    self.shown.status.send_replace(*status);
                }
                Output::Event(event) => self.tell(event, bytes),
            }
        }
        if let Some(verdict) = self.judged.take()
            && let Some(waiting) = self.verdict.take()
        {
            // Nobody may wait for it any more.
            let _ = waiting.send(verdict);
        }
        for conn in broken {
            if let Some(connection) = self.connections.remove(&conn) {
                connection.leave(None);
            }
            let message = "the connection takes nothing more".to_owned();
            let end = ConnEnd::Other { message };
            self.input(Input::Closed { conn, end });
        }
    }

    fn tell(&mut self, event: Event, bytes: usize) {
        let mut is_over = false;
        match &event {
            Event::Joined(membership) => {
                let membership = Arc::new((**membership).clone());
                self.shown.membership.send_replace(Some(membership));
                self.judge(Ok(()));
            }
            Event::Queued { .. } => self.judge(Ok(())),
            Event::Failed(fault) => {
                self.judge(Err(fault.clone()));
                is_over = true;
            }
            Event::Ended { .. } => {
                // Somebody left while a first connect was under way.
                self.judge(Err(Box::new(over())));
                (is_over, self.left) = (true, true);
            }
            Event::Log { .. }
            | Event::Gap { .. }
            | Event::Ephemeral(_)
            | Event::MediaLost { .. }
            | Event::MediaRecovered { .. }
            | Event::Fault(_)
            | Event::ConnectionLost { .. }
            | Event::AttemptFailed { .. }
            | Event::Recovered { .. }
            | Event::Goaway { .. }
            | Event::ProtocolNotice(_)
            | Event::StillWaiting { .. } => {}
        }
        self.feed.push(event, bytes);
        if is_over {
            self.feed.close();
        }
    }

    /// To whoever runs the transports, with what the session knows of this participant's tracks.
    #[cfg(feature = "media")]
    fn media(&self, order: keel_core::client::MediaOrder) {
        let membership = self.shown.membership.borrow();
        let me = membership.as_ref().map(|of| of.participant.clone());
        let tracks = self.machine.snapshot().tracks.iter();
        let own = tracks.filter(|view| Some(&view.participant) == me.as_ref());
        let order = crate::media::Order {
            order,
            known: own.map(|view| (view.track.clone(), view.muted)).collect(),
            participant: me,
        };
        // Before anything asked for media there is no task, and nothing is ordered.
        let _ = self.media.send(order);
    }

    /// The first word about what a caller waits for; it is told once the rest of the step is done, the status
    /// above all.
    fn judge(&mut self, verdict: Result<(), Box<Fault>>) {
        if self.verdict.is_some() {
            self.judged.get_or_insert(verdict);
        }
    }

    fn dial(&mut self, conn: ConnId, address: &str) {
        let abort = self.abort.child_token();
        let (connection, task) = Connection::new(conn, self.reporter.clone(), abort);
        self.connections.insert(conn, connection);
        let endpoint = Endpoint::parse(address);
        let trust = self.trust.clone();
        self.tasks.spawn(async move {
            task.run(endpoint, trust).await;
        });
    }

    fn fetch_token(&mut self) {
        // The machine has given up waiting for the one before: it ends, and what it gives is nobody's.
        self.fetches = JoinSet::new();
        let Some(provider) = &self.provider else {
            return;
        };
        // The provider's own code runs in the task, too.
        let provider = provider.clone();
        self.fetches.spawn(async move { provider.fetch().await });
    }

    /// Refuses what came too late.
    pub(super) fn refuse_rest(&mut self) {
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            let outcome = CommandOutcome::Refused(Box::new(over()));
            let _ = order.receipt.send(outcome);
        }
    }
}
