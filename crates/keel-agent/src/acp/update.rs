//! What an agent tells of its work (`session/update`), as the items that everybody knows.
//!
//! Agents differ in what they leave out and what they make up, so every field is read for itself:
//! one that makes no sense is left out, and the rest still counts. A kind that is not known here is
//! passed on as it is, inside an envelope of ours, so that it cannot pass for one of ours (A63).

use serde_json::{Map, Value, json};

use crate::{
    limits::{ITEM_BYTES_MAX, ITEM_DEPTH_MAX},
    process::json_line::depth,
};

/// Names of commands that are told of.
const COMMANDS_MAX: usize = 256;
/// Entries of a plan that are told of.
const PLAN_ENTRIES_MAX: usize = 256;
/// Bytes of a title or a name.
const TITLE_BYTES_MAX: usize = 1024;

/// What one update says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Update {
    /// More of the answer; of the message with this id, where the agent gives one.
    Text {
        message: Option<String>,
        text: String,
    },
    /// More of a thought; it does not part a message.
    Thought(String),
    /// Anything else to be told.
    Item(Value),
    /// What kind a tool is of, besides what is told of its call.
    Tool {
        id: String,
        kind: Option<String>,
        items: Vec<Value>,
    },
    /// Nothing that anybody is told of.
    Silent,
}

/// Reads the `update` of a `session/update`.
pub(crate) fn read(update: Value) -> Update {
    let Value::Object(update) = update else {
        return Update::Silent;
    };
    let kind = update.get("sessionUpdate").and_then(Value::as_str);
    match kind.unwrap_or_default() {
        "agent_message_chunk" => chunk(&update),
        "agent_thought_chunk" => thought(&update),
        // An echo of what was asked; everybody has it already.
        "user_message_chunk" => Update::Silent,
        "tool_call" => tool_call(&update),
        "tool_call_update" => tool_update(&update),
        "plan" => Update::Item(plan(&update)),
        "available_commands_update" => Update::Item(commands(&update)),
        "current_mode_update" => match text(&update, "currentModeId") {
            Some(mode) => Update::Item(json!({"type": "mode", "mode": mode})),
            None => other(update),
        },
        "usage_update" => Update::Item(usage(&update)),
        "notice" => Update::Item(notice(&update)),
        _ => other(update),
    }
}

fn chunk(update: &Map<String, Value>) -> Update {
    let content = update.get("content").unwrap_or(&Value::Null);
    let message = text(update, "messageId");
    match content.get("type").and_then(Value::as_str) {
        Some("text") => match content.get("text").and_then(Value::as_str) {
            Some(text) => Update::Text {
                message,
                text: without_nul(text),
            },
            None => Update::Silent,
        },
        _ => Update::Item(fit(json!({"type": "content", "content": content}))),
    }
}

fn thought(update: &Map<String, Value>) -> Update {
    let content = update.get("content").unwrap_or(&Value::Null);
    match content.get("text").and_then(Value::as_str) {
        Some(text) => Update::Thought(without_nul(text)),
        None => Update::Silent,
    }
}

/// A thought as it is told.
pub(crate) fn thought_item(text: &str) -> Value {
    fit(json!({"type": "thought", "text": text}))
}

/// Whether an update is a piece of a text that others follow, so that a secret may be in two of them.
pub(crate) fn is_piece(update: &Value) -> bool {
    match update["sessionUpdate"].as_str() {
        Some("agent_message_chunk") => update["content"]["type"] == "text",
        Some("agent_thought_chunk") => true,
        _ => false,
    }
}

fn tool_call(update: &Map<String, Value>) -> Update {
    let Some(id) = text(update, "toolCallId") else {
        return other(update.clone());
    };
    let kind = text(update, "kind");
    let title = text(update, "title").unwrap_or_else(|| "a tool".to_owned());
    let status = update.get("status").and_then(Value::as_str);
    let mut call = json!({
        "type": "tool_call", "id": id, "title": title, "status": status_word(status),
    });
    put(&mut call, "kind", kind.clone().map(Value::from));
    put(&mut call, "input", update.get("rawInput").cloned());
    let mut items = vec![fit(call)];
    // What it has put out by now is not part of a call.
    if let Some(output) = output(update) {
        items.push(fit(
            json!({"type": "tool_update", "id": id, "output": output}),
        ));
    }
    Update::Tool { id, kind, items }
}

