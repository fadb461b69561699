//! What the `data` of an item says, where our own providers said it.
//!
//! An item is raw JSON on the wire, so that a program may tell whatever it likes; what has one of
//! these shapes is shown as what it is. A field that is absent says nothing about what was told before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An item that is understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ItemData {
    /// More of what the model thinks; appended.
    Thought {
        /// The text.
        text: String,
    },
    /// A tool is called.
    ToolCall {
        /// The provider's own name for the call.
        id: String,
        /// What to show.
        title: String,
        /// What sort of tool: `read`, `edit`, `execute`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<String>,
        /// How far it is.
        status: ToolStatus,
        /// What it is called with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
    /// Something about a call changed; told of one that was not, it begins it.
    ToolUpdate {
        /// The provider's own name for the call.
        id: String,
        /// What to show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// How far it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<ToolStatus>,
        /// What came of it: text, or what the provider says; replaces what was told before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
    },
    /// What the agent means to do; replaces the plan before.
    Plan {
        /// Its steps, in order.
        entries: Vec<PlanEntry>,
    },
    /// The agent works in another mode.
    Mode {
        /// Which, in its own word.
        mode: String,
    },
    /// What was used so far; replaces what was told before.
    Usage(Usage),
    /// Something to know, which ends nothing.
    Notice {
        /// How much it matters.
        level: NoticeLevel,
        /// A sentence for a person.
        text: String,
    },
    /// The commands that the agent knows.
    Commands {
        /// Their names.
        names: Vec<String>,
    },
}

impl ItemData {
    /// The item's data.
    ///
    /// # Panics
    /// Never: every shape here is JSON.
    #[must_use]
    pub fn into_value(self) -> Value {
        serde_json::to_value(self).expect("an item is JSON")
    }
}

/// How far a tool's call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// Not begun.
    Pending,
    /// At work.
    Running,
    /// It has ended well.
    Done,
    /// It has not.
    Failed,
}

/// A step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanEntry {
    /// What is to be done.
    pub content: String,
    /// How far it is.
    pub status: PlanStatus,
    /// How much it matters, in the agent's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}

/// How far a step of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanStatus {
    /// Not begun.
    Pending,
    /// At work.
    Running,
    /// Done.
    Done,
}

/// What was used. Figures that make no sense are left out, and `unknown` says so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Tokens that went in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Of these, tokens that were cached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Tokens that came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Tokens of the context that are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_used: Option<u64>,
    /// Tokens that the context holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_size: Option<u64>,
    /// What it cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// The provider told figures that make no sense.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
}

/// How much a notice matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeLevel {
    /// Good to know.
    Info,
    /// Something is not as it should be.
    Warning,
}
