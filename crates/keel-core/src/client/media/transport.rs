//! A transport as the client knows it: how it says it is, and what was seen to come on its lines.
//!
//! Silence is judged between samples that were taken, never by a timer alone: who did not look has seen
//! nothing. A look that comes late counts as one that came a little late.

use std::time::Duration;

use keel_wire::{MediaLine, ParticipantId, Snapshot, TrackName};

use super::LineSample;
use crate::{Instant, limits};

/// How a transport is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It was not connected yet.
    Opening,
    /// It is connected, or says so.
    Up,
    /// It says that nobody answers.
    Lost {
        /// Since when.
        since: Instant,
    },
    /// It says so, and what is expected comes.
    Proven,
    /// It is at its end.
    Failed,
}

/// Whose track, and which.
pub(super) type TrackKey = (ParticipantId, TrackName);

/// What is expected on an m-line, and what came.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) mid: String,
    pub(super) of: TrackKey,
    packets: u64,
    frames: Option<u64>,
    /// Silence is counted from then at the earliest.
    counted_from: Instant,
    /// How long no packet came.
    pub(super) quiet: Duration,
    /// How long packets came, and no picture.
    still: Duration,
    /// How long it usually is quiet, as far as looks can tell.
    usual: Duration,
    /// The server says that its source is silent.
    pub(super) stalled_at_source: bool,
    /// When it was seen last that packets had come.
    came_at: Option<Instant>,
    /// When it was seen last that pictures had come.
    shown_at: Option<Instant>,
}

impl Line {
    fn new(named: MediaLine, participant: ParticipantId, now: Instant) -> Self {
        Self {
            mid: named.mid,
            of: (participant, named.track),
            packets: 0,
            frames: None,
            counted_from: now,
            quiet: Duration::ZERO,
            still: Duration::ZERO,
            usual: limits::MEDIA_SAMPLE_EVERY,
            stalled_at_source: false,
            came_at: None,
            shown_at: None,
        }
    }

    /// Silence of it means nothing so far.
    pub(super) const fn count_anew(&mut self, now: Instant) {
        self.counted_from = now;
        (self.quiet, self.still) = (Duration::ZERO, Duration::ZERO);
    }

    fn judge(&mut self, now: Instant, sample: Option<&LineSample>, gap: Duration) {
        let packets = sample.map_or(self.packets, |sample| sample.packets);
        let came = packets != self.packets;
        if came {
            let quiet = self.quiet + gap;
            if self.came_at.is_some() && quiet <= self.patience(self.came_at) {
                let usual = (micros(self.usual) * 7 + micros(quiet)) / 8;
                self.usual = Duration::from_micros(usual);
            }
            self.packets = packets;
            self.quiet = Duration::ZERO;
            self.came_at = Some(now);
        } else {
            self.quiet += gap;
        }
        let frames = sample.map_or(self.frames, |sample| sample.frames);
        match frames {
            None => self.still = Duration::ZERO,
            Some(count) if count != self.frames.unwrap_or(0) => {
                self.still = Duration::ZERO;
                self.shown_at = Some(now);
            }
            Some(_) if came => self.still += gap,
            Some(_) => {}
        }
        self.frames = frames;
    }

    fn patience(&self, seen_at: Option<Instant>) -> Duration {
        if seen_at.is_none() {
            return limits::MEDIA_FIRST_WITHIN;
        }
        let usual = self.usual * limits::MEDIA_SILENT_GAPS;
        usual.clamp(limits::MEDIA_SILENT_AFTER, limits::MEDIA_SILENT_MAX)
    }

    /// No packet comes.
    pub(super) fn is_silent(&self) -> bool {
        self.quiet >= self.patience(self.came_at)
    }

    /// Packets come, and no picture.
    pub(super) fn is_frozen(&self) -> bool {
        self.frames.is_some() && self.still >= self.patience(self.shown_at)
    }

    pub(super) fn is_troubled(&self) -> bool {
        self.is_silent() || self.is_frozen()
    }

    /// Whether what is expected of it was seen after a moment, and since its silence counts.
    pub(super) fn came_since(&self, since: Instant) -> bool {
        let since = since.max(self.counted_from);
        let after = |at: Option<Instant>| at.is_some_and(|at| at > since);
        after(self.came_at) && (self.frames.is_none() || after(self.shown_at))
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) peer: u32,
    pub(super) way: Way,
    /// Another one is to take its place: it is not to be repaired.
    pub(super) superseded: bool,
    /// When it was opened, or when what was said of it could pass again.
    pub(super) counted_from: Instant,
    pub(super) connected_at: Option<Instant>,
    pub(super) lines: Vec<Line>,
    sampled_at: Option<Instant>,
}

impl Transport {
    pub(super) const fn new(peer: u32, now: Instant) -> Self {
        Self {
            peer,
            way: Way::Opening,
            superseded: false,
            counted_from: now,
            connected_at: None,
            lines: Vec::new(),
            sampled_at: None,
        }
    }

    /// The server says what it sends on which line: all of it.
    pub(super) fn name_lines(&mut self, now: Instant, named: Vec<MediaLine>) {
        let mut known = std::mem::take(&mut self.lines);
        for named in named.into_iter().take(limits::MEDIA_LINES_MAX) {
            let Some(participant) = named.participant.clone() else {
                continue;
            };
            let is_it = |line: &Line| {
                line.mid == named.mid && line.of.0 == participant && line.of.1 == named.track
            };
            let line = match known.iter().position(is_it) {
                Some(at) => known.swap_remove(at),
                None => Line::new(named, participant, now),
            };
            self.lines.push(line);
        }
    }

    /// The lines that something is to come on: those of tracks that are published and not muted.
    pub(super) fn expected<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = &'a Line> + Clone {
        self.lines
            .iter()
            .filter(|line| is_expected(snapshot, &line.of))
    }

    /// Takes a look at what has come.
    pub(super) fn sampled(&mut self, now: Instant, samples: &[LineSample], snapshot: &Snapshot) {
        let gap_since = |at: Instant| now.since(at).min(limits::MEDIA_SAMPLE_COUNTS_MAX);
        let gap = self.sampled_at.map_or(Duration::ZERO, gap_since);
        for line in &mut self.lines {
            let sample = samples.iter().find(|sample| sample.mid == line.mid);
            line.judge(now, sample, gap.min(gap_since(line.counted_from)));
            if !is_expected(snapshot, &line.of) {
                line.count_anew(now);
            }
        }
        self.sampled_at = Some(now);
    }

    /// Nobody looked for a while: the next look is the first again.
    pub(super) fn not_looked(&mut self, now: Instant) {
        self.sampled_at = None;
        for line in &mut self.lines {
            line.count_anew(now);
        }
    }

    /// Whether it stands by its own account.
    pub(super) const fn is_up(&self) -> bool {
        matches!(self.way, Way::Up | Way::Proven)
    }
}

/// Whether something is to come of a track.
pub(super) fn is_expected(snapshot: &Snapshot, of: &TrackKey) -> bool {
    snapshot.track(&of.0, &of.1).is_some_and(|view| !view.muted)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