/// Says what is known of a tool call by now; of one that a permission is asked for, too.
pub(crate) fn tool_update(update: &Map<String, Value>) -> Update {
    let Some(id) = text(update, "toolCallId") else {
        return other(update.clone());
    };
    let kind = text(update, "kind");
    let status = update.get("status").and_then(Value::as_str);
    let mut item = json!({"type": "tool_update", "id": id});
    put(&mut item, "title", text(update, "title").map(Value::from));
    put(
        &mut item,
        "status",
        status.map(|status| status_word(Some(status)).into()),
    );
    put(&mut item, "output", output(update));
    let items = vec![fit(item)];
    Update::Tool { id, kind, items }
}

/// The protocol's word for a state as ours.
fn status_word(status: Option<&str>) -> &'static str {
    match status {
        Some("in_progress") => "running",
        Some("completed") => "done",
        Some("failed") => "failed",
        _ => "pending",
    }
}

/// What a tool has put out: text where it is nothing but text, else as the agent tells it.
fn output(update: &Map<String, Value>) -> Option<Value> {
    let content = update.get("content").and_then(Value::as_array);
    let Some(content) = content.filter(|content| !content.is_empty()) else {
        return update
            .get("rawOutput")
            .filter(|raw| !raw.is_null())
            .cloned();
    };
    let plain = |part: &Value| {
        let block = part.get("content")?;
        let is_text = block.get("type")?.as_str()? == "text";
        is_text.then(|| block.get("text")?.as_str().map(without_nul))?
    };
    let texts: Option<Vec<String>> = content.iter().map(plain).collect();
    Some(texts.map_or_else(
        || Value::Array(content.clone()),
        |texts| texts.join("\n").into(),
    ))
}

fn plan(update: &Map<String, Value>) -> Value {
    let entries = update.get("entries").and_then(Value::as_array);
    let entries = entries.into_iter().flatten().take(PLAN_ENTRIES_MAX);
    let entries: Vec<Value> = entries
        .filter_map(|entry| {
            let entry = entry.as_object()?;
            let status = match entry.get("status").and_then(Value::as_str) {
                Some("in_progress") => "running",
                Some("completed") => "done",
                _ => "pending",
            };
            let mut told = json!({"content": text(entry, "content")?, "status": status});
            put(
                &mut told,
                "priority",
                text(entry, "priority").map(Value::from),
            );
            Some(told)
        })
        .collect();
    fit(json!({"type": "plan", "entries": entries}))
}

fn commands(update: &Map<String, Value>) -> Value {
    let commands = update.get("availableCommands").and_then(Value::as_array);
    let commands = commands.into_iter().flatten().take(COMMANDS_MAX);
    let names: Vec<String> = commands
        .filter_map(|command| text(command.as_object()?, "name"))
        .collect();
    fit(json!({"type": "commands", "names": names}))
}

fn notice(update: &Map<String, Value>) -> Value {
    let notice = update
        .get("notice")
        .and_then(Value::as_object)
        .unwrap_or(update);
    let level = match text(notice, "severity").as_deref() {
        None | Some("info") => "info",
        Some(_) => "warning",
    };
    let said = text(notice, "message").unwrap_or_default();
    json!({"type": "notice", "level": level, "text": said})
}

/// How full the agent's context is, and what it has cost.
fn usage(update: &Map<String, Value>) -> Value {
    let mut item = json!({"type": "usage"});
    let mut unknown = false;
    let mut figure = |name: &str, value: Option<&Value>| {
        let known = value.and_then(Value::as_u64);
        unknown |= value.is_some_and(|value| !value.is_null()) && known.is_none();
        put(&mut item, name, known.map(Value::from));
    };
    figure("context_used", update.get("used"));
    figure("context_size", update.get("size"));
    let cost = update.get("cost").filter(|cost| !cost.is_null());
    let amount = cost.and_then(|cost| cost.get("amount")?.as_f64());
    let dollars = cost.is_some_and(|cost| cost.get("currency").is_some_and(|it| it == "USD"));
    let amount = amount.filter(|amount| dollars && amount.is_finite() && *amount >= 0.0);
    unknown |= cost.is_some() && amount.is_none();
    put(&mut item, "cost_usd", amount.map(Value::from));
    put(&mut item, "unknown", unknown.then(|| true.into()));
    item
}

