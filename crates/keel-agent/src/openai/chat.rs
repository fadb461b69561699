//! OpenAI Chat Completions, as many servers speak it: nothing is demanded that is not used.

use std::collections::BTreeMap;

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

pub(crate) const PATH: &str = "chat/completions";

/// The body of a request.
pub(crate) fn body(request: &Request, model: &str, system: Option<&str>) -> Value {
    let mut messages = Vec::new();
    let mut say = |role: &str, content: &str| {
        messages.push(json!({"role": role, "content": content}));
    };
    if let Some(system) = system {
        say("system", system);
    }
    for exchange in &request.history {
        say("user", &exchange.prompt);
        if !exchange.text.is_empty() {
            say("assistant", &exchange.text);
        }
    }
    say("user", &request.prompt);
    json!({
        "model": model, "messages": messages, "stream": true,
        "stream_options": {"include_usage": true},
    })
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    calls: BTreeMap<u64, Call>,
    arguments_bytes: usize,
    finish: Option<String>,
    refused: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u64,
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    refusal: Option<String>,
    /// OpenRouter's, vLLM's and Ollama's name for what the model thinks; the next is DeepSeek's and
    /// llama.cpp's.
    #[serde(default)]
    reasoning: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Fragment>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Content {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => parts.into_iter().map(|part| part.text).collect(),
        }
    }
}

/// A piece of a call.
#[derive(Deserialize)]
struct Fragment {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<Value>,
}

impl Reader {
    pub(crate) fn read(&mut self, event: &Event, said: &mut Vec<Said>) -> Result<(), Failure> {
        if event.data.trim() == "[DONE]" {
            said.push(Said::End);
            return Ok(());
        }
        let chunk: Chunk = parse(&event.data)?;
        let is_error = event.name == "error" && chunk.choices.is_none();
        let error = chunk.error.filter(|error| !error.is_null());
        if let Some(error) = error {
            said.push(Said::Failed(ErrorObject::read(error).failure()));
            return Ok(());
        }
        if is_error {
            // The object itself is the error.
            said.push(Said::Failed(
                ErrorObject::read(parse(&event.data)?).failure(),
            ));
            return Ok(());
        }
        if let Some(usage) = chunk.usage.filter(Value::is_object) {
            said.push(Said::Usage(read_usage(&usage)));
        }
        for choice in chunk.choices.unwrap_or_default() {
            // Others were not asked for.
            if choice.index == 0 {
                self.choice(choice, said)?;
            }
        }
        Ok(())
    }

