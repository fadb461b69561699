//! `[backends.<name>]`: one program that serves sessions.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use keel_agent::{Budgets, endpoint::Secret};
use keel_core::node;
use keel_wire::BusyPolicy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::acp::{Forgotten, PermissionPolicy};

/// What kind of program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendKind {
    /// Says back what it is told; for trying things.
    Echo,
    /// A program of its own, one process an attempt.
    Process,
    /// An agent that speaks the Agent Client Protocol, one process a session.
    Acp,
    /// A model's server that speaks OpenAI's APIs.
    #[serde(rename = "openai")]
    OpenAi,
    /// A model's server that speaks Anthropic's.
    Anthropic,
    /// Other backends, the next when one fails.
    Fallback,
    /// No program: every track goes to everybody in the session, its publisher too.
    Passthrough,
    /// No program: a call, in which every track goes to everybody else.
    Room,
}

/// How a program's output is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// Each line is text of the answer.
    #[default]
    Lines,
    /// Each line is one JSON object.
    JsonLines,
}

/// Which of OpenAI's APIs a model's server speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Chat Completions.
    #[default]
    Chat,
    /// Responses.
    Responses,
}

/// What holds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapacityKind {
    /// A session, from when it is opened until it is over.
    Session,
    /// A turn, while it runs.
    Turn,
}

/// `[backends.<name>.capacity]`: how much it can do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// What holds a slot: `session` or `turn`.
    pub kind: CapacityKind,
    /// How many slots there are.
    pub slots: usize,
    /// How many may stand in line; then `at_capacity`.
    #[serde(default)]
    pub queue: usize,
}

/// `[backends.<name>.clocks]`: how long a turn may be silent. Each that runs out ends it as
/// `provider_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// From the start of an attempt to the program's first sign of life, in milliseconds.
    pub spawn_ms: u64,
    /// From there to its first output, in milliseconds.
    pub first_output_ms: u64,
    /// Between outputs, in milliseconds.
    pub idle_ms: u64,
    /// The whole turn, in milliseconds.
    pub whole_ms: u64,
    /// From a question to its answer, in milliseconds.
    pub action_ms: u64,
}

impl Default for Clocks {
    fn default() -> Self {
        let clocks = node::TurnClocks::default();
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            spawn_ms: ms(clocks.spawn),
            first_output_ms: ms(clocks.first_output),
            idle_ms: ms(clocks.idle),
            whole_ms: ms(clocks.whole),
            action_ms: ms(clocks.action),
        }
    }
}

/// One program that serves sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// `echo`, `process`, `acp`, `openai`, `anthropic`, `fallback`, `passthrough` or `room`.
    pub kind: BackendKind,
    /// The program and its arguments. Never given to a shell.
    #[serde(default)]
    pub command: Vec<String>,
    /// Names of this server's environment variables that the program is given, besides `PATH`,
    /// `HOME`, `LANG`, `TZ` and two that mark it as ours. Nothing else is.
    #[serde(default)]
    pub env_pass: Vec<String>,
    /// Environment variables that it is given.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where it runs. Absent means where this server runs.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// Where a session may say that its programs work: beneath one of these directories. Absent means
    /// nowhere but `cwd`.
    #[serde(default)]
    pub cwd_roots: Vec<PathBuf>,
    /// How its output is read: `lines` or `json_lines`.
    #[serde(default)]
    pub output: Framing,
    /// How much it can do at once. Absent means no bound.
    #[serde(default)]
    pub capacity: Option<Capacity>,
    /// What happens to a `say` while a turn runs, where the session's opener did not say.
    #[serde(default)]
    pub busy: BusyPolicy,
    /// How long a turn may be silent.
    #[serde(default)]
    pub clocks: Clocks,
    /// Tries at a turn that has said nothing yet.
    #[serde(default = "one")]
    pub attempts: u32,
    /// What asks it to go on with an answer that did not come to its end. Absent means in general words.
    #[serde(default)]
    pub continue_prompt: Option<String>,
    /// Lines that one attempt may write.
    #[serde(default)]
    pub lines_max: Option<u64>,
    /// Bytes that one attempt may say.
    #[serde(default)]
    pub bytes_max: Option<u64>,
    /// Calls of its model that one attempt may make.
    #[serde(default)]
    pub calls_max: Option<u64>,
    /// What the rest is preset for: `openrouter` or `local`; of an agent, which one it is.
    #[serde(default)]
    pub preset: Option<String>,
    /// Where the model's server is: `http` or `https`, up to the API's version.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Which of OpenAI's APIs it speaks: `chat` or `responses`.
    #[serde(default)]
    pub api: Api,
    /// The model.
    #[serde(default)]
    pub model: Option<String>,
    /// Models that a session may choose by its param `model`, besides.
    #[serde(default)]
    pub models: Vec<String>,
    /// Modes of an agent that a session may choose by its param `mode`.
    #[serde(default)]
    pub modes: Vec<String>,
    /// The name of this server's environment variable that holds the key.
    #[serde(default)]
    pub api_key_env: Option<String>,
    /// Headers that go with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// What the model is told before everything else.
    #[serde(default)]
    pub system: Option<String>,
    /// Members of each request's body, over the usual ones.
    #[serde(default)]
    pub body: Map<String, Value>,
    /// Most calls of the model's server in one attempt.
    #[serde(default)]
    pub tries: Option<u32>,
    /// Ask again when an answer breaks off after text was said, which is then superseded.
    #[serde(default)]
    pub retry_after_text: bool,
    /// From a request to the first event of its answer, in milliseconds.
    #[serde(default)]
    pub first_byte_ms: Option<u64>,
    /// Between two pieces of an answer, in milliseconds.
    #[serde(default)]
    pub stream_idle_ms: Option<u64>,
    /// The names of the backends of a chain, in order.
    #[serde(default)]
    pub chain: Vec<String>,
    /// Who decides when an agent asks for permission: `ask`, `deny`, or `{ allow = [kinds] }`.
    #[serde(default)]
    pub permissions: PermissionPolicy,
    /// An agent may read and write text files of its directory through this server.
    #[serde(default)]
    pub files: bool,
    /// An agent may run programs in its directory through this server.
    #[serde(default)]
    pub terminals: bool,
    /// How long an agent is kept for the next turn of its session, in seconds.
    #[serde(default)]
    pub idle_s: Option<u64>,
    /// What happens when an agent does not know the conversation that it had.
    #[serde(default)]
    pub forgotten: Forgotten,
    /// The way to log in that an agent is told to take when it wants a login, by its own id of it.
    #[serde(default)]
    pub auth_method: Option<String>,
    /// A home that is an agent's own: its `HOME`, and where its configuration is. It is made if it is
    /// not there.
    #[serde(default)]
    pub home: Option<PathBuf>,
}

