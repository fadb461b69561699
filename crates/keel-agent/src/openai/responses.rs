//! OpenAI Responses.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Failure, Request,
    endpoint::{
        said::{Call, ErrorObject, Said, Usage, parse, stop_reason},
        sse::Event,
    },
    limits::{TOOL_ARGUMENTS_BYTES_MAX, TOOL_CALLS_MAX},
};

pub(crate) const PATH: &str = "responses";

/// The body of a request.
pub(crate) fn body(request: &Request, model: &str, system: Option<&str>) -> Value {
    let mut input = Vec::new();
    let mut say = |role: &str, content: &str| {
        input.push(json!({"role": role, "content": content}));
    };
    for exchange in &request.history {
        say("user", &exchange.prompt);
        if !exchange.text.is_empty() {
            say("assistant", &exchange.text);
        }
    }
    say("user", &request.prompt);
    let mut body = json!({"model": model, "input": input, "stream": true, "store": false});
    if let Some(system) = system {
        body["instructions"] = system.into();
    }
    body
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    calls: usize,
    arguments_bytes: usize,
    refused: bool,
}

/// The name of an event, and no more: the last ones hold the whole answer again.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    r#type: Option<String>,
    /// Proxies tell theirs without a type.
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    delta: String,
}

#[derive(Deserialize)]
struct ItemDone {
    item: Item,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    call_id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: String,
}

#[derive(Deserialize)]
struct Over {
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

impl Reader {
    pub(crate) fn read(&mut self, event: &Event, said: &mut Vec<Said>) -> Result<(), Failure> {
        let data = event.data.as_str();
        if data.trim() == "[DONE]" {
            said.push(Said::End);
            return Ok(());
        }
        let Named { r#type, error } = parse(data)?;
        if let (None, Some(error)) = (&r#type, error.filter(|error| !error.is_null())) {
            said.push(Said::Failed(ErrorObject::read(error).failure()));
            return Ok(());
        }
        match r#type.as_deref().unwrap_or(&event.name) {
            "response.output_text.delta" => {
                said.push(Said::Text(parse::<Delta>(data)?.delta));
            }
            "response.refusal.delta" => {
                self.refused = true;
                said.push(Said::Text(parse::<Delta>(data)?.delta));
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                said.push(Said::Thought(parse::<Delta>(data)?.delta));
            }
            "response.output_item.done" => self.item(parse::<ItemDone>(data)?.item, said)?,
            "response.completed" => {
                let response = parse::<Over>(data)?.response;
                let word = match (self.refused, self.calls) {
                    (true, _) => "refusal",
                    (false, 0) => "stop",
                    (false, _) => "tool_calls",
                };
                end(response, word, said);
            }
            "response.incomplete" => {
                let mut response = parse::<Over>(data)?.response;
                let details = response.incomplete_details.take();
                let word = details.and_then(|details| details.reason);
                end(response, word.as_deref().unwrap_or("incomplete"), said);
            }
            "response.failed" | "response.cancelled" => {
                let error = parse::<Over>(data)?.response.error.unwrap_or_default();
                said.push(Said::Failed(ErrorObject::read(error).failure()));
            }
            "error" => {
                let mut value: Value = parse(data)?;
                let inner = value.get_mut("error").map(Value::take);
                let error = match inner.filter(|inner| !inner.is_null()) {
                    Some(inner) => inner,
                    None => {
                        // Its type is the event's name.
                        if let Some(object) = value.as_object_mut() {
                            object.remove("type");
                        }
                        value
                    }
                };
                said.push(Said::Failed(ErrorObject::read(error).failure()));
            }
            // Beginnings, and what the last events tell again.
            _ => {}
        }
        Ok(())
    }

    fn item(&mut self, item: Item, said: &mut Vec<Said>) -> Result<(), Failure> {
        if item.r#type != "function_call" {
            return Ok(());
        }
        self.calls += 1;
        self.arguments_bytes += item.arguments.len();
        if self.calls > TOOL_CALLS_MAX || self.arguments_bytes > TOOL_ARGUMENTS_BYTES_MAX {
            let error = format!("the model calls more than {TOOL_CALLS_MAX} tools at once");
            return Err(Failure::Sse { error });
        }
        said.push(Said::Call(Call {
            id: item.call_id.or(item.id).unwrap_or_default(),
            name: item.name,
            arguments: item.arguments,
        }));
        Ok(())
    }
}

fn end(response: Response, word: &str, said: &mut Vec<Said>) {
    if let Some(usage) = response.usage.filter(Value::is_object) {
        let figure = |path: &str| usage.pointer(path).cloned();
        said.push(Said::Usage(Usage {
            input: figure("/input_tokens"),
            output: figure("/output_tokens"),
            cached: figure("/input_tokens_details/cached_tokens"),
            cost: figure("/cost"),
        }));
    }
    said.push(Said::Finish(stop_reason(word)));
    said.push(Said::End);
}
