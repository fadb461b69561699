//! Whose voice is heard, of those that hear each other: one at a time, without flapping.
//!
//! Each packet of sound says how loud it is (RFC 6464). Levels are smoothed; who would take over has to
//! be clearly louder for a while; a pause between two words is no end. So there is one change in
//! [`limits::SPEAKER_GAP`] at most.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{limits, plane::TrackId};

/// Somebody else speaks; `None`: nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change(pub(crate) Option<TrackId>);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    voices: BTreeMap<TrackId, Voice>,
    current: Option<TrackId>,
    /// Who is louder than the current one, and since when.
    challenger: Option<(TrackId, Instant)>,
    /// The current one was loud last.
    loud: Option<Instant>,
    changed: Option<Instant>,
    /// When it is looked at again.
    look: Option<Instant>,
}

/// How loud a track is, smoothed: 0 is silence, 127 the loudest.
#[derive(Debug, Clone, Copy)]
struct Voice {
    loudness: f64,
    heard: Instant,
}

impl Voice {
    /// What came lately; a track that sends nothing is silent.
    fn loudness(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.heard);
        self.loudness * f64::exp(-age.as_secs_f64() / limits::VOICE_WINDOW.as_secs_f64())
    }
}

impl Speaker {
    /// A packet of sound came: its level in -dBov, 0 the loudest, and whether its maker takes it for a
    /// voice.
    pub(crate) fn hear(&mut self, now: Instant, track: TrackId, level: i8, voice: Option<bool>) {
        let mut loudness = f64::from(127 - i32::from(level).abs().min(127));
        if voice == Some(false) {
            loudness = (loudness - limits::NOISE_PENALTY_DB).max(0.);
        }
        let known = self.voices.entry(track).or_insert(Voice {
            loudness: 0.,
            heard: now,
        });
        let age = now.saturating_duration_since(known.heard).max(PACKET);
        let kept = f64::exp(-age.as_secs_f64() / limits::VOICE_WINDOW.as_secs_f64());
        known.loudness = known.loudness * kept + loudness * (1. - kept);
        known.heard = now;
        if known.loudness >= limits::VOICE_MIN {
            self.look.get_or_insert(now);
        }
    }

    /// A track is no more, or silent on purpose.
    pub(crate) fn forget(&mut self, now: Instant, track: TrackId) {
        self.voices.remove(&track);
        if self.current == Some(track) {
            self.look = Some(now);
        }
    }

