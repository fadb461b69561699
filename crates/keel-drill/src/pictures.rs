//! The oracle of media: what a client was shown, by the numbers that the pictures themselves bear.
//!
//! Numbers rise by one, so what is missing, what came twice and what came late is told by them alone,
//! whatever anybody says about it.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{Line, Seen};

/// A span of time in which the way was broken, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What the pictures of one client come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pictures {
    /// That were shown.
    pub(crate) shown: u64,
    /// That are missing though the way was whole.
    pub(crate) lost: u64,
    /// That are missing while the way was broken.
    pub(crate) excused: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
}

/// One track of pictures.
#[derive(Debug, Default)]
struct Track {
    /// The highest number that was shown.
    last: Option<u64>,
    /// How wide the last one was.
    wide: u32,
    /// Numbers below it that were not.
    missing: BTreeSet<u64>,
}

impl Pictures {
    /// Reads the lines of a client that is shown its own pictures. One that is missing is excused if it was
    /// published while the way was broken, or just before.
    pub(crate) fn of(lines: &[Line], broken: &[Broken]) -> Self {
        let mut sum = Self::default();
        let mut tracks: BTreeMap<&str, Track> = BTreeMap::new();
        let sent = lines.iter().filter_map(|line| match line.what {
            Seen::Sent { n } => Some((n, line.t)),
            _ => None,
        });
        let sent: BTreeMap<u64, u64> = sent.collect();
        let is_excused = |n: &u64| {
            let at = sent.get(n).copied().unwrap_or(0);
            let is_in = |span: &Broken| at + UNDER_WAY_MS >= span.from && at <= span.to;
            broken.iter().any(is_in)
        };
        for line in lines {
            if let Seen::Frame { of, n, wide } = &line.what {
                let track = tracks.entry(of).or_default();
                sum.picture(track, *n, *wide);
            }
        }
        for track in tracks.values() {
            let excused = track.missing.iter().filter(|n| is_excused(n)).count() as u64;
            sum.excused += excused;
            sum.lost += track.missing.len() as u64 - excused;
        }
        sum
    }

    fn picture(&mut self, track: &mut Track, n: u64, wide: u32) {
        self.shown += 1;
        let before = std::mem::replace(&mut track.wide, wide);
        let Some(last) = track.last else {
            track.last = Some(n);
            return;
        };
        if n == last && wide != before {
            // Another layer begins with the moment at which the one before it ended.
            return;
        }
        if n > last {
            track.missing.extend(last + 1..n);
            track.last = Some(n);
        } else if track.missing.remove(&n) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
    }
}

/// The first picture that was shown after a time and was followed by more: something flows, and not
/// only what was still under way.
pub(crate) fn flows_since(lines: &[Line], since: u64, pictures: usize) -> Option<u64> {
    let times = lines.iter().filter_map(|line| match line.what {
        Seen::Frame { .. } if line.t >= since => Some(line.t),
        _ => None,
    });
    let times: Vec<u64> = times.collect();
    // From the last gap that is longer than anything that flows has.
    let steady = times.windows(pictures).find(|window| {
        let gaps = window.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().is_some_and(|gap| gap <= STEADY_MS)
    });
    steady.map(|window| window[0])
}

/// A picture is under way for no longer: encoding and a jitter buffer included.
const UNDER_WAY_MS: u64 = 300;

/// Pictures that come 30 times a second on a busy host are no further apart than this.
const STEADY_MS: u64 = 400;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(t: u64, n: u64) -> Line {
        sized(t, n, 0)
    }

    fn sized(t: u64, n: u64, wide: u32) -> Line {
        let of = "camera".to_owned();
        Line {
            t,
            what: Seen::Frame { of, n, wide },
        }
    }

    #[test]
    fn a_moment_is_shown_twice_only_where_its_size_changes() {
        let shown = [(1, 640), (2, 640), (2, 320), (3, 320), (3, 320), (2, 640)];
        let lines: Vec<Line> = shown.map(|(n, wide)| sized(n * 10, n, wide)).to_vec();
        let wanted = Pictures {
            shown: 6,
            duplicated: 2,
            ..Pictures::default()
        };
        assert_eq!(Pictures::of(&lines, &[]), wanted);
    }

    #[test]
    fn what_is_missing_is_excused_only_where_the_way_was_broken() {
        let mut lines: Vec<Line> = (1..=6)
            .map(|n| Line {
                t: n * 1_000,
                what: Seen::Sent { n },
            })
            .collect();
        lines.extend([1, 3, 6, 5, 6].map(|n| frame(9_000, n)));
        let broken = [Broken {
            from: 4_000,
            to: 4_500,
        }];
        let wanted = Pictures {
            shown: 5,
            lost: 1,
            excused: 1,
            duplicated: 1,
            reordered: 1,
        };
        assert_eq!(Pictures::of(&lines, &broken), wanted);
        let whole: Vec<Line> = (1..9).map(|n| frame(n * 10, n)).collect();
        let wanted = Pictures {
            shown: 8,
            ..Pictures::default()
        };
        assert_eq!(Pictures::of(&whole, &[]), wanted);
    }

    #[test]
    fn one_picture_that_was_still_under_way_is_no_flow() {
        let mut lines = vec![frame(100, 1), frame(105, 2)];
        assert_eq!(flows_since(&lines, 100, 3), None);
        lines.extend((0..4).map(|n| frame(2_000 + n * 33, 9 + n)));
        assert_eq!(flows_since(&lines, 100, 3), Some(2_000));
    }
}
