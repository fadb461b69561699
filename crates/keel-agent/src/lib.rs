//! Providers: what stands behind an agent session. A provider runs one attempt at one turn.
//!
//! The one idea: an attempt *returns* its [`Outcome`], nobody sends it. [`spawn`] owns the task, so
//! an attempt that panics, hangs after a cancel, or is dropped still has exactly one outcome, after
//! its last output. What a program says is never parsed for control beyond its typed envelope.
//!
//! ```text
//! session --Request--> spawn --> Provider::run(request, control, sink) --> Outcome
//!         <--Told::Output*, Told::Outcome--- OutputStream
//!         --cancel, answer, refill---------> Running (drop it: everything is killed)
//! ```
//!
//! Clocks over silence and whole turns are the session's; here are only those of the kill ladder
//! and of pipes. [`echo`] says a script, [`process`] runs any program,
//! [`openai`] and [`anthropic`] ask a model's server, [`fallback`] asks one provider after another.

pub mod acp;
pub mod anthropic;
mod credit;
pub mod echo;
pub mod endpoint;
mod failure;
pub mod fallback;
pub mod limits;
pub mod openai;
mod outcome;
mod output;
pub mod process;
mod provider;
mod run;
mod sink;

pub use failure::{BudgetKind, Failure, NetworkStage, SilentStage};
pub use outcome::{Ending, Exit, Outcome};
pub use output::Output;
pub use provider::{Answer, Ask, Attempt, Closing, Control, Exchange, Provider, Request};
pub use run::{Budgets, OutputStream, Running, Told, spawn};
pub use sink::{Sink, Stopped};

/// Every kind of provider there is; the conformance suite fails for a kind that it does not know.
pub const KINDS: &[&str] = &[
    acp::KIND,
    anthropic::KIND,
    echo::NAME,
    fallback::KIND,
    openai::KIND,
    process::KIND,
];
