//! Text that waits for what follows it: the busier the server, the more text goes into one commit.
//!
//! A word costs little, and the commit, the frame and the write that carry it cost much more. What
//! comes while a commit is in flight forms the next one anyhow; beyond that, a session that streams
//! leaves a pause after each commit of text. Where few turns run and commits are quick, the pause is
//! shorter than the gap between two words, and nothing waits. It grows with the turns that run, so that
//! all of them together make so many a second at most ([`text_pause`]), and with what commits take of late, so that
//! a slow disk is given fewer of them: each word costs a share of a commit, and waits [`TEXT_STEP_MAX`]
//! at most. Only text waits. Whatever else happens takes it along at once.

use std::time::Duration;

use crate::{
    Instant,
    limits::{
        TEXT_GATHERED_BYTES_MAX, TEXT_GATHERED_PIECES_MAX, TEXT_STEP_COMMITS, TEXT_STEP_MAX,
        text_pause,
    },
};

/// What a session knows of its commits of text.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// What commits have taken of late, on average.
    takes: Duration,
    /// When text was last sent to be committed.
    sent_at: Option<Instant>,
    /// When what waits is due, if something does.
    due: Option<Instant>,
}

/// How much text waits.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Gathered {
    pub(super) bytes: usize,
    /// Pieces that it came in: each costs the provider some of its credit.
    pub(super) pieces: usize,
}

impl Gathered {
    const fn is_full(self) -> bool {
        self.bytes >= TEXT_GATHERED_BYTES_MAX || self.pieces >= TEXT_GATHERED_PIECES_MAX
    }
}

impl Gather {
    /// Whether so much text, with nothing else beside it, is to wait for more, where so many turns run.
    pub(super) fn holds(&mut self, text: Gathered, runs: usize, now: Instant) -> bool {
        let slow = (self.takes * TEXT_STEP_COMMITS).min(TEXT_STEP_MAX);
        let step = text_pause(runs).max(slow);
        let until = self.sent_at.map(|at| at + step);
        self.due = until.filter(|at| *at > now && !text.is_full());
        self.due.is_some()
    }

    /// Something is sent to be committed.
    pub(super) const fn sent(&mut self, has_text: bool, now: Instant) {
        self.due = None;
        if has_text {
            self.sent_at = Some(now);
        }
    }

    /// A commit has taken so long: an eighth of the average is the last one's.
    pub(super) fn took(&mut self, span: Duration) {
        self.takes = (self.takes * 7 + span.min(TEXT_STEP_MAX)) / 8;
    }

    /// When what waits is to be committed.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: Gathered = Gathered {
        bytes: 6,
        pieces: 1,
    };

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// One whose commits take so many milliseconds, and that has sent text at 0.
    fn gather(takes_ms: u64) -> Gather {
        let mut gather = Gather::default();
        for _ in 0..100 {
            gather.took(Duration::from_millis(takes_ms));
        }
        gather.sent(true, at(0));
        gather
    }

    #[test]
    fn the_first_words_never_wait() {
        let mut gather = Gather::default();
        gather.took(Duration::from_secs(9));
        assert!(!gather.holds(WORD, 1, at(5)));
        assert_eq!(gather.due(), None);
    }

    #[test]
    fn words_wait_the_longer_the_more_a_commit_takes_and_only_so_long() {
        let mut quick = gather(1);
        assert!(quick.holds(WORD, 1, at(2)));
        assert!(!quick.holds(WORD, 1, at(8)));
        let mut slow = gather(6);
        assert!(slow.holds(WORD, 1, at(40)));
        assert!(!slow.holds(WORD, 1, at(48)));
        let mut crawling = gather(60_000);
        assert!(crawling.holds(WORD, 1, at(99)));
        assert_eq!(crawling.due(), Some(at(0) + TEXT_STEP_MAX));
        assert!(!crawling.holds(WORD, 1, at(100)));
    }

    #[test]
    fn words_wait_the_longer_the_more_turns_run() {
        let mut gather = gather(0);
        assert!(!gather.holds(WORD, 1, at(1)));
        assert!(gather.holds(WORD, 50, at(9)));
        assert!(!gather.holds(WORD, 50, at(10)));
        assert!(gather.holds(WORD, usize::MAX, at(99)));
        assert!(!gather.holds(WORD, usize::MAX, at(100)));
    }

    #[test]
    fn much_text_does_not_wait() {
        let mut slow = gather(60_000);
        let (bytes, pieces) = (TEXT_GATHERED_BYTES_MAX, TEXT_GATHERED_PIECES_MAX);
        assert!(!slow.holds(Gathered { bytes, pieces: 1 }, 1, at(1)));
        assert!(!slow.holds(Gathered { bytes: 64, pieces }, 1, at(1)));
        assert!(slow.holds(WORD, 1, at(1)));
    }

    #[test]
    fn what_is_sent_waits_no_more() {
        let mut slow = gather(60_000);
        assert!(slow.holds(WORD, 1, at(1)));
        slow.sent(false, at(2));
        assert_eq!(slow.due(), None);
        assert!(slow.holds(WORD, 1, at(99)), "it was sent no text");
    }
}
