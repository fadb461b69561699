//! When to ask again.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::limits::{BACKOFF_BASE, BACKOFF_MAX};

/// When the answer says to come again: `retry-after-ms`, or `retry-after` in seconds or as a date;
/// what makes no sense counts as nothing.
pub(crate) fn asked_for(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()) {
        return from_seconds(ms / 1_000.0);
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = after.parse::<f64>() {
        return from_seconds(seconds);
    }
    let at = httpdate::parse_http_date(after).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

fn from_seconds(seconds: f64) -> Option<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return None;
    }
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// How long to wait after the `failed`th failure (from 1): what was asked for, at most `most`, and
/// then some; else a random part of a span that doubles.
pub(crate) fn wait(failed: u32, asked: Option<Duration>, most: Duration) -> Duration {
    if let Some(asked) = asked {
        return asked.min(most) + random_part(BACKOFF_BASE);
    }
    let doubled = BACKOFF_BASE.saturating_mul(1 << failed.saturating_sub(1).min(16));
    random_part(doubled.min(BACKOFF_MAX).min(most))
}

fn random_part(of: Duration) -> Duration {
    of.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a value"));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        asked_for(&headers, now)
    }

    #[test]
    fn every_way_to_say_when_is_understood_h02() {
        let s = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(read("retry-after", "2"), s(2.0));
        assert_eq!(read("retry-after", " 0.5 "), s(0.5));
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"),
            s(10.0)
        );
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), s(0.0));
        assert_eq!(read("retry-after-ms", "1500"), s(1.5));
        assert_eq!(read("retry-after", "1000000000"), s(1e9));
        assert_eq!(read("retry-after", "1e300"), Some(Duration::MAX));
        for nonsense in ["-5", "soon", "NaN", ""] {
            assert_eq!(read("retry-after", nonsense), None, "{nonsense}");
        }
        assert_eq!(asked_for(&HeaderMap::new(), SystemTime::now()), None);
    }

    #[test]
    fn a_wait_is_random_and_bounded_h02_h03() {
        let most = Duration::from_secs(60);
        for failed in 1..100 {
            let waits: Vec<_> = (0..50).map(|_| wait(failed, None, most)).collect();
            assert!(waits.iter().all(|wait| *wait <= BACKOFF_MAX));
            assert!(waits.iter().any(|wait| wait != &waits[0]), "they differ");
        }
        let asked = wait(1, Some(Duration::from_secs(2)), most);
        assert!(asked >= Duration::from_secs(2) && asked <= Duration::from_secs(2) + BACKOFF_BASE);
        let absurd = wait(1, Some(Duration::MAX), most);
        assert!(absurd >= most && absurd <= most + BACKOFF_BASE);
    }
}