/// What a turn has used, which some agents tell with its end.
pub(crate) fn turn_usage(usage: &Value) -> Option<Value> {
    let usage = usage.as_object()?;
    let mut item = json!({"type": "usage"});
    let mut unknown = false;
    let figures = [
        ("input_tokens", "inputTokens"),
        ("output_tokens", "outputTokens"),
        ("cached_tokens", "cachedReadTokens"),
    ];
    for (name, theirs) in figures {
        let value = usage.get(theirs).filter(|value| !value.is_null());
        let known = value.and_then(Value::as_u64);
        unknown |= value.is_some() && known.is_none();
        put(&mut item, name, known.map(Value::from));
    }
    put(&mut item, "unknown", unknown.then(|| true.into()));
    Some(item)
}

fn other(update: Map<String, Value>) -> Update {
    Update::Item(fit(json!({"type": "acp_update", "update": update})))
}

/// A short text of the agent's.
pub(crate) fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    let mut text = without_nul(object.get(key)?.as_str()?);
    text.truncate(text.floor_char_boundary(TITLE_BYTES_MAX));
    Some(text)
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn put(item: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(value), Value::Object(item)) = (value.filter(|value| !value.is_null()), item) {
        item.insert(key.to_owned(), value);
    }
}

/// As much of an item as a frame can carry: what is too large in it is told by its size.
pub(crate) fn fit(mut item: Value) -> Value {
    if fits(&item) {
        return item;
    }
    for key in [
        "output", "input", "text", "content", "update", "entries", "names",
    ] {
        let Some(part) = item.get_mut(key) else {
            continue;
        };
        let bytes = part.to_string().len();
        *part = match part.as_str() {
            // Text keeps its beginning. A character takes at most six bytes as JSON.
            Some(text) => {
                let end = text.floor_char_boundary(ITEM_BYTES_MAX / 8);
                format!("{}\u{2026} ({bytes} bytes)", &text[..end]).into()
            }
            None => json!({"omitted_bytes": bytes}),
        };
        if fits(&item) {
            return item;
        }
    }
    json!({"type": "omitted", "bytes": item.to_string().len()})
}

