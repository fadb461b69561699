//! What was said before, for providers that remember nothing: read from the committed log, newest
//! kept, and remembered for a while so that a long session does not read its whole log each turn.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keel_agent::Exchange;
use keel_store::{PageLimit, Store};
use keel_wire::{
    Seq, SessionId, Text, TurnAccepted, TurnEnd, TurnEnded, TurnId, TurnSteered,
    item::{ItemData, NoticeLevel},
    record::StoredEvent,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

/// Bytes of what was said before that a provider is given; the newest are kept.
const HISTORY_BYTES_MAX: usize = 256 * 1024;
/// Turns of it.
const TURNS_MAX: usize = 1_000;
/// Bytes of one answer in it; the beginning is kept.
const ANSWER_BYTES_MAX: usize = HISTORY_BYTES_MAX / 2;
/// What an exchange takes besides its words.
const EXCHANGE_BYTES: usize = 64;
/// Sessions whose history is remembered; beyond, the one that was used the longest ago is forgotten,
/// and read again when it is wanted.
const SESSIONS_MAX: usize = 256;
/// How long reading a log may take.
const READ_MAX: Duration = Duration::from_secs(20);
const PAGE: PageLimit = PageLimit {
    events: 1_000,
    bytes: 1024 * 1024,
};
/// In the place of what is left out of an answer.
const LEFT_OUT: &str = "\n[…]";

/// What a provider is to know, and what there is to say about it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct History {
    /// Oldest first.
    pub(super) exchanges: Vec<Exchange>,
    /// An item that says what is left out.
    pub(super) notice: Option<Value>,
}

/// The histories of sessions that were used lately.
#[derive(Clone)]
pub(super) struct Histories {
    store: Arc<dyn Store>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    by_session: HashMap<SessionId, (u64, Memory)>,
    uses: u64,
}

impl Histories {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        let kept = Arc::default();
        Self { store, kept }
    }

    /// What was said in `session` up to `through`, without the turns of `forget`.
    ///
    /// # Errors
    /// When the log cannot be read in time.
    pub(super) async fn read(
        &self,
        session: &SessionId,
        through: Seq,
        forget: &[TurnId],
    ) -> Result<History, String> {
        // Out of the map while it is read: a session has one run at a time.
        let memory = self.kept().by_session.remove(session);
        let memory = memory.map(|(_, memory)| memory);
        let mut memory = memory
            .filter(|memory| memory.through <= through)
            .unwrap_or_default();
        let read = timeout(READ_MAX, self.catch_up(&mut memory, session, through));
        read.await
            .map_err(|_| format!("it took longer than {} s", READ_MAX.as_secs()))??;
        let history = memory.history(forget);
        self.kept().keep(session.clone(), memory);
        Ok(history)
    }

    async fn catch_up(
        &self,
        memory: &mut Memory,
        session: &SessionId,
        through: Seq,
    ) -> Result<(), String> {
        while memory.through < through {
            let page = self.store.events(session, memory.through, PAGE).await;
            let page = page.map_err(|error| error.to_string())?;
            if page.is_empty() {
                return Err("it ends before what is committed".to_owned());
            }
            for event in page {
                if event.from > through {
                    return Ok(());
                }
                memory.take(&event)?;
            }
        }
        Ok(())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // What is in it is whole after each step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, session: SessionId, memory: Memory) {
        if self.by_session.len() >= SESSIONS_MAX {
            let oldest = self.by_session.iter().min_by_key(|(_, (used, _))| *used);
            let oldest = oldest.map(|(session, _)| session.clone());
            oldest.map(|oldest| self.by_session.remove(&oldest));
        }
        self.uses += 1;
        self.by_session.insert(session, (self.uses, memory));
    }
}

/// What is known of one session's log up to a position.
#[derive(Debug)]
struct Memory {
    through: Seq,
    over: VecDeque<(TurnId, Exchange)>,
    bytes: usize,
    open: BTreeMap<TurnId, Open>,
    /// Turns that there was no room for.
    omitted: u64,
    /// The log does not begin at its beginning any more.
    trimmed: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            through: Seq::ZERO,
            over: VecDeque::new(),
            bytes: 0,
            open: BTreeMap::new(),
            omitted: 0,
            trimmed: false,
        }
    }
}

/// A turn that is not over.
#[derive(Debug)]
struct Open {
    prompt: String,
    attempt: u32,
    text: String,
    is_cut: bool,
}

