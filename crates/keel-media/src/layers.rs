//! Which simulcast layer a subscriber is sent: the best that fits, without flapping.
//!
//! Down at once, since a queue that fills is worse than a small picture; up only when there has been
//! room for a while. A stream without layers is one layer, and always sent: there is nothing smaller.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{limits, plane::TrackId};

/// A simulcast layer of a track, smallest first; a track without simulcast has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer(pub u8);

/// How much comes of one layer.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    window: Option<Instant>,
    bytes: u64,
    /// Of the last whole window, in bits a second.
    bps: u64,
    last: Option<Instant>,
}

impl Rate {
    pub(crate) fn add(&mut self, now: Instant, bytes: usize) {
        let since = *self.window.get_or_insert(now);
        let span = now.saturating_duration_since(since);
        if span >= limits::RATE_WINDOW {
            let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
            self.bps = self.bytes.saturating_mul(8_000_000) / micros;
            (self.window, self.bytes) = (Some(now), 0);
        }
        self.bytes += bytes as u64;
        self.last = Some(now);
    }

    /// Bits a second; `None` when nothing comes.
    pub(crate) fn bps(&self, now: Instant) -> Option<u64> {
        let last = self.last?;
        (now.saturating_duration_since(last) < limits::LAYER_GONE_AFTER).then_some(self.bps)
    }
}

/// What a subscriber of one track is sent, and why it may change.
#[derive(Debug)]
pub(crate) struct Choice {
    /// What is wanted at most; absent means the best.
    max: Option<Layer>,
    current: Option<Layer>,
    /// Since when there is room for a higher one.
    room_since: Option<Instant>,
}

impl Choice {
    pub(crate) const fn new(max: Option<Layer>) -> Self {
        Self {
            max,
            current: None,
            room_since: None,
        }
    }

    pub(crate) const fn set_max(&mut self, max: Option<Layer>) {
        self.max = max;
    }

    /// What the best layer that is wanted takes, in bits a second; 0 while nothing comes.
    pub(crate) fn wish(&self, rates: &[(Layer, Option<u64>)]) -> u64 {
        let allowed = |layer: Layer| self.max.is_none_or(|max| layer <= max);
        let wanted = rates.iter().filter(|(layer, _)| allowed(*layer));
        wanted.filter_map(|(_, bps)| *bps).max().unwrap_or(0)
    }

    /// The layer that is to be sent, given what comes of each and what this subscriber can take for
    /// this track, in bits a second.
    pub(crate) fn choose(
        &mut self,
        now: Instant,
        rates: &[(Layer, Option<u64>)],
        budget_bps: u64,
    ) -> Option<Layer> {
        let allowed = |layer: Layer| self.max.is_none_or(|max| layer <= max);
        let mut alive: Vec<(Layer, u64)> = rates
            .iter()
            .filter_map(|(layer, bps)| bps.map(|bps| (*layer, bps)))
            .collect();
        alive.sort_unstable();
        let smallest = *alive.first()?;
        let wanted: Vec<(Layer, u64)> =
            alive.iter().copied().filter(|(l, _)| allowed(*l)).collect();
        let fits = |headroom: u64| {
            let mut fitting = wanted
                .iter()
                .filter(|(_, bps)| bps * headroom / 100 <= budget_bps);
            fitting.next_back().copied().unwrap_or(smallest).0
        };
        let current = self
            .current
            .filter(|current| wanted.iter().any(|(l, _)| l == current));
        let chosen = match current {
            None => fits(100),
            Some(current) => {
                let (down, up) = (fits(100), fits(limits::UP_HEADROOM_PERCENT));
                if down < current {
                    down
                } else if up > current {
                    let since = *self.room_since.get_or_insert(now);
                    if now.saturating_duration_since(since) < limits::UP_AFTER {
                        return Some(current);
                    }
                    up
                } else {
                    current
                }
            }
        };
        self.room_since = None;
        self.current = Some(chosen);
        Some(chosen)
    }
}

/// What a subscriber would like to be sent of each track, and the share of its way that each may take.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    bps: BTreeMap<TrackId, u64>,
    /// What the transport was told, in all.
    told: u64,
}

impl Wishes {
    /// A track's best layer that is wanted takes so much.
    pub(crate) fn set(&mut self, track: TrackId, bps: u64) {
        self.bps.insert(track, bps);
    }

    pub(crate) fn forget(&mut self, track: TrackId) {
        self.bps.remove(&track);
    }

