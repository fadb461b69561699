//! Who waits for more of a log: readers of server-sent events.
//!
//! The driver says that a session's log has grown, and nothing more; what is there is read from the
//! store. So a reader that is slow costs nobody anything.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use keel_wire::SessionId;
use tokio::sync::watch;

#[derive(Debug, Default)]
pub(crate) struct Tails {
    waiting: Mutex<HashMap<SessionId, watch::Sender<()>>>,
}

/// Waits for more of one log.
#[derive(Debug)]
pub(crate) struct Tail {
    session: SessionId,
    grown: watch::Receiver<()>,
    tails: Arc<Tails>,
}

impl Tails {
    pub(crate) fn wait_for(self: &Arc<Self>, session: &SessionId) -> Tail {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = waiting
            .entry(session.clone())
            .or_insert_with(|| watch::channel(()).0);
        let grown = sender.subscribe();
        Tail {
            session: session.clone(),
            grown,
            tails: Arc::clone(self),
        }
    }

    pub(crate) fn grown(&self, session: &SessionId) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.get(session) {
            sender.send_replace(());
        }
    }
}

impl Tail {
    /// Resolves when the log has grown since the last call; pending for ever after that if nobody
    /// can tell any more.
    pub(crate) async fn grown(&mut self) {
        if self.grown.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut waiting = self
            .tails
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = waiting
            .get(&self.session)
            .is_some_and(|sender| sender.receiver_count() <= 1);
        if last {
            waiting.remove(&self.session);
        }
    }
}
