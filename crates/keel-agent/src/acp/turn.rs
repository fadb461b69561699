//! One turn: from a process, new or kept, to an outcome.
//!
//! Reading, writing, telling and the clocks go on side by side, so that nothing which one of them
//! waits for can hold up a cancel or the process's end. What comes first decides.

mod dialogue;
mod hearing;
mod mouth;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use keel_wire::CancelStep;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use self::mouth::Mouth;
use super::{
    choice::What, config::Config, files::Workspace, link::Link, permission::Desk, repeat::Repeats,
    warm::Lease,
};
use crate::{
    Ask, Control, Ending, Failure, Outcome, Output, Request, Sink,
    process::{
        run_marker,
        status::{self, Seen},
        tree::Felled,
        veil::Veil,
    },
    sink::Meter,
};

/// How long what was said before a cancel may take to be told.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// For how long an agent that took a conversation up must be quiet before it is asked for more: some
/// answer first, and tell what was said before after that.
const REPLAY_QUIET: Duration = Duration::from_millis(300);
/// How long it may take to tell that.
const REPLAY_MAX: Duration = Duration::from_secs(5);

/// What the agent is to answer next, and the number of that request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Initialize(u64),
    Authenticate(u64),
    Open(u64, Opening),
    /// It has answered that it took the conversation up, and may still be telling what was said.
    Replay {
        quiet_at: Instant,
        over_at: Instant,
    },
    /// It is told what the session chose.
    Choose(u64, What),
    Prompt(u64),
}

/// How the agent gets a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    New,
    /// It tells what was said before, once more; nobody else is told.
    Load,
    Resume,
}

/// How far a cancel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// By the protocol.
    Asked,
    /// By a signal; because it did not stop when asked, or because it could not be asked.
    Terminating { asked_before: bool },
}

/// How the turn ended, and whether the process can serve another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Settled(Ending),
    Broken(Ending),
    /// The process has ended, and only what was seen of that can say how.
    Gone,
}

/// Which wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Replayed,
    Ladder,
    StdoutClosed,
}

struct Turn<'a> {
    config: &'a Config,
    request: Request,
    link: Link,
    stage: Stage,
    /// The agent is to be told what was said before.
    retell: bool,
    /// A way to log in was tried.
    authenticated: bool,
    desk: Desk,
    repeats: Repeats,
    text_veil: Veil,
    thought_veil: Veil,
    outputs: VecDeque<Output>,
    outputs_bytes: u64,
    meter: Arc<Meter>,
    /// Tells of a cancel's steps.
    steps: Sink,
    ladder: Option<(Step, Instant)>,
    stdout_closed_at: Option<Instant>,
    end: Option<End>,
    said_text: bool,
    /// Nothing was dropped that was to be told.
    all_told: bool,
    noise_lines: u64,
    late_lines: u64,
    repaired: bool,
}

/// Runs one attempt at a turn.
pub(crate) async fn run(
    config: Arc<Config>,
    lease: Lease,
    request: Request,
    control: Control,
    sink: Sink,
) -> Outcome {
    let workspace = match workspace(&config, &request) {
        Ok(workspace) => workspace,
        Err(failure) => return Outcome::failed(failure),
    };
    let mut kept = lease.take().await;
    // What was told of this conversation last is what stands.
    let fits = |link: &Link| {
        let other = request.bound.is_some() && request.bound != link.session;
        link.is_whole() && link.services.directory() == workspace.path() && !other
    };
    if let Some(link) = &mut kept
        && !fits(link)
    {
        link.fell().await;
        kept = None;
    }
    let link = match kept {
        Some(link) => link,
        None => match Link::open(&config, workspace, run_marker(&request)).await {
            Ok(link) => link,
            Err(failure) => return Outcome::failed(failure),
        },
    };
    Turn::new(&config, request, link, &sink)
        .hold(lease, control, sink)
        .await
}

