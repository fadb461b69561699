//! Takes secrets out of what a program says about its own failure.
//!
//! Known ones by their value, others by their look. The answer itself is not touched: it belongs to
//! the person who asked.

use std::fmt;

use crate::limits::REPORTED_BYTES_MAX;

/// What stands for a secret.
const INSTEAD: &str = "[redacted]";
/// How much of a line logs have.
const START_BYTES: usize = 200;
/// Shorter values are words that occur by chance.
const SECRET_BYTES_MIN: usize = 6;
/// Names of variables whose values are secrets.
const NAMES: [&str; 7] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "CREDENTIAL",
    "AUTH",
];
/// How tokens of well-known makers begin.
const BEGINNINGS: [&str; 10] = [
    "sk-",
    "ghp_",
    "gho_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "eyJ",
    "hf_",
];

/// Knows the secrets of one attempt.
pub(crate) struct Redactor {
    /// The longest first.
    secrets: Vec<String>,
    /// What they begin with.
    beginnings: Vec<char>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Redactor {
    pub(crate) fn new(env: &[(String, String)]) -> Self {
        let is_secret = |name: &str| NAMES.iter().any(|part| name.to_uppercase().contains(part));
        let secrets = env
            .iter()
            .filter(|(name, value)| is_secret(name) && value.len() >= SECRET_BYTES_MIN);
        let mut secrets: Vec<String> = secrets.map(|(_, value)| value.clone()).collect();
        // One secret may begin with another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut beginnings: Vec<char> = secrets.iter().filter_map(|it| it.chars().next()).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        Self {
            secrets,
            beginnings,
        }
    }

    /// Takes the known secrets out of all texts of a value, where each is whole in one of them. How
    /// a text looks is not looked at: it may be an answer.
    pub(crate) fn conceal(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => {
                if self.secrets.iter().any(|secret| text.contains(secret)) {
                    *text = self.without_secrets(text, false).0;
                }
            }
            serde_json::Value::Array(values) => {
                values.iter_mut().for_each(|value| self.conceal(value));
            }
            serde_json::Value::Object(object) => {
                object.values_mut().for_each(|value| self.conceal(value));
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            }
        }
    }

    /// `text` without the known secrets, the longest that begins at each place, up to where the rest
    /// may be the beginning of one, if `more` of it may follow; and where that is.
    pub(super) fn without_secrets(&self, text: &str, more: bool) -> (String, usize) {
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(found) = text[at..].find(&self.beginnings[..]) {
            out.push_str(&text[at..at + found]);
            at += found;
            let rest = &text[at..];
            let begins = |secret: &String| secret.len() > rest.len() && secret.starts_with(rest);
            if more && self.secrets.iter().any(begins) {
                return (out, at);
            }
            // They are sorted: the longest comes first.
            let secret = self.secrets.iter().find(|secret| rest.starts_with(*secret));
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let (told, bytes) = secret.map_or((&rest[..first], first), |it| (INSTEAD, it.len()));
            out.push_str(told);
            at += bytes;
        }
        out.push_str(&text[at..]);
        (out, text.len())
    }

    /// `text` without secrets, at a length that can be told. A secret must not be cut before it is
    /// known for one.
    pub(crate) fn report(&self, text: &str) -> String {
        let mut told = self.redact(text);
        told.truncate(told.floor_char_boundary(REPORTED_BYTES_MAX));
        told
    }

    /// The start of a line without secrets, for logs.
    pub(crate) fn start_of(&self, line: &[u8]) -> String {
        let mut start = self.redact(&String::from_utf8_lossy(line));
        start.truncate(start.floor_char_boundary(START_BYTES));
        start
    }

    pub(crate) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, INSTEAD);
        }
        let mut out = String::with_capacity(text.len());
        let mut after_bearer = false;
        for piece in text.split_inclusive(|c: char| !is_of_token(c)) {
            let word = piece.trim_end_matches(|c: char| !is_of_token(c));
            let begins = BEGINNINGS.iter().any(|start| word.starts_with(start));
            // What stands for a secret is none.
            let is_told = INSTEAD.trim_matches(['[', ']']) == word;
            let secret =
                (begins && word.len() >= 16) || (after_bearer && word.len() >= 8 && !is_told);
            out.push_str(if secret { INSTEAD } else { word });
            out.push_str(&piece[word.len()..]);
            if !word.is_empty() {
                after_bearer = word.eq_ignore_ascii_case("bearer");
            }
        }
        out
    }
}

const fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_by_value_and_by_look_a67() {
        let env = [
            ("MY_API_KEY", "canary-one"),
            ("HOME", "/home/me"),
            ("PIN_TOKEN", "1"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let redactor = Redactor::new(&env);
        let told = redactor.redact(
            "401 for xcanary-onex at /home/me: 'sk-abcdefghijklmnop', Bearer canary-one, \
             Authorization: Bearer abcdefgh.ijk\nask-me is 1 word",
        );
        assert_eq!(
            told,
            "401 for x[redacted]x at /home/me: '[redacted]', Bearer [redacted], \
             Authorization: Bearer [redacted]\nask-me is 1 word"
        );
        let long = format!("{}canary-one", "x".repeat(REPORTED_BYTES_MAX - 4));
        assert!(redactor.report(&long).ends_with("x[red"));
        let line = format!("{}canary-one", "x".repeat(START_BYTES - 4));
        assert!(redactor.start_of(line.as_bytes()).ends_with("x[red"));
    }
}
