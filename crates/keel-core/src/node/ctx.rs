//! What a session may touch besides itself, for the length of one input.

use std::collections::BTreeMap;

use keel_wire::{Code, Fault, Origin, ParticipantId, SessionId, journal};

use super::{Answer, AskId, Config, Output, Outputs, RunId, conn::Conns, media::Peers};
use crate::{Mint, Now, admission::Admission};

/// Which session a run is of.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    of: BTreeMap<RunId, SessionId>,
    last: u64,
}

impl Runs {
    /// A number for a new run.
    pub(crate) const fn number(&mut self) -> RunId {
        self.last += 1;
        RunId(self.last)
    }

    /// The shell is told to begin a run: its end will come.
    pub(crate) fn begin(&mut self, run: RunId, session: &SessionId) {
        self.of.insert(run, session.clone());
    }

    pub(crate) fn session(&self, run: RunId) -> Option<&SessionId> {
        self.of.get(&run)
    }

    /// A run of the session, if it has one.
    pub(crate) fn of_session(&self, session: &SessionId) -> Option<RunId> {
        self.of
            .iter()
            .find(|(_, of)| *of == session)
            .map(|(run, _)| *run)
    }

    pub(crate) fn end(&mut self, run: RunId) {
        self.of.remove(&run);
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }
}

/// The Node's belongings, lent to a session.
#[derive(Debug)]
pub(crate) struct Ctx<'a> {
    pub(crate) now: Now,
    /// The server stops: nothing more is begun.
    pub(crate) stopping: bool,
    pub(crate) config: &'a Config,
    pub(crate) mint: &'a mut Mint,
    pub(crate) conns: &'a mut Conns,
    pub(crate) admissions: &'a mut BTreeMap<String, Admission>,
    pub(crate) runs: &'a mut Runs,
    pub(crate) peers: &'a mut Peers,
    pub(crate) out: &'a mut Outputs,
}

impl Ctx<'_> {
    /// A fault that this server saw.
    pub(crate) fn fault(&mut self, code: Code) -> Fault {
        self.mint.fault(self.now, code, Origin::Server)
    }

    /// A fault that somebody else caused.
    pub(crate) fn fault_of(&mut self, code: Code, origin: Origin) -> Fault {
        self.mint.fault(self.now, code, origin)
    }

    /// Writes an entry of a session's journal.
    pub(crate) fn journal(
        &mut self,
        session: &SessionId,
        participant: Option<&ParticipantId>,
        fact: journal::Fact,
    ) {
        let entry = journal::Entry {
            at: self.now.wall,
            participant: participant.cloned(),
            fact,
        };
        self.out.push(Output::Journal {
            session: session.clone(),
            entry: Box::new(entry),
        });
    }

    /// Answers a question of the shell's.
    pub(crate) fn reply(&mut self, ask: AskId, answer: Answer) {
        self.out.push(Output::Reply { ask, answer });
    }
}
