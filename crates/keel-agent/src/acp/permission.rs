//! Permissions that an agent asks for: one question at a time, each answered once.
//!
//! A question has a name of ours that no other has; what does not repeat the name of the one that
//! is asked has no effect, nor has a second answer (A65). No answer means no.

use std::collections::{BTreeMap, VecDeque};

use keel_wire::{Action, ActionId, Choice as Shown, ChoiceKind};
use serde_json::{Value, json};

use super::{config::Permissions, update};
use crate::limits::{PERMISSION_OPTIONS_MAX, PERMISSIONS_MAX};

/// Tools whose kind is remembered.
const TOOLS_MAX: usize = 1024;

/// One way to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    option: String,
    label: String,
    kind: String,
}

/// A permission that was asked for.
#[derive(Debug)]
struct Wanted {
    /// The agent's number of the request.
    request: Value,
    title: String,
    tool: Option<String>,
    choices: Vec<Choice>,
}

/// What is done about a request at once.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// A person is asked, now or later.
    Wait,
    /// It is answered with this, and this is told.
    Answer(Value, Option<String>),
}

/// The permissions of one attempt.
#[derive(Debug)]
pub(crate) struct Desk {
    policy: Permissions,
    prefix: String,
    asked: u64,
    /// The kinds of tools, by their calls.
    kinds: BTreeMap<String, String>,
    waiting: VecDeque<Wanted>,
    open: Option<(ActionId, Wanted)>,
}

impl Desk {
    /// Nothing asked so far. `prefix` begins the names of questions, and is no other attempt's.
    pub(crate) const fn new(policy: Permissions, prefix: String) -> Self {
        Self {
            policy,
            prefix,
            asked: 0,
            kinds: BTreeMap::new(),
            waiting: VecDeque::new(),
            open: None,
        }
    }

    /// A tool call is of this kind.
    pub(crate) fn learn(&mut self, tool: &str, kind: &str) {
        if self.kinds.len() < TOOLS_MAX || self.kinds.contains_key(tool) {
            self.kinds.insert(tool.to_owned(), kind.to_owned());
        }
    }

    /// A `session/request_permission`.
    pub(crate) fn request(&mut self, request: Value, params: &Value) -> Verdict {
        let tool_call = params.get("toolCall").and_then(Value::as_object);
        let text = |key| tool_call.and_then(|call| update::text(call, key));
        let tool = text("toolCallId");
        let known = tool.as_ref().and_then(|tool| self.kinds.get(tool));
        let kind = text("kind").or_else(|| known.cloned());
        let title = text("title").unwrap_or_else(|| "use a tool".to_owned());
        let wanted = Wanted {
            request,
            choices: choices(params),
            title,
            tool,
        };
        let allowed = |kinds: &std::collections::BTreeSet<String>| {
            kind.as_ref().is_some_and(|kind| kinds.contains(kind))
        };
        match &self.policy {
            Permissions::Deny => {
                let told = format!("not permitted here: {}", wanted.title);
                Verdict::Answer(wanted.refuse(), Some(told))
            }
            // For once: what the agent remembers for good would outlive what is permitted.
            Permissions::Allow(kinds) if allowed(kinds) && wanted.first("allow_once").is_some() => {
                Verdict::Answer(selected(wanted.first("allow_once")), None)
            }
            _ if wanted.choices.is_empty() || self.waiting.len() >= PERMISSIONS_MAX => {
                let told = format!("refused, as nobody can be asked: {}", wanted.title);
                Verdict::Answer(wanted.refuse(), Some(told))
            }
            Permissions::Allow(_) | Permissions::Ask => {
                self.waiting.push_back(wanted);
                Verdict::Wait
            }
        }
    }

    /// The next question, once nothing is asked.
    pub(crate) fn ask(&mut self) -> Option<Action> {
        if self.open.is_some() {
            return None;
        }
        let wanted = self.waiting.pop_front()?;
        self.asked += 1;
        let id = format!("{}-{}", self.prefix, self.asked);
        let id: ActionId = id.parse().expect("a prefix that is an id, and a number");
        let action = wanted.action(id.clone());
        self.open = Some((id, wanted));
        Some(action)
    }

    /// An answer: the agent's request and what it is told; `None` if the answer has no effect.
    pub(crate) fn answer(&mut self, action: &ActionId, answer: &Value) -> Option<(Value, Value)> {
        let (open, wanted) = self.open.as_ref()?;
        if open != action {
            return None;
        }
        let outcome = if answer.is_null() {
            // Nobody answered in time.
            wanted.refuse()
        } else {
            let option = answer.as_str()?;
            let mut choices = wanted.choices.iter();
            selected(Some(choices.find(|choice| choice.option == option)?))
        };
        let (_, wanted) = self.open.take()?;
        Some((wanted.request, outcome))
    }

    /// Ends all that waits: each request and what it is told.
    pub(crate) fn cancel(&mut self) -> Vec<(Value, Value)> {
        let open = self.open.take().map(|(_, wanted)| wanted);
        let all = open.into_iter().chain(std::mem::take(&mut self.waiting));
        all.map(|wanted| (wanted.request, cancelled())).collect()
    }
}

/// What a request is told that nobody decides over any more.
pub(crate) fn cancelled() -> Value {
    json!({"outcome": {"outcome": "cancelled"}})
}

fn selected(choice: Option<&Choice>) -> Value {
    match choice {
        Some(Choice { option, .. }) => {
            json!({"outcome": {"outcome": "selected", "optionId": option}})
        }
        None => cancelled(),
    }
}

fn choices(params: &Value) -> Vec<Choice> {
    let options = params.get("options").and_then(Value::as_array);
    let options = options.into_iter().flatten().take(PERMISSION_OPTIONS_MAX);
    options
        .filter_map(|option| {
            let option = option.as_object()?;
            let id = option.get("optionId")?.as_str()?;
            let label = update::text(option, "name");
            Some(Choice {
                // One that cannot be told whole cannot be chosen.
                option: update::text(option, "optionId").filter(|told| told == id)?,
                label: label.unwrap_or_else(|| id.to_owned()),
                kind: update::text(option, "kind").unwrap_or_default(),
            })
        })
        .collect()
}

impl Wanted {
    fn first(&self, kind: &str) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.kind == kind)
    }

    fn refuse(&self) -> Value {
        selected(self.first("reject_once"))
    }

    fn action(&self, id: ActionId) -> Action {
        let shown = self.choices.iter().map(|choice| Shown {
            option: choice.option.clone(),
            label: choice.label.clone(),
            kind: match choice.kind.as_str() {
                "allow_once" => Some(ChoiceKind::AllowOnce),
                "allow_always" => Some(ChoiceKind::AllowAlways),
                "reject_once" => Some(ChoiceKind::RejectOnce),
                "reject_always" => Some(ChoiceKind::RejectAlways),
                _ => None,
            },
        });
        Action {
            id,
            prompt: self.title.clone(),
            options: self.choices.iter().map(|it| it.option.clone()).collect(),
            choices: shown.collect(),
            tool_call: self.tool.clone(),
        }
    }
}
