//! Sessions that go from store to store, as a [`Memory`](super::Memory) holds them.

use std::collections::VecDeque;

use keel_wire::{
    SessionId,
    handover::{Handover, Mark, Offer, Part, Whole},
    record::{Batch, Fence, StoredReceipt},
};

use super::state::{Session, State};
use crate::{
    Head, STAGED_BYTES_MAX, StoreError, StoreErrorKind,
    check::{self, Standing},
};

fn refuse<T>(why: impl Into<String>) -> Result<T, StoreError> {
    Err(StoreError::new(StoreErrorKind::Other, why))
}

impl State {
    pub(super) fn is_offered(&self, session: &SessionId) -> bool {
        let kept = self.handovers.get(session);
        kept.is_some_and(|kept| matches!(kept.mark, Mark::Offered { .. }))
    }

    pub(super) fn held(&self, after: Option<&SessionId>, limit: usize) -> Vec<SessionId> {
        let rows = self.sessions.values().map(|session| &session.row);
        rows.filter(|row| !row.ended && after.is_none_or(|after| row.session > *after))
            .take(limit)
            .map(|row| row.session.clone())
            .collect()
    }

    pub(super) fn mark(&mut self, session: &SessionId, next: Handover) -> Result<(), StoreError> {
        check::mark(self.handovers.get(session), &next)?;
        match next.mark {
            Mark::Offered { .. } if !self.sessions.contains_key(session) => {
                return refuse("a session that is not here is not offered");
            }
            Mark::Moved { .. } => drop(self.sessions.remove(session)),
            Mark::Offered { .. } | Mark::Received { .. } | Mark::Kept | Mark::Declined => {}
        }
        self.handovers.insert(session.clone(), next);
        Ok(())
    }

    pub(super) fn stage(&mut self, offer: Offer, part: Part) -> Result<(), StoreError> {
        if check::standing(self.handovers.get(&offer.session), &offer) != Standing::Open {
            return refuse("that offer is past");
        }
        if matches!(part, Part::Begin { .. }) {
            self.staged.insert(offer.session, (offer.id, vec![part]));
            return Ok(());
        }
        let Some((_, parts)) = self
            .staged
            .get_mut(&offer.session)
            .filter(|(id, _)| *id == offer.id)
        else {
            return refuse("no such session is being received");
        };
        let bytes: usize = parts.iter().map(Part::cost).sum();
        if bytes + part.cost() > STAGED_BYTES_MAX {
            return refuse("it is larger than what may be received");
        }
        parts.push(part);
        Ok(())
    }

    pub(super) fn accept(&mut self, offer: &Offer) -> Option<Head> {
        match check::standing(self.handovers.get(&offer.session), offer) {
            Standing::Accepted | Standing::Since => return self.head_of_accepted(&offer.session),
            Standing::Past => return None,
            Standing::Open if self.sessions.contains_key(&offer.session) => return None,
            Standing::Open => {}
        }
        let (_, parts) = self
            .staged
            .remove(&offer.session)
            .filter(|(id, _)| *id == offer.id)?;
        let whole = match Whole::of(parts, &offer.session) {
            Ok(whole) => whole,
            Err(why) => {
                tracing::warn!(session = %offer.session, why, "what was received is no session");
                return None;
            }
        };
        let received = Handover {
            moves: offer.moves,
            key: Some(whole.key),
            mark: Mark::Received {
                id: offer.id.clone(),
            },
        };
        self.handovers.insert(offer.session.clone(), received);
        self.sessions
            .insert(offer.session.clone(), Session::received(whole));
        self.head_of_accepted(&offer.session)
    }

    pub(super) fn settle(&mut self, offer: &Offer) -> Option<Head> {
        match check::standing(self.handovers.get(&offer.session), offer) {
            Standing::Accepted | Standing::Since => return self.head_of_accepted(&offer.session),
            Standing::Past => return None,
            Standing::Open => {}
        }
        self.staged.remove(&offer.session);
        if !self.sessions.contains_key(&offer.session) {
            let declined = Handover {
                moves: offer.moves,
                key: None,
                mark: Mark::Declined,
            };
            self.handovers.insert(offer.session.clone(), declined);
        }
        None
    }

    /// It may have been deleted since: it was accepted all the same.
    fn head_of_accepted(&self, session: &SessionId) -> Option<Head> {
        self.head(session).or(Some(Head::NONE))
    }
}

impl Session {
    fn received(whole: Whole) -> Self {
        let mut session = Self::new(whole.row.clone());
        let trimmed = whole.row.trimmed;
        let receipts = whole.streams.iter().flat_map(|stream| {
            let id = &stream.row.stream;
            stream.receipts.iter().map(|(n, body)| StoredReceipt {
                stream: id.clone(),
                n: *n,
                body: body.clone(),
            })
        });
        session.take(Batch {
            fence: Fence::default(),
            expected: None,
            receipts: receipts.collect(),
            streams: whole.streams.iter().map(|one| one.row.clone()).collect(),
            search: whole.searchable(),
            row: whole.row,
            events: whole.events,
            streams_dropped: Vec::new(),
            snapshot: whole.snapshot,
            compact: None,
        });
        session.row.trimmed = trimmed;
        session.journal = VecDeque::from(whole.entries);
        session
    }
}
