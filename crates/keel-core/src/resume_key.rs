//! Resume keys: proof of an attachment, with nothing stored.
//!
//! A key is a MAC over (session, participant, incarnation, head). The incarnation grows with each new
//! attachment of the participant, so that the key of a superseded one is refused. The head is where the
//! log ended when the key was made: a server whose log ends below it has provably lost something,
//! whereas a cursor that a client merely claims proves nothing.

use hmac::{Hmac, Mac};
use keel_wire::{ParticipantId, Seq, SessionId};
use sha2::Sha256;

/// What a key says, once its MAC was found right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Which attachment of the participant.
    pub(crate) incarnation: u64,
    /// Where the log ended when the key was made.
    pub(crate) head: Seq,
}

const MAC_BYTES: usize = 16;

fn mac(
    secret: &[u8; 32],
    session: &SessionId,
    participant: &ParticipantId,
    proof: Proof,
) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    // Ids have no newline in them, so the fields cannot run into each other.
    let text = format!(
        "{session}\n{participant}\n{}\n{}",
        proof.incarnation, proof.head
    );
    mac.update(text.as_bytes());
    mac
}

/// What the keys of one session are made with. It moves with the session where that is handed to another
/// server, which so learns nothing that proves anything about other sessions.
pub(crate) fn of_session(secret: &[u8; 32], session: &SessionId) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(b"resume keys of\n");
    mac.update(session.as_str().as_bytes());
    mac.finalize().into_bytes().into()
}

/// The key that proves an attachment.
pub(crate) fn make(
    secret: &[u8; 32],
    session: &SessionId,
    participant: &ParticipantId,
    proof: Proof,
) -> String {
    use std::fmt::Write;

    let mut key = format!("{}.{}.", proof.incarnation, proof.head);
    let tag = mac(secret, session, participant, proof)
        .finalize()
        .into_bytes();
    for byte in &tag[..MAC_BYTES] {
        write!(key, "{byte:02x}").expect("writing to a string");
    }
    key
}

/// What `key` proves about this participant; `None` if nothing. Constant time in the MAC.
pub(crate) fn check(
    secret: &[u8; 32],
    session: &SessionId,
    participant: &ParticipantId,
    key: &str,
) -> Option<Proof> {
    let mut parts = key.splitn(3, '.');
    let incarnation = parts.next()?.parse().ok()?;
    let head = Seq::new(parts.next()?.parse().ok()?)?;
    let digits = parts.next()?.as_bytes();
    if digits.len() != MAC_BYTES * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let tag: Vec<u8> = digits
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let proof = Proof { incarnation, head };
    mac(secret, session, participant, proof)
        .verify_truncated_left(&tag)
        .ok()
        .map(|()| proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_prove_their_own_attachment_and_no_other_a07() {
        let secret = [7; 32];
        let (session, other) = (SessionId::from_bits(1), SessionId::from_bits(2));
        let (me, you) = (ParticipantId::from_bits(1), ParticipantId::from_bits(2));
        let proof = Proof {
            incarnation: 3,
            head: Seq::new(9).unwrap(),
        };
        let key = make(&secret, &session, &me, proof);
        assert_eq!(check(&secret, &session, &me, &key), Some(proof));
        assert_eq!(check(&secret, &other, &me, &key), None);
        assert_eq!(check(&secret, &session, &you, &key), None);
        assert_eq!(check(&[8; 32], &session, &me, &key), None);
        assert_eq!(
            check(&secret, &session, &me, &key.replacen('3', "4", 1)),
            None
        );
        for bad in [
            "",
            ".",
            "..",
            "3.9.",
            "3.9.zz",
            "3.9.é",
            &key[..key.len() - 1],
        ] {
            assert_eq!(check(&secret, &session, &me, bad), None, "{bad:?}");
        }
    }
}
