//! Questions of the shell: about the Node, about a session, and faults on purpose.

use super::{Answer, Ask, AskId, ConnId, Node, Output, Outputs, conn::Phase, registry::Waiter};
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
            Ask::Inject {
                session,
                participant,
                injection,
            } => {
                let conns: Vec<ConnId> = self
                    .conns
                    .iter()
                    .filter(|(_, conn)| match &conn.phase {
                        Phase::Attached {
                            session: of,
                            participant: who,
                            ..
                        } => *of == session && participant.as_ref().is_none_or(|p| p == who),
                        Phase::AwaitHello
                        | Phase::AwaitVerdict { .. }
                        | Phase::AwaitSession { .. } => false,
                    })
                    .map(|(id, _)| id)
                    .collect();
                // A panic says nothing afterwards.
                let panics = matches!(injection, keel_wire::Injection::Panic { .. });
                let mut struck = usize::from(panics && self.active(&session).is_some());
                self.with(now, &session, out, |session, ctx| {
                    struck = session.inject(&conns, &injection, None, ctx);
                });
                out.push(Output::Reply {
                    ask,
                    answer: Answer::Struck(struck),
                });
            }
            Ask::Command { .. } | Ask::End { .. } => {
                let id = match &question {
                    Ask::Command { session, .. } | Ask::End { session, .. } => session.clone(),
                    Ask::Status { .. } | Ask::Census | Ask::Inject { .. } => return,
                };
                self.when_active(now, &id, Waiter::Ask(ask, Box::new(question)), out);
            }
        }
    }
}
