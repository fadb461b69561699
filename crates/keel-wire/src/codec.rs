//! JSON text ⇄ frames, with bounds.
//!
//! The order of the checks is the defence: size, then UTF-8, then depth (one pass without recursion),
//! and only then a JSON parser. A frame is decoded into its struct once its `type` is known, so that
//! an error can say which member is wrong and opaque data is passed on without being parsed.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{ClientFrame, EventFrame, RawData, Seq, ServerFrame, limits::JSON_DEPTH_MAX};

/// Why bytes are not a frame. None of these ends a session; the first ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than the limit told in welcome.
    #[error("the frame has {bytes} bytes, {max} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not UTF-8.
    #[error("the frame is not UTF-8 from byte {at}")]
    NotUtf8 {
        /// The first wrong byte.
        at: usize,
    },
    /// Arrays and objects nested too deep.
    #[error("the frame nests deeper than {JSON_DEPTH_MAX}")]
    TooDeep,
    /// Not JSON, or not of the shape that its name wants.
    #[error("{0}")]
    Shape(String),
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Shape(error.to_string())
    }
}

/// What bytes turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<F> {
    /// A frame.
    Known(F),
    /// Well-formed, of a type that this version does not know.
    Unknown {
        /// The type.
        name: String,
    },
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
}

fn text(bytes: &[u8], max: usize) -> Result<&str, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLarge {
            bytes: bytes.len(),
            max,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| DecodeError::NotUtf8 {
        at: error.valid_up_to(),
    })?;
    if depth(bytes) > JSON_DEPTH_MAX {
        Err(DecodeError::TooDeep)
    } else {
        Ok(text)
    }
}

/// The deepest nesting outside strings. Counts brackets only: what is not JSON is left to the parser.
fn depth(bytes: &[u8]) -> usize {
    let (mut now, mut deepest) = (0_usize, 0_usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => {
                now += 1;
                deepest = deepest.max(now);
            }
            (false, b']' | b'}') => now = now.saturating_sub(1),
            (false, _) => {}
        }
    }
    deepest
}

/// The deepest nesting of a value.
#[must_use]
pub fn depth_of(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn encode(name: &str, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    let start = out.len();
    body(&mut out);
    // The body is an object: its brace becomes the comma after `type`, unless it has no member.
    assert_eq!(out.get(start), Some(&b'{'), "frame bodies are objects");
    if out.get(start + 1) == Some(&b'}') {
        out.remove(start);
    } else {
        out[start] = b',';
    }
    out
}

macro_rules! frame_codec {
    ($frame:ident) => {
        impl $frame {
            /// Reads one WebSocket message of at most `max` bytes.
            ///
            /// # Errors
            /// When it is too large or deep, or not a frame; a type that is not known is no error.
            pub fn decode(bytes: &[u8], max: usize) -> Result<Decoded<Self>, DecodeError> {
                let text = text(bytes, max)?;
                let head: Head<'_> = serde_json::from_str(text)?;
                Ok(match Self::decode_body(&head.name, text)? {
                    Some(frame) => Decoded::Known(frame),
                    None => Decoded::Unknown {
                        name: head.name.into_owned(),
                    },
                })
            }

            /// One WebSocket text message.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                encode(self.name(), |out| self.encode_body(out))
            }
        }
    };
}

frame_codec!(ClientFrame);
frame_codec!(ServerFrame);

/// An event frame from data that is already JSON: what a log stores is what goes out, unparsed.
#[must_use]
pub fn encode_event(from: Seq, to: Seq, kind: &str, data: &RawData) -> Vec<u8> {
    use std::io::Write;

    let mut out = Vec::with_capacity(data.get().len() + kind.len() + 64);
    write!(
        out,
        r#"{{"type":"event","from":{from},"to":{to},"kind":"{kind}","data":{}}}"#,
        data.get()
    )
    .expect("writing to memory");
    debug_assert!(
        serde_json::from_slice::<EventFrame>(&out).is_ok(),
        "kinds need no escaping and data is JSON"
    );
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Ack, Beat, Detach, limits::FRAME_IN_BYTES_MAX};

    fn decode(text: &str) -> Result<Decoded<ClientFrame>, DecodeError> {
        ClientFrame::decode(text.as_bytes(), FRAME_IN_BYTES_MAX)
    }

    #[test]
    fn frames_survive_the_wire() {
        let seq = Seq::new(7).expect("small");
        let frames = [
            ClientFrame::from(Ack { seq }),
            ClientFrame::from(Detach {}),
            ClientFrame::from(Beat {
                n: seq,
                seq,
                suspect_ms: None,
                pace_ms: None,
            }),
        ];
        for frame in frames {
            let bytes = frame.encode();
            assert_eq!(
                ClientFrame::decode(&bytes, FRAME_IN_BYTES_MAX),
                Ok(Decoded::Known(frame)),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    fn deep_json_is_refused_without_recursion_a34() {
        let deep = format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(decode(&deep), Err(DecodeError::TooDeep));
        let quoted = format!(r#"{{"type":"ack","seq":1,"x":"{}"}}"#, "[".repeat(1_000));
        assert!(decode(&quoted).is_ok(), "brackets in strings do not nest");
    }

    #[test]
    fn hostile_numbers_and_shapes_are_refused_a35_a36() {
        for bad in [
            r#"{"type":"ack","seq":9007199254740992}"#,
            r#"{"type":"ack","seq":-1}"#,
            r#"{"type":"ack","seq":1e999}"#,
            r#"{"type":"ack","seq":"1"}"#,
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","seq":1,"seq":2}"#,
            r#"{"type":7}"#,
            r#"["ack",1]"#,
            r#"{}"#,
            "",
            "\u{feff}{}",
        ] {
            assert!(matches!(decode(bad), Err(DecodeError::Shape(_))), "{bad}");
        }
    }

    #[test]
    fn unknown_frames_and_members_are_tolerated_p13_a38_m44() {
        assert_eq!(
            decode(r#"{"type":"teleport","x":1}"#),
            Ok(Decoded::Unknown {
                name: "teleport".into()
            })
        );
        assert!(decode(r#"{"type":"ack","seq":1,"role":"owner","epoch":9}"#).is_ok());
    }

    #[test]
    fn large_frames_are_refused_before_they_are_read_a32() {
        let big = vec![b'['; FRAME_IN_BYTES_MAX + 1];
        assert!(matches!(
            ClientFrame::decode(&big, FRAME_IN_BYTES_MAX),
            Err(DecodeError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = ClientFrame::decode(&bytes, 256);
            let _ = ServerFrame::decode(&bytes, 256);
        }

        #[test]
        fn near_frames_never_panic(name in "[a-z]{1,9}", body in r#"[\[\]{}:,"a-z0-9.-]{0,64}"#) {
            let _ = decode(&format!(r#"{{"type":"{name}",{body}}}"#));
        }
    }
}
