//! What an agent may do, and how long it is kept.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use crate::{limits::CANCEL_ASK, process};

/// What to run, and what it may do. See [`Config::new`] for what is usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The program, its environment, limits and clocks. How it is spoken to is the protocol's, so
    /// `stdin`, `stdout` and `text_required` mean nothing here.
    pub process: process::Config,
    /// Who decides when it asks for permission.
    pub permissions: Permissions,
    /// It may read and write text files in the session's directory through us. Agents that want no
    /// help do that by themselves, as far as their own sandbox lets them.
    pub files: bool,
    /// It may run programs in the session's directory through us.
    pub terminals: bool,
    /// How long its process is kept after a turn for the next one.
    pub idle: Duration,
    /// What happens when it does not know the session that it had.
    pub forgotten: Forgotten,
    /// Which of its ways to log in is tried when it wants one, by the protocol's id. It must be one
    /// that asks nobody.
    pub auth_method: Option<String>,
    /// Modes that a session may choose by its param `mode`: one may do more than another without asking.
    pub modes: Vec<String>,
    /// Models that it may choose by its param `model`.
    pub models: Vec<String>,
    /// What a person has to do to log in.
    pub login: Option<String>,
    /// From asking a turn to stop to asking the program to end.
    pub ask: Duration,
}

impl Config {
    /// `process` with the usual settings: ask a person, no files, no terminals, ten minutes.
    #[must_use]
    pub fn new(process: process::Config) -> Self {
        Self {
            process,
            permissions: Permissions::Ask,
            files: false,
            terminals: false,
            idle: Duration::from_secs(600),
            forgotten: Forgotten::Retell,
            auth_method: None,
            modes: Vec::new(),
            models: Vec::new(),
            login: None,
            ask: CANCEL_ASK,
        }
    }
}

/// Who decides when an agent asks for permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permissions {
    /// A person does.
    Ask,
    /// Tools of these kinds (the protocol's words: `read`, `edit`, `execute`…) may; a person decides
    /// over all others.
    Allow(BTreeSet<String>),
    /// Nobody may.
    Deny,
}

impl Permissions {
    /// What stands when a session's params say `wish` (`"ask"`, `"deny"` or `{"allow": [kinds]}`):
    /// it may only take away.
    #[must_use]
    pub fn narrowed(&self, wish: &Value) -> Self {
        let kinds = wish.get("allow").and_then(Value::as_array);
        match (self, wish.as_str(), kinds) {
            (Self::Deny, _, _) | (_, Some("deny"), _) => Self::Deny,
            (Self::Ask, _, _) | (_, Some("ask"), _) => Self::Ask,
            (Self::Allow(allowed), _, Some(kinds)) => {
                let wished = |kind: &&String| kinds.iter().any(|wish| wish == kind.as_str());
                Self::Allow(allowed.iter().filter(wished).cloned().collect())
            }
            (Self::Allow(_), _, None) if wish.is_null() => self.clone(),
            // What makes no sense is no leave.
            (Self::Allow(_), _, None) => Self::Ask,
        }
    }
}

/// What happens when an agent does not know the session that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// It gets a new one, and is told what was said so far.
    Retell,
    /// The turn fails.
    Fail,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_can_only_take_permissions_away_a65() {
        let allow = |kinds: &[&str]| {
            Permissions::Allow(kinds.iter().map(|kind| (*kind).to_owned()).collect())
        };
        let wide = allow(&["read", "edit"]);
        let rows = [
            (&wide, json!(null), wide.clone()),
            (&wide, json!("deny"), Permissions::Deny),
            (&wide, json!("ask"), Permissions::Ask),
            (
                &wide,
                json!({"allow": ["read", "execute"]}),
                allow(&["read"]),
            ),
            (&wide, json!({"allow": 7}), Permissions::Ask),
            (&wide, json!("allow everything"), Permissions::Ask),
            (
                &Permissions::Ask,
                json!({"allow": ["read"]}),
                Permissions::Ask,
            ),
            (&Permissions::Ask, json!("deny"), Permissions::Deny),
            (&Permissions::Deny, json!("ask"), Permissions::Deny),
            (
                &Permissions::Deny,
                json!({"allow": ["read"]}),
                Permissions::Deny,
            ),
        ];
        for (policy, wish, want) in rows {
            assert_eq!(policy.narrowed(&wish), want, "{policy:?} {wish}");
        }
    }
}
