//! Faults on purpose, by the paths of the real ones.

use std::time::Duration;

use keel_wire::{Code, Injection};

use super::Session;
use crate::node::{ConnId, Ctx, Output};

impl Session {
    /// Breaks something; how much was struck.
    pub(crate) fn inject(
        &mut self,
        conns: &[ConnId],
        injection: &Injection,
        for_ms: Option<u64>,
        ctx: &mut Ctx<'_>,
    ) -> usize {
        let span = Duration::from_millis(for_ms.unwrap_or(5_000).min(60_000));
        match injection {
            Injection::DropConnection => {
                for conn in conns {
                    ctx.out.push(Output::Abort { conn: *conn });
                }
                conns.len()
            }
            Injection::CloseConnection { code } => {
                for conn in conns {
                    let reason = "injected".to_owned();
                    ctx.conns.close(*conn, *code, reason, ctx.out);
                }
                conns.len()
            }
            Injection::FaultThenClose { code } => {
                for conn in conns {
                    let fault = ctx.fault(*code).session(&self.id).detail("injected", true);
                    ctx.conns.refuse(*conn, fault, ctx.out);
                }
                conns.len()
            }
            Injection::ExpireToken => {
                for conn in conns {
                    let code = Code::TokenExpired;
                    let fault = ctx.fault(code).session(&self.id).detail("injected", true);
                    ctx.conns.refuse(*conn, fault, ctx.out);
                }
                conns.len()
            }
            Injection::HalfOpen => {
                for conn in conns {
                    ctx.conns.freeze(*conn, ctx.out);
                }
                conns.len()
            }
            Injection::KillProvider | Injection::StallProvider => {
                let kills = *injection == Injection::KillProvider;
                let Some(run) = self.run.as_mut().filter(|_| !self.turns.is_empty()) else {
                    return 0;
                };
                run.struck |= kills;
                let run = run.id;
                ctx.out.push(if kills {
                    Output::KillRun { run }
                } else {
                    Output::StallRun { run }
                });
                1
            }
            Injection::FailStore => {
                ctx.out.push(Output::FailStore { span });
                1
            }
            Injection::Panic { .. } => panic!("injected"),
        }
    }
}
