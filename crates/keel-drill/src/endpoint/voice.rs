//! The client process's mouth: a line of the ledger for what the app is told.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    heart::unix_ms,
    ledger::{Line, Seen},
    mutant::Mutant,
    spoil::{LATE, Spoiler},
};

/// Writes what the app is told. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    /// The time of day when it began: from there on it is counted, for the host's clock may be made to jump.
    began: (u64, Instant),
    mutant: Option<Mutant>,
    spoiler: Arc<Mutex<Spoiler>>,
}

impl Voice {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            began: (unix_ms(), Instant::now()),
            mutant,
            spoiler: Arc::new(Mutex::new(Spoiler::new(mutant))),
        }
    }

    pub(super) const fn says_twice(&self) -> bool {
        matches!(self.mutant, Some(Mutant::SaysTwice))
    }

    /// Tells the app, if no mutant is in the way.
    pub(super) fn tell(&self, seen: Seen) {
        let spoiler = self.spoiler.lock();
        let told = spoiler.unwrap_or_else(PoisonError::into_inner).pass(seen);
        if told.late {
            std::thread::sleep(LATE);
        }
        for what in told.what {
            self.write(what);
        }
    }

    fn write(&self, what: Seen) {
        let (at, since) = self.began;
        let t = at + u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut out = std::io::stdout().lock();
        // Whoever drills is gone if nobody reads: then there is nobody to tell either.
        if let Ok(text) = serde_json::to_string(&Line { t, what }) {
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        }
    }
}
