//! Consent: who is sent media says again and again that it is wanted (RFC 7675 §5.1).
//!
//! A check, or the answer to one, that proves to know a password is consent; media is none. Once it has not
//! been heard for so long, nothing but checks is sent: whoever is behind the address may be another by now.

use std::time::Instant;

use crate::limits;

/// When the other side last consented.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consent {
    given_at: Instant,
}

impl Consent {
    /// Before there is a way nothing is sent that needs it.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { given_at: now }
    }

    /// A check or an answer was proven.
    pub(crate) const fn give(&mut self, now: Instant) {
        self.given_at = now;
    }

    /// Whether this may be sent.
    pub(crate) fn allows(&self, now: Instant, bytes: &[u8]) -> bool {
        is_check(bytes)
            || now.saturating_duration_since(self.given_at) <= limits::CONSENT_EXPIRES_AFTER
    }
}

/// A datagram of STUN (RFC 7983).
pub(crate) const fn is_check(bytes: &[u8]) -> bool {
    matches!(bytes, [0..=3, ..])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn without_consent_nothing_but_checks_is_sent_v09() {
        let now = Instant::now();
        let mut consent = Consent::new(now);
        let expired = now + limits::CONSENT_EXPIRES_AFTER + Duration::from_millis(1);
        for media in [&[0x80, 96][..], &[22, 254, 253], &[]] {
            assert!(consent.allows(now + limits::CONSENT_EXPIRES_AFTER, media));
            assert!(!consent.allows(expired, media));
        }
        assert!(consent.allows(expired, &[0, 1, 0, 0]));
        consent.give(expired);
        assert!(consent.allows(expired, &[0x80, 96]));
    }
}
