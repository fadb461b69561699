//! Requests for keyframes of one stream: many wants, few requests, and none forgotten.
//!
//! A picture that was interrupted cannot be shown before its next keyframe, so whoever joins, comes
//! back or lost too much wants one. A request may be lost, and an encoder may be slow: it is made
//! again until the keyframe is here. However many want one, a publisher is asked at most every
//! [`limits::KEYFRAME_GAP`].

use std::time::{Duration, Instant};

use crate::limits;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Keyframes {
    /// Somebody waits, and it is asked for then.
    due: Option<Instant>,
    /// When it was last asked for.
    asked: Option<Instant>,
    /// How long the next request is waited for.
    patience: Duration,
}

impl Keyframes {
    pub(crate) const fn new() -> Self {
        Self {
            due: None,
            asked: None,
            patience: limits::KEYFRAME_AGAIN,
        }
    }

    /// Somebody needs a keyframe.
    pub(crate) fn want(&mut self, now: Instant) {
        let soonest = self
            .asked
            .map_or(now, |at| now.max(at + limits::KEYFRAME_GAP));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// A keyframe has come: whoever waited has it.
    pub(crate) const fn came(&mut self) {
        self.due = None;
        self.patience = limits::KEYFRAME_AGAIN;
    }

    /// When to call [`Self::take_due`].
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to ask now.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.asked = Some(now);
        self.due = Some(now + self.patience);
        self.patience = (self.patience * 2).min(limits::KEYFRAME_AGAIN_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wants_are_one_request_a50() {
        let start = Instant::now();
        let mut keyframes = Keyframes::new();
        let mut asked = 0;
        for n in 0..10_000 {
            let now = start + Duration::from_micros(100) * n;
            keyframes.want(now);
            asked += u32::from(keyframes.take_due(now));
        }
        assert!((2..=3).contains(&asked), "asked {asked} times in a second");
    }

    #[test]
    fn a_request_that_is_lost_is_made_again_until_the_keyframe_is_here() {
        let start = Instant::now();
        let mut keyframes = Keyframes::new();
        keyframes.want(start);
        assert!(keyframes.take_due(start));
        let again = keyframes.deadline().expect("nothing came");
        assert_eq!(again, start + limits::KEYFRAME_AGAIN);
        assert!(!keyframes.take_due(again - Duration::from_millis(1)));
        assert!(keyframes.take_due(again));
        assert!(
            keyframes.deadline() > Some(again + limits::KEYFRAME_AGAIN),
            "less and less often"
        );
        keyframes.came();
        assert_eq!(keyframes.deadline(), None);
    }
}
