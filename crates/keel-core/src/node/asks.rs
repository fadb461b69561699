//! Questions of the shell: about the Node, about a session, and faults on purpose.

use super::{Answer, Ask, AskId, Node, Output, Outputs, registry::Waiter};
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
}