    /// When to call [`Self::check`].
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.look
    }

    /// Looks whose voice is heard.
    pub(crate) fn check(&mut self, now: Instant) -> Option<Change> {
        if self.look.is_none_or(|at| at > now) {
            return None;
        }
        let chosen = self.choose(now);
        let wait = self.changed.map(|at| at + limits::SPEAKER_GAP);
        let waits = wait.is_some_and(|until| until > now);
        let is_change = chosen != self.current && !waits;
        if is_change {
            self.current = chosen;
            (self.challenger, self.changed) = (None, Some(now));
        }
        let is_quiet = self.current.is_none() && self.loudest(now, None).is_none();
        self.look = (!is_quiet).then(|| now + limits::SPEAKER_LOOK_EVERY);
        is_change.then_some(Change(chosen))
    }

    fn choose(&mut self, now: Instant) -> Option<TrackId> {
        let current = self.current.filter(|track| self.voices.contains_key(track));
        let Some(current) = current else {
            return self.loudest(now, None).map(|(track, _)| track);
        };
        let loudness = self.voices.get(&current).map_or(0., |v| v.loudness(now));
        if loudness >= limits::VOICE_MIN {
            self.loud = Some(now);
        }
        match self.loudest(now, Some(current)) {
            Some((track, other)) if other >= loudness + limits::TAKEOVER_DB => {
                let since = match self.challenger {
                    Some((known, since)) if known == track => since,
                    Some(_) | None => now,
                };
                self.challenger = Some((track, since));
                let holds = now.saturating_duration_since(since) >= limits::TAKEOVER_AFTER;
                return Some(if holds { track } else { current });
            }
            Some(_) | None => self.challenger = None,
        }
        let quiet = self.loud.is_none_or(|at| now >= at + limits::QUIET_AFTER);
        (!quiet).then_some(current)
    }

    /// The loudest that is a voice at all, one left out.
    fn loudest(&self, now: Instant, but: Option<TrackId>) -> Option<(TrackId, f64)> {
        let voices = self.voices.iter().filter(|(track, _)| Some(**track) != but);
        let voices = voices.map(|(track, voice)| (*track, voice.loudness(now)));
        let voices = voices.filter(|(_, loudness)| *loudness >= limits::VOICE_MIN);
        voices.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// What a packet of sound lasts, usually.
const PACKET: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: TrackId = TrackId(1);
    const BEN: TrackId = TrackId(2);
    const TALK: i8 = -25;
    const HUSH: i8 = -80;

    struct Room {
        speaker: Speaker,
        now: Instant,
        told: Vec<(Duration, Option<TrackId>)>,
        start: Instant,
    }

    impl Room {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                speaker: Speaker::default(),
                now,
                told: Vec::new(),
                start: now,
            }
        }

        /// Both send for so long, as loud as that.
        fn hear(&mut self, span_ms: u64, ann: i8, ben: i8) {
            for _ in 0..span_ms / 20 {
                self.now += PACKET;
                self.speaker.hear(self.now, ANN, ann, None);
                self.speaker.hear(self.now, BEN, ben, None);
                self.look();
            }
        }

        fn look(&mut self) {
            if let Some(Change(track)) = self.speaker.check(self.now) {
                self.told.push((self.now - self.start, track));
            }
        }

        fn speakers(&self) -> Vec<Option<TrackId>> {
            self.told.iter().map(|(_, track)| *track).collect()
        }
    }

    #[test]
    fn who_begins_to_speak_is_told_soon_and_silence_later() {
        let mut room = Room::new();
        room.hear(1_000, HUSH, HUSH);
        assert_eq!(room.speakers(), [], "nobody speaks");
        room.hear(1_000, TALK, HUSH);
        assert_eq!(room.speakers(), [Some(ANN)]);
        let after = room.told[0].0 - Duration::from_secs(1);
        assert!(after <= Duration::from_millis(500), "{after:?}");
        room.hear(5_000, HUSH, HUSH);
        assert_eq!(room.speakers(), [Some(ANN), None]);
        assert_eq!(room.speaker.deadline(), None, "it is quiet");
    }

    #[test]
    fn a_pause_between_words_and_a_cough_are_no_change() {
        let mut room = Room::new();
        for _ in 0..10 {
            room.hear(600, TALK, HUSH);
            room.hear(400, HUSH, HUSH);
        }
        room.hear(200, TALK, -15);
        room.hear(1_000, TALK, HUSH);
        assert_eq!(room.speakers(), [Some(ANN)]);
    }

    #[test]
    fn two_at_once_change_at_most_twice_a_second() {
        let mut room = Room::new();
        for n in 0..100 {
            let (ann, ben) = if n % 2 == 0 { (-10, -60) } else { (-60, -10) };
            room.hear(200, ann, ben);
        }
        let gaps = room.told.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let least = gaps.min();
        assert!(
            least.is_none_or(|gap| gap >= limits::SPEAKER_GAP),
            "{least:?}"
        );
    }

    #[test]
    fn who_takes_over_is_told_and_who_leaves_is_gone() {
        let mut room = Room::new();
        room.hear(2_000, TALK, HUSH);
        room.hear(2_000, HUSH, TALK);
        assert_eq!(room.speakers(), [Some(ANN), Some(BEN)]);
        let after = room.told[1].0 - Duration::from_secs(2);
        assert!(after <= Duration::from_secs(1), "{after:?}");
        room.speaker.forget(room.now, BEN);
        room.look();
        assert_eq!(room.speakers(), [Some(ANN), Some(BEN), None]);
    }

    #[test]
    fn noise_that_its_maker_takes_for_none_is_no_voice() {
        let mut room = Room::new();
        for _ in 0..100 {
            room.now += PACKET;
            room.speaker.hear(room.now, ANN, -45, Some(false));
            room.look();
        }
        assert_eq!(room.speakers(), []);
    }
}
