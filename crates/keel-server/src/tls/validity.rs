//! From when until when a certificate is valid: RFC 5280 §4.1.2.5, and nothing else of X.509.
//!
//! Only for telling; whether a certificate is good is for clients to judge.

/// A point in time, as a certificate has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    /// Milliseconds since the Unix epoch; certificates know times before it.
    pub(super) ms: i64,
    parts: [u16; 6],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: Time,
    pub(super) not_after: Time,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `None` when it is no certificate.
pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
    let mut certificate = Der(Der(certificate).take(SEQUENCE)?);
    let mut to_be_signed = Der(certificate.take(SEQUENCE)?);
    if to_be_signed.next_is(VERSION) {
        to_be_signed.take(VERSION)?;
    }
    to_be_signed.take(INTEGER)?; // serial number
    to_be_signed.take(SEQUENCE)?; // algorithm
    to_be_signed.take(SEQUENCE)?; // issuer
    let mut validity = Der(to_be_signed.take(SEQUENCE)?);
    Some(Validity {
        not_before: validity.time()?,
        not_after: validity.time()?,
    })
}

/// What is still to be read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The content of the next element, which has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let rest = self.0.strip_prefix(&[tag])?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // The length's own length; four bytes are more than a certificate can have.
            0x81..=0x84 => {
                let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let digit = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
                (length.iter().fold(0, digit), rest)
            }
            0x80 | 0x85..=0xff => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    fn time(&mut self) -> Option<Time> {
        if self.next_is(UTC_TIME) {
            let text = self.take(UTC_TIME)?;
            let (year, rest) = text.split_at_checked(2)?;
            let year = number(year)?;
            let century = if year < 50 { 2_000 } else { 1_900 };
            Time::of(century + year, rest)
        } else {
            let text = self.take(GENERALIZED_TIME)?;
            let (year, rest) = text.split_at_checked(4)?;
            Time::of(number(year)?, rest)
        }
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(digits).ok()?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

impl Time {
    /// `rest` is `MMDDHHMMSSZ`.
    fn of(year: u16, rest: &[u8]) -> Option<Self> {
        let rest = rest.strip_suffix(b"Z").filter(|rest| rest.len() == 10)?;
        let mut parts = [year, 0, 0, 0, 0, 0];
        for (part, digits) in parts[1..].iter_mut().zip(rest.chunks(2)) {
            *part = number(digits)?;
        }
        let [_, month, day, hour, minute, second] = parts;
        let sound = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        if !sound {
            return None;
        }
        let days = days_since_1970(i64::from(year), i64::from(month), i64::from(day));
        let seconds = ((days * 24 + i64::from(hour)) * 60 + i64::from(minute)) * 60;
        Some(Self {
            ms: (seconds + i64::from(second)) * 1_000,
            parts,
        })
    }

    /// As RFC 3339 has it.
    pub(super) fn text(&self) -> String {
        let [year, month, day, hour, minute, second] = self.parts;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// In the Gregorian calendar, with years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn validity(from: (i32, u8, u8), until: (i32, u8, u8)) -> Validity {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("params");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        of(certificate.der()).expect("its dates")
    }

    #[test]
    fn dates_are_those_that_the_certificate_was_made_with() {
        for (from, until, ms, text) in [
            (
                (1999, 12, 31),
                (2024, 2, 29),
                1_709_164_800_000,
                "2024-02-29T00:00:00Z",
            ),
            // From 2050 on they are written in another way.
            (
                (2025, 1, 1),
                (2051, 3, 1),
                2_561_241_600_000,
                "2051-03-01T00:00:00Z",
            ),
            (
                (1970, 1, 1),
                (2000, 1, 1),
                946_684_800_000,
                "2000-01-01T00:00:00Z",
            ),
        ] {
            let validity = validity(from, until);
            let expected = date_time_ymd(from.0, from.1, from.2).unix_timestamp() * 1_000;
            assert_eq!(validity.not_before.ms, expected);
            assert_eq!(validity.not_after.ms, ms, "{text}");
            assert_eq!(validity.not_after.text(), text);
        }
    }

    #[test]
    fn what_is_cut_short_or_changed_is_no_certificate_and_no_panic() {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["a.example".to_owned()]).expect("params");
        let certificate = params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec();
        for length in 0..certificate.len() {
            assert_eq!(of(&certificate[..length]), None);
        }
        for at in 0..certificate.len().min(200) {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = certificate.clone();
                changed[at] = value;
                let _ = of(&changed);
            }
        }
    }
}