    fn choice(&mut self, choice: Choice, said: &mut Vec<Said>) -> Result<(), Failure> {
        if let Some(error) = choice.error.filter(|error| !error.is_null()) {
            said.push(Said::Failed(ErrorObject::read(error).failure()));
            return Ok(());
        }
        if self.finish.is_some() {
            // An answer ends once; a proxy that asked twice may go on talking.
            return Ok(());
        }
        if let Some(delta) = choice.delta {
            self.delta(delta, said)?;
        }
        match choice.finish_reason.as_deref() {
            None | Some("") => {}
            Some("error") => said.push(Said::Failed(ErrorObject::default().failure())),
            Some(word) => {
                let calls = std::mem::take(&mut self.calls);
                said.extend(calls.into_values().map(Said::Call));
                let word = match self.refused {
                    true => "refusal".to_owned(),
                    false => stop_reason(word),
                };
                said.push(Said::Finish(word.clone()));
                self.finish = Some(word);
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, said: &mut Vec<Said>) -> Result<(), Failure> {
        // Some servers tell the same thought under both names.
        let thought = delta.reasoning_content.or(delta.reasoning);
        said.extend(thought.filter(|text| !text.is_empty()).map(Said::Thought));
        let text = delta.content.map(Content::text);
        said.extend(text.filter(|text| !text.is_empty()).map(Said::Text));
        if let Some(refusal) = delta.refusal.filter(|text| !text.is_empty()) {
            self.refused = true;
            said.push(Said::Text(refusal));
        }
        for fragment in delta.tool_calls.unwrap_or_default() {
            self.fragment(fragment)?;
        }
        Ok(())
    }

    fn fragment(&mut self, fragment: Fragment) -> Result<(), Failure> {
        let last = self.calls.last_key_value().map(|(index, _)| *index);
        let mut index = fragment.index.or(last).unwrap_or(0);
        let id = fragment.id.filter(|id| !id.is_empty());
        // Some servers give every call the index 0.
        let other = self.calls.get(&index).is_some_and(|call| {
            id.as_ref()
                .is_some_and(|id| !call.id.is_empty() && *id != call.id)
        });
        if other {
            index = last.unwrap_or(0) + 1;
        }
        if self.calls.len() >= TOOL_CALLS_MAX && !self.calls.contains_key(&index) {
            let error = format!("the model calls more than {TOOL_CALLS_MAX} tools at once");
            return Err(Failure::Sse { error });
        }
        let call = self.calls.entry(index).or_insert_with(|| Call {
            id: String::new(),
            name: String::new(),
            arguments: String::new(),
        });
        if let Some(id) = id {
            call.id = id;
        }
        let function = fragment.function.unwrap_or(Function {
            name: None,
            arguments: None,
        });
        // A name comes whole, and by some servers again and again.
        if let Some(name) = function.name.filter(|name| !name.is_empty()) {
            call.name = name;
        }
        match function.arguments {
            None | Some(Value::Null) => {}
            Some(Value::String(piece)) => {
                self.arguments_bytes += piece.len();
                call.arguments.push_str(&piece);
            }
            // Not as it should be, and clear.
            Some(whole) => {
                call.arguments = whole.to_string();
                self.arguments_bytes += call.arguments.len();
            }
        }
        if self.arguments_bytes > TOOL_ARGUMENTS_BYTES_MAX {
            let error =
                format!("the arguments of tools are longer than {TOOL_ARGUMENTS_BYTES_MAX} bytes");
            return Err(Failure::Sse { error });
        }
        Ok(())
    }
}

fn read_usage(usage: &Value) -> Usage {
    let figure = |path: &str| usage.pointer(path).cloned();
    Usage {
        input: figure("/prompt_tokens"),
        output: figure("/completion_tokens"),
        cached: figure("/prompt_tokens_details/cached_tokens"),
        cost: figure("/cost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[Value]) -> Result<Vec<Said>, Failure> {
        let mut reader = Reader::default();
        let mut said = Vec::new();
        for chunk in chunks {
            let data = chunk.to_string();
            let name = String::new();
            reader.read(&Event { name, data }, &mut said)?;
        }
        Ok(said)
    }

    fn delta(delta: Value) -> Value {
        json!({"choices": [{"delta": delta}]})
    }

    #[test]
    fn calls_without_an_index_or_all_with_the_first_are_told_apart_h12() {
        let call = |index: Value, id: &str, arguments: Value| {
            let function = json!({"name": "f", "arguments": arguments});
            delta(json!({"tool_calls": [{"index": index, "id": id, "function": function}]}))
        };
        let end = json!({"choices": [{"finish_reason": "tool_calls"}]});
        let zero = || json!(0);
        let chunks = [
            call(zero(), "a", json!("{\"x\":")),
            call(zero(), "", json!("1}")),
            call(zero(), "b", json!({"y": 2})),
            call(Value::Null, "c", json!("{}")),
            end,
        ];
        let said = read(&chunks).expect("well-formed");
        let calls: Vec<_> = said
            .iter()
            .filter_map(|said| {
                let Said::Call(call) = said else { return None };
                Some((call.id.as_str(), call.arguments.as_str()))
            })
            .collect();
        assert_eq!(calls, [("a", "{\"x\":1}"), ("b", "{\"y\":2}"), ("c", "{}")]);
    }

    #[test]
    fn an_answer_ends_once_h17() {
        let end = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]});
        let said = read(&[end.clone(), delta(json!({"content": "again"})), end]);
        assert_eq!(
            said.expect("well-formed"),
            [
                Said::Text("x".to_owned()),
                Said::Finish("end_turn".to_owned())
            ]
        );
    }

    #[test]
    fn text_comes_in_parts_too_and_a_thought_once() {
        let parts =
            json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]});
        let thought = json!({"reasoning": "t", "reasoning_content": "t", "content": null});
        let said = read(&[delta(thought), delta(parts), delta(json!({}))]).expect("well-formed");
        assert_eq!(
            said,
            [Said::Thought("t".to_owned()), Said::Text("ab".to_owned())]
        );
    }
}