impl Memory {
    fn take(&mut self, event: &StoredEvent) -> Result<(), String> {
        self.trimmed |= event.from.since(self.through) > 1;
        match &*event.kind {
            "turn.accepted" => self.accepted(read(event)?),
            "turn.steered" => self.steered(&read(event)?),
            "text" => self.text(&read(event)?),
            "turn.ended" => self.ended(&read(event)?),
            _ => {}
        }
        self.through = event.to;
        Ok(())
    }

    fn accepted(&mut self, turn: TurnAccepted) {
        if let Some(before) = &turn.retry_of {
            // It is asked again, so it was not answered.
            self.forget(before);
        }
        let open = Open {
            prompt: turn.text,
            attempt: 0,
            text: String::new(),
            is_cut: false,
        };
        self.open.insert(turn.turn, open);
    }

    /// Words that were said into a running turn belong to what was asked.
    fn steered(&mut self, words: &TurnSteered) {
        if let Some(turn) = self.open.get_mut(&words.turn) {
            turn.prompt.push_str("\n\n");
            turn.prompt.push_str(&words.text);
        }
    }

    fn text(&mut self, text: &Text) {
        let Some(turn) = self.open.get_mut(&text.turn) else {
            return;
        };
        if text.attempt != turn.attempt {
            // What an earlier attempt said is superseded.
            turn.attempt = text.attempt;
            turn.text.clear();
            turn.is_cut = false;
        }
        let room = ANSWER_BYTES_MAX.saturating_sub(turn.text.len());
        if turn.is_cut || text.data.len() > room {
            let fits = if turn.is_cut { 0 } else { room };
            let end = text.data.floor_char_boundary(fits);
            turn.text.push_str(&text.data[..end]);
            turn.is_cut = true;
            return;
        }
        turn.text.push_str(&text.data);
    }

    fn ended(&mut self, end: &TurnEnded) {
        let Some(mut turn) = self.open.remove(&end.turn) else {
            return;
        };
        if turn.attempt != end.attempt {
            turn.text.clear();
        }
        let replaced = end.stop_reason.as_deref() == Some("replaced");
        let answered = match end.end {
            TurnEnd::Done => true,
            // What was said before it broke off was said.
            TurnEnd::Cancelled | TurnEnd::Failed | TurnEnd::Interrupted => !turn.text.is_empty(),
        };
        if !answered || replaced {
            return;
        }
        if turn.is_cut {
            turn.text.push_str(LEFT_OUT);
        }
        let (prompt, text) = (turn.prompt, turn.text);
        let exchange = Exchange { prompt, text };
        self.bytes += cost(&exchange);
        self.over.push_back((end.turn.clone(), exchange));
        while self.bytes > HISTORY_BYTES_MAX || self.over.len() > TURNS_MAX {
            let Some((_, exchange)) = self.over.pop_front() else {
                break;
            };
            self.bytes -= cost(&exchange);
            self.omitted += 1;
        }
    }

    fn forget(&mut self, turn: &TurnId) {
        if let Some(at) = self.over.iter().position(|(id, _)| id == turn)
            && let Some((_, exchange)) = self.over.remove(at)
        {
            self.bytes -= cost(&exchange);
        }
    }

    fn history(&self, forget: &[TurnId]) -> History {
        let kept = self.over.iter().filter(|(id, _)| !forget.contains(id));
        let left_out = match (self.omitted, self.trimmed) {
            (0, false) => None,
            (0, true) => Some("The beginning of this session is no longer kept".to_owned()),
            (1, _) => Some("The first turn of this session is too long ago".to_owned()),
            (n, _) => Some(format!(
                "The first {n} turns of this session are too long ago"
            )),
        };
        let notice = left_out.map(|what| {
            let text = format!("{what}: the model is not told of it.");
            let level = NoticeLevel::Info;
            ItemData::Notice { level, text }.into_value()
        });
        History {
            exchanges: kept.map(|(_, exchange)| exchange.clone()).collect(),
            notice,
        }
    }
}

fn cost(exchange: &Exchange) -> usize {
    exchange.prompt.len() + exchange.text.len() + EXCHANGE_BYTES
}

fn read<'a, T: Deserialize<'a>>(event: &'a StoredEvent) -> Result<T, String> {
    serde_json::from_str(event.data.get())
        .map_err(|error| format!("the event at {} cannot be read: {error}", event.to))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
