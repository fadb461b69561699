//! The auditor: the laws of a log, checked event by event against the fold of what came before.
//!
//! It runs wherever a log is read or written: in production at every commit, in the simulator and the
//! drill over whole logs. A law that does not hold is a bug of ours, never of a client's.

use keel_wire::{Event, Snapshot, TurnState, TurnView};

/// The law that `event` breaks, coming after what `fold` is the fold of; `None` where all hold.
#[must_use]
pub fn check(fold: &Snapshot, event: &Event) -> Option<&'static str> {
    if fold.ended.is_some() {
        return Some("nothing follows a session's end");
    }
    match event {
        Event::SessionCreated(_) => {
            (!fold.backend.is_empty()).then_some("a session is created once")
        }
        Event::ParticipantJoined(joined) => fold
            .participants
            .iter()
            .any(|view| view.participant == joined.participant)
            .then_some("a participant joins once"),
        Event::ParticipantLeft(left) => (!fold
            .participants
            .iter()
            .any(|view| view.participant == left.participant))
        .then_some("who leaves has joined"),
        Event::ParamsChanged(changed) => (changed.version != fold.params_version.next())
            .then_some("versions of params are +1 each"),
        Event::ParamsApplied(applied) => (applied.version > fold.params_version)
            .then_some("params are applied after they are set"),
        Event::Message(_) | Event::SessionDescribed(_) => None,
        Event::TurnAccepted(accepted) => fold
            .turn(&accepted.turn)
            .is_some()
            .then_some("a turn is accepted once"),
        Event::TurnStarted(started) => match fold.turn(&started.turn) {
            Some(view) if view.is_open() => {
                (started.attempt != view.attempt + 1).then_some("attempts are +1 each")
            }
            Some(_) | None => Some("only an open turn is started"),
        },
        Event::Text(text) => match running(fold.turn(&text.turn)) {
            Some(view) if text.attempt != view.attempt => Some("text is of the current attempt"),
            Some(view) => (text.at_byte != view.bytes).then_some("text has no holes"),
            None => Some("only a running turn says something"),
        },
        Event::TurnSteered(steered) => running(fold.turn(&steered.turn))
            .is_none()
            .then_some("only a running turn is steered"),
        Event::TurnRetrying(retrying) => match running(fold.turn(&retrying.turn)) {
            Some(view) => (retrying.attempt != view.attempt)
                .then_some("it is the current attempt that is tried again"),
            None => Some("only a running turn is tried again"),
        },
        Event::TurnCancelling(cancelling) => running(fold.turn(&cancelling.turn))
            .is_none()
            .then_some("only a running turn is being stopped"),
        Event::AgentBound(bound) => running(fold.turn(&bound.turn))
            .is_none()
            .then_some("only a running turn names a conversation"),
        Event::TurnMoved(moved) => {
            let queued = fold.turn(&moved.turn);
            let queued = queued.is_some_and(|view| matches!(view.state, TurnState::Queued));
            (!queued).then_some("only a queued turn is moved")
        }
        Event::Item(item) => running(fold.turn(&item.turn))
            .is_none()
            .then_some("only a running turn says something"),
        Event::TurnWaiting(waiting) => running(fold.turn(&waiting.turn))
            .is_none()
            .then_some("only a running turn waits"),
        Event::TurnAnswered(answered) => match fold.turn(&answered.turn).map(|view| &view.state) {
            Some(TurnState::Waiting { action }) => {
                (action.id != answered.action).then_some("an answer is to what was asked")
            }
            Some(TurnState::Queued | TurnState::Running | TurnState::Ended { .. }) | None => {
                Some("only what waits is answered")
            }
        },
        Event::TurnEnded(ended) => match fold.turn(&ended.turn) {
            Some(view) if view.is_open() => {
                (ended.bytes != view.bytes).then_some("a turn's end says how much stands")
            }
            Some(_) | None => Some("a turn ends once"),
        },
        Event::TrackPublished(published) => {
            let known = fold.track(&published.participant, &published.track);
            known.is_some().then_some("a track is published once")
        }
        Event::TrackUnpublished(gone) => (fold.track(&gone.participant, &gone.track).is_none())
            .then_some("only a track that is published is unpublished"),
        Event::TrackMuted(muted) => (fold.track(&muted.participant, &muted.track).is_none())
            .then_some("only a track that is published is muted"),
        Event::SessionEnded(_) => fold
            .turns
            .iter()
            .any(TurnView::is_open)
            .then_some("a session ends after its turns"),
    }
}

fn running(view: Option<&TurnView>) -> Option<&TurnView> {
    view.filter(|view| matches!(view.state, TurnState::Running | TurnState::Waiting { .. }))
}
