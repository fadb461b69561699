//! What both stores ask of a batch before they look at what is stored.
//!
//! A batch that fails here is a bug of whoever made it. It is refused and not repaired, because a log
//! with a hole in it cannot be told from one that lost something.

use keel_wire::{
    Seq,
    handover::{Handover, Mark, Offer},
    record::{Batch, StoredEvent},
};

use crate::{BATCH_BYTES_MAX, StoreError, StoreErrorKind};

/// Whether the batch is whole in itself: its events follow one another and end at its head.
pub(crate) fn batch(batch: &Batch) -> Result<(), StoreError> {
    let refuse = |why: String| Err(StoreError::new(StoreErrorKind::Other, why));
    if batch.cost() > BATCH_BYTES_MAX {
        return refuse(format!(
            "a batch of {} bytes is above the bound",
            batch.cost()
        ));
    }
    let before = batch.expected.unwrap_or(Seq::ZERO);
    let end = match follow(before, &batch.events) {
        Ok(end) => end,
        Err(why) => return refuse(why),
    };
    if end != batch.row.head {
        return refuse(format!(
            "the row's head is {}, its events end at {end}",
            batch.row.head
        ));
    }
    match &batch.snapshot {
        Some(snapshot) if snapshot.seq > end => refuse(format!(
            "a snapshot at {} is above the head {end}",
            snapshot.seq
        )),
        Some(_) | None => Ok(()),
    }
}

/// The position after which nothing follows, if the events follow `before` and one another.
pub(crate) fn follow(before: Seq, events: &[StoredEvent]) -> Result<Seq, String> {
    events.iter().try_fold(before, |last, event| {
        let follows = event.from.get() == last.get() + 1 && event.to >= event.from;
        if follows {
            Ok(event.to)
        } else {
            Err(format!(
                "an event of {}..={} does not follow {last}",
                event.from, event.to
            ))
        }
    })
}

/// Whether events up to `through` may go, given where the stored snapshot stands.
pub(crate) fn trim(through: Seq, snapshot: Option<Seq>) -> Result<(), StoreError> {
    let kept_in = snapshot.unwrap_or(Seq::ZERO);
    if through <= kept_in {
        return Ok(());
    }
    let why = format!("to trim through {through} is above the snapshot at {kept_in}");
    Err(StoreError::new(StoreErrorKind::Other, why))
}

/// The parts of a range that may each be compacted.
///
/// No event may lie across the snapshot's position, or a part of it would be folded twice.
pub(crate) fn compactions(from: Seq, to: Seq, snapshot: Option<Seq>) -> Vec<(Seq, Seq)> {
    match snapshot {
        Some(at) if from <= at && at < to => vec![(from, at), (at.next(), to)],
        Some(_) | None => vec![(from, to)],
    }
}

/// Whether a mark may follow the one that is kept.
pub(crate) fn mark(kept: Option<&Handover>, next: &Handover) -> Result<(), StoreError> {
    let least = kept.map_or(0, |kept| kept.moves);
    if next.moves >= least {
        return Ok(());
    }
    let why = format!("offer {} is past: {least} is known", next.moves);
    Err(StoreError::new(StoreErrorKind::Other, why))
}

/// What is to be done about an offer, as far as the mark that is kept says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was accepted before.
    Accepted,
    /// It may be.
    Open,
    /// It was accepted before, and the session was given on, or was to be, since.
    Since,
    /// It never is.
    Past,
}

pub(crate) fn standing(kept: Option<&Handover>, offer: &Offer) -> Standing {
    match kept {
        Some(Handover {
            mark: Mark::Received { id },
            ..
        }) if *id == offer.id => Standing::Accepted,
        // A higher number is given only by an owner that came after: it had been accepted, and has
        // gone on from here since.
        Some(kept) if kept.moves > offer.moves && !matches!(kept.mark, Mark::Declined) => {
            Standing::Since
        }
        Some(kept) if kept.moves >= offer.moves => Standing::Past,
        Some(_) | None => Standing::Open,
    }
}
