//! What a request's body says, in any dialect.

use serde_json::Value;

use crate::dialect::Dialect;

/// What a request asks.
pub(crate) struct Asked {
    pub(crate) dialect: Dialect,
    pub(crate) model: String,
    pub(crate) streamed: bool,
    /// Wants the usage in a chat stream.
    pub(crate) usage: bool,
    /// Everything that was said: who, and what.
    pub(crate) messages: Vec<(String, String)>,
    /// The last thing that the user said; from its `!`, where it has one.
    pub(crate) prompt: String,
    /// A tool's result came after it.
    pub(crate) answered: bool,
    /// The names of the tools that may be called.
    pub(crate) tools: Vec<String>,
}

impl Asked {
    pub(crate) fn read(dialect: Dialect, path: &str, body: &Value) -> Self {
        let list = ["messages", "input", "contents"]
            .iter()
            .find_map(|name| body.get(name));
        let mut messages: Vec<(String, String)> = Vec::new();
        let mut prompt = None;
        let mut answered = false;
        let whole = list
            .and_then(Value::as_str)
            .map(|text| vec![serde_json::json!({"role": "user", "content": text})]);
        let items = whole
            .as_deref()
            .or_else(|| list.and_then(Value::as_array).map(Vec::as_slice));
        for item in items.unwrap_or_default() {
            let role = item.get("role").and_then(Value::as_str).unwrap_or_default();
            let texts = texts(item);
            let result = is_result(item);
            if result {
                answered = true;
            } else if role == "user" && !texts.is_empty() {
                let marked = texts.iter().rev().find(|text| text.starts_with('!'));
                let said = marked.cloned().unwrap_or_else(|| texts.join("\n"));
                prompt = Some(said);
                answered = false;
            }
            let who = if result { "tool" } else { role };
            messages.push((who.to_owned(), texts.join("\n")));
        }
        let model = body.get("model").and_then(Value::as_str);
        let in_path = || path.rsplit('/').next()?.split(':').next();
        let is_true = |value: Option<&Value>| value.and_then(Value::as_bool).unwrap_or(false);
        Self {
            dialect,
            model: model.or_else(in_path).unwrap_or_default().to_owned(),
            streamed: match dialect {
                Dialect::Gemini => path.contains(":streamGenerateContent"),
                Dialect::Chat | Dialect::Responses | Dialect::Anthropic => {
                    is_true(body.get("stream"))
                }
            },
            usage: is_true(body.pointer("/stream_options/include_usage")),
            messages,
            prompt: prompt.unwrap_or_default(),
            answered,
            tools: tools(body),
        }
    }
}

fn texts(item: &Value) -> Vec<String> {
    let content = item.get("content").or_else(|| item.get("parts"));
    if let Some(text) = content.and_then(Value::as_str) {
        return vec![text.to_owned()];
    }
    let parts = content.and_then(Value::as_array).map(Vec::as_slice);
    let text = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
    parts.unwrap_or_default().iter().filter_map(text).collect()
}

fn is_result(item: &Value) -> bool {
    let kind = |value: &Value| value.get("type").and_then(Value::as_str).map(str::to_owned);
    let parts = item.get("content").or_else(|| item.get("parts"));
    let parts = parts.and_then(Value::as_array).map(Vec::as_slice);
    let is_tool = item
        .get("role")
        .is_some_and(|role| role == "tool" || role == "function");
    is_tool
        || kind(item).is_some_and(|kind| kind.ends_with("_call_output"))
        || parts.unwrap_or_default().iter().any(|part| {
            kind(part).is_some_and(|kind| kind == "tool_result")
                || part.get("functionResponse").is_some()
        })
}

fn tools(body: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for tool in body
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let declared = tool.get("functionDeclarations").and_then(Value::as_array);
        for one in declared.map_or_else(|| std::slice::from_ref(tool), Vec::as_slice) {
            let name = one.pointer("/function/name").or_else(|| one.get("name"));
            let name = name.or_else(|| one.get("type")).and_then(Value::as_str);
            names.extend(name.map(str::to_owned));
        }
    }
    names
}
