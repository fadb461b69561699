//! Faults on purpose, by the paths of the real ones.
//!
//! Each has an id, a seed and an end. Those that last are in the status until then, and what comes
//! of any of them names it: `injected` in the fault's detail.

use std::time::Duration;

use keel_wire::{Code, Fault, Injected, Injection, ParticipantId, journal::Fact};

use super::Session;
use crate::{
    Instant, limits,
    node::{ConnId, Ctx, Output, RunId},
};

/// What was broken, to know its consequences by.
#[derive(Debug, Clone, PartialEq)]
enum Struck {
    Conns(Vec<ConnId>),
    Run(RunId),
    Store,
    Server,
}

/// One that is in force, or whose consequences may still come.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    injected: Injected,
    struck: Struck,
    /// It is told until then, if it lasts; forgotten in any case.
    until: Instant,
    lasts: bool,
}

/// What is to be broken, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) fault: Injection,
    pub(crate) for_ms: Option<u64>,
    pub(crate) seed: Option<u64>,
}

impl Wanted {
    /// What it is called from now on, and when it ends.
    pub(crate) fn named(self, ctx: &mut Ctx<'_>) -> Injected {
        let span = self.span();
        Injected {
            id: keel_wire::FaultId::from_bits(ctx.mint.bits()),
            seed: self
                .seed
                .unwrap_or_else(|| ctx.mint.below(keel_wire::limits::INTEGER_MAX)),
            until: ctx.now.wall + crate::node::ms(span),
            fault: self.fault,
        }
    }

    fn span(&self) -> Duration {
        let (absent, most) = match &self.fault {
            Injection::DropConnection
            | Injection::CloseConnection { .. }
            | Injection::FaultThenClose { .. }
            | Injection::KillProvider
            | Injection::Panic { .. }
            | Injection::ExpireToken => (Duration::ZERO, Duration::ZERO),
            Injection::HalfOpen | Injection::StallProvider => {
                (limits::INJECTED_MAX, limits::INJECTED_MAX)
            }
            Injection::FailStore | Injection::SlowServer => {
                (limits::INJECTED_DEFAULT, limits::INJECTED_SERVER_MAX)
            }
        };
        let asked = self.for_ms.map_or(absent, Duration::from_millis);
        asked.min(most)
    }
}

impl Session {
    /// Breaks something; how much was struck.
    pub(crate) fn inject(
        &mut self,
        who: Option<&ParticipantId>,
        conns: &[ConnId],
        injected: &Injected,
        ctx: &mut Ctx<'_>,
    ) -> usize {
        let span = Duration::from_millis(injected.until.saturating_sub(ctx.now.wall));
        let Some((count, struck)) = self.aim(conns, &injected.fault) else {
            return 0;
        };
        let fact = Fact::Injected {
            injected: injected.clone(),
        };
        self.journal(who, fact, ctx);
        // Known before it strikes: some of its consequences come at once.
        self.remember(injected, struck, span, ctx);
        self.strike(conns, injected, span, ctx);
        if !span.is_zero() {
            self.tell_status(ctx);
        }
        count
    }

    /// What there is to break, if anything.
    fn aim(&self, conns: &[ConnId], injection: &Injection) -> Option<(usize, Struck)> {
        match injection {
            Injection::DropConnection
            | Injection::CloseConnection { .. }
            | Injection::FaultThenClose { .. }
            | Injection::ExpireToken
            | Injection::HalfOpen => {
                let struck = Struck::Conns(conns.to_vec());
                (!conns.is_empty()).then_some((conns.len(), struck))
            }
            Injection::KillProvider | Injection::StallProvider => {
                let begun = self.run.as_ref().filter(|_| self.turns.front().is_some());
                begun.map(|run| (1, Struck::Run(run.id)))
            }
            Injection::FailStore => Some((1, Struck::Store)),
            Injection::SlowServer | Injection::Panic { .. } => Some((1, Struck::Server)),
        }
    }

