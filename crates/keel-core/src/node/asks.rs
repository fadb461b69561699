//! Questions of the shell: about the Node, about a session, and faults on purpose.

use keel_wire::{
    Code, Command, Grant, Injected, Injection, Origin, ParticipantId, ReceiptBody, Role, SessionId,
    Status, TrackName,
};

use super::{
    AskId, Node, Opening, Output, Outputs, Progress,
    media::{PeerId, StreamId},
    registry::{Waiter, may_enter},
};
use crate::{Now, session::Session};

/// A question of the shell's own.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// How a session is. Answered from memory; `None` when it is not there.
    Status {
        /// Which.
        session: SessionId,
    },
    /// A session's transports for media, by the numbers that its plane knows them by. As for its status.
    Media {
        /// Which.
        session: SessionId,
    },
    /// A command over HTTP, once for each idempotency key.
    Command {
        /// Which session.
        session: SessionId,
        /// Who asks.
        grant: Grant,
        /// The caller's key, unique among its own.
        key: String,
        /// What.
        command: Command,
    },
    /// Ends a session, whoever has it open.
    End {
        /// Which.
        session: SessionId,
        /// Who asks.
        grant: Grant,
    },
    /// Opens a session that nobody is in as yet.
    Open {
        /// What it is to be called.
        session: SessionId,
        /// Who asks.
        grant: Grant,
        /// What is said about it.
        opening: Opening,
    },
    /// How many of what there are, for `/v1/node`.
    Census,
    /// Breaks something on purpose.
    Inject(Strike),
}

/// What to break on purpose, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    /// Which session.
    pub session: SessionId,
    /// Whose connections; absent means all.
    pub participant: Option<ParticipantId>,
    /// What to break.
    pub injection: Injection,
    /// How long, where it lasts.
    pub for_ms: Option<u64>,
    /// What chance decides in it; absent means by chance.
    pub seed: Option<u64>,
}

/// A participant's presence.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Presence {
    /// Who.
    pub participant: ParticipantId,
    /// As what.
    pub role: Role,
    /// Whether a connection is there.
    pub connected: bool,
}

/// Whose a session's transports and tracks are, by the numbers that its plane knows them by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wired {
    /// Transports.
    pub peers: Vec<(ParticipantId, PeerId)>,
    /// Tracks that are on one.
    pub tracks: Vec<(ParticipantId, TrackName, StreamId)>,
}

/// How many of what there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Census {
    /// Sessions in memory.
    pub sessions: usize,
    /// Connections, those that have not said hello included.
    pub connections: usize,
    /// Connections that are attached.
    pub attached: usize,
    /// Turns that run.
    pub runs: usize,
    /// Sessions that hold a slot, over all backends.
    pub slots_held: usize,
    /// Sessions in line for one.
    pub slots_waiting: usize,
    /// Transports for media.
    pub peers: usize,
    /// No new work is taken.
    pub draining: bool,
    /// How long inputs wait until they are handled.
    pub input_wait_ms: u64,
    /// That is too long, and has been for a while: new sessions are refused.
    pub overloaded: bool,
    /// Memory is short: new sessions are refused.
    pub memory_short: bool,
    /// How far the handing-over of all sessions is, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handover: Option<Progress>,
}

/// The answer to an [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// How the session is; `None` when it is not in memory.
    Status(Option<(Status, Vec<Presence>)>),
    /// The session's transports; `None` when it is not in memory.
    Media(Option<Wired>),
    /// What became of the command.
    Receipt(ReceiptBody),
    /// How many of what there are.
    Census(Census),
    /// What was broken on purpose.
    Struck {
        /// How many connections, runs or servers were struck.
        count: usize,
        /// What it is called; absent when nothing was struck.
        injected: Option<Box<Injected>>,
    },
}

impl Node {
    pub(super) fn ask(&mut self, now: Now, ask: AskId, question: Ask, out: &mut Outputs) {
        match question {
            Ask::Census => {
                let answer = Answer::Census(self.census());
                out.push(Output::Reply { ask, answer });
            }
            Ask::Status { session } => {
                let status = self.active(&session).map(|s| (s.status(), s.presence()));
                out.push(Output::Reply {
                    ask,
                    answer: Answer::Status(status),
                });
            }
            Ask::Media { session } => {
                let answer = Answer::Media(self.active(&session).map(Session::wired));
                out.push(Output::Reply { ask, answer });
            }
            Ask::Open {
                session,
                grant,
                opening,
            } => self.ask_open(now, ask, &session, &grant, opening, out),
            Ask::Inject(strike) => self.inject(now, ask, strike, out),
            Ask::Command { .. } | Ask::End { .. } => {
                let id = match &question {
                    Ask::Command { session, .. } | Ask::End { session, .. } => session.clone(),
                    Ask::Status { .. }
                    | Ask::Media { .. }
                    | Ask::Census
                    | Ask::Open { .. }
                    | Ask::Inject(_) => return,
                };
                self.when_active(now, &id, Waiter::Ask(ask, Box::new(question)), out);
            }
        }
    }

    pub(super) fn serve_ask(
        &mut self,
        now: Now,
        id: &SessionId,
        ask: AskId,
        question: Ask,
        out: &mut Outputs,
    ) {
        match question {
            Ask::Command {
                grant,
                key,
                command,
                ..
            } => {
                if !self.active(id).is_some_and(|s| may_enter(s, &grant)) {
                    return self.no_such_session(now, ask, out);
                }
                self.with(now, id, out, |session, ctx| {
                    session.ask_command(ask, &grant, &key, command, ctx);
                });
            }
            Ask::End { grant, .. } => {
                if !self.active(id).is_some_and(|s| may_enter(s, &grant)) {
                    return self.no_such_session(now, ask, out);
                }
                if grant.role < Role::Owner && !grant.admin {
                    let fault = self.mint.fault(now, Code::PermissionDenied, Origin::Server);
                    let body = ReceiptBody::Fault(Box::new(fault.session(id)));
                    let answer = Answer::Receipt(body);
                    return out.push(Output::Reply { ask, answer });
                }
                let reason = if grant.admin {
                    keel_wire::EndReason::Operator
                } else {
                    keel_wire::EndReason::Ended
                };
                self.with(now, id, out, |session, ctx| {
                    session.ask_end(ask, reason, ctx);
                });
            }
            Ask::Status { .. }
            | Ask::Media { .. }
            | Ask::Census
            | Ask::Open { .. }
            | Ask::Inject(_) => {
                unreachable!("answered without waiting")
            }
        }
    }

    fn no_such_session(&mut self, now: Now, ask: AskId, out: &mut Outputs) {
        let fault = self.mint.fault(now, Code::SessionNotFound, Origin::Server);
        let answer = Answer::Receipt(ReceiptBody::Fault(Box::new(fault)));
        out.push(Output::Reply { ask, answer });
    }
}
