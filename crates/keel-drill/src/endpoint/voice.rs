//! The client process's mouth: a line of the ledger for what the app is told; and the mutants that stand
//! between the SDK and the app.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    ledger::{Line, Seen},
    mutant::Mutant,
};

/// How late a mutant lets the app know.
const LATE: Duration = Duration::from_secs(4);
/// A code that no loss of a connection has, and no turn of a drill ends with.
const ANOTHER: &str = "duplicate";

/// Writes what the app is told. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Voice {
    mutant: Option<Mutant>,
    heard: Arc<Mutex<Heard>>,
}

/// What mutants wait for.
#[derive(Debug, Default)]
struct Heard {
    lost: bool,
    turns: u32,
    struck: bool,
}

impl Voice {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            mutant,
            ..Self::default()
        }
    }

    pub(super) const fn says_twice(&self) -> bool {
        matches!(self.mutant, Some(Mutant::SaysTwice))
    }

    /// Tells the app, if no mutant is in the way.
    pub(super) fn tell(&self, mut seen: Seen) {
        let Some(mutant) = self.mutant else {
            return write(seen);
        };
        let text = matches!(&seen, Seen::Event { kind, .. } if kind == "text");
        let first_of = |due: fn(&Heard) -> bool| {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            match &seen {
                Seen::Lost { .. } => heard.lost = true,
                Seen::Event { kind, .. } if kind == "turn.accepted" => heard.turns += 1,
                _ => {}
            }
            let strikes = text && !heard.struck && due(&heard);
            heard.struck |= strikes;
            strikes
        };
        match mutant {
            Mutant::LossUntold if is_trouble(&seen) => return,
            Mutant::LossTwice if matches!(seen, Seen::Lost { .. }) => write(seen.clone()),
            Mutant::ToldLate if is_trouble(&seen) || is_end(&seen) => std::thread::sleep(LATE),
            Mutant::CauseChanged => change_cause(&mut seen),
            Mutant::NeverBack if matches!(seen, Seen::Recovered { .. }) => return,
            Mutant::StatusUntold if matches!(seen, Seen::Status { .. }) => return,
            Mutant::ReplayDropped if first_of(|heard| heard.lost) => return,
            Mutant::TextDropped if first_of(|heard| heard.turns == 2) => return,
            Mutant::TextDoubled if first_of(|_| true) => write(seen.clone()),
            _ => {}
        }
        write(seen);
    }
}

/// Something went wrong, and this is how the app learns of it.
fn is_trouble(seen: &Seen) -> bool {
    match seen {
        Seen::Lost { .. } | Seen::Failed { .. } | Seen::Fault { .. } | Seen::Gap { .. } => true,
        Seen::Receipt { code, .. } => code.is_some(),
        _ => false,
    }
}

fn is_end(seen: &Seen) -> bool {
    matches!(seen, Seen::Event { kind, .. } if kind == "turn.ended")
        || matches!(seen, Seen::Note { text } if text.starts_with("goaway"))
}

fn change_cause(seen: &mut Seen) {
    match seen {
        Seen::Lost { code, .. } | Seen::Failed { code, .. } | Seen::Fault { code } => {
            ANOTHER.clone_into(code);
        }
        Seen::Gap { code, .. } | Seen::Receipt { code, .. } | Seen::Status { code, .. } => {
            if let Some(code) = code {
                ANOTHER.clone_into(code);
            }
        }
        Seen::Event { data, .. } => {
            if let Some(code) = data.pointer_mut("/fault/code") {
                *code = Value::from(ANOTHER);
            }
        }
        _ => {}
    }
}

fn write(what: Seen) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let t = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    // Whoever drills is gone if nobody reads: then there is nobody to tell either.
    if let Ok(text) = serde_json::to_string(&Line { t, what }) {
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }
}