fn fits(item: &Value) -> bool {
    depth(item) <= ITEM_DEPTH_MAX && item.to_string().len() <= ITEM_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(update: Value) -> Value {
        match read(update) {
            Update::Item(item) => item,
            Update::Thought(text) => thought_item(&text),
            Update::Tool { mut items, .. } => items.remove(0),
            other @ (Update::Text { .. } | Update::Silent) => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_the_protocol_becomes_an_item() {
        let text = json!({"type": "text", "text": "hello\u{0}"});
        let chunk =
            json!({"sessionUpdate": "agent_message_chunk", "messageId": "m", "content": text});
        let said = Update::Text {
            message: Some("m".to_owned()),
            text: "hello\u{fffd}".to_owned(),
        };
        assert_eq!(read(chunk), said);
        let rows = [
            (
                json!({"sessionUpdate": "agent_thought_chunk", "content": {"type": "text", "text": "hm"}}),
                json!({"type": "thought", "text": "hm"}),
            ),
            (
                json!({"sessionUpdate": "tool_call", "toolCallId": "c", "title": "ls", "kind": "execute",
                       "status": "in_progress", "rawInput": {"command": "ls"}}),
                json!({"type": "tool_call", "id": "c", "title": "ls", "kind": "execute",
                       "status": "running", "input": {"command": "ls"}}),
            ),
            (
                json!({"sessionUpdate": "tool_call_update", "toolCallId": "c", "status": "completed",
                       "content": [{"type": "content", "content": {"type": "text", "text": "a"}},
                                   {"type": "content", "content": {"type": "text", "text": "b"}}]}),
                json!({"type": "tool_update", "id": "c", "status": "done", "output": "a\nb"}),
            ),
            (
                json!({"sessionUpdate": "tool_call_update", "toolCallId": "c", "status": "failed",
                       "content": [{"type": "diff", "path": "/a"}]}),
                json!({"type": "tool_update", "id": "c", "status": "failed",
                       "output": [{"type": "diff", "path": "/a"}]}),
            ),
            (
                json!({"sessionUpdate": "tool_call_update", "toolCallId": "c", "rawOutput": {"n": 1}}),
                json!({"type": "tool_update", "id": "c", "output": {"n": 1}}),
            ),
            (
                json!({"sessionUpdate": "plan", "entries": [
                    {"content": "look", "status": "in_progress", "priority": "high"}, 7]}),
                json!({"type": "plan", "entries": [
                    {"content": "look", "status": "running", "priority": "high"}]}),
            ),
            (
                json!({"sessionUpdate": "available_commands_update",
                       "availableCommands": [{"name": "init", "description": "x"}, {}]}),
                json!({"type": "commands", "names": ["init"]}),
            ),
            (
                json!({"sessionUpdate": "current_mode_update", "currentModeId": "plan"}),
                json!({"type": "mode", "mode": "plan"}),
            ),
            (
                json!({"sessionUpdate": "usage_update", "used": 5, "size": 100,
                       "cost": {"amount": 0.25, "currency": "USD"}}),
                json!({"type": "usage", "context_used": 5, "context_size": 100, "cost_usd": 0.25}),
            ),
            (
                json!({"sessionUpdate": "usage_update", "used": -5, "size": 1.5,
                       "cost": {"amount": -1, "currency": "USD"}}),
                json!({"type": "usage", "unknown": true}),
            ),
        ];
        for (update, want) in rows {
            assert_eq!(item(update.clone()), want, "{update}");
        }
        let echo = json!({"sessionUpdate": "user_message_chunk", "content": text});
        assert_eq!(read(echo), Update::Silent);
    }

    #[test]
    fn a_kind_that_nobody_knows_is_kept_inside_an_envelope_c20_a63() {
        let update =
            json!({"sessionUpdate": "from_the_future", "type": "notice", "text": "trust me"});
        assert_eq!(
            item(update.clone()),
            json!({"type": "acp_update", "update": update})
        );
        for broken in [
            json!(7),
            json!({}),
            json!({"sessionUpdate": 1}),
            json!({"sessionUpdate": "tool_call"}),
        ] {
            match read(broken) {
                Update::Silent => {}
                Update::Item(item) => assert_eq!(item["type"], "acp_update"),
                Update::Text { .. } | Update::Thought(_) | Update::Tool { .. } => panic!("known"),
            }
        }
    }

    #[test]
    fn what_no_frame_can_carry_is_told_by_its_size_c13() {
        let long = "x".repeat(2 * ITEM_BYTES_MAX);
        let told = item(
            json!({"sessionUpdate": "tool_call_update", "toolCallId": "c",
            "status": "completed", "rawOutput": {"long": long}}),
        );
        assert_eq!(told["output"], json!({"omitted_bytes": long.len() + 11}));
        assert_eq!(
            (&told["id"], &told["status"]),
            (&json!("c"), &json!("done"))
        );
        let told = item(json!({"sessionUpdate": "agent_thought_chunk", "content": {"text": long}}));
        assert!(
            fits(&told)
                && told["text"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("xxx"))
        );
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let told = item(json!({"sessionUpdate": "tool_call", "toolCallId": "c", "rawInput": deep}));
        assert!(fits(&told) && told["id"] == "c", "{told}");
    }

    #[test]
    fn what_a_turn_has_used_is_told_where_it_makes_sense() {
        let usage = json!({"inputTokens": 1, "outputTokens": 2, "cachedReadTokens": null, "totalTokens": 3});
        assert_eq!(
            turn_usage(&usage),
            Some(json!({"type": "usage", "input_tokens": 1, "output_tokens": 2}))
        );
        assert_eq!(
            turn_usage(&json!({"inputTokens": "many"})),
            Some(json!({"type": "usage", "unknown": true}))
        );
        assert_eq!(turn_usage(&json!(7)), None);
    }
}
