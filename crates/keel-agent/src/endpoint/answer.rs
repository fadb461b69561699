//! What an answer has said so far, and how that is told.

use keel_wire::item::{ItemData, ToolStatus};
use serde_json::{Value, json};

use super::{
    Endpoint,
    refusal::tidy,
    said::{Call, Said, Usage},
};
use crate::{Failure, Output, limits::ITEM_BYTES_MAX};

/// Bytes of a thought that one item carries.
const THOUGHT_BYTES_MAX: usize = 8 * 1024;
/// Bytes of a tool's name or a call's id that are told.
const NAME_BYTES_MAX: usize = 256;

/// What one answer has said.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Bytes of text.
    pub(crate) text_bytes: u64,
    /// Tools were called.
    pub(crate) called: bool,
    /// Why it ended, once it has.
    pub(crate) finish: Option<String>,
    /// Nothing more is to come.
    pub(crate) over: bool,
    usage: Usage,
    bad_call: Option<Failure>,
}

impl Answer {
    /// Takes what was said, and gives what there is to tell: neighbours of a kind as one.
    pub(crate) fn take(
        &mut self,
        endpoint: &Endpoint,
        said: Vec<Said>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        let mut text = String::new();
        let mut thought = String::new();
        for said in said {
            if self.over {
                break;
            }
            if !matches!(said, Said::Text(_)) {
                flush_text(&mut text, outputs);
            }
            if !matches!(said, Said::Thought(_)) {
                flush_thought(&mut thought, outputs);
            }
            match said {
                // What comes after the end of the answer is not part of it.
                Said::Text(_) | Said::Thought(_) | Said::Call(_) if self.finish.is_some() => {}
                Said::Text(more) => {
                    self.text_bytes += more.len() as u64;
                    text.push_str(&more);
                }
                Said::Thought(more) => {
                    thought.push_str(&more);
                    if thought.len() >= THOUGHT_BYTES_MAX {
                        flush_thought(&mut thought, outputs);
                    }
                }
                Said::Call(call) => {
                    self.called = true;
                    self.call(endpoint, call, outputs);
                }
                Said::Usage(usage) => self.usage.update(usage),
                Said::Finish(word) => drop(self.finish.get_or_insert(word)),
                Said::End => self.over = true,
                Said::Failed(failure) => {
                    flush_text(&mut text, outputs);
                    return Err(tidied(endpoint, failure));
                }
            }
        }
        flush_text(&mut text, outputs);
        flush_thought(&mut thought, outputs);
        Ok(())
    }

    /// How the answer ended, as far as it has come; what is left to tell goes to `outputs`.
    pub(crate) fn end(&mut self, outputs: &mut Vec<Output>) -> Result<String, Failure> {
        let Some(finish) = self.finish.take() else {
            return Err(Failure::NoFinish);
        };
        outputs.push(item(ItemData::Usage(self.usage.told())));
        match self.bad_call.take() {
            Some(failure) => Err(failure),
            None => Ok(finish),
        }
    }

    /// Tells a call. Nobody here runs tools: it stays pending, and what is wrong with it is told
    /// and ends the turn.
    fn call(&mut self, endpoint: &Endpoint, call: Call, outputs: &mut Vec<Output>) {
        let cut = |text: &str| text[..text.floor_char_boundary(NAME_BYTES_MAX)].to_owned();
        let (id, name) = (cut(&call.id), cut(&call.name));
        let arguments = match call.arguments.trim() {
            "" => Ok(json!({})),
            arguments => serde_json::from_str::<Value>(arguments),
        };
        let known = endpoint.knows_tool(&name);
        let wrong = match (&arguments, known) {
            (Err(_), _) => Some("arguments that are not JSON"),
            (Ok(_), false) => Some("a tool that it was not given"),
            (Ok(_), true) => None,
        };
        let input = arguments.unwrap_or_else(|_| {
            let end = call.arguments.floor_char_boundary(1_024);
            call.arguments[..end].into()
        });
        let status = match wrong {
            Some(_) => ToolStatus::Failed,
            None => ToolStatus::Pending,
        };
        let input = match keel_wire::json_len(&input) {
            bytes if bytes + 2 * NAME_BYTES_MAX + 128 > ITEM_BYTES_MAX => {
                json!({"omitted_bytes": bytes})
            }
            _ => input,
        };
        outputs.push(item(ItemData::ToolCall {
            id: id.clone(),
            title: name.clone(),
            kind: None,
            status,
            input: Some(input),
        }));
        if let Some(wrong) = wrong {
            let output = format!("the model calls it with {wrong}");
            let output = if known {
                output
            } else {
                format!("the model calls {wrong}")
            };
            outputs.push(item(ItemData::ToolUpdate {
                id,
                title: None,
                status: Some(ToolStatus::Failed),
                output: Some(output.into()),
            }));
            self.bad_call.get_or_insert_with(|| Failure::Upstream {
                kind: "tool_call".to_owned(),
                message: format!("the model calls {name:?}: {wrong}"),
            });
        }
    }
}

fn flush_text(text: &mut String, outputs: &mut Vec<Output>) {
    if !text.is_empty() {
        outputs.push(Output::Text(std::mem::take(text)));
    }
}

fn flush_thought(thought: &mut String, outputs: &mut Vec<Output>) {
    if !thought.is_empty() {
        let text = std::mem::take(thought);
        outputs.push(item(ItemData::Thought { text }));
    }
}

fn item(data: ItemData) -> Output {
    Output::Item(data.into_value())
}

fn tidied(endpoint: &Endpoint, failure: Failure) -> Failure {
    let Failure::Upstream { kind, message } = failure else {
        return failure;
    };
    Failure::Upstream {
        kind: tidy(endpoint, &kind),
        message: tidy(endpoint, &message),
    }
}
