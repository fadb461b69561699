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
    CommandId, Seq, SessionId, Text, TurnAccepted, TurnEnd, TurnEnded, TurnId, TurnSteered,
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

/// What was said into a turn, and by which commands.
type Words = Vec<(CommandId, String)>;

/// What is known of one session's log up to a position.
#[derive(Debug)]
struct Memory {
    through: Seq,
    over: VecDeque<Over>,
    bytes: usize,
    open: BTreeMap<TurnId, Open>,
    /// What the last turn that is over was asked at first, and what was said into it.
    last_words: Option<(TurnId, String, Words)>,
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
            last_words: None,
            omitted: 0,
            trimmed: false,
        }
    }
}

/// A turn that is over.
#[derive(Debug)]
struct Over {
    turn: TurnId,
    exchange: Exchange,
    /// Whether a model is told of it: not of what was asked and never answered, unless somebody goes on
    /// with it.
    is_told: bool,
}

/// A turn that is not over.
#[derive(Debug)]
struct Open {
    prompt: String,
    /// What was said into it, by which command.
    words: Vec<(CommandId, String)>,
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
        self.words_were_not_taken(&turn.command);
        if let Some(over) = turn.continues.as_ref().and_then(|of| self.over_mut(of)) {
            over.is_told = true;
        }
        let open = Open {
            prompt: turn.text,
            words: Vec::new(),
            attempt: 0,
            text: String::new(),
            is_cut: false,
        };
        self.open.insert(turn.turn, open);
    }

    /// Words that were said into a running turn belong to what was asked.
    fn steered(&mut self, words: &TurnSteered) {
        if let Some(turn) = self.open.get_mut(&words.turn) {
            turn.words.push((words.command.clone(), words.text.clone()));
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
        let steered = end.stop_reason.as_deref() == Some("steered");
        let is_told = match end.end {
            TurnEnd::Done => true,
            // What was said before it broke off was said, and what is steered goes on.
            TurnEnd::Cancelled | TurnEnd::Failed | TurnEnd::Interrupted => {
                steered || !turn.text.is_empty()
            }
        };
        self.last_words = None;
        if end.attempt == 0 {
            return;
        }
        if turn.is_cut {
            turn.text.push_str(LEFT_OUT);
        }
        let prompt = whole(&turn.prompt, &turn.words);
        let text = turn.text;
        if !turn.words.is_empty() {
            self.last_words = Some((end.turn.clone(), turn.prompt, turn.words));
        }
        let exchange = Exchange { prompt, text };
        self.bytes += cost(&exchange);
        self.over.push_back(Over {
            turn: end.turn.clone(),
            exchange,
            is_told,
        });
        while self.bytes > HISTORY_BYTES_MAX || self.over.len() > TURNS_MAX {
            let Some(over) = self.over.pop_front() else {
                break;
            };
            self.bytes -= cost(&over.exchange);
            self.omitted += u64::from(over.is_told);
        }
    }

    /// A turn begins with a command that was said into the one before: it was not taken there.
    fn words_were_not_taken(&mut self, command: &CommandId) {
        let Some((turn, prompt, words)) = &mut self.last_words else {
            return;
        };
        let all = words.len();
        words.retain(|(of, _)| of != command);
        let mut over = self.over.iter_mut().rev();
        if words.len() < all
            && let Some(Over { exchange, .. }) = over.find(|over| over.turn == *turn)
        {
            self.bytes -= cost(exchange);
            exchange.prompt = whole(prompt, words);
            self.bytes += cost(exchange);
        }
    }

    fn over_mut(&mut self, turn: &TurnId) -> Option<&mut Over> {
        self.over.iter_mut().rev().find(|over| over.turn == *turn)
    }

    fn history(&self, forget: &[TurnId]) -> History {
        let kept = self.over.iter();
        let kept = kept.filter(|over| over.is_told && !forget.contains(&over.turn));
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
            exchanges: kept.map(|over| over.exchange.clone()).collect(),
            notice,
        }
    }
}

/// What a turn was asked, with what was said into it.
fn whole(prompt: &str, words: &[(CommandId, String)]) -> String {
    let said = words.iter().map(|(_, text)| text.as_str());
    let all: Vec<&str> = std::iter::once(prompt).chain(said).collect();
    all.join("\n\n")
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
