//! The `anthropic` provider: Anthropic's Messages, and who speaks it. All but the dialect is that of
//! [`crate::openai`].

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Attempt, Control, Failure, Provider, Request, Sink,
    endpoint::{
        BadConfig, Config, Dialect, Endpoint,
        said::{Call, ErrorObject, Said, Usage, parse, stop_reason},
        sse::Event,
    },
    limits::{TOOL_ARGUMENTS_BYTES_MAX, TOOL_CALLS_MAX},
};

/// The name of this kind.
pub const KIND: &str = "anthropic";
/// Where Anthropic's own endpoint is.
pub const BASE_URL: &str = "https://api.anthropic.com/v1";
/// The environment variable that usually holds its key.
pub const KEY_ENV: &str = "ANTHROPIC_API_KEY";

pub(crate) const PATH: &str = "messages";
/// The version of the API that this speaks.
pub(crate) const VERSION: &str = "2023-06-01";
/// Most tokens of an answer, which the API wants to be told; `body` says otherwise.
const TOKENS_MAX: u32 = 8_192;

/// The provider. See the module's text.
#[derive(Debug, Clone)]
pub struct Anthropic {
    endpoint: Arc<Endpoint>,
}

impl Anthropic {
    /// A provider that asks what `config` says.
    ///
    /// # Errors
    /// When `config` cannot be used.
    pub fn new(config: Config) -> Result<Self, BadConfig> {
        let endpoint = Endpoint::new(config, Dialect::Messages)?;
        Ok(Self {
            endpoint: Arc::new(endpoint),
        })
    }
}

impl Provider for Anthropic {
    fn name(&self) -> &str {
        KIND
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        Endpoint::run(Arc::clone(&self.endpoint), request, control, sink)
    }

    fn wants_history(&self) -> bool {
        true
    }
}

/// The body of a request.
pub(crate) fn body(request: &Request, model: &str, system: Option<&str>) -> Value {
    let mut messages = Vec::new();
    let mut say = |role: &str, content: &str| {
        // The API takes no empty text.
        if !content.trim().is_empty() {
            messages.push(json!({"role": role, "content": content}));
        }
    };
    for exchange in &request.history {
        say("user", &exchange.prompt);
        say("assistant", exchange.text.trim_end());
    }
    say("user", &request.prompt);
    let mut body = json!({
        "model": model, "messages": messages, "max_tokens": TOKENS_MAX, "stream": true,
    });
    if let Some(system) = system {
        body["system"] = system.into();
    }
    body
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    calls: BTreeMap<u64, Call>,
    seen: usize,
    arguments_bytes: usize,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    index: u64,
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    content_block: Option<Block>,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    partial_json: Option<String>,
    #[serde(default)]
    stop_reason: Option<String>,
}

impl Reader {
    pub(crate) fn read(&mut self, event: &Event, said: &mut Vec<Said>) -> Result<(), Failure> {
        if event.data.trim() == "[DONE]" {
            said.push(Said::End);
            return Ok(());
        }
        let frame: Frame = parse(&event.data)?;
        if let (None, Some(error)) = (&frame.r#type, &frame.error) {
            // Proxies tell theirs without a type.
            said.push(Said::Failed(ErrorObject::read(error.clone()).failure()));
            return Ok(());
        }
        match frame.r#type.as_deref().unwrap_or(&event.name) {
            "message_start" => {
                let usage = frame.message.and_then(|message| message.usage);
                said.extend(usage.map(|usage| Said::Usage(read_usage(&usage))));
            }
            "content_block_start" => {
                if let Some(block) = frame.content_block {
                    self.block(frame.index, block, said)?;
                }
            }
            "content_block_delta" => {
                if let Some(delta) = frame.delta {
                    self.delta(frame.index, delta, said)?;
                }
            }
            "content_block_stop" => {
                said.extend(self.calls.remove(&frame.index).map(Said::Call));
            }
            "message_delta" => {
                let usage = frame.usage.filter(Value::is_object);
                said.extend(usage.map(|usage| Said::Usage(read_usage(&usage))));
                let word = frame.delta.and_then(|delta| delta.stop_reason);
                said.extend(word.map(|word| Said::Finish(stop_reason(&word))));
            }
            "message_stop" => said.push(Said::End),
            "error" => {
                let error = frame.error.unwrap_or_default();
                said.push(Said::Failed(ErrorObject::read(error).failure()));
            }
            // `ping`, and what is yet to be invented.
            _ => {}
        }
        Ok(())
    }

    fn block(&mut self, index: u64, block: Block, said: &mut Vec<Said>) -> Result<(), Failure> {
        if !block.text.is_empty() {
            said.push(Said::Text(block.text));
        }
        if block.r#type != "tool_use" {
            return Ok(());
        }
        self.seen += 1;
        if self.seen > TOOL_CALLS_MAX {
            let error = format!("the model calls more than {TOOL_CALLS_MAX} tools at once");
            return Err(Failure::Sse { error });
        }
        let arguments = String::new();
        let (id, name) = (block.id, block.name);
        self.calls.insert(
            index,
            Call {
                id,
                name,
                arguments,
            },
        );
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: Delta, said: &mut Vec<Said>) -> Result<(), Failure> {
        said.extend(delta.text.map(Said::Text));
        said.extend(delta.thinking.map(Said::Thought));
        let (Some(piece), Some(call)) = (delta.partial_json, self.calls.get_mut(&index)) else {
            return Ok(());
        };
        self.arguments_bytes += piece.len();
        if self.arguments_bytes > TOOL_ARGUMENTS_BYTES_MAX {
            let error =
                format!("the arguments of tools are longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes");
            return Err(Failure::Sse { error });
        }
        call.arguments.push_str(&piece);
        Ok(())
    }
}

fn read_usage(usage: &Value) -> Usage {
    let figure = |name: &str| usage.get(name).cloned();
    Usage {
        input: figure("input_tokens"),
        output: figure("output_tokens"),
        cached: figure("cache_read_input_tokens"),
        cost: None,
    }
}
