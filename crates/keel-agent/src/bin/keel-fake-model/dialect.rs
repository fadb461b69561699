//! The four ways of speaking: which frames say a word, a tool's call, an end, an error.

use serde_json::{Value, json};

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Anthropic,
    Gemini,
}

impl Dialect {
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        if path.ends_with("/chat/completions") {
            Some(Self::Chat)
        } else if path.ends_with("/responses") {
            Some(Self::Responses)
        } else if path.ends_with("/messages") {
            Some(Self::Anthropic)
        } else if path.ends_with("enerateContent") {
            Some(Self::Gemini)
        } else {
            None
        }
    }
}

/// Why an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    Stop,
    Tools,
    Length,
    Filter,
    Refusal,
    Error,
}

/// A call of a tool.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON, or what should have been.
    pub(crate) arguments: String,
}

/// Frames of one answer.
pub(crate) struct Speaker {
    dialect: Dialect,
    model: String,
    id: String,
    /// A chat stream ends with the usage.
    pub(crate) with_usage: bool,
    /// What the usage is said to be; absent means none.
    pub(crate) usage: Option<Value>,
    text: String,
    text_is_open: bool,
    items: Vec<Value>,
    blocks: usize,
    sequence: u64,
}

impl Speaker {
    pub(crate) fn new(dialect: Dialect, model: &str, answer: u64) -> Self {
        let usage = json!({"input": 11, "output": 7, "cached": 3});
        Self {
            dialect,
            model: model.to_owned(),
            id: format!("fake-{answer}"),
            with_usage: true,
            usage: Some(usage),
            text: String::new(),
            text_is_open: false,
            items: Vec::new(),
            blocks: 0,
            sequence: 0,
        }
    }

    fn named(&mut self, event: &str, mut data: Value) -> String {
        data["type"] = event.into();
        if self.dialect == Dialect::Responses {
            data["sequence_number"] = self.sequence.into();
            self.sequence += 1;
        }
        format!("event: {event}\ndata: {data}\n\n")
    }

    fn chunk(&self, delta: &Value, finish: Option<&str>) -> String {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        data(&chunk)
    }

    fn response(&self, status: &str) -> Value {
        json!({
            "id": self.id, "object": "response", "created_at": 1_700_000_000, "status": status,
            "model": self.model, "output": self.items, "error": null, "incomplete_details": null,
        })
    }

    /// What comes before the first word.
    pub(crate) fn begin(&mut self) -> String {
        match self.dialect {
            Dialect::Chat => self.chunk(&json!({"role": "assistant", "content": ""}), None),
            Dialect::Responses => {
                let response = self.response("in_progress");
                let created = self.named("response.created", json!({"response": response}));
                created + &self.named("response.in_progress", json!({"response": response}))
            }
            Dialect::Anthropic => {
                let mut message = json!({
                    "id": self.id, "type": "message", "role": "assistant", "model": self.model,
                    "content": [], "stop_reason": null, "stop_sequence": null,
                });
                message["usage"] = self.usage_as_told().unwrap_or_else(|| json!({}));
                let start = self.named("message_start", json!({"message": message}));
                start + &self.named("ping", json!({}))
            }
            Dialect::Gemini => String::new(),
        }
    }

    pub(crate) fn text(&mut self, text: &str) -> String {
        let mut frames = self.open_text();
        self.text.push_str(text);
        let at = json!({"item_id": "msg_1", "output_index": self.items.len(), "content_index": 0});
        frames.push_str(&match self.dialect {
            Dialect::Chat => self.chunk(&json!({"content": text}), None),
            Dialect::Responses => self.named(
                "response.output_text.delta",
                with(&at, "delta", text.into()),
            ),
            Dialect::Anthropic => {
                let delta = json!({"type": "text_delta", "text": text});
                let index = self.blocks;
                self.named(
                    "content_block_delta",
                    json!({"index": index, "delta": delta}),
                )
            }
            Dialect::Gemini => self.candidate(&json!([{"text": text}]), None),
        });
        frames
    }