/// Where the session's agent runs. A directory that the session named was looked at when it did:
/// it is that one, or none.
fn workspace(config: &Config, request: &Request) -> Result<Workspace, Failure> {
    let own = || {
        config
            .process
            .cwd
            .clone()
            .map_or_else(std::env::current_dir, Ok)
    };
    let (path, exact) = match &request.cwd {
        Some(cwd) => (Ok(cwd.clone()), true),
        None => (own(), false),
    };
    let named = path.as_ref().map(|path| path.display().to_string());
    let named = named.unwrap_or_default();
    path.and_then(|path| Workspace::open(&path, exact))
        .map_err(|error| Failure::Spawn {
            path: named,
            error: error.to_string(),
            errno: error.raw_os_error(),
        })
}

impl<'a> Turn<'a> {
    fn new(config: &'a Config, request: Request, link: Link, sink: &Sink) -> Self {
        let wish = request.params.get("permissions").unwrap_or(&Value::Null);
        let policy = config.permissions.narrowed(wish);
        let mut turn = Self {
            config,
            stage: Stage::Initialize(0),
            retell: false,
            authenticated: false,
            desk: Desk::new(policy, question_prefix(&request)),
            repeats: Repeats::default(),
            text_veil: Veil::default(),
            thought_veil: Veil::default(),
            outputs: VecDeque::new(),
            outputs_bytes: 0,
            meter: sink.meter(),
            steps: sink.twin(),
            ladder: None,
            stdout_closed_at: None,
            end: None,
            said_text: false,
            all_told: true,
            noise_lines: 0,
            late_lines: 0,
            repaired: false,
            request,
            link,
        };
        turn.link.begin();
        let pid = turn.link.pid;
        turn.tell(Output::Started { pid });
        if turn.link.session.is_some() {
            turn.choose();
        } else {
            turn.initialize();
        }
        turn
    }

    async fn hold(mut self, lease: Lease, mut control: Control, sink: Sink) -> Outcome {
        let mut mouth = Mouth::Closed(sink);
        loop {
            self.pump();
            if let Some(action) = self.desk.ask() {
                self.tell(Output::NeedsAction(action));
            }
            if self.end.is_some() {
                break;
            }
            if matches!(mouth, Mouth::Closed(_))
                && let Some(output) = self.next_output()
            {
                mouth.open(output);
            }
            let read = self.ladder.is_some() || !self.is_full();
            let deadline = self.deadline();
            // Not biased: a flood on one pipe must not starve the others or the clocks.
            tokio::select! {
                ask = control.next() => self.ask(ask),
                heard = self.link.next(read) => self.heard(heard),
                said = mouth.said() => if said.is_err() {
                    // The runner knows why.
                    self.end = Some(End::Broken(Ending::Failed(Failure::Dropped)));
                },
                why = reached(deadline) => self.reached(why),
            }
        }
        self.finish(lease, control, mouth).await
    }

    /// Tells what is left, and keeps the process or ends it.
    async fn finish(mut self, lease: Lease, mut control: Control, mut mouth: Mouth) -> Outcome {
        let end = self.end.clone().unwrap_or(End::Gone);
        let keep = matches!(end, End::Settled(_))
            && self.link.is_whole()
            && !matches!(self.ladder, Some((Step::Terminating { .. }, _)));
        let felled = match keep {
            true => Felled::default(),
            false => self.link.fell().await,
        };
        self.pump();
        let ending = match self.end.take().unwrap_or(End::Gone) {
            End::Settled(ending) | End::Broken(ending) => ending,
            End::Gone => self.gone(&felled),
        };
        self.settle();
        for (request, outcome) in self.desk.cancel() {
            self.link.answer(&request, Ok(outcome));
        }
        let cancelling = self.ladder.is_some();
        let told = async {
            loop {
                if matches!(mouth, Mouth::Closed(_)) {
                    let Some(output) = self.next_output() else {
                        return;
                    };
                    mouth.open(output);
                }
                if matches!(mouth, Mouth::Stopped) || mouth.said().await.is_err() {
                    return;
                }
            }
        };
        // Nobody waits for the words of a turn that was cancelled.
        let in_time = if cancelling {
            timeout(TOLD_WITHIN, told).await.is_ok()
        } else {
            tokio::select! {
                () = told => true,
                () = control.cancelled() => false,
            }
        };
        let ending = match ending {
            // An answer of which a part is missing is not done.
            Ending::Done { .. } if !(in_time && self.all_told) => {
                Ending::Cancelled { forced: false }
            }
            ending @ (Ending::Done { .. } | Ending::Cancelled { .. } | Ending::Failed(_)) => ending,
        };
        let (stderr_tail, stderr_dropped) = self.link.stderr();
        let outcome = Outcome {
            ending,
            exit: felled.exit,
            stderr_tail,
            stderr_dropped,
            bytes: 0,
            lines: 0,
            noise_lines: self.noise_lines,
            late_lines: self.late_lines,
            repaired: self.repaired,
            orphans_killed: felled.orphans,
        };
        if keep {
            lease.put(self.link).await;
        }
        outcome
    }

