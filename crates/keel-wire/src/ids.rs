//! Ids: opaque, made by one side, checked at the edge, never parsed for meaning.
//!
//! The grammar is `[a-z0-9-]{1,64}`: no id can be a path, a wildcard, a log escape or a subject of a
//! message broker.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Seq, limits::ID_BYTES_MAX};

/// The text is not an id: empty, too long, or with a character outside `[a-z0-9-]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: want 1 to 64 of a-z, 0-9 and '-'")]
pub struct InvalidId;

pub(crate) fn check(text: &str) -> Result<(), InvalidId> {
    let grammar = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let length_ok = (1..=ID_BYTES_MAX).contains(&text.len());
    if length_ok && text.bytes().all(grammar) {
        Ok(())
    } else {
        Err(InvalidId)
    }
}

macro_rules! ids {
    ($( $(#[doc = $doc:literal])+ $id:ident = $prefix:literal; )+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $id(std::sync::Arc<str>);

        impl JsonSchema for $id {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($id).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "description": concat!($($doc),+).trim(),
                    "type": "string",
                    "pattern": "^[a-z0-9-]{1,64}$",
                })
            }
        }

        impl $id {
            /// What the ids that this project makes begin with.
            pub const PREFIX: &'static str = $prefix;

            /// An id from 128 bits, as the prefix and 26 characters.
            #[must_use]
            pub fn from_bits(bits: u128) -> Self { Self(spell($prefix, bits).into()) }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl FromStr for $id {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.into()))
            }
        }

        impl TryFrom<String> for $id {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> { text.parse() }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self { id.0.as_ref().to_owned() }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    )+ };
}

ids! {
    /// One durable conversation.
    SessionId = "s-";
    /// A durable member of a session.
    ParticipantId = "p-";
    /// One response of an agent.
    TurnId = "t-";
    /// A sequence of commands of one SDK instance; random, made by the client.
    StreamId = "c-";
    /// One SDK instance (a browser tab, a process); random, made by the client.
    InstanceId = "i-";
    /// One thing that a turn waits for.
    ActionId = "a-";
    /// One occurrence of a fault.
    FaultId = "f-";
    /// One handing-over of a session from a server to another.
    HandoverId = "h-";
}

/// Crockford's alphabet, lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn spell(prefix: &str, bits: u128) -> String {
    let digits = (0..26).rev().map(|place| {
        let index = (bits >> (place * 5)) & 31;
        char::from(ALPHABET[usize::try_from(index).expect("five bits fit")])
    });
    prefix.chars().chain(digits).collect()
}

/// Names one command for ever: its stream and its number in it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct CommandId {
    /// The stream of the SDK instance that sent it.
    pub stream: StreamId,
    /// Its number, from 1, +1 each.
    pub n: Seq,
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.stream, self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_paths_wildcards_and_escapes_a40() {
        for bad in [
            "",
            "..",
            "a/b",
            "*",
            ">",
            "A",
            "a\n",
            "a\0",
            "a b",
            &"a".repeat(65),
        ] {
            assert_eq!(bad.parse::<SessionId>(), Err(InvalidId), "{bad:?}");
        }
        assert!("s-0123".parse::<SessionId>().is_ok());
    }

    #[test]
    fn made_ids_are_ids_and_differ_by_every_bit() {
        let zero = SessionId::from_bits(0);
        assert_eq!(zero.as_str().parse(), Ok(zero.clone()));
        for bit in 0..128 {
            assert_ne!(SessionId::from_bits(1 << bit), zero);
        }
    }
}