    fn open_text(&mut self) -> String {
        if std::mem::replace(&mut self.text_is_open, true) {
            return String::new();
        }
        let index = self.items.len();
        match self.dialect {
            Dialect::Responses => {
                let item = json!({
                    "id": "msg_1", "type": "message", "status": "in_progress",
                    "role": "assistant", "content": [],
                });
                let added = json!({"output_index": index, "item": item});
                let part = json!({"type": "output_text", "text": "", "annotations": []});
                let at = json!({
                    "item_id": "msg_1", "output_index": index, "content_index": 0, "part": part,
                });
                let added = self.named("response.output_item.added", added);
                added + &self.named("response.content_part.added", at)
            }
            Dialect::Anthropic => {
                let block = json!({"type": "text", "text": ""});
                let start = json!({"index": self.blocks, "content_block": block});
                self.named("content_block_start", start)
            }
            Dialect::Chat | Dialect::Gemini => String::new(),
        }
    }

    fn close_text(&mut self) -> String {
        if !std::mem::replace(&mut self.text_is_open, false) {
            return String::new();
        }
        match self.dialect {
            Dialect::Responses => {
                let index = self.items.len();
                let part = json!({"type": "output_text", "text": self.text, "annotations": []});
                let item = json!({
                    "id": "msg_1", "type": "message", "status": "completed",
                    "role": "assistant", "content": [part],
                });
                self.items.push(item.clone());
                let at = json!({"item_id": "msg_1", "output_index": index, "content_index": 0});
                let text = self.text.as_str().into();
                let mut frames = self.named("response.output_text.done", with(&at, "text", text));
                frames += &self.named("response.content_part.done", with(&at, "part", part));
                let done = json!({"output_index": index, "item": item});
                frames + &self.named("response.output_item.done", done)
            }
            Dialect::Anthropic => {
                let stop = json!({"index": self.blocks});
                self.blocks += 1;
                self.named("content_block_stop", stop)
            }
            Dialect::Chat | Dialect::Gemini => String::new(),
        }
    }

    /// What the model thinks, where the dialect has a place for it.
    pub(crate) fn thought(&mut self, text: &str) -> String {
        match self.dialect {
            Dialect::Chat => self.chunk(&json!({"reasoning_content": text}), None),
            Dialect::Responses => {
                let at = json!({"item_id": "rs_1", "output_index": 0, "summary_index": 0});
                let delta = with(&at, "delta", text.into());
                self.named("response.reasoning_summary_text.delta", delta)
            }
            Dialect::Anthropic => {
                let index = self.blocks;
                self.blocks += 1;
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                let delta = json!({"type": "thinking_delta", "thinking": text});
                let start = json!({"index": index, "content_block": block});
                let mut frames = self.named("content_block_start", start);
                let delta = json!({"index": index, "delta": delta});
                frames += &self.named("content_block_delta", delta);
                frames + &self.named("content_block_stop", json!({"index": index}))
            }
            Dialect::Gemini => self.candidate(&json!([{"text": text, "thought": true}]), None),
        }
    }