const fn one() -> u32 {
    1
}

impl Backend {
    /// The backend that says back what it is told.
    #[must_use]
    pub fn echo() -> Self {
        Self::of(BackendKind::Echo)
    }

    /// A backend of a kind, with every default.
    #[must_use]
    pub fn of(kind: BackendKind) -> Self {
        Self {
            kind,
            command: Vec::new(),
            env_pass: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            cwd_roots: Vec::new(),
            output: Framing::default(),
            capacity: None,
            busy: BusyPolicy::default(),
            clocks: Clocks::default(),
            attempts: 1,
            continue_prompt: None,
            lines_max: None,
            bytes_max: None,
            calls_max: None,
            preset: None,
            base_url: None,
            api: Api::default(),
            model: None,
            models: Vec::new(),
            modes: Vec::new(),
            api_key_env: None,
            headers: BTreeMap::new(),
            system: None,
            body: Map::new(),
            tries: None,
            retry_after_text: false,
            first_byte_ms: None,
            stream_idle_ms: None,
            chain: Vec::new(),
            permissions: PermissionPolicy::default(),
            files: false,
            terminals: false,
            idle_s: None,
            forgotten: Forgotten::default(),
            auth_method: None,
            home: None,
        }
    }

    /// What the Node needs to know of it.
    pub(crate) fn for_node(&self) -> node::Backend {
        let ms = Duration::from_millis;
        node::Backend {
            capacity: self.capacity.map(|capacity| node::Capacity {
                kind: match capacity.kind {
                    CapacityKind::Session => node::SlotKind::Session,
                    CapacityKind::Turn => node::SlotKind::Turn,
                },
                slots: capacity.slots,
                queue: capacity.queue,
            }),
            busy: self.busy,
            clocks: node::TurnClocks {
                spawn: ms(self.clocks.spawn_ms),
                first_output: ms(self.clocks.first_output_ms),
                idle: ms(self.clocks.idle_ms),
                whole: ms(self.clocks.whole_ms),
                action: ms(self.clocks.action_ms),
            },
            attempts: self.attempts,
            steers: false,
            continue_prompt: self.continue_prompt.clone(),
            media: match self.kind {
                BackendKind::Echo
                | BackendKind::Process
                | BackendKind::Acp
                | BackendKind::OpenAi
                | BackendKind::Anthropic
                | BackendKind::Fallback => None,
                BackendKind::Passthrough => Some(node::MediaRule::Passthrough),
                BackendKind::Room => Some(node::MediaRule::Room),
            },
        }
    }

    pub(crate) fn budgets(&self) -> Budgets {
        let default = Budgets::default();
        Budgets {
            lines_max: self.lines_max.unwrap_or(default.lines_max),
            bytes_max: self.bytes_max.unwrap_or(default.bytes_max),
            calls_max: self.calls_max.unwrap_or(default.calls_max),
        }
    }
}
