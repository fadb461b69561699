//! Effects on the store: each is begun at once, in the Node's order, and answered once.

use std::{future::Future, pin::Pin, sync::Arc};

use keel_core::node::{CommitFailure, ConnId, Input, LoadFailure};
use keel_store::{CommitError, PageLimit, StoreError, StoreErrorKind};
use keel_wire::{Seq, SessionId, record::Batch};
use tokio::time::Instant;

use super::Work;
use crate::auth;

/// Something under way whose end the driver wants to hear.
pub(super) type Op = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Something is over.
pub(super) enum Done {
    /// The Node asked for it.
    Input(Box<Input>),
    /// The journal was put away, or so many entries were lost.
    Journal(Result<(), (u64, StoreError)>),
    /// Nobody asked to hear of it.
    Nothing,
}

impl Done {
    pub(super) fn input(input: Input) -> Self {
        Self::Input(Box::new(input))
    }
}

fn words<T>(result: Result<T, StoreError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

impl Work {
    pub(super) fn done(&mut self, done: Done) {
        match done {
            Done::Input(input) => {
                let input = *input;
                self.verified(&input);
                if let Input::Committed { session, .. } = &input {
                    self.tails.grown(session);
                }
                self.input(input);
            }
            Done::Journal(result) => self.journal_flushed(result),
            Done::Nothing => {}
        }
    }

    /// Times an operation and turns its answer into an input.
    fn op<T: Send + 'static, E: Send + 'static>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<T, E>> + Send + 'static,
        input: impl FnOnce(Result<T, E>) -> Done + Send + 'static,
    ) {
        let (meter, began) = (self.meter.clone(), Instant::now());
        self.ops.push(Box::pin(async move {
            let result = answer.await;
            meter.stored(name, began.elapsed(), result.is_ok());
            input(result)
        }));
    }

    pub(super) fn commit(&mut self, session: SessionId, n: u64, batch: Arc<Batch>) {
        let now = Instant::now();
        let refuses = self
            .store_refuses
            .as_ref()
            .filter(|(until, _)| now < *until);
        if let Some((_, injected)) = refuses {
            let error = format!("a fault was injected: {injected}");
            let failure = CommitFailure::NotWritten { error };
            let input = Input::CommitFailed {
                session,
                n,
                failure,
            };
            self.ops
                .push(Box::pin(std::future::ready(Done::input(input))));
            return;
        }
        self.store_refuses = None;
        let answer = self.store.commit(Arc::unwrap_or_clone(batch));
        self.op("commit", answer, move |result| {
            Done::input(match result {
                Ok(()) => Input::Committed { session, n },
                Err(error) => Input::CommitFailed {
                    session,
                    n,
                    failure: failure(error),
                },
            })
        });
    }

    pub(super) fn load(&self, session: SessionId) {
        let answer = self.store.load(&session);
        self.op("load", answer, move |loaded| {
            let loaded = loaded
                .map(|loaded| loaded.map(Box::new))
                .map_err(load_failure);
            Done::input(Input::Loaded { session, loaded })
        });
    }

    pub(super) fn head(&self, session: SessionId) {
        let answer = self.store.head(&session);
        self.op("head", answer, move |head| {
            let head = words(head).map(|head| head.map(|head| head.seq));
            Done::input(Input::Head { session, head })
        });
    }

    pub(super) fn read(&self, conn: ConnId, session: SessionId, after: Seq, limit: PageLimit) {
        let answer = self.store.events(&session, after, limit);
        self.op("read", answer, move |events| {
            Done::input(Input::Page {
                conn,
                session,
                events: words(events),
            })
        });
    }

    pub(super) fn recover(&self, after: Option<SessionId>, limit: usize) {
        let answer = self.store.unsettled(after.as_ref(), limit);
        self.op("recover", answer, |rows| {
            Done::input(Input::Recovered { rows: words(rows) })
        });
    }

    pub(super) fn trim(&self, session: SessionId, through: Seq) {
        let answer = self.store.trim(&session, through);
        self.op("trim", answer, move |result| {
            if let Err(error) = result {
                tracing::warn!(%session, %through, %error, "the log was not trimmed");
            }
            Done::Nothing
        });
    }

    pub(super) fn flush_journal(&mut self) {
        let Some(entries) = self.journal.begin_flush() else {
            return;
        };
        let count = entries.len() as u64;
        let answer = self.store.append_journal(entries);
        self.op("journal", answer, move |result| {
            Done::Journal(result.map_err(|error| (count, error)))
        });
    }
}

fn load_failure(error: StoreError) -> LoadFailure {
    let words = error.to_string();
    match error.kind {
        StoreErrorKind::Corrupt => LoadFailure::Broken { error: words },
        StoreErrorKind::Full
        | StoreErrorKind::Io
        | StoreErrorKind::Fsync
        | StoreErrorKind::Busy
        | StoreErrorKind::Closed
        | StoreErrorKind::Overloaded
        | StoreErrorKind::Other => LoadFailure::Busy { error: words },
    }
}

fn failure(error: CommitError) -> CommitFailure {
    match error {
        CommitError::NotWritten(error) => CommitFailure::NotWritten {
            error: error.to_string(),
        },
        CommitError::Unknown(error) => CommitFailure::Unknown {
            error: error.to_string(),
        },
        CommitError::Fenced => CommitFailure::Fenced,
        CommitError::Conflict { .. } => CommitFailure::Conflict,
    }
}

/// Puts the revocations that the store keeps into memory.
pub(crate) async fn load_revoked(
    store: &dyn keel_store::Store,
    tokens: &auth::Tokens,
) -> Result<(), StoreError> {
    tokens.revoked().add(store.revoked().await?);
    Ok(())
}
