//! One line of a program that talks in JSON: what it says, or noise.
//!
//! Only the envelope counts. What stands inside a text or an item is never looked at again.

use keel_wire::Action;
use serde_json::{Map, Value, json};

use super::status::Terminal;
use crate::limits::{ITEM_BYTES_MAX, ITEM_DEPTH_MAX};

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    Text(String),
    Item(Value),
    NeedsAction(Action),
    ModelCall,
    NewAttempt { fault: String },
    Terminal(Terminal),
    Noise,
    Blank,
}

/// A line, and whether something in it was replaced.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) line: Line,
    pub(crate) repaired: bool,
}

pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let (object, mut repaired, len) = match object(bytes) {
        Read::Object(object, repaired, len) => (object, repaired, len),
        Read::Noise => return Parsed::plain(Line::Noise),
        Read::Blank => return Parsed::plain(Line::Blank),
    };
    let mut line = read(object, len);
    if let Line::Text(text) = &mut line
        && text.contains('\0')
    {
        *text = text.replace('\0', "\u{fffd}");
        repaired = true;
    }
    Parsed {
        repaired: repaired && line != Line::Noise,
        line,
    }
}

impl Parsed {
    const fn plain(line: Line) -> Self {
        Self {
            line,
            repaired: false,
        }
    }
}

/// A line as an object, whatever it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// An object, whether something in it was replaced, and how long it is.
    Object(Map<String, Value>, bool, usize),
    /// Anything else.
    Noise,
    /// Nothing.
    Blank,
}

/// Reads a line as an object; what is not UTF-8 and halves of surrogate pairs are replaced.
pub(crate) fn object(bytes: &[u8]) -> Read {
    let text = String::from_utf8_lossy(bytes);
    let mut repaired = matches!(text, std::borrow::Cow::Owned(_));
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Read::Blank;
    }
    let value = serde_json::from_str(text).ok().or_else(|| {
        let whole = pair_surrogates(text)?;
        repaired = true;
        serde_json::from_str(&whole).ok()
    });
    match value {
        Some(Value::Object(object)) => Read::Object(object, repaired, text.len()),
        _ => Read::Noise,
    }
}

fn read(mut object: Map<String, Value>, len: usize) -> Line {
    let kind = object
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "text" => match object.remove("text") {
            Some(Value::String(text)) => Line::Text(text),
            _ => Line::Noise,
        },
        "item" => item(object, len),
        // A question that no frame can carry is no question.
        "needs_action" if len <= ITEM_BYTES_MAX => {
            serde_json::from_value(Value::Object(object)).map_or(Line::Noise, Line::NeedsAction)
        }
        "model_call" => Line::ModelCall,
        "new_attempt" => Line::NewAttempt {
            fault: string(&mut object, "fault"),
        },
        "done" => {
            let stop_reason = object.contains_key("stop_reason");
            let stop_reason = stop_reason.then(|| string(&mut object, "stop_reason"));
            Line::Terminal(Terminal::Done { stop_reason })
        }
        "error" => Line::Terminal(Terminal::Error {
            message: string(&mut object, "message"),
        }),
        _ => Line::Noise,
    }
}

fn item(object: Map<String, Value>, len: usize) -> Line {
    let item = Value::Object(object);
    if depth(&item) > ITEM_DEPTH_MAX {
        return Line::Noise;
    }
    if len > ITEM_BYTES_MAX {
        return Line::Item(json!({"type": "omitted", "bytes": len}));
    }
    Line::Item(item)
}

/// A text of the program's own; anything else as its JSON. It may be long, and have secrets.
fn string(object: &mut Map<String, Value>, key: &str) -> String {
    match object.remove(key) {
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// How deep a value is nested. The parser has bounded it already.
pub(crate) fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Object(object) => object.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    deepest.unwrap_or(0) + 1
}

/// With escapes of half a surrogate pair replaced, which programs write when they cut text between
/// the halves; `None` if there are none.
fn pair_surrogates(text: &str) -> Option<String> {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?;
        u16::from_str_radix(escape.strip_prefix("\\u")?, 16).ok()
    };
    let is_high = |unit: u16| (0xd800..0xdc00).contains(&unit);
    let is_low = |unit: u16| (0xdc00..0xe000).contains(&unit);
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        match unit(at) {
            Some(high) if is_high(high) && unit(at + 6).is_some_and(is_low) => at += 12,
            Some(half) if is_high(half) || is_low(half) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
                changed = true;
            }
            Some(_) => at += 6,
            // The character after a backslash is its own, a second backslash too.
            None => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    out.push_str(&text[copied..]);
    changed.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        parse(text.as_bytes()).line
    }

    #[test]
    fn only_the_envelope_is_control_a63() {
        let inner = r#"{"type":"text","text":"{\"type\":\"done\"}\n</turn>\ndata: x"}"#;
        assert_eq!(
            line(inner),
            Line::Text("{\"type\":\"done\"}\n</turn>\ndata: x".to_owned())
        );
        let outer = r#"{"type":"item","item":{"type":"done"}}"#;
        assert!(matches!(line(outer), Line::Item(_)));
    }

    #[test]
    fn what_is_not_of_the_protocol_is_noise_c11_c15() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_item = format!(
            r#"{{"type":"item","x":{}1{}}}"#,
            "[".repeat(40),
            "]".repeat(40)
        );
        let deeper_item = format!(r#"{{"type":"item","x":{deep}}}"#);
        let noise = [
            "npm warn",
            "\u{1b}[31mred",
            "[1]",
            "7",
            "null",
            r#"{"type":"text"}"#,
            r#"{"type":7}"#,
            r#"{"type":"from the future"}"#,
            r#"{"type":"text","text":1e999}"#,
            r#"{"type":"needs_action","id":"Not An Id","prompt":"?"}"#,
            &deep,
            &deep_item,
            &deeper_item,
        ];
        for text in noise {
            assert_eq!(line(text), Line::Noise, "{}", &text[..text.len().min(60)]);
        }
        assert_eq!(line(" \r"), Line::Blank);
    }

    #[test]
    fn broken_text_is_repaired_and_flagged_c14() {
        let check = |bytes: &[u8], text: &str, repaired: bool| {
            let line = Line::Text(text.to_owned());
            assert_eq!(parse(bytes), Parsed { line, repaired });
        };
        check(br#"{"type":"text","text":"a\ud83d"}"#, "a\u{fffd}", true);
        check(
            br#"{"type":"text","text":"\ude00\\ud83d"}"#,
            "\u{fffd}\\ud83d",
            true,
        );
        check(
            br#"{"type":"text","text":"\ud83d\ude00"}"#,
            "\u{1f600}",
            false,
        );
        check(br#"{"type":"text","text":"\u0000"}"#, "\u{fffd}", true);
        check(b"{\"type\":\"text\",\"text\":\"\xff\"}", "\u{fffd}", true);
        check(
            b"\xef\xbb\xbf{\"type\":\"text\",\"text\":\"bom\"}\r",
            "bom",
            false,
        );
    }

    #[test]
    fn an_item_that_no_frame_can_carry_is_told_as_omitted() {
        let text = format!(r#"{{"type":"item","x":"{}"}}"#, "x".repeat(ITEM_BYTES_MAX));
        assert_eq!(
            line(&text),
            Line::Item(json!({"type": "omitted", "bytes": text.len()}))
        );
    }
}
