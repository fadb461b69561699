//! Effects on the store: each is begun at once, in the Node's order, and answered once.

use std::{future::Future, pin::Pin, sync::Arc};

use keel_core::node::{CommitFailure, ConnId, Delivered, Giving, Input, LoadFailure};
use keel_store::{CommitError, PageLimit, StoreError, StoreErrorKind};
use keel_wire::{
    Seq, SessionId,
    handover::{Handover, Mark},
    record::Batch,
};
use tokio::time::Instant;

use super::Work;
use crate::{auth, peers};

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
        let answer = self.store.commit(batch);
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
        let (store, id) = (Arc::clone(&self.store), session.clone());
        let answer = store.load(&session);
        let answer = async move {
            let loaded = answer.await.map_err(load_failure)?;
            if let Some(loaded) = loaded {
                return Ok(Some(Box::new(loaded)));
            }
            // It is not here; another server may have it.
            let handover = store.handover(&id).await.map_err(load_failure)?;
            match handover.map(|handover| handover.mark) {
                Some(Mark::Moved { address, row, .. }) => Err(LoadFailure::Moved { address, row }),
                Some(
                    Mark::Offered { .. } | Mark::Received { .. } | Mark::Kept | Mark::Declined,
                )
                | None => Ok(None),
            }
        };
        self.op("load", answer, move |loaded| {
            Done::input(Input::Loaded { session, loaded })
        });
    }

    pub(super) fn held(&self, after: Option<SessionId>, limit: usize) {
        let answer = self.store.held(after.as_ref(), limit);
        self.op("held", answer, |sessions| {
            Done::input(Input::Held {
                sessions: words(sessions),
            })
        });
    }

    pub(super) fn mark(&self, session: SessionId, handover: Handover) {
        let moved = matches!(handover.mark, Mark::Moved { .. });
        let tails = Arc::clone(&self.tails);
        let answer = self.store.mark(&session, handover);
        self.op("mark", answer, move |result| {
            if moved {
                // Who reads its log is to see that it is not here.
                tails.grown(&session);
            }
            Done::input(Input::Marked {
                session,
                result: words(result),
            })
        });
    }

    /// Gives a session to another server, on a task of its own: it takes many requests.
    pub(super) fn hand_over(&self, giving: Giving) {
        let (session, id) = (giving.offer.session.clone(), giving.offer.id.clone());
        let (peers, store) = (Arc::clone(&self.peers), Arc::clone(&self.store));
        let given = tokio::spawn(peers::give(peers, store, giving));
        self.ops.push(Box::pin(async move {
            let outcome = given.await.unwrap_or_else(|error| Delivered::Unknown {
                error: error.to_string(),
            });
            Done::input(Input::Delivered {
                session,
                id,
                outcome,
            })
        }));
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
