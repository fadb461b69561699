//! Questions of the shell: about the Node, about a session, and faults on purpose.

use keel_wire::{Code, Origin, ReceiptBody, Role, SessionId};

use super::{
    Answer, Ask, AskId, Node, Output, Outputs,
    registry::{Waiter, may_enter},
};
use crate::Now;

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
            Ask::Inject(strike) => self.inject(now, ask, strike, out),
            Ask::Command { .. } | Ask::End { .. } => {
                let id = match &question {
                    Ask::Command { session, .. } | Ask::End { session, .. } => session.clone(),
                    Ask::Status { .. } | Ask::Census | Ask::Inject(_) => return,
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
            Ask::Status { .. } | Ask::Census | Ask::Inject(_) => {
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
