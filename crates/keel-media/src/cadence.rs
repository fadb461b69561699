//! The watchdog of one track: connected is not flowing.
//!
//! It learns how often packets come, and says when they stay away for too long, and when they are
//! back. A track that is muted is silent on purpose: nothing is said about it.

use std::time::{Duration, Instant};

use crate::limits;

/// What the watchdog has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// Packets stay away.
    Stalled,
    /// They are back, after so long.
    Flowing {
        /// From the last packet before to the first after.
        gap: Duration,
    },
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Cadence {
    state: State,
    /// The usual span between packets, smoothed.
    gap: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Announced then; nothing has come.
    Announced(Instant),
    /// The last packet came then.
    Flowing(Instant),
    /// Told as stalled; the last packet, or the announcement, was then.
    Stalled(Instant),
    /// Silent on purpose.
    Muted,
}

impl Cadence {
    /// A track that was announced.
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            state: State::Announced(now),
            gap: Duration::ZERO,
        }
    }

    /// A packet came.
    pub(crate) fn packet(&mut self, now: Instant) -> Option<Finding> {
        let before = std::mem::replace(&mut self.state, State::Flowing(now));
        match before {
            State::Flowing(last) => {
                self.learn(now.saturating_duration_since(last));
                None
            }
            State::Stalled(last) => {
                let gap = now.saturating_duration_since(last);
                // It may be slow rather than broken: the next gap of this length is believed.
                self.learn(gap.min(limits::STALL_MAX));
                Some(Finding::Flowing { gap })
            }
            // Packets that were under way when it was muted are no news.
            State::Muted => {
                self.state = State::Muted;
                None
            }
            State::Announced(_) => None,
        }
    }

    /// Silence is meant from here on, or no longer.
    pub(crate) fn set_muted(&mut self, muted: bool, now: Instant) {
        match (self.state, muted) {
            (State::Muted, true) => {}
            (_, true) => self.state = State::Muted,
            (State::Muted, false) => self.state = State::Announced(now),
            (_, false) => {}
        }
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Announced(at) => Some(at + limits::FIRST_PACKET_WITHIN),
            State::Flowing(last) => Some(last + self.patience()),
            State::Stalled(_) | State::Muted => None,
        }
    }

    /// Looks whether it has been silent for too long.
    pub(crate) fn check(&mut self, now: Instant) -> Option<Finding> {
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let (State::Announced(since) | State::Flowing(since)) = self.state else {
            return None;
        };
        self.state = State::Stalled(since);
        Some(Finding::Stalled)
    }

    /// Slow sources (a shared screen, silence in Opus) are not stalled for being slow. Smoothed
    /// quickly upwards, so that one long gap is believed, and downwards by the time that passed without
    /// one, whatever came in it: the many packets of a large frame say nothing of when the next comes.
    fn learn(&mut self, gap: Duration) {
        if gap > self.gap {
            self.gap = (self.gap + gap) / 2;
            return;
        }
        let new = gap.as_secs_f64() / (gap + limits::GAP_FORGOTTEN_OVER).as_secs_f64();
        self.gap = self.gap.mul_f64(1. - new) + gap.mul_f64(new);
    }

    fn patience(&self) -> Duration {
        (self.gap * limits::STALL_GAPS).clamp(limits::STALL_MIN, limits::STALL_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(33);

    /// A track of 30 frames a second, five packets a frame, that has run for a second.
    fn camera(start: Instant) -> (Cadence, Instant) {
        let mut cadence = Cadence::new(start);
        let mut now = start;
        for _ in 0..30 {
            now += FRAME;
            for _ in 0..5 {
                assert_eq!(cadence.packet(now), None);
            }
        }
        (cadence, now)
    }

    #[test]
    fn a_camera_that_falls_silent_is_told_within_a_second_v11_m36() {
        let (mut cadence, last) = camera(Instant::now());
        let told = cadence.deadline().expect("it flows");
        assert!(told - last <= Duration::from_secs(1));
        assert_eq!(cadence.check(told - FRAME), None);
        assert_eq!(cadence.check(told), Some(Finding::Stalled));
        assert_eq!(cadence.check(told + FRAME), None, "told once");
        let gap = told + FRAME - last;
        assert_eq!(cadence.packet(told + FRAME), Some(Finding::Flowing { gap }));
    }

    #[test]
    fn a_slow_screen_is_not_stalled_for_being_slow() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(now);
        let mut stalls = 0;
        for _ in 0..20 {
            now += Duration::from_secs(1);
            stalls += u32::from(cadence.check(now).is_some());
            cadence.packet(now);
        }
        assert!(stalls <= 1, "once, before it is known: {stalls}");
        assert!(cadence.deadline() > Some(now + Duration::from_secs(2)));
        assert!(cadence.deadline() <= Some(now + limits::STALL_MAX));
    }

    /// A page of text at one frame a second is dozens of packets at once, then nothing.
    #[test]
    fn a_slow_screen_of_large_frames_is_not_stalled_for_being_slow() {
        let mut now = Instant::now();
        let mut cadence = Cadence::new(now);
        let mut stalls = 0;
        for _ in 0..20 {
            now += Duration::from_secs(1);
            stalls += u32::from(cadence.check(now).is_some());
            for n in 0..60 {
                cadence.packet(now + Duration::from_millis(n));
            }
        }
        assert!(stalls <= 1, "once, before it is known: {stalls}");
    }

    #[test]
    fn after_a_long_stall_the_next_is_told_as_soon_as_the_first() {
        let (mut cadence, last) = camera(Instant::now());
        let mut now = last + Duration::from_secs(6);
        assert_eq!(cadence.check(now), Some(Finding::Stalled));
        let back = now;
        while now < back + Duration::from_secs(2) {
            now += FRAME;
            cadence.packet(now);
        }
        let told = cadence.deadline().expect("it flows");
        assert!(told - now <= Duration::from_secs(1), "{:?}", told - now);
    }

    #[test]
    fn a_muted_track_is_silent_on_purpose() {
        let (mut cadence, last) = camera(Instant::now());
        cadence.set_muted(true, last);
        assert_eq!(cadence.deadline(), None);
        assert_eq!(cadence.packet(last + FRAME), None);
        let back = last + Duration::from_secs(60);
        cadence.set_muted(false, back);
        assert_eq!(cadence.check(back), None);
        assert_eq!(cadence.packet(back + FRAME), None);
    }

    #[test]
    fn a_track_that_never_comes_is_told() {
        let start = Instant::now();
        let mut cadence = Cadence::new(start);
        let due = start + limits::FIRST_PACKET_WITHIN;
        assert_eq!(cadence.check(due), Some(Finding::Stalled));
    }
}
