//! One program from its start to its end: what comes first decides, and every wait has an end.
//!
//! Reading, writing and draining go on side by side, so that nothing which one of them waits for
//! can hold up a clock, a cancel or the program's end.

use std::{future::Future, pin::Pin};

use keel_wire::CancelStep;
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinHandle, spawn_blocking},
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{
    config::{Config, Stdout},
    redact::Redactor,
    spawn::Spawned,
    status::{self, Seen},
    stderr::{self, Tail},
    stdin,
    stdout::{Listener, Stuck},
    tree::{Felled, Tree},
};
use crate::{Ask, Control, Ending, Exit, Failure, Outcome, Output, Sink};

/// How long pipes may stay open that nobody of the dead tree can hold.
const PIPES_CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// What ended the conversation, if it was not the program by itself.
#[derive(Debug)]
enum Cut {
    Cancelled {
        forced: bool,
    },
    Failed(Failure),
    /// The sink takes no more; the runner says why.
    Stopped,
    /// It had said its last word, which stands.
    Lingered,
}

/// Which wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Terminate,
    StdoutClosed,
    Linger,
    Pipes,
}

/// Where the tree is on its way to its end.
#[derive(Debug)]
enum Wood {
    Standing(Tree),
    Falling(JoinHandle<Felled>),
    Felled(Felled),
}

#[derive(Debug)]
struct Conversation<'a> {
    config: &'a Config,
    wood: Wood,
    cut: Option<Cut>,
    /// Tells of a cancel's steps.
    steps: Sink,
    /// When each thing happened, where it did.
    cancelled_at: Option<Instant>,
    over_at: Option<Instant>,
    stdout_closed_at: Option<Instant>,
    felled_at: Option<Instant>,
}

/// Gives `spawned` its prompt and hears it out; the tree is gone when this returns or is dropped.
pub(crate) async fn hold(
    config: &Config,
    prompt: String,
    spawned: Spawned,
    mut control: Control,
    mut sink: Sink,
) -> Outcome {
    let Spawned {
        tree,
        ended,
        stdin,
        stdout,
        stderr,
        env,
    } = spawned;
    let redactor = Redactor::new(&env);
    let meter = sink.meter();
    let mut held = Conversation::new(config, tree, sink.twin());
    let pid = held.pid();
    if sink.send(Output::Started { pid }).await.is_err() {
        return Outcome::failed(Failure::Dropped);
    }

    let (answer, answers) = mpsc::unbounded_channel();
    let over = Notify::new();
    let mut tail = Tail::default();
    let mut listener = Listener::new(config, sink, &over, &redactor);
    {
        let mut listening: Optional<'_, Result<(), Stuck>> =
            Some(Box::pin(listener.listen(stdout)));
        let feeding = stdin::feed(
            stdin,
            config.stdin,
            prompt,
            answers,
            config.clocks.stdin,
            &meter,
        );
        let mut feeding: Optional<'_, Result<(), Failure>> = Some(Box::pin(feeding));
        let mut draining: Optional<'_, ()> = Some(Box::pin(stderr::drain(stderr, &mut tail)));
        while !held.is_over(listening.is_none()) {
            let deadline = held.deadline(listening.is_none());
            // Not biased: a flood on one pipe must not starve the others or the clocks.
            tokio::select! {
                ask = control.next() => match ask {
                    Ask::Cancel => {
                        feeding = None;
                        held.cancel(listening.is_none());
                    }
                    // Nobody reads it once the program's stdin is closed.
                    Ask::Answer(given) => { let _ = answer.send(given); }
                    // Nobody asks it of a provider that does not steer.
                    Ask::Steer(_) => {}
                },
                felled = held.felled() => held.settle(felled),
                _ = ended.readable(), if held.stands() => held.fell(),
                () = over.notified() => {
                    feeding = None;
                    held.over_at = Some(Instant::now());
                }
                () = poll(&mut draining) => draining = None,
                fed = poll(&mut feeding) => {
                    feeding = None;
                    if let Err(failure) = fed {
                        held.cut(Cut::Failed(failure));
                    }
                }
                heard = poll(&mut listening) => {
                    listening = None;
                    held.stdout_closed_at = Some(Instant::now());
                    match heard {
                        Ok(()) => {}
                        Err(Stuck::Failure(failure)) => held.cut(Cut::Failed(failure)),
                        Err(Stuck::Stopped) => held.cut(Cut::Stopped),
                    }
                }
                why = reached(deadline) => match why {
                    Why::Terminate => {
                        held.steps.step(CancelStep::Killing);
                        held.cut(Cut::Cancelled { forced: true });
                    }
                    Why::StdoutClosed => held.cut(Cut::Failed(Failure::StdoutClosed {
                        ms: millis(config.clocks.stdout_closed),
                    })),
                    Why::Linger => held.cut(Cut::Lingered),
                    // While nobody consumes, what the program wrote waits, unless it was cancelled.
                    Why::Pipes if meter.credit.is_waiting() && held.cut.is_none() => {
                        held.felled_at = Some(Instant::now());
                    }
                    Why::Pipes => listening = None,
                }
            }
        }
        // All who could write are dead, so this is only what is left in the pipe.
        let _ = timeout(PIPES_CLOSED_WITHIN, poll_or_done(&mut draining)).await;
    }
    held.outcome(&listener, tail, &redactor)
}

type Optional<'a, T> = Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

