//! A whole session as a file: its log as lines of JSON, or its transcript as Markdown.
//!
//! Both are streamed from pages of the log, so that a session of any length takes as much memory as a
//! page and its open turns. What ends before its end breaks the connection off: half a file never
//! passes for a whole one.

use std::{collections::VecDeque, fmt::Write, io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use keel_wire::{Code, Seq, SessionId, record::SessionRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    access::{self, Asked, Bearer, Target},
    events::frame,
    reply,
    sessions::Row,
    transcript::READ,
};
use crate::{
    shared::Shared,
    transcript::{Progress, Turn, Turns},
};

/// What a session is written as.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// The log: a line that describes the session, then one an event.
    #[default]
    Jsonl,
    /// The transcript, for people.
    Markdown,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    /// What to write it as.
    #[serde(default)]
    format: Format,
}

/// `GET /v1/sessions/{session}/export`.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    Asked(query): Asked<ExportQuery>,
) -> Response {
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    let Ok(permit) = Arc::clone(&shared.event_streams).try_acquire_owned() else {
        return reply::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::AtCapacity,
            "too many streams",
        );
    };
    let (kind, ending) = match query.format {
        Format::Jsonl => ("application/jsonl", "jsonl"),
        Format::Markdown => ("text/markdown; charset=utf-8", "md"),
    };
    let name = format!("attachment; filename=\"{session}.{ending}\"");
    let mut export = Export {
        shared,
        session,
        after: row.trimmed,
        head: row.head,
        format: query.format,
        turns: Turns::default(),
        number: 0,
        pending: VecDeque::new(),
        over: false,
        _permit: permit,
    };
    export.begin(row);
    let pieces = stream::unfold(export, |mut export| async move {
        let piece = export.next().await?;
        Some((piece, export))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

/// An export under way. It ends where the log ended when it began.
struct Export {
    shared: Arc<Shared>,
    session: SessionId,
    after: Seq,
    head: Seq,
    format: Format,
    turns: Turns,
    number: usize,
    pending: VecDeque<String>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Export {
    fn begin(&mut self, row: SessionRow) {
        let trimmed = row.trimmed;
        let first = match self.format {
            Format::Jsonl => {
                let line = json!({ "format": "evenkeel.session.1", "session": Row::from(row) });
                format!("{line}\n")
            }
            Format::Markdown => heading(&row),
        };
        self.pending.push_back(first);
        if trimmed > Seq::ZERO && matches!(self.format, Format::Markdown) {
            let note = format!("*The log up to position {trimmed} is no longer kept.*\n\n");
            self.pending.push_back(note);
        }
    }

    /// The next piece; an error breaks the connection off.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(piece) = self.pending.pop_front() {
                return Some(Ok(Bytes::from(piece)));
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.read_on().await {
                self.over = true;
                return Some(Err(error));
            }
        }
    }

    async fn read_on(&mut self) -> io::Result<()> {
        if self.shared.closing.is_cancelled() {
            return Err(io::Error::other("the server stops"));
        }
        let events = self
            .shared
            .store
            .events(&self.session, self.after, READ)
            .await;
        let events = events.map_err(|error| {
            tracing::error!(%error, session = %self.session, "an export failed");
            io::Error::other("the log cannot be read")
        })?;
        let whole = self.after >= self.head;
        let Some(last) = events.last().filter(|_| !whole) else {
            if !whole {
                return Err(io::Error::other("the session was deleted"));
            }
            self.finish();
            return Ok(());
        };
        let wanted = self.after.next();
        if events.first().is_some_and(|first| first.from > wanted) {
            return Err(io::Error::other("the log was trimmed meanwhile"));
        }
        self.after = last.to;
        let head = self.head;
        let events = events.into_iter().filter(|event| event.from <= head);
        match self.format {
            Format::Jsonl => {
                let mut lines = String::new();
                for event in events {
                    let line = serde_json::to_string(&frame(event)).unwrap_or_default();
                    lines.push_str(&line);
                    lines.push('\n');
                }
                self.pending.push_back(lines);
            }
            Format::Markdown => {
                for event in events {
                    self.turns.take(&event);
                }
                for turn in self.turns.take_ended() {
                    self.write(&turn);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.over = true;
        for turn in std::mem::take(&mut self.turns).into_turns() {
            self.write(&turn);
        }
    }

    fn write(&mut self, turn: &Turn) {
        self.number += 1;
        self.pending.push_back(section(self.number, turn));
    }
}

/// Text on one line, so that it stays where it is put.
fn line(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().to_owned()
}

fn heading(row: &SessionRow) -> String {
    let title = row.about.title.as_deref().map(line).unwrap_or_default();
    let title = if title.is_empty() {
        row.session.to_string()
    } else {
        title
    };
    let mut text = format!("# {title}\n\n- session: `{}`\n", row.session);
    let _ = writeln!(text, "- backend: {}", line(&row.backend));
    let facts = [("project", &row.project), ("directory", &row.about.cwd)];
    for (name, fact) in facts {
        if let Some(fact) = fact {
            let _ = writeln!(text, "- {name}: {}", line(fact));
        }
    }
    if !row.about.tags.is_empty() {
        let tags: Vec<_> = row.about.tags.iter().map(|tag| line(tag)).collect();
        let _ = writeln!(text, "- tags: {}", tags.join(", "));
    }
    text.push('\n');
    text
}

fn section(number: usize, turn: &Turn) -> String {
    let mut text = format!("## {number}\n\n");
    for line in turn.prompt.lines() {
        let _ = writeln!(text, "> {line}");
    }
    text.push('\n');
    for item in &turn.items {
        if let Some(told) = told(item) {
            let _ = writeln!(text, "- {told}");
        }
    }
    if !turn.items.is_empty() {
        text.push('\n');
    }
    if !turn.text.is_empty() {
        let _ = writeln!(text, "{}\n", turn.text.trim_end());
    }
    if turn.truncated {
        text.push_str("*More was said than is written here.*\n\n");
    }
    if turn.state != Progress::Done {
        let why = turn.fault.as_ref().map(|fault| line(&fault.message));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let _ = writeln!(text, "*{}{why}*\n", turn.state.name());
    }
    text
}

/// An item in a line: what a tool was asked to do, or what it is called.
fn told(item: &Value) -> Option<String> {
    let kind = item["type"].as_str()?;
    let title = item["title"]
        .as_str()
        .or_else(|| item["text"].as_str())
        .map(line);
    let title: String = title.unwrap_or_default().chars().take(200).collect();
    match kind {
        "tool_call" => Some(format!("tool: {title}")),
        "notice" => Some(format!("notice: {title}")),
        _ => None,
    }
}