    fn strike(&self, conns: &[ConnId], injected: &Injected, span: Duration, ctx: &mut Ctx<'_>) {
        let run = self.run.as_ref().map(|run| run.id);
        match &injected.fault {
            Injection::DropConnection => {
                for conn in conns {
                    ctx.out.push(Output::Abort { conn: *conn });
                }
            }
            Injection::CloseConnection { code } => {
                for conn in conns {
                    let reason = format!("injected {}", injected.id);
                    ctx.conns.close(*conn, *code, reason, ctx.out);
                }
            }
            Injection::FaultThenClose { code } => self.refuse_all(conns, *code, injected, ctx),
            Injection::ExpireToken => {
                self.refuse_all(conns, Code::TokenExpired, injected, ctx);
            }
            Injection::HalfOpen => {
                for conn in conns {
                    ctx.conns.freeze(*conn, span, ctx.out);
                }
            }
            Injection::KillProvider => ctx.out.extend(run.map(|run| Output::KillRun { run })),
            Injection::StallProvider => {
                ctx.out
                    .extend(run.map(|run| Output::StallRun { run, span }));
            }
            Injection::FailStore => ctx.out.push(Output::FailStore {
                span,
                injected: injected.id.clone(),
            }),
            Injection::SlowServer => {
                // Well beyond what is overload, and the seed says how far.
                let beyond = Duration::from_millis(100 + injected.seed % 100);
                let late = limits::INPUT_WAIT_MAX + beyond;
                ctx.out.push(Output::DelayInputs { span, late });
            }
            Injection::Panic { .. } => panic!("injected"),
        }
    }

    fn refuse_all(&self, conns: &[ConnId], code: Code, injected: &Injected, ctx: &mut Ctx<'_>) {
        for conn in conns {
            let fault = ctx.fault(code).session(&self.id);
            let fault = fault.detail("injected", injected.id.as_str());
            ctx.conns.refuse(*conn, fault, ctx.out);
        }
    }

    fn remember(&mut self, injected: &Injected, struck: Struck, span: Duration, ctx: &Ctx<'_>) {
        if self.injected.len() >= limits::INJECTED_KEPT {
            self.injected.remove(0);
        }
        let lasts = !span.is_zero();
        self.injected.push(InForce {
            injected: injected.clone(),
            struck,
            until: ctx.now.mono
                + if lasts {
                    span
                } else {
                    limits::INJECTED_TOLD_WITHIN
                },
            lasts,
        });
    }

    /// Those that last, for status.
    pub(super) fn in_force(&self) -> Vec<Injected> {
        let lasting = self.injected.iter().filter(|one| one.lasts);
        lasting.map(|one| one.injected.clone()).collect()
    }

    pub(super) fn injected_until(&self) -> Option<Instant> {
        self.injected.iter().map(|one| one.until).min()
    }

    /// Forgets those whose time is over.
    pub(super) fn expire_injected(&mut self, ctx: &mut Ctx<'_>) {
        let before = self.injected.len();
        self.injected.retain(|one| one.until > ctx.now.mono);
        if self.injected.len() < before {
            self.tell_status(ctx);
        }
    }

    /// The loss of a connection, with what it was broken by.
    pub(super) fn blame_conn(&self, conn: ConnId, fault: Fault) -> Fault {
        let by = |struck: &Struck| matches!(struck, Struck::Conns(conns) if conns.contains(&conn));
        self.blame(by, fault)
    }

    /// The end of a run, with what it was broken by.
    pub(super) fn blame_run(&self, run: RunId, fault: Fault) -> Fault {
        self.blame(|struck| *struck == Struck::Run(run), fault)
    }

    /// The store's refusal, with what it was broken by.
    pub(super) fn blame_store(&self, fault: Fault) -> Fault {
        self.blame(|struck| *struck == Struck::Store, fault)
    }

    fn blame(&self, by: impl Fn(&Struck) -> bool, fault: Fault) -> Fault {
        match self.injected.iter().rev().find(|one| by(&one.struck)) {
            Some(one) => fault.detail("injected", one.injected.id.as_str()),
            None => fault,
        }
    }
}