/// Resolves when `future` does; never, if there is none.
async fn poll<T>(future: &mut Optional<'_, T>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Resolves at the deadline; never, if there is none.
async fn reached(deadline: Option<(Instant, Why)>) -> Why {
    match deadline {
        Some((at, why)) => {
            sleep_until(at).await;
            why
        }
        None => std::future::pending().await,
    }
}

async fn poll_or_done(future: &mut Optional<'_, ()>) {
    if let Some(future) = future {
        future.await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl<'a> Conversation<'a> {
    const fn new(config: &'a Config, tree: Tree, steps: Sink) -> Self {
        Self {
            config,
            wood: Wood::Standing(tree),
            cut: None,
            steps,
            cancelled_at: None,
            over_at: None,
            stdout_closed_at: None,
            felled_at: None,
        }
    }

    fn pid(&self) -> Option<u32> {
        match &self.wood {
            Wood::Standing(tree) => u32::try_from(tree.pid().as_raw_nonzero().get()).ok(),
            Wood::Falling(_) | Wood::Felled(_) => None,
        }
    }

    const fn stands(&self) -> bool {
        matches!(self.wood, Wood::Standing(_))
    }

    /// Everything is dead, and everything that it said was heard, or is not wanted.
    const fn is_over(&self, heard_all: bool) -> bool {
        let hear_no_more = matches!(
            self.cut,
            Some(Cut::Failed(_) | Cut::Stopped | Cut::Lingered)
        );
        matches!(self.wood, Wood::Felled(_)) && (heard_all || hear_no_more)
    }

    /// What to wait for no longer than until when.
    fn deadline(&self, heard_all: bool) -> Option<(Instant, Why)> {
        let clocks = &self.config.clocks;
        let after = |at: Option<Instant>, clock: Duration, why| Some((at? + clock, why));
        let standing = self.stands();
        let closed = self.stdout_closed_at.filter(|_| self.over_at.is_none());
        let waits = [
            after(self.cancelled_at, clocks.terminate, Why::Terminate).filter(|_| standing),
            after(closed, clocks.stdout_closed, Why::StdoutClosed)
                .filter(|_| standing && self.cancelled_at.is_none()),
            after(self.over_at, clocks.linger, Why::Linger).filter(|_| standing),
            after(self.felled_at, PIPES_CLOSED_WITHIN, Why::Pipes).filter(|_| !heard_all),
        ];
        waits.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn cancel(&mut self, heard_all: bool) {
        if heard_all && !self.stands() {
            // It has ended by itself already.
            return;
        }
        self.cancelled_at = Some(Instant::now());
        if let Wood::Standing(tree) = &self.wood {
            tree.terminate();
            self.steps.step(CancelStep::Terminating);
        }
        // The last word stands, if it was said before.
        if self.cut.is_none() && self.over_at.is_none() {
            self.cut = Some(Cut::Cancelled { forced: false });
        }
    }

    /// Ends it. The first reason stands, but that a cancel may turn out to be forced.
    fn cut(&mut self, cut: Cut) {
        let escalates = matches!(
            (&self.cut, &cut),
            (Some(Cut::Cancelled { .. }), Cut::Cancelled { .. })
        );
        if escalates || self.cut.is_none() {
            self.cut = Some(cut);
        }
        self.fell();
    }

    fn fell(&mut self) {
        let none = Wood::Felled(Felled::default());
        self.wood = match std::mem::replace(&mut self.wood, none) {
            Wood::Standing(tree) => Wood::Falling(spawn_blocking(|| tree.fell())),
            other @ (Wood::Falling(_) | Wood::Felled(_)) => other,
        };
    }

    /// Resolves when the tree is gone; never, while nobody fells it.
    async fn felled(&mut self) -> Felled {
        match &mut self.wood {
            // It fails only if the runtime is going down, and then the tree's drop has felled it.
            Wood::Falling(felling) => felling.await.unwrap_or_default(),
            Wood::Standing(_) | Wood::Felled(_) => std::future::pending().await,
        }
    }

    fn settle(&mut self, felled: Felled) {
        self.wood = Wood::Felled(felled);
        self.felled_at = Some(Instant::now());
    }

    fn outcome(self, listener: &Listener<'_>, tail: Tail, redactor: &Redactor) -> Outcome {
        let felled = match self.wood {
            Wood::Felled(felled) => felled,
            Wood::Standing(_) | Wood::Falling(_) => Felled::default(),
        };
        let ending = match self.cut {
            Some(Cut::Cancelled { forced }) => Ending::Cancelled { forced },
            Some(Cut::Failed(failure)) => Ending::Failed(failure),
            Some(Cut::Stopped) => Ending::Failed(Failure::Dropped),
            Some(Cut::Lingered) | None => status::ending(seen(self.config, listener, felled.exit)),
        };
        let by_signal = matches!(ending, Ending::Failed(Failure::Signal { .. }));
        let ending = match by_signal && felled.out_of_memory {
            true => Ending::Failed(Failure::OutOfMemory),
            false => ending,
        };
        Outcome {
            ending,
            exit: felled.exit,
            stderr_dropped: tail.dropped(),
            stderr_tail: redactor.redact(&tail.into_text()),
            bytes: 0,
            lines: 0,
            noise_lines: listener.noise_lines,
            late_lines: listener.late_lines,
            repaired: listener.repaired,
            orphans_killed: felled.orphans,
        }
    }
}

fn seen(config: &Config, listener: &Listener<'_>, exit: Option<Exit>) -> Seen {
    Seen {
        terminal: listener.terminal.clone(),
        terminal_required: config.stdout == Stdout::JsonLines,
        text: listener.said_text,
        text_required: config.text_required,
        half_line: listener.half_line,
        exit,
    }
}
