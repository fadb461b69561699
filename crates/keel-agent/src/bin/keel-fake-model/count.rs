//! What was asked so far, so that a test can tell "asked once" from "asked again".

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
};

use serde_json::{Value, json};

use crate::http::Request;

/// Prompts and paths that are told apart; the rest is `(others)`.
const KEYS_MAX: usize = 20_000;
/// Bytes of a prompt that name it.
const KEY_BYTES_MAX: usize = 256;
/// Requests that `/seen` knows.
const SEEN_MAX: usize = 64;
/// Bytes of a body that `/seen` shows.
const BODY_BYTES_MAX: usize = 256 * 1024;

#[derive(Default)]
pub(crate) struct Counts {
    total: Cell<u64>,
    open: Cell<u64>,
    aborted: Cell<u64>,
    prompts: RefCell<BTreeMap<String, u64>>,
    paths: RefCell<BTreeMap<String, u64>>,
    seen: RefCell<VecDeque<Value>>,
    answers: Cell<u64>,
}

impl Counts {
    /// Counts a request for a model, and says how many came with its prompt, with this one.
    pub(crate) fn call(&self, prompt: &str) -> u64 {
        self.total.set(self.total.get() + 1);
        count(&mut self.prompts.borrow_mut(), key(prompt))
    }

    /// The number of an answer, like no other's of this server's.
    pub(crate) fn answer(&self) -> u64 {
        self.answers.set(self.answers.get() + 1);
        self.answers.get()
    }

    pub(crate) fn see(&self, request: &Request) {
        count(&mut self.paths.borrow_mut(), key(&request.path));
        let body = String::from_utf8_lossy(&request.body);
        let headers: serde_json::Map<String, Value> = request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        let mut seen = self.seen.borrow_mut();
        if seen.len() == SEEN_MAX {
            seen.pop_front();
        }
        let shown = &body[..body.floor_char_boundary(BODY_BYTES_MAX)];
        seen.push_back(json!({
            "method": request.method, "path": request.path, "headers": headers, "body": shown,
        }));
    }

    pub(crate) fn opened(&self) {
        self.open.set(self.open.get() + 1);
    }

    /// An answer is over; `aborted` if the client left before it was.
    pub(crate) fn closed(&self, aborted: bool) {
        self.open.set(self.open.get() - 1);
        self.aborted.set(self.aborted.get() + u64::from(aborted));
    }

    pub(crate) fn as_json(&self) -> Value {
        json!({
            "total": self.total.get(), "open": self.open.get(), "aborted": self.aborted.get(),
            "prompts": *self.prompts.borrow(), "paths": *self.paths.borrow(),
        })
    }

    pub(crate) fn seen(&self) -> Value {
        self.seen.borrow().iter().cloned().collect()
    }

    pub(crate) fn reset(&self) {
        self.total.set(0);
        self.aborted.set(0);
        self.prompts.borrow_mut().clear();
        self.paths.borrow_mut().clear();
        self.seen.borrow_mut().clear();
    }
}

fn key(text: &str) -> String {
    text[..text.floor_char_boundary(KEY_BYTES_MAX)].to_owned()
}

fn count(counts: &mut BTreeMap<String, u64>, key: String) -> u64 {
    let full = counts.len() >= KEYS_MAX && !counts.contains_key(&key);
    let key = if full { "(others)".to_owned() } else { key };
    let so_often = counts.entry(key).or_default();
    *so_often += 1;
    *so_often
}
