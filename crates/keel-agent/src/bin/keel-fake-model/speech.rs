//! The words of an answer, and the calls of tools.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::{dialect::Call, mode::Mode, prompt::Asked};

/// What is said if nothing else is asked for.
const USUAL: &str = "Hello from the fake model.";
/// Words of the mode `long`.
const LONG_WORDS: u64 = 3_000;
/// Bytes of the mode `huge`.
const HUGE_BYTES: usize = 8 * 1024 * 1024;
const WORDS_MAX: u64 = 10_000_000;
const WORD_BYTES_MAX: usize = 64 * 1024;

/// Stands for the time at which it is said.
const STAMP: &str = "\0stamp";

/// A word as it is said now: one that stands for the time is the time.
pub(crate) fn stamped(word: String) -> String {
    if word != STAMP {
        return word;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    format!("{} ", now.map_or(0, |since| since.as_micros()))
}

/// What is said, a word at a time.
pub(crate) struct Words {
    given: std::vec::IntoIter<String>,
    counted: std::ops::Range<u64>,
    bytes: usize,
    stamped: bool,
}

impl Words {
    pub(crate) fn of(mode: &Mode, asked: &Asked) -> Self {
        let mut words = Self {
            given: Vec::new().into_iter(),
            counted: 0..0,
            bytes: mode
                .number("bytes")
                .and_then(|n| n.try_into().ok())
                .unwrap_or(0),
            stamped: mode.option("stamp").is_some(),
        };
        words.bytes = words.bytes.min(WORD_BYTES_MAX);
        if let Some(count) = mode.number("count") {
            words.counted = 0..count.min(WORDS_MAX);
            return words;
        }
        words.given = match mode.word.as_str() {
            "empty" => return words,
            "long" => {
                words.counted = 0..LONG_WORDS;
                return words;
            }
            "endless" => {
                words.counted = 0..u64::MAX;
                return words;
            }
            // One delta.
            "huge" => vec!["x".repeat(HUGE_BYTES)].into_iter(),
            "echo" => split(&asked.prompt),
            "history" => {
                let line = |(who, what): &(String, String)| format!("{who}: {what}\n");
                asked
                    .messages
                    .iter()
                    .map(line)
                    .collect::<Vec<_>>()
                    .into_iter()
            }
            _ => split(mode.option("text").unwrap_or(USUAL)),
        };
        words
    }
}

fn split(text: &str) -> std::vec::IntoIter<String> {
    let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    words.into_iter()
}

impl Iterator for Words {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if let Some(word) = self.given.next() {
            return Some(word);
        }
        let n = self.counted.next()?;
        if self.stamped {
            return Some(STAMP.to_owned());
        }
        Some(format!(
            "{:x<width$} ",
            format!("w{n}"),
            width = self.bytes.saturating_sub(1)
        ))
    }
}

/// The calls that `mode` makes of the tools that there are.
pub(crate) fn calls(mode: &Mode, asked: &Asked) -> Vec<Call> {
    let of_a_shell = |name: &&String| {
        let name = name.to_lowercase();
        ["bash", "shell", "exec_command", "terminal"]
            .iter()
            .any(|word| name.contains(word))
    };
    let found = asked
        .tools
        .iter()
        .find(of_a_shell)
        .or_else(|| asked.tools.first());
    let name = mode.option("tool").map(str::to_owned);
    let name = name
        .or_else(|| found.cloned())
        .unwrap_or_else(|| "get_weather".to_owned());
    let command = match (mode.option("cmd"), mode.word.as_str()) {
        (Some(command), _) => command,
        (None, "toolsleep") => "sleep 300",
        (None, _) => "echo hello",
    };
    let arguments = match (mode.word.as_str(), name.as_str()) {
        ("badtoolargs", _) => r#"{"city": "Ber"#.to_owned(),
        (_, "get_weather") => json!({"city": "Berlin \u{1f327}", "days": 3}).to_string(),
        (_, "shell" | "local_shell") => json!({"command": ["sh", "-c", command]}).to_string(),
        (_, "exec_command") => json!({"cmd": command}).to_string(),
        _ => json!({"command": command, "description": "Say hello"}).to_string(),
    };
    let arguments = mode.option("args").map_or(arguments, str::to_owned);
    let name = if mode.word == "unknowntool" {
        "no_such_tool".to_owned()
    } else {
        name
    };
    let count = match mode.word.as_str() {
        "manytools" => mode.argument.parse().unwrap_or(1_000).min(10_000),
        _ => 1,
    };
    let call = |n: usize| Call {
        id: format!("call_{n}"),
        name: name.clone(),
        arguments: arguments.clone(),
    };
    (0..count).map(call).collect()
}
