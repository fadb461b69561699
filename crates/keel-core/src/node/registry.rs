//! Which sessions are in memory: one activation each, one step at a time, one panic contained.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use keel_wire::{
    Code, CommandId, Fault, Origin, ReceiptBody, SessionId,
    journal::{Entry as JournalEntry, Fact},
    record::Loaded,
};

use super::{
    Answer, Ask, AskId, ConnId, Ctx, LoadFailure, MediaOrder, Node, Output, Outputs, conn::Phase,
    moved::Moved,
};
use crate::{Instant, Now, limits, session::Session};

/// What waits for a session to be in memory.
#[derive(Debug)]
pub(super) enum Waiter {
    /// A connection that has said hello.
    Conn(ConnId),
    /// A question of the shell's.
    Ask(AskId, Box<Ask>),
    /// It is to leave for another server.
    Leave,
}

/// Panics of a session's machine since it was read for somebody.
#[derive(Debug, Clone, Default)]
pub(super) struct Panics {
    count: u32,
    /// The command that the last was on; `None` if it was on none.
    on: Option<CommandId>,
    /// The last was on the same input as the one before, or there were too many.
    hopeless: bool,
}

impl Panics {
    fn and(&self, on: Option<CommandId>) -> Self {
        let same = self.count > 0 && self.on == on;
        let count = self.count + 1;
        Self {
            count,
            on,
            hopeless: same || count > limits::PANICS_MAX,
        }
    }
}

/// A session that the Node knows of.
#[derive(Debug)]
pub(super) enum Entry {
    /// It is being read. What asks for it meanwhile waits: it is read once.
    Loading {
        waiters: Vec<Waiter>,
        /// Panics of the machine before this.
        panics: Panics,
        /// It is not read before this commit is answered.
        commit: Option<u64>,
        /// Tries in a row to which the store said that it cannot now, and when the next is due.
        refusals: u32,
        again_at: Option<Instant>,
    },
    /// It is in memory.
    Active {
        session: Box<Session>,
        /// When its timer is due.
        armed: Option<Instant>,
        panics: Panics,
    },
    /// Another server has it, and not all who were in it have gone there.
    Moved(Moved),
}

impl Node {
    pub(super) fn active(&self, id: &SessionId) -> Option<&Session> {
        match self.sessions.get(id)? {
            Entry::Active { session, .. } => Some(session),
            Entry::Loading { .. } | Entry::Moved(_) => None,
        }
    }

    /// The end of a session's log, as its clients here know it.
    pub(super) fn head_of(&self, id: &SessionId) -> Option<keel_wire::Seq> {
        match self.sessions.get(id)? {
            Entry::Active { session, .. } => Some(session.committed()),
            Entry::Moved(moved) => Some(moved.head),
            Entry::Loading { .. } => None,
        }
    }

    /// The session that a connection belongs to.
    pub(super) fn session_of(&self, id: ConnId) -> Option<SessionId> {
        match &self.conns.get(id)?.phase {
            Phase::Attached { session, .. } => Some(session.clone()),
            Phase::AwaitSession { session, .. } => session.clone(),
            Phase::AwaitHello | Phase::AwaitVerdict { .. } => None,
        }
    }