    /// How a turn ended whose process did.
    fn gone(&self, felled: &Felled) -> Ending {
        if let Some((step, _)) = self.ladder {
            let forced = step == Step::Terminating { asked_before: true };
            return Ending::Cancelled { forced };
        }
        let ending = status::ending(Seen {
            terminal: None,
            terminal_required: true,
            text: self.said_text,
            text_required: false,
            half_line: self.link.half_line(),
            exit: felled.exit,
        });
        let by_signal = matches!(ending, Ending::Failed(Failure::Signal { .. }));
        match by_signal && felled.out_of_memory {
            true => Ending::Failed(Failure::OutOfMemory),
            false => ending,
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Answer(answer) => {
                if let Some((request, outcome)) = self.desk.answer(&answer.action, &answer.answer) {
                    self.link.answer(&request, Ok(outcome));
                }
            }
            Ask::Cancel => self.cancel(),
            // The protocol has no word for it, so nobody is told that it can be done.
            Ask::Steer(_) => {}
        }
    }

    fn cancel(&mut self) {
        if !matches!(self.stage, Stage::Prompt(_)) {
            // There is nothing yet that it could be asked to stop.
            return self.terminate(false);
        }
        let params = json!({"sessionId": self.link.session});
        self.link.notify("session/cancel", &params);
        // After the cancel, so that nobody takes them for refusals and goes on.
        for (request, outcome) in self.desk.cancel() {
            self.link.answer(&request, Ok(outcome));
        }
        self.steps.step(CancelStep::Asked);
        self.ladder = Some((Step::Asked, Instant::now()));
    }

    fn terminate(&mut self, asked_before: bool) {
        self.link.terminate();
        self.steps.step(CancelStep::Terminating);
        self.ladder = Some((Step::Terminating { asked_before }, Instant::now()));
    }

    fn deadline(&self) -> Option<(Instant, Why)> {
        let clocks = &self.config.process.clocks;
        let ladder = self.ladder.map(|(step, since)| {
            let span = match step {
                Step::Asked => self.config.ask,
                Step::Terminating { .. } => clocks.terminate,
            };
            (since + span, Why::Ladder)
        });
        let closed = self.stdout_closed_at;
        let closed = closed.map(|at| (at + clocks.stdout_closed, Why::StdoutClosed));
        let replayed = match self.stage {
            Stage::Replay { quiet_at, over_at } => Some((quiet_at.min(over_at), Why::Replayed)),
            Stage::Initialize(_)
            | Stage::Authenticate(_)
            | Stage::Open(..)
            | Stage::Choose(..)
            | Stage::Prompt(_) => None,
        };
        let replayed = replayed.filter(|_| self.ladder.is_none());
        [ladder, closed, replayed]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn reached(&mut self, why: Why) {
        match (why, self.ladder) {
            (Why::Replayed, _) => self.choose(),
            (Why::Ladder, Some((Step::Asked, _))) => self.terminate(true),
            (Why::Ladder, _) => {
                self.steps.step(CancelStep::Killing);
                self.end = Some(End::Broken(Ending::Cancelled { forced: true }));
            }
            (Why::StdoutClosed, _) => {
                let ms = self.config.process.clocks.stdout_closed.as_millis();
                let ms = u64::try_from(ms).unwrap_or(u64::MAX);
                self.fail(Failure::StdoutClosed { ms });
            }
        }
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

/// Begins the names of an attempt's questions; like no other attempt's.
fn question_prefix(request: &Request) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let n = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let turn: String = request.turn.as_str().chars().take(30).collect();
    format!("a-{turn}-{}-{n}", request.attempt)
}
