//! Words that are times: what a model's server says is its clock, and how late that is here.

use std::time::{SystemTime, UNIX_EPOCH};

/// The stamps of one turn's words, as they came.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// A word whose end has not come.
    rest: String,
    /// How late each word was, in microseconds.
    late_us: Vec<f64>,
}

impl Stamps {
    /// Takes more text, at a time in microseconds since 1970.
    pub(super) fn take(&mut self, text: &str, now_us: u64) {
        self.rest.push_str(text);
        while let Some((word, rest)) = self.rest.split_once(char::is_whitespace) {
            if let Ok(stamp) = word.parse::<u64>() {
                #[expect(clippy::cast_precision_loss, reason = "seconds at most")]
                self.late_us.push(now_us.saturating_sub(stamp) as f64);
            }
            self.rest = rest.to_owned();
        }
    }

    /// How late the first word was, in microseconds; and the 99th of 100.
    pub(super) fn figures(mut self) -> Option<(f64, f64)> {
        let first = *self.late_us.first()?;
        self.late_us.sort_by(f64::total_cmp);
        let place = (self.late_us.len() * 99).div_ceil(100).max(1) - 1;
        Some((first, *self.late_us.get(place)?))
    }
}

/// This machine's clock, in microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_late_by_what_their_stamps_say_wherever_they_are_cut() {
        let mut stamps = Stamps::default();
        stamps.take("10", 150);
        stamps.take("0 140 ", 150);
        stamps.take("none ", 160);
        assert_eq!(stamps.figures(), Some((50., 50.)));
        assert_eq!(Stamps::default().figures(), None);
    }
}