    /// Calls `calls[n]`, its arguments in pieces of `piece` bytes.
    pub(crate) fn call(&mut self, n: usize, call: &Call, piece: usize) -> String {
        let mut frames = self.close_text();
        let pieces = pieces(&call.arguments, piece);
        match self.dialect {
            Dialect::Chat => {
                let function = json!({"name": call.name, "arguments": ""});
                let first = json!({
                    "index": n, "id": call.id, "type": "function", "function": function,
                });
                frames += &self.chunk(&json!({"tool_calls": [first]}), None);
                for piece in pieces {
                    let more = json!({"index": n, "function": {"arguments": piece}});
                    frames += &self.chunk(&json!({"tool_calls": [more]}), None);
                }
            }
            Dialect::Responses => {
                let index = self.items.len();
                let id = format!("fc_{n}");
                let mut item = json!({
                    "id": id, "type": "function_call", "status": "in_progress",
                    "call_id": call.id, "name": call.name, "arguments": "",
                });
                let added = json!({"output_index": index, "item": item});
                frames += &self.named("response.output_item.added", added);
                let at = json!({"item_id": id, "output_index": index});
                for piece in pieces {
                    let delta = with(&at, "delta", piece.into());
                    frames += &self.named("response.function_call_arguments.delta", delta);
                }
                let done = with(&at, "arguments", call.arguments.as_str().into());
                frames += &self.named("response.function_call_arguments.done", done);
                item["arguments"] = call.arguments.as_str().into();
                item["status"] = "completed".into();
                self.items.push(item.clone());
                let done = json!({"output_index": index, "item": item});
                frames += &self.named("response.output_item.done", done);
            }
            Dialect::Anthropic => {
                let index = self.blocks;
                self.blocks += 1;
                let block =
                    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}});
                let start = json!({"index": index, "content_block": block});
                frames += &self.named("content_block_start", start);
                for piece in pieces {
                    let delta = json!({"type": "input_json_delta", "partial_json": piece});
                    let delta = json!({"index": index, "delta": delta});
                    frames += &self.named("content_block_delta", delta);
                }
                frames += &self.named("content_block_stop", json!({"index": index}));
            }
            Dialect::Gemini => {
                let args: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
                let part = json!([{"functionCall": {"name": call.name, "args": args}}]);
                frames += &self.candidate(&part, None);
            }
        }
        frames
    }

    /// The end, as it should be.
    pub(crate) fn end(&mut self, reason: Reason) -> String {
        let mut frames = self.close_text();
        match self.dialect {
            Dialect::Chat => {
                let delta = match reason {
                    Reason::Refusal => json!({"refusal": "I will not do that."}),
                    Reason::Stop
                    | Reason::Tools
                    | Reason::Length
                    | Reason::Filter
                    | Reason::Error => json!({}),
                };
                let word = match reason {
                    Reason::Stop | Reason::Refusal => "stop",
                    Reason::Tools => "tool_calls",
                    Reason::Length => "length",
                    Reason::Filter => "content_filter",
                    Reason::Error => "error",
                };
                frames += &self.chunk(&delta, Some(word));
                if let (true, Some(usage)) = (self.with_usage, self.usage_as_told()) {
                    let chunk = json!({
                        "id": self.id, "object": "chat.completion.chunk",
                        "created": 1_700_000_000, "model": self.model, "choices": [],
                        "usage": usage,
                    });
                    frames += &data(&chunk);
                }
                frames + "data: [DONE]\n\n"
            }
            Dialect::Responses => {
                let (name, status, details) = match reason {
                    Reason::Length => ("incomplete", "incomplete", Some("max_output_tokens")),
                    Reason::Filter => ("incomplete", "incomplete", Some("content_filter")),
                    Reason::Error => ("failed", "failed", None),
                    Reason::Stop | Reason::Tools | Reason::Refusal => {
                        ("completed", "completed", None)
                    }
                };
                if reason == Reason::Refusal {
                    let at = json!({"item_id": "msg_1", "output_index": 0, "content_index": 1});
                    let delta = with(&at, "delta", "I will not do that.".into());
                    frames += &self.named("response.refusal.delta", delta);
                }
                let mut response = self.response(status);
                if let Some(reason) = details {
                    response["incomplete_details"] = json!({"reason": reason});
                }
                if reason == Reason::Error {
                    response["error"] = json!({"code": "server_error", "message": "it broke"});
                }
                if let Some(usage) = self.usage_as_told() {
                    response["usage"] = usage;
                }
                frames + &self.named(&format!("response.{name}"), json!({"response": response}))
            }
            Dialect::Anthropic => {
                let word = match reason {
                    Reason::Stop | Reason::Error => "end_turn",
                    Reason::Tools => "tool_use",
                    Reason::Length => "max_tokens",
                    Reason::Filter | Reason::Refusal => "refusal",
                };
                let mut last = json!({"delta": {"stop_reason": word, "stop_sequence": null}});
                last["usage"] = self.usage_as_told().unwrap_or_else(|| json!({}));
                frames += &self.named("message_delta", last);
                frames + &self.named("message_stop", json!({}))
            }
            Dialect::Gemini => {
                let word = match reason {
                    Reason::Stop | Reason::Tools => "STOP",
                    Reason::Length => "MAX_TOKENS",
                    Reason::Filter | Reason::Refusal => "SAFETY",
                    Reason::Error => "OTHER",
                };
                frames + &self.candidate(&json!([{"text": ""}]), Some(word))
            }
        }
    }

    fn candidate(&self, parts: &Value, finish: Option<&str>) -> String {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = finish.into();
        }
        let mut chunk = json!({"candidates": [candidate], "modelVersion": self.model});
        if let (Some(_), Some(usage)) = (finish, self.usage_as_told()) {
            chunk["usageMetadata"] = usage;
        }
        data(&chunk)
    }

    /// An error in the middle of a stream, as the dialect's makers send it.
    pub(crate) fn error(&mut self, kind: &str, message: &str) -> String {
        let error = json!({"type": kind, "code": kind, "message": message, "param": null});
        match self.dialect {
            Dialect::Chat => data(&json!({"error": error})),
            Dialect::Responses => {
                let error = json!({"code": kind, "message": message, "param": null});
                self.named("error", error)
            }
            Dialect::Anthropic => self.named("error", json!({"error": error})),
            Dialect::Gemini => {
                data(&json!({"error": {"code": 503, "message": message, "status": "UNAVAILABLE"}}))
            }
        }
    }

    /// An error in the middle of a stream, as OpenRouter sends it: in a choice that has ended.
    pub(crate) fn error_choice(&self, message: &str) -> String {
        data(&json!({
            "id": self.id, "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": self.model, "provider": "somebody",
            "error": {"code": "server_error", "message": message},
            "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
        }))
    }

    /// The usage under the dialect's own names.
    fn usage_as_told(&self) -> Option<Value> {
        let usage = self.usage.as_ref()?;
        let (input, output, cached) = (&usage["input"], &usage["output"], &usage["cached"]);
        let total = input
            .as_i64()
            .unwrap_or(0)
            .saturating_add(output.as_i64().unwrap_or(0));
        Some(match self.dialect {
            Dialect::Chat => json!({
                "prompt_tokens": input, "completion_tokens": output, "total_tokens": total,
                "prompt_tokens_details": {"cached_tokens": cached},
            }),
            Dialect::Responses => json!({
                "input_tokens": input, "output_tokens": output, "total_tokens": total,
                "input_tokens_details": {"cached_tokens": cached},
                "output_tokens_details": {"reasoning_tokens": 0},
            }),
            Dialect::Anthropic => json!({
                "input_tokens": input, "output_tokens": output,
                "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0,
            }),
            Dialect::Gemini => json!({
                "promptTokenCount": input, "candidatesTokenCount": output,
                "totalTokenCount": total, "cachedContentTokenCount": cached,
            }),
        })
    }

    /// The whole answer at once, for who wants no stream.
    pub(crate) fn whole(&mut self, text: &str, calls: &[Call]) -> Value {
        let usage = self.usage_as_told();
        let stopped = |stop: &str, tools: &str| match calls.is_empty() {
            true => Value::from(stop),
            false => Value::from(tools),
        };
        match self.dialect {
            Dialect::Chat => {
                let mut message = json!({"role": "assistant", "content": text});
                if !calls.is_empty() {
                    message["tool_calls"] = calls
                        .iter()
                        .map(|call| {
                            json!({
                                "id": call.id, "type": "function",
                                "function": {"name": call.name, "arguments": call.arguments},
                            })
                        })
                        .collect();
                }
                json!({
                    "id": self.id, "object": "chat.completion", "created": 1_700_000_000,
                    "model": self.model, "usage": usage,
                    "choices": [{"index": 0, "message": message, "logprobs": null,
                        "finish_reason": stopped("stop", "tool_calls")}],
                })
            }
            Dialect::Responses => {
                // The items are those of the stream.
                self.text(text);
                self.close_text();
                for (n, call) in calls.iter().enumerate() {
                    self.call(n, call, usize::MAX);
                }
                with(
                    &self.response("completed"),
                    "usage",
                    usage.unwrap_or_default(),
                )
            }
            Dialect::Anthropic => {
                let mut content = vec![json!({"type": "text", "text": text})];
                content.extend(calls.iter().map(|call| {
                    json!({
                        "type": "tool_use", "id": call.id, "name": call.name,
                        "input": serde_json::from_str::<Value>(&call.arguments).unwrap_or_default(),
                    })
                }));
                json!({
                    "id": self.id, "type": "message", "role": "assistant", "model": self.model,
                    "content": content, "stop_reason": stopped("end_turn", "tool_use"),
                    "stop_sequence": null, "usage": usage,
                })
            }
            Dialect::Gemini => json!({
                "candidates": [{"content": {"parts": [{"text": text}], "role": "model"},
                    "finishReason": "STOP", "index": 0}],
                "usageMetadata": usage, "modelVersion": self.model,
            }),
        }
    }
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn with(object: &Value, name: &str, value: Value) -> Value {
    let mut object = object.clone();
    object[name] = value;
    object
}

/// `text` in pieces of at most `bytes`, cut at characters' borders.
fn pieces(text: &str, bytes: usize) -> Vec<&str> {
    let mut rest = text;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let at = rest.floor_char_boundary(bytes.max(4).min(rest.len()));
        let (piece, more) = rest.split_at(at);
        pieces.push(piece);
        rest = more;
    }
    pieces
}
