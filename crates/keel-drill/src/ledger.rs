//! What a client saw, line by line, in the words of the client process; and what it comes to.
//!
//! The oracle is computed here, from the outside: text is put together by the rules of the protocol's
//! document, not by the code that is being drilled.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing that a client process saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    /// When, in milliseconds since the Unix epoch.
    pub t: u64,
    /// What.
    #[serde(flatten)]
    pub what: Seen,
}

/// What a client process saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum Seen {
    /// It is in.
    Joined {
        session: String,
        participant: String,
    },
    /// A fact of the log.
    Event {
        from: u64,
        to: u64,
        kind: String,
        data: Value,
    },
    /// Positions that were passed over.
    Gap {
        from: u64,
        to: u64,
        code: Option<String>,
    },
    /// A connection is lost.
    Lost {
        code: String,
        id: String,
        detail: Value,
    },
    /// It is back.
    Recovered {
        strategy: String,
        attempts: u32,
        lost_ms: u64,
        replayed: u64,
    },
    /// A try to come back failed.
    AttemptFailed { code: String },
    /// What became of what was said under a key.
    Receipt {
        key: String,
        ok: bool,
        turn: Option<String>,
        code: Option<String>,
    },
    /// How the session is, and its leg of media.
    Status {
        state: String,
        code: Option<String>,
        #[serde(default)]
        media: Option<String>,
    },
    /// A picture with this number was published.
    Sent { n: u64 },
    /// A picture of a track was shown, and this is the number in it. `wide`: in pixels, as a browser shows it.
    Frame {
        of: String,
        n: u64,
        #[serde(default)]
        wide: u32,
    },
    /// Media does not flow any more.
    MediaLost {
        code: String,
        id: String,
        detail: Value,
    },
    /// It flows again.
    MediaRecovered { how: String, lost_ms: u64 },
    /// What a browser counted so far, over its present transport.
    Stats {
        packets: u64,
        packets_lost: u64,
        frames: u64,
        freezes: u64,
        sent: u64,
        /// Data channels in its description.
        channels: u64,
    },
    /// A fault that ends no connection.
    Fault { code: String },
    /// Told without a sequence.
    Ephemeral { kind: String, data: Value },
    /// In line.
    Queued { position: u32, of: u32 },
    /// A wait goes on.
    StillWaiting { because: String, for_ms: u64 },
    /// Over, on purpose.
    Ended { reason: String },
    /// Over, by a fault; or never begun.
    Failed { code: String, detail: Value },
    /// Anything else that is worth a line.
    Note { text: String },
}

/// One turn, as a client saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// The key that its prompt began with.
    pub(crate) key: String,
    pub(crate) accepted_at: u64,
    pub(crate) attempt: u64,
    pub(crate) text: Vec<u8>,
    /// How it ended, when, and how often it was told so.
    pub(crate) end: Option<String>,
    pub(crate) end_code: Option<String>,
    pub(crate) ended_at: u64,
    pub(crate) ends: u32,
    pub(crate) bytes_told: u64,
}

/// What a client's lines come to.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) turns: BTreeMap<String, Turn>,
    /// The keys of accepted turns, in order.
    pub(crate) order: Vec<String>,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) gaps: u64,
    pub(crate) cursor: u64,
}

impl Account {
    /// Applies the protocol's rules to what a client saw.
    pub(crate) fn of(lines: &[Line]) -> Self {
        let mut seen = Self::default();
        for line in lines {
            match &line.what {
                Seen::Event {
                    from,
                    to,
                    kind,
                    data,
                } => {
                    seen.position(*from, *to);
                    seen.event(line.t, kind, data);
                }
                Seen::Gap { to, .. } => {
                    seen.gaps += 1;
                    seen.cursor = *to;
                }
                Seen::Joined { .. }
                | Seen::Lost { .. }
                | Seen::Recovered { .. }
                | Seen::AttemptFailed { .. }
                | Seen::Receipt { .. }
                | Seen::Status { .. }
                | Seen::Fault { .. }
                | Seen::Ephemeral { .. }
                | Seen::Queued { .. }
                | Seen::StillWaiting { .. }
                | Seen::Ended { .. }
                | Seen::Failed { .. }
                | Seen::Sent { .. }
                | Seen::Frame { .. }
                | Seen::MediaLost { .. }
                | Seen::MediaRecovered { .. }
                | Seen::Stats { .. }
                | Seen::Note { .. } => {}
            }
        }
        seen
    }

    fn position(&mut self, from: u64, to: u64) {
        if from > self.cursor + 1 {
            self.lost += from - self.cursor - 1;
        }
        if to <= self.cursor {
            self.reordered += 1;
        }
        self.cursor = self.cursor.max(to);
    }

    fn event(&mut self, at: u64, kind: &str, data: &Value) {
        let Some(id) = data["turn"].as_str() else {
            return;
        };
        if kind == "turn.accepted" {
            let text = data["text"].as_str().unwrap_or_default();
            let key = text
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned();
            self.order.push(key.clone());
            let turn = Turn {
                key,
                accepted_at: at,
                ..Turn::default()
            };
            if self.turns.insert(id.to_owned(), turn).is_some() {
                self.duplicated += 1;
            }
            return;
        }
        let Some(turn) = self.turns.get_mut(id) else {
            return;
        };
        match kind {
            "turn.started" => {
                turn.attempt = data["attempt"].as_u64().unwrap_or_default();
                turn.text.clear();
            }
            "text" => {
                let at_byte = data["at_byte"].as_u64().unwrap_or_default();
                let have = turn.text.len() as u64;
                let bytes = data["data"].as_str().unwrap_or_default().as_bytes();
                self.lost += at_byte.saturating_sub(have);
                self.duplicated += have.saturating_sub(at_byte).min(bytes.len() as u64);
                turn.text.extend_from_slice(bytes);
            }
            "turn.ended" => {
                turn.ends += 1;
                turn.ended_at = at;
                turn.end = data["end"].as_str().map(str::to_owned);
                turn.end_code = data["fault"]["code"].as_str().map(str::to_owned);
                turn.bytes_told = data["bytes"].as_u64().unwrap_or_default();
                if turn.ends > 1 {
                    self.duplicated += 1;
                }
            }
            _ => {}
        }
    }

    /// Keys that were accepted more than once.
    pub(crate) fn run_twice(&self) -> usize {
        let once: BTreeSet<_> = self.order.iter().collect();
        self.order.len() - once.len()
    }

    /// The turn of a key.
    pub(crate) fn turn(&self, key: &str) -> Option<&Turn> {
        self.turns.values().find(|turn| turn.key == key)
    }
}
