//! What is heard of an agent while it works, and what of it is told.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    super::{
        link::Heard,
        permission::{self, Verdict},
        repeat::Say,
        rpc::{METHOD_NOT_FOUND, Message, RpcError},
        update::{self, Update},
        warm,
    },
    End, REPLAY_QUIET, Stage, Turn,
};
use crate::{
    Ending, Failure, Output,
    limits::{CREDIT_BYTES, OUTPUTS_WAITING_MAX},
    process::veil::Veil,
};

/// Bytes of text that are gathered before they are told.
const GATHER_BYTES: usize = 32 * 1024;

impl Turn<'_> {
    pub(super) fn is_full(&self) -> bool {
        self.outputs.len() >= OUTPUTS_WAITING_MAX || self.outputs_bytes > u64::from(CREDIT_BYTES)
    }

    pub(super) fn tell(&mut self, output: Output) {
        // Nobody waits for the words of a turn that is being cancelled.
        if self.ladder.is_some() && self.is_full() {
            self.all_told = false;
            return;
        }
        self.outputs_bytes += output.bytes();
        if let (Output::Text(more), Some(Output::Text(text))) = (&output, self.outputs.back_mut())
            && text.len() < GATHER_BYTES
        {
            text.push_str(more);
            return;
        }
        self.outputs.push_back(output);
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        self.outputs_bytes = self.outputs_bytes.saturating_sub(output.bytes());
        Some(output)
    }

    pub(super) fn say(&mut self, say: Say) {
        match say {
            Say::Text(text) => {
                self.said_text |= !text.is_empty();
                self.unveil_thought();
                let text = self.text_veil.piece(&self.link.redactor, &text);
                self.text(text);
            }
            Say::Anew => {
                // What was held back of it is superseded, too.
                self.text_veil = Veil::default();
                let message = "the agent began its answer anew".to_owned();
                let failure = Box::new(Failure::Reported { message });
                self.tell(Output::NewAttempt { failure });
            }
        }
    }

    pub(super) fn notice(&mut self, level: &str, text: &str) {
        self.tell(Output::Item(
            json!({"type": "notice", "level": level, "text": text}),
        ));
    }

    fn text(&mut self, text: String) {
        if !text.is_empty() {
            self.tell(Output::Text(text));
        }
    }

    fn thought(&mut self, text: &str) {
        if !text.is_empty() {
            self.tell(Output::Item(update::thought_item(text)));
        }
    }

    fn unveil_thought(&mut self) {
        let rest = self.thought_veil.rest(&self.link.redactor);
        self.thought(&rest);
    }

    /// Tells what was held back: what follows is something else, or nothing.
    fn unveil(&mut self) {
        self.unveil_thought();
        let rest = self.text_veil.rest(&self.link.redactor);
        self.text(rest);
    }

    /// The answer is whole.
    pub(super) fn settle(&mut self) {
        for said in self.repeats.settle() {
            self.say(said);
        }
        self.unveil();
    }

    pub(super) fn item(&mut self, item: Value) {
        for said in self.repeats.part() {
            self.say(said);
        }
        self.unveil();
        self.tell(Output::Item(item));
    }

    pub(super) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Messages => {}
            Heard::StdoutClosed => self.stdout_closed_at = Some(Instant::now()),
            Heard::Ended => {
                self.end = Some(End::Gone);
            }
            Heard::Failed(failure) => {
                // What was read before it still counts.
                self.pump();
                if self.end.is_none() {
                    self.end = Some(End::Broken(Ending::Failed(failure)));
                }
            }
        }
    }

    /// Takes what was read.
    pub(super) fn pump(&mut self) {
        let counts = self.link.counted();
        self.repaired |= counts.repaired;
        self.noise_lines += counts.noise_lines;
        if let (Ok(lines @ 1..), None) = (u32::try_from(counts.noise_lines), &self.end) {
            self.tell(Output::Noise { lines });
        }
        if counts.lines > 0 && self.meter.count_lines(counts.lines).is_err() {
            self.end
                .get_or_insert(End::Broken(Ending::Failed(Failure::Dropped)));
        }
        while let Some(message) = self.link.take() {
            // A process that has ended may have said its last word before.
            let over = !matches!(self.end, None | Some(End::Gone));
            match message {
                Message::Request { id, method, .. } if self.end.is_some() => {
                    self.late_lines += 1;
                    if matches!(self.end, Some(End::Settled(_))) {
                        self.link.answer(&id, warm::refusal(&method));
                    }
                }
                _ if over => self.late_lines += 1,
                Message::Response { id, result } => self.answered(id, result),
                Message::Request { id, method, params } => self.asked(id, &method, params),
                Message::Notification { method, params } => self.told(&method, params),
            }
        }
    }

    pub(super) fn told(&mut self, method: &str, mut params: Value) {
        if method != "session/update" {
            return;
        }
        let of = params.get("sessionId").and_then(Value::as_str);
        let ours = of.is_some() && of == self.link.session.as_deref();
        let update = params.get_mut("update").map(Value::take);
        let mut update = update.unwrap_or(Value::Null);
        // Some agents say an error of their model's server as if it were an answer, key and all. What
        // comes in pieces is put together before it is looked through.
        if !update::is_piece(&update) {
            self.link.redactor.conceal(&mut update);
        }
        let update = update::read(update);
        if let Stage::Replay { quiet_at, .. } = &mut self.stage {
            *quiet_at = Instant::now() + REPLAY_QUIET;
        }
        if !matches!(self.stage, Stage::Prompt(_)) {
            // What was said before is being replayed; what it can do counts all the same.
            if let Update::Item(item) = update
                && item["type"] == "commands"
            {
                self.tell(Output::Item(item));
            }
            return;
        }
        match update {
            _ if !ours => {}
            Update::Text { message, text } => {
                for said in self.repeats.piece(message.as_deref(), &text) {
                    self.say(said);
                }
            }
            Update::Thought(text) => {
                let text = self.thought_veil.piece(&self.link.redactor, &text);
                self.thought(&text);
            }
            Update::Item(item) => self.item(item),
            Update::Tool { id, kind, items } => {
                if let Some(kind) = kind {
                    self.desk.learn(&id, &kind);
                }
                items.into_iter().for_each(|item| self.item(item));
            }
            Update::Silent => {}
        }
    }

    pub(super) fn asked(&mut self, id: Value, method: &str, params: Value) {
        match method {
            "session/request_permission" => self.permission(id, params),
            _ if method.starts_with("fs/") || method.starts_with("terminal/") => {
                self.link.serve(id, method, params);
            }
            _ => {
                let error = RpcError::new(METHOD_NOT_FOUND, "there is no such method");
                self.link.answer(&id, Err(error));
            }
        }
    }

    pub(super) fn permission(&mut self, id: Value, mut params: Value) {
        let prompting = matches!(self.stage, Stage::Prompt(_));
        if self.ladder.is_some() || !prompting {
            self.link.answer(&id, Ok(permission::cancelled()));
            return;
        }
        // The id of an option is no text to be told, but what the agent gets back.
        if let Some(call) = params.get_mut("toolCall") {
            self.link.redactor.conceal(call);
        }
        let options = params.get_mut("options").and_then(Value::as_array_mut);
        for option in options.into_iter().flatten() {
            if let Some(name) = option.get_mut("name") {
                self.link.redactor.conceal(name);
            }
        }
        // What it is asked for is told, should the agent not have told it before.
        let call = params.get("toolCall").and_then(Value::as_object);
        if let Some(Update::Tool { items, .. }) = call.map(update::tool_update) {
            items.into_iter().for_each(|item| self.item(item));
        }
        self.unveil();
        match self.desk.request(id.clone(), &params) {
            Verdict::Wait => {}
            Verdict::Answer(outcome, told) => {
                self.link.answer(&id, Ok(outcome));
                if let Some(told) = told {
                    self.notice("warning", &told);
                }
            }
        }
    }
}