    /// What a track may take of an estimate: as much of it as is wished of the whole.
    pub(crate) fn share(&self, track: TrackId, estimate_bps: u64) -> u64 {
        let all: u64 = self.bps.values().sum();
        match self.bps.get(&track) {
            Some(bps) if all > 0 => {
                let share = u128::from(estimate_bps) * u128::from(*bps) / u128::from(all);
                u64::try_from(share).unwrap_or(u64::MAX)
            }
            // Nothing is known of it yet.
            Some(_) | None => estimate_bps / (self.bps.len() as u64 + 1),
        }
    }

    /// What the way should carry for everything that is wished, if that is news: more room is looked
    /// for up to there.
    pub(crate) fn take_news(&mut self) -> Option<u64> {
        let all: u64 = self.bps.values().sum();
        let wanted = all * limits::DESIRED_PERCENT / 100;
        let near = self.told / 100 * limits::DESIRED_NEWS_PERCENT;
        (wanted.abs_diff(self.told) > near).then(|| {
            self.told = wanted;
            wanted
        })
    }
}

/// How often choices are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [(Layer, Option<u64>); 3] = [
        (Layer(0), Some(150_000)),
        (Layer(1), Some(500_000)),
        (Layer(2), Some(1_700_000)),
    ];

    #[test]
    fn the_best_that_fits_is_sent_and_the_smallest_always() {
        let now = Instant::now();
        for (budget, layer) in [(5_000_000, 2), (600_000, 1), (200_000, 0), (10_000, 0)] {
            let mut choice = Choice::new(None);
            assert_eq!(
                choice.choose(now, &RATES, budget),
                Some(Layer(layer)),
                "{budget}"
            );
        }
    }

    #[test]
    fn down_at_once_and_up_after_a_while_v16() {
        let start = Instant::now();
        let mut choice = Choice::new(None);
        assert_eq!(choice.choose(start, &RATES, 3_000_000), Some(Layer(2)));
        assert_eq!(choice.choose(start, &RATES, 900_000), Some(Layer(1)));
        assert_eq!(choice.choose(start, &RATES, 3_000_000), Some(Layer(1)));
        let soon = start + limits::UP_AFTER / 2;
        assert_eq!(choice.choose(soon, &RATES, 3_000_000), Some(Layer(1)));
        // A dip in between begins the wait anew.
        assert_eq!(choice.choose(soon, &RATES, 900_000), Some(Layer(1)));
        let later = start + limits::UP_AFTER;
        assert_eq!(choice.choose(later, &RATES, 3_000_000), Some(Layer(1)));
        let at_last = later + limits::UP_AFTER;
        assert_eq!(choice.choose(at_last, &RATES, 3_000_000), Some(Layer(2)));
    }

    #[test]
    fn a_layer_that_is_gone_is_left_and_a_wish_is_kept_v16() {
        let now = Instant::now();
        let mut choice = Choice::new(Some(Layer(1)));
        assert_eq!(choice.choose(now, &RATES, 5_000_000), Some(Layer(1)));
        let gone = [(Layer(0), Some(150_000)), (Layer(1), None)];
        assert_eq!(choice.choose(now, &gone, 5_000_000), Some(Layer(0)));
        // Only more than is wished for is there: it is sent, since something is better than nothing.
        let large = [(Layer(2), Some(1_700_000))];
        assert_eq!(choice.choose(now, &large, 5_000_000), Some(Layer(2)));
    }

    #[test]
    fn a_way_is_shared_by_what_is_wished_of_it() {
        let (large, small) = (TrackId(1), TrackId(2));
        let mut wishes = Wishes::default();
        assert_eq!(wishes.share(large, 900), 900, "nothing is known");
        wishes.set(large, 1_700_000);
        wishes.set(small, 150_000);
        assert_eq!(wishes.share(large, 1_850_000), 1_700_000);
        assert_eq!(wishes.share(small, 925_000), 75_000);
        let told = wishes.take_news().expect("it was not told yet");
        assert!(told >= 1_850_000 * limits::UP_HEADROOM_PERCENT / 100);
        assert_eq!(wishes.take_news(), None);
        wishes.set(large, 1_720_000);
        assert_eq!(wishes.take_news(), None, "as good as before");
        wishes.forget(large);
        assert_eq!(
            wishes.take_news(),
            Some(150_000 * limits::DESIRED_PERCENT / 100)
        );
    }

    #[test]
    fn a_rate_is_of_the_last_window_and_ends_with_the_layer() {
        let start = Instant::now();
        let mut rate = Rate::default();
        let mut now = start;
        for _ in 0..200 {
            now += Duration::from_millis(10);
            rate.add(now, 1_250);
        }
        let bps = rate.bps(now).expect("it flows");
        assert!((950_000..=1_050_000).contains(&bps), "{bps}");
        assert_eq!(rate.bps(now + limits::LAYER_GONE_AFTER), None);
    }
}