    /// Lets a session in memory take one step. A panic in it rebuilds it from the store.
    pub(super) fn with(
        &mut self,
        now: Now,
        id: &SessionId,
        out: &mut Outputs,
        step: impl FnOnce(&mut Session, &mut Ctx<'_>),
    ) {
        let stopping = self.is_stopping();
        let Some(Entry::Active { session, armed, .. }) = self.sessions.get_mut(id) else {
            return;
        };
        let outputs_before = out.len();
        let mut ctx = Ctx {
            now,
            stopping,
            config: &self.config,
            mint: &mut self.mint,
            conns: &mut self.conns,
            admissions: &mut self.admissions,
            runs: &mut self.runs,
            peers: &mut self.peers,
            out,
        };
        let result = catch_unwind(AssertUnwindSafe(|| {
            step(session, &mut ctx);
            session.finish_step(&mut ctx);
        }));
        if result.is_err() {
            // What the broken step had put out is not performed.
            let broken = out.split_off(outputs_before);
            return self.panicked(now, id, broken, out);
        }
        if session.is_lost() {
            // Another server writes it: what is here is not to be trusted, nor to be told.
            if let Some(at) = armed.take() {
                self.timers.remove(&(at, id.clone()));
            }
            self.sessions.remove(id);
            for peer in self.peers.take_of(id) {
                out.push(Output::Media(MediaOrder::Close { peer }));
            }
            return;
        }
        if let Some(exodus) = &mut self.exodus {
            exodus.note(id, session.readiness());
        }
        let next = session.deadline(&self.config).map(|deadline| deadline.at);
        if *armed != next {
            if let Some(at) = armed.take() {
                self.timers.remove(&(at, id.clone()));
            }
            if let Some(at) = next {
                self.timers.insert((at, id.clone()));
            }
            *armed = next;
        }
    }

    /// The machine of a session panicked: it is read back. The second time on the same input it is over.
    fn panicked(&mut self, now: Now, id: &SessionId, broken: Outputs, out: &mut Outputs) {
        let Some(Entry::Active {
            session,
            armed,
            panics,
        }) = self.sessions.remove(id)
        else {
            return;
        };
        if let Some(at) = armed {
            self.timers.remove(&(at, id.clone()));
        }
        let fault = self
            .mint
            .fault(now, Code::Internal, Origin::Server)
            .session(id);
        let panics = panics.and(session.doing().cloned());
        let count = panics.count;
        tracing::error!(session = %id, fault = %fault.id, count, "a session's machine panicked");
        let fact = Fact::Panicked {
            fault: Box::new(fault.clone()),
        };
        journal(now, id, fact, out);
        // The shell has heard of no run that the step began: no end of it will come.
        for output in &broken {
            if let Output::Run { run, .. } = output {
                self.runs.end(*run);
            }
        }
        if let Some(run) = self.runs.of_session(id) {
            out.push(Output::KillRun { run });
        }
        for peer in self.peers.take_of(id) {
            out.push(Output::Media(MediaOrder::Close { peer }));
        }
        // What is being written is written: it is read back with that.
        let left = |n: &u64| {
            let mut commits = broken.iter();
            !commits.any(|output| matches!(output, Output::Commit { n: of, .. } if of == n))
        };
        let commit = session.writing().filter(left);
        for ask in session.asks() {
            let answer = Answer::Receipt(ReceiptBody::Fault(Box::new(fault.clone())));
            out.push(Output::Reply { ask, answer });
        }
        // Connections that the step had closed are forgotten, so they are closed; who was answered is
        // not asked again.
        let stands = |output: &Output| {
            matches!(
                output,
                Output::Close { .. }
                    | Output::Reply { .. }
                    | Output::Media(MediaOrder::Close { .. })
            )
        };
        out.extend(broken.into_iter().filter(stands));
        let again = panics.hopeless;
        for conn in session.connections() {
            // A rebuilt session takes its clients back at their cursors, by the way they know.
            let told = if again {
                fault.clone()
            } else {
                fault.clone().retry(keel_wire::Retry::Now)
            };
            let close = if again {
                Code::Internal
            } else {
                Code::ConnectionClosed
            };
            self.conns.refuse_with(conn, told, close, out);
        }
        let waiters = Vec::new();
        self.sessions.insert(
            id.clone(),
            Entry::Loading {
                waiters,
                panics,
                commit,
                refusals: 0,
                again_at: None,
            },
        );
        if commit.is_none() {
            out.push(Output::Load {
                session: id.clone(),
            });
        }
    }

    /// A commit was answered: a session that panicked while it was written is read back now.
    pub(super) fn commit_answered(&mut self, id: &SessionId, n: u64, out: &mut Outputs) {
        if let Some(Entry::Loading { commit, .. }) = self.sessions.get_mut(id)
            && commit.take_if(|of| *of == n).is_some()
        {
            out.push(Output::Load {
                session: id.clone(),
            });
        }
    }

    /// Does something with a session once it is in memory.
    pub(super) fn when_active(
        &mut self,
        now: Now,
        id: &SessionId,
        waiter: Waiter,
        out: &mut Outputs,
    ) {
        let full = self.sessions.len() >= limits::SESSIONS_MAX;
        match self.sessions.get_mut(id) {
            Some(Entry::Active { .. }) => self.serve(now, id, waiter, out),
            Some(Entry::Moved(moved)) => {
                let (address, row) = (moved.address.clone(), moved.row.clone());
                self.direct(now, id, waiter, (&address, &row), out);
            }
            Some(Entry::Loading { waiters, .. }) if waiters.len() < limits::LOADING_WAITERS_MAX => {
                waiters.push(waiter);
            }
            Some(Entry::Loading { .. }) => {
                let fault = self.mint.fault(now, Code::RateLimited, Origin::Server);
                self.turn_away(id, waiter, fault.session(id), out);
            }
            None if full => {
                let fault = self.mint.fault(now, Code::SessionLimit, Origin::Server);
                self.turn_away(id, waiter, fault.session(id), out);
            }
            None => self.load(id, vec![waiter], out),
        }
    }

    pub(super) fn load(&mut self, id: &SessionId, waiters: Vec<Waiter>, out: &mut Outputs) {
        let entry = Entry::Loading {
            waiters,
            panics: Panics::default(),
            commit: None,
            refusals: 0,
            again_at: None,
        };
        self.sessions.insert(id.clone(), entry);
        out.push(Output::Load {
            session: id.clone(),
        });
    }

    /// A session was read, or could not be.
    pub(super) fn loaded(
        &mut self,
        now: Now,
        id: &SessionId,
        loaded: Result<Option<Box<Loaded>>, LoadFailure>,
        out: &mut Outputs,
    ) {
        let (waiters, panics, refusals) = match self.sessions.remove(id) {
            Some(Entry::Loading {
                waiters,
                panics,
                refusals,
                ..
            }) => (waiters, panics, refusals),
            Some(entry @ (Entry::Active { .. } | Entry::Moved(_))) => {
                self.sessions.insert(id.clone(), entry);
                return;
            }
            None => return,
        };
        let loaded = match loaded {
            Err(LoadFailure::Moved { address, row }) => {
                for admission in self.admissions.values_mut() {
                    admission.release(id, now.mono);
                }
                for waiter in waiters {
                    self.direct(now, id, waiter, (&address, &row), out);
                }
                self.start.settling.remove(id);
                return self.settle_more(out);
            }
            loaded => loaded,
        };
        let owed = panics.count > 0 || self.start.settling.contains(id);
        let read = loaded.and_then(|loaded| {
            let Some(loaded) = loaded else {
                return Ok(false);
            };
            let read = self.read_back(now, id, *loaded, panics.clone(), out);
            read.map(|()| true)
                .map_err(|error| LoadFailure::Broken { error })
        });
        let absent = matches!(read, Ok(false));
        let waiters = if absent && panics.count == 0 {
            self.open_absent(now, id, waiters, out)
        } else {
            waiters
        };
        if absent && self.active(id).is_some() {
            return self.settled(now, id, out);
        }
        let fault = match read {
            Ok(true) => {
                for waiter in waiters {
                    self.serve(now, id, waiter, out);
                }
                return self.settled(now, id, out);
            }
            Ok(false) => {
                // It may have panicked before it was ever written: its slot is nobody's.
                for admission in self.admissions.values_mut() {
                    admission.release(id, now.mono);
                }
                self.mint.fault(now, Code::SessionNotFound, Origin::Server)
            }
            Err(failure) => {
                if matches!(failure, LoadFailure::Busy { .. }) && owed {
                    // It may hold a turn without an owner: that is ended whether anybody asks or not.
                    self.load_again(now, id, panics, refusals + 1);
                }
                self.unreadable(now, id, failure, out)
            }
        };
        for waiter in waiters {
            self.turn_away(id, waiter, fault.clone().session(id), out);
        }
        if !self.sessions.contains_key(id) {
            self.start.settling.remove(id);
            self.settle_more(out);
        }
    }

    /// Has a session read again after a while, longer from refusal to refusal.
    fn load_again(&mut self, now: Now, id: &SessionId, panics: Panics, refusals: u32) {
        let step = limits::STORE_RETRY_BASE * (1 << (refusals - 1).min(6));
        let at = now.mono + step.min(limits::STORE_RETRY_CAP);
        let entry = Entry::Loading {
            waiters: Vec::new(),
            panics,
            commit: None,
            refusals,
            again_at: Some(at),
        };
        self.sessions.insert(id.clone(), entry);
        self.timers.insert((at, id.clone()));
    }

    /// What is said of a session that cannot be read, and its journal's entry.
    fn unreadable(
        &mut self,
        now: Now,
        id: &SessionId,
        failure: LoadFailure,
        out: &mut Outputs,
    ) -> Fault {
        let fault = self.mint.fault(now, Code::StoreFailed, Origin::Store);
        let (fault, error) = match failure {
            LoadFailure::Busy { error } => {
                tracing::warn!(session = %id, error, "a session cannot be read now");
                (fault, error)
            }
            LoadFailure::Moved { address, .. } => (fault, address),
            LoadFailure::Broken { error } => {
                tracing::error!(session = %id, error, "a session's log is damaged");
                let why =
                    "what is kept of the session is damaged; it is served again once restored";
                (fault.retry(keel_wire::Retry::Never).message(why), error)
            }
        };
        let error: String = error.chars().take(200).collect();
        let fault = fault.session(id).detail("error", error);
        let fact = Fact::StoreFailed {
            fault: Box::new(fault.clone()),
        };
        journal(now, id, fact, out);
        fault
    }

    fn read_back(
        &mut self,
        now: Now,
        id: &SessionId,
        loaded: Loaded,
        panics: Panics,
        out: &mut Outputs,
    ) -> Result<(), String> {
        let mut ctx = Ctx {
            now,
            stopping: self.is_stopping(),
            config: &self.config,
            mint: &mut self.mint,
            conns: &mut self.conns,
            admissions: &mut self.admissions,
            runs: &mut self.runs,
            peers: &mut self.peers,
            out,
        };
        let mut session = Box::new(Session::read_back(loaded, &mut ctx)?);
        // It was to leave before it was rebuilt.
        let exodus = self.exodus.as_ref();
        if let Some(stop_at) = exodus.and_then(|exodus| exodus.closes(id)) {
            session.close_up(stop_at);
        }
        // A machine that panics on what it was rebuilt from would do so for ever.
        let again = panics.hopeless;
        let entry = Entry::Active {
            session,
            armed: None,
            panics,
        };
        self.sessions.insert(id.clone(), entry);
        let ready = self.start.ready;
        self.with(now, id, out, |session, ctx| {
            if ready {
                session.look_at_line(ctx);
            }
            if again {
                let fault = ctx.fault(Code::Internal).session(&session.id);
                session.end(keel_wire::EndReason::Failed, Some(fault), ctx);
            }
        });
        Ok(())
    }

    /// There is no such session: who may open it under that name does, and the rest join.
    fn open_absent(
        &mut self,
        now: Now,
        id: &SessionId,
        mut waiters: Vec<Waiter>,
        out: &mut Outputs,
    ) -> Vec<Waiter> {
        let may = |waiter: &Waiter| match waiter {
            Waiter::Conn(conn) => self.may_open(*conn, id),
            Waiter::Ask(..) | Waiter::Leave => false,
        };
        let Some(first) = waiters.iter().position(may) else {
            return waiters;
        };
        if let Waiter::Conn(conn) = waiters.remove(first) {
            self.open_named(now, conn, id, out);
        }
        if self.active(id).is_none() {
            return waiters;
        }
        for waiter in waiters {
            self.serve(now, id, waiter, out);
        }
        Vec::new()
    }

    fn serve(&mut self, now: Now, id: &SessionId, waiter: Waiter, out: &mut Outputs) {
        match waiter {
            Waiter::Conn(conn) => self.join(now, id, conn, out),
            Waiter::Leave => self.read_to_leave(now, id, out),
            Waiter::Ask(ask, question) => self.serve_ask(now, id, ask, *question, out),
        }
    }

    pub(super) fn turn_away(
        &mut self,
        id: &SessionId,
        waiter: Waiter,
        fault: Fault,
        out: &mut Outputs,
    ) {
        match waiter {
            Waiter::Leave => {
                let is_gone = fault.code == Code::SessionNotFound;
                self.not_read_to_leave(id, is_gone);
            }
            Waiter::Conn(conn) => self.conns.refuse(conn, fault, out),
            Waiter::Ask(ask, _) => {
                let answer = Answer::Receipt(ReceiptBody::Fault(Box::new(fault)));
                out.push(Output::Reply { ask, answer });
            }
        }
    }

    /// Takes a session out of memory that nobody needs there.
    /// Lets a session leave memory that has had nothing to do in it for so long.
    pub(super) fn hibernate_if_idle(
        &mut self,
        now: Now,
        id: &SessionId,
        after: Duration,
        out: &mut Outputs,
    ) {
        let mut may = false;
        self.with(now, id, out, |session, ctx| {
            may = session.may_hibernate(after, ctx)
        });
        if !may {
            return;
        }
        if let Some(Entry::Active {
            armed: Some(at), ..
        }) = self.sessions.remove(id)
        {
            self.timers.remove(&(at, id.clone()));
        }
        journal(now, id, Fact::Hibernated, out);
    }
}

/// Whether a grant lets its bearer into a session that exists.
pub(super) fn may_enter(session: &Session, grant: &keel_wire::Grant) -> bool {
    grant.may_enter(session.row())
}

/// Writes down what happened to a session as a whole.
fn journal(now: Now, id: &SessionId, fact: Fact, out: &mut Outputs) {
    let entry = JournalEntry {
        at: now.wall,
        participant: None,
        fact,
    };
    out.push(Output::Journal {
        session: id.clone(),
        entry: Box::new(entry),
    });
}
