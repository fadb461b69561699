//! What is waited for of what was said last: the end of its turn. The receipt that names the turn may come after
//! that end.

use evenkeel::wire::{TurnEnd, TurnId};

/// Ends that are remembered while one receipt is waited for: the last ones.
const ENDED_MAX: usize = 64;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The turn that answers.
    turn: Option<TurnId>,
    /// Turns that ended while a receipt was waited for.
    ended: Vec<(TurnId, TurnEnd)>,
    /// One did not end well.
    failed: bool,
}

impl Owed {
    /// The turn whose end is waited for.
    pub(super) const fn turn(&self) -> Option<&TurnId> {
        self.turn.as_ref()
    }

    /// Whether something that was said came to nothing.
    pub(super) const fn failed(&self) -> bool {
        self.failed
    }

    /// A turn is over; `awaits` says whether a receipt is still waited for.
    pub(super) fn ended(&mut self, turn: TurnId, end: TurnEnd, awaits: bool) {
        if self.turn.as_ref() == Some(&turn) {
            self.turn = None;
            self.failed |= end != TurnEnd::Done;
        }
        if awaits {
            // The receipt may name this one, also where it was waited for already: of a cancel, or an answer.
            self.ended.push((turn, end));
            let beyond = self.ended.len().saturating_sub(ENDED_MAX);
            self.ended.drain(..beyond);
        }
    }

    /// It was passed over how the turn ended that is waited for.
    pub(super) fn forget(&mut self) {
        self.turn = None;
    }

    /// What was said is accepted, and answered by a turn, if that is named.
    pub(super) fn accepted(&mut self, turn: Option<TurnId>) {
        let ended = std::mem::take(&mut self.ended);
        let Some(turn) = turn else { return };
        match ended.into_iter().find(|(over, _)| *over == turn) {
            Some((_, end)) => self.failed |= end != TurnEnd::Done,
            None => self.turn = Some(turn),
        }
    }

    /// What was said is refused.
    pub(super) fn refused(&mut self) {
        self.ended.clear();
        self.failed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_that_comes_after_the_end_of_its_turn_leaves_nothing_to_wait_for() {
        let (turn, other) = (TurnId::from_bits(1), TurnId::from_bits(2));
        let mut owed = Owed::default();
        owed.ended(other.clone(), TurnEnd::Failed, true);
        owed.ended(turn.clone(), TurnEnd::Done, true);
        owed.accepted(Some(turn.clone()));
        assert_eq!((owed.turn(), owed.failed()), (None, false));
        // What ended before was another's.
        owed.accepted(Some(other.clone()));
        assert_eq!(owed.turn(), Some(&other));
        owed.ended(turn, TurnEnd::Done, false);
        assert_eq!(owed.turn(), Some(&other));
        owed.ended(other, TurnEnd::Cancelled, false);
        assert_eq!((owed.turn(), owed.failed()), (None, true));
    }

    #[test]
    fn the_receipt_of_a_cancel_may_come_after_the_end_that_it_brought() {
        let turn = TurnId::from_bits(1);
        let mut owed = Owed::default();
        owed.accepted(Some(turn.clone()));
        owed.ended(turn.clone(), TurnEnd::Cancelled, true);
        owed.accepted(Some(turn));
        assert_eq!((owed.turn(), owed.failed()), (None, true));
    }

    #[test]
    fn of_many_ends_the_last_are_remembered() {
        let mut owed = Owed::default();
        for bits in 0..200 {
            owed.ended(TurnId::from_bits(bits), TurnEnd::Done, true);
        }
        assert_eq!(owed.ended.len(), ENDED_MAX);
        owed.accepted(Some(TurnId::from_bits(199)));
        assert_eq!((owed.turn(), owed.ended.len()), (None, 0));
    }

    #[test]
    fn a_turn_that_failed_before_its_receipt_came_is_a_failure() {
        let turn = TurnId::from_bits(1);
        let mut owed = Owed::default();
        owed.ended(turn.clone(), TurnEnd::Failed, true);
        assert!(!owed.failed());
        owed.accepted(Some(turn));
        assert_eq!((owed.turn(), owed.failed()), (None, true));
    }
}
